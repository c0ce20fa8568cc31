//! `accounts …` on the command line.

use clap::{Args, Subcommand};

use crate::domain::Venue;

/// `accounts …`
#[derive(Clone, Debug, Subcommand)]
pub enum AccountsCommand {
    /// Store an account's API key and secret, encrypted, and have it streamed
    #[command(long_about = ADD)]
    Add(AddArgs),
    /// Show every account, whether it is streamed, and how its listen key is
    #[command(long_about = LIST)]
    List,
    /// Have an account streamed again
    Enable(AccountArgs),
    /// Stop streaming an account; its rows stay
    #[command(long_about = DISABLE)]
    Disable(DisableArgs),
    /// Remove an account (a soft delete, as Laravel does it); its rows stay for the record
    Remove(AccountArgs),
}

/// `accounts add`
#[derive(Args, Clone, Debug)]
pub struct AddArgs {
    /// The exchange; private streams exist for binance
    #[arg(long, value_name = "VENUE")]
    pub exchange: Venue,
    /// What to call it; unique per user
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Laravel's id of the user that it belongs to [default: none]
    #[arg(long, value_name = "ID")]
    pub user_id: Option<i64>,
}

/// `accounts enable`, `accounts remove`
#[derive(Args, Clone, Debug)]
pub struct AccountArgs {
    /// Its id, or its name
    #[arg(value_name = "ACCOUNT")]
    pub account: String,
}

/// `accounts disable`
#[derive(Args, Clone, Debug)]
pub struct DisableArgs {
    /// Its id, or its name
    #[arg(value_name = "ACCOUNT")]
    pub account: String,
    /// Why, for those who look at the row later
    #[arg(long, value_name = "TEXT", default_value = "kraite-streams accounts disable")]
    pub reason: String,
}

const ADD: &str = "\
Store an account's API key and secret, encrypted, and have it streamed.

Asks for both without showing them; through a pipe they are two lines on standard input. They are never taken from an
argument, which every user of the machine could read.

Both are stored in Laravel's `encrypted` format under APP_KEY (or user_data.app_key_file), so that a Laravel application
reads them, and the other way round. With an SQLite store and no key anywhere, a random one is made in a file beside the
database that only its owner can read. Whoever has that file and the database has the accounts; without it nobody has.

A running daemon finds the new account within user_data.discovery_s. Reading streams needs a key with read permission
only.";

const LIST: &str = "\
Show every account, whether it is streamed, and how its listen key is.

`key` is a fingerprint, the first four hex digits of the key's SHA-256: enough to tell two keys apart, too little to
recognise one. \"?\" is a key that cannot be decrypted with the APP_KEY in force.";

const DISABLE: &str = "\
Stop streaming an account; its rows stay.

A running daemon closes its socket within user_data.discovery_s and takes its listen-key row away. The listen key itself
is not revoked at the exchange: another program may share it.";
