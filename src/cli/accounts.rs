//! `accounts add|list|enable|disable|remove`: whose private streams are read, in the same table a Laravel application uses.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::account_args::{AccountsCommand, AddArgs};
use super::exit::{CommandError, Exit};
use super::secret_input::read_key_and_secret;
use super::{Loaded, out, read_roots, tell};
use crate::domain::time::{Clock as _, SystemClock};
use crate::domain::{Venue, Wall};
use crate::ops::app_key::AppKeys;
use crate::ops::encrypter::{EncryptError, Encrypter};
use crate::ops::key_place::{KeyPlace, KeyPlaceError};
use crate::ops::secret::Secret;
use crate::store::StoreUrl;
use crate::store::user_data::{UserDataOptions, UserDataStore};
use crate::store::user_data_rows::{AccountListing, Ciphertext, KeepAlive, ListenKeyRow, NewAccount};

/// Characters of an account's name; the column takes 255.
const NAME_LEN_MAX: usize = 255;

pub(super) fn run(loaded: &Loaded, command: &AccountsCommand) -> Result<Exit, CommandError> {
    let mut accounts = Accounts::open(loaded)?;
    match command {
        AccountsCommand::Add(args) => accounts.add(args),
        AccountsCommand::List => accounts.list(),
        AccountsCommand::Enable(args) => accounts.switch(&args.account, None),
        AccountsCommand::Disable(args) => accounts.switch(&args.account, Some(&args.reason)),
        AccountsCommand::Remove(args) => accounts.remove(&args.account),
    }
}

struct Accounts<'l> {
    loaded: &'l Loaded,
    store: UserDataStore,
    key_place: KeyPlace,
}

impl Accounts<'_> {
    fn open(loaded: &Loaded) -> Result<Accounts<'_>, CommandError> {
        let settings = &loaded.settings.store;
        let options = UserDataOptions {
            extra_roots_pem: read_roots("store.extra_roots", settings.extra_roots.as_deref())?,
            connect_timeout: settings.connect_timeout,
            ..UserDataOptions::new(format!("kraite-streams command, pid {}", std::process::id()))
        };
        let embedded = match &loaded.store {
            StoreUrl::Sqlite(path) => Some(path.as_path()),
            StoreUrl::Postgres(_) => None,
        };
        Ok(Accounts {
            loaded,
            store: UserDataStore::new(&loaded.store, &options)?,
            key_place: KeyPlace::of(&loaded.settings.user_data, embedded),
        })
    }

    fn add(&mut self, args: &AddArgs) -> Result<Exit, CommandError> {
        let name = args.name.trim();
        if args.exchange != Venue::Binance {
            let sentence = format!("private streams of {} are not read yet: only binance", args.exchange.name());
            return Err(CommandError::new(Exit::Usage, sentence));
        }
        if name.is_empty() || name.chars().count() > NAME_LEN_MAX || name.contains(char::is_control) {
            let sentence = format!("--name must be 1 to {NAME_LEN_MAX} characters, without control characters");
            return Err(CommandError::new(Exit::Usage, sentence));
        }
        // All that can be refused is refused before anybody types a secret.
        let encrypter = self.encrypter_for_writing()?;
        let (key, secret) = read_key_and_secret()?;
        let encrypt = |plain: &Secret| encrypter.encrypt(plain.expose()).map(Ciphertext::new).map_err(not_encrypted);
        let (api_key, api_secret) = (encrypt(&key)?, encrypt(&secret)?);
        let uuid = random_uuid()?;
        let account = NewAccount {
            canonical: args.exchange.canonical(),
            name,
            user_id: args.user_id,
            uuid: &uuid,
            api_key: &api_key,
            api_secret: &api_secret,
        };
        let Some(id) = self.store.run(|tables| tables.add_account(&account))? else {
            return Err(CommandError::new(Exit::DataErr, format!("there is an account named {name:?} already")));
        };
        out(&format!(
            "account {id} ({name}, {}) was added, key {}; a running daemon streams it within {} s\n",
            args.exchange,
            fingerprint(key.expose()),
            self.loaded.settings.user_data.discovery.as_secs(),
        ))?;
        Ok(Exit::Ok)
    }

    /// With a key file made where there may be one, but never beside accounts that were encrypted under a lost key.
    fn encrypter_for_writing(&mut self) -> Result<Encrypter, CommandError> {
        let keys = match self.key_place.load() {
            Err(KeyPlaceError::Missing(path)) => {
                let listed = self.store.run(|tables| tables.accounts())?;
                let orphans = listed.iter().filter(|account| account.api_key.is_some()).count();
                if orphans > 0 {
                    let sentence = format!(
                        "the key file {} is not there, and {orphans} account(s) were encrypted with a key: put the file \
                         back, or `accounts remove` those that nobody can read any more",
                        path.display()
                    );
                    return Err(CommandError::new(Exit::NoInput, sentence));
                }
                self.key_place.load_or_make()
            }
            found => found,
        };
        Ok(self.encrypter(keys.map_err(no_key)?))
    }

    fn encrypter(&self, keys: AppKeys) -> Encrypter {
        Encrypter::new(keys, self.loaded.settings.user_data.cipher)
    }

    fn list(&mut self) -> Result<Exit, CommandError> {
        let listed = self.store.run(|tables| tables.accounts())?;
        let encrypter = self.key_place.load().map(|keys| self.encrypter(keys)).map_err(no_key);
        let now = SystemClock::start().now().wall;
        let mut unread = 0;
        let rows: Vec<[String; 6]> = listed
            .iter()
            .map(|account| {
                let key = match (&account.api_key, &encrypter) {
                    (None, _) => "-".to_owned(),
                    (Some(key), Ok(encrypter)) => match encrypter.decrypt(key.as_str()) {
                        Ok(plain) => fingerprint(plain.expose()),
                        Err(_) => "?".to_owned(),
                    },
                    (Some(_), Err(_)) => "?".to_owned(),
                };
                unread += usize::from(key == "?");
                [
                    account.id.to_string(),
                    shown(&account.name),
                    shown(&account.canonical),
                    state(account).to_owned(),
                    key,
                    account.listen_key.as_ref().map_or("not streamed".to_owned(), |row| stream_state(row, now)),
                ]
            })
            .collect();
        if rows.is_empty() {
            out("no accounts; `kraite-streams accounts add --exchange binance --name NAME` adds one\n")?;
            return Ok(Exit::Ok);
        }
        out(&table(["id", "name", "exchange", "state", "key", "stream"], &rows))?;
        if unread == 0 {
            return Ok(Exit::Ok);
        }
        let why = match encrypter {
            Ok(_) => {
                "they were encrypted with another APP_KEY; user_data.app_previous_keys takes older ones".to_owned()
            }
            Err(error) => error.sentence,
        };
        tell(&CommandError::new(Exit::Failed, format!("{unread} key(s) cannot be read: {why}")));
        Ok(Exit::Failed)
    }

    fn switch(&mut self, account: &str, off_because: Option<&str>) -> Result<Exit, CommandError> {
        let (id, name) = self.find(account)?;
        if !self.store.run(|tables| tables.set_account_active(id, off_because))? {
            return Err(unknown(account));
        }
        let now = if off_because.is_some() { "disabled" } else { "enabled" };
        self.tell_changed(id, &name, now)
    }

    fn remove(&mut self, account: &str) -> Result<Exit, CommandError> {
        let (id, name) = self.find(account)?;
        if !self.store.run(|tables| tables.remove_account(id))? {
            return Err(unknown(account));
        }
        self.tell_changed(id, &name, "removed")
    }

    fn tell_changed(&self, id: i64, name: &str, now: &str) -> Result<Exit, CommandError> {
        let within = self.loaded.settings.user_data.discovery.as_secs();
        out(&format!("account {id} ({}) is {now}; a running daemon follows within {within} s\n", shown(name)))?;
        Ok(Exit::Ok)
    }

    /// By id, else by a name that only one account has.
    fn find(&mut self, account: &str) -> Result<(i64, String), CommandError> {
        let listed = self.store.run(|tables| tables.accounts())?;
        let by_id = account.parse().ok().and_then(|id: i64| listed.iter().find(|row| row.id == id));
        let named: Vec<&AccountListing> = listed.iter().filter(|row| row.name == account).collect();
        match (by_id, named.as_slice()) {
            (Some(row), _) | (None, &[row]) => Ok((row.id, row.name.clone())),
            (None, []) => Err(unknown(account)),
            (None, _) => {
                let ids: Vec<String> = named.iter().map(|row| row.id.to_string()).collect();
                let sentence = format!("{} accounts have that name: say which id of {}", ids.len(), ids.join(", "));
                Err(CommandError::new(Exit::Usage, sentence))
            }
        }
    }
}

fn state(account: &AccountListing) -> &'static str {
    match (account.is_active, account.api_key.is_some() && account.has_secret) {
        (false, _) => "disabled",
        (true, true) => "active",
        (true, false) => "no key",
    }
}

/// How the listen-key row stands: the last keep-alive, and when the socket was last active.
fn stream_state(row: &ListenKeyRow, now: Wall) -> String {
    let kept = row.last_keep_alive_at.map_or("never".to_owned(), |at| ago(at, now));
    let mut text = match row.last_keep_alive {
        Some(KeepAlive::Failure) => format!("keep-alive failed {} times, last good {kept}", row.failure_count),
        Some(KeepAlive::Success) => format!("key kept {kept}"),
        None => "key not kept yet".to_owned(),
    };
    let frame = row.last_frame_at.map_or("nothing received yet".to_owned(), |at| format!("active {}", ago(at, now)));
    write!(text, ", {frame}").expect("a string takes it");
    text
}

fn ago(at: Wall, now: Wall) -> String {
    let seconds = now.as_millis().saturating_sub(at.as_millis()).max(0) / 1_000;
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3_600),
    }
}

/// First four hex digits of SHA-256: tells keys apart, and gives away 16 bits of 380.
fn fingerprint(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    format!("{:02x}{:02x}", digest[0], digest[1])
}

/// A text of the database's, safe for a terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = heads.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(heads.map(str::to_owned)).chain(rows.iter().cloned()) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(&row) {
            write!(line, "{cell:width$}  ").expect("a string takes it");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// RFC 9562 version 4.
pub(super) fn random_uuid() -> Result<String, CommandError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| CommandError::new(Exit::Software, format!("no randomness from the system: {error}")))?;
    let bits = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

fn unknown(account: &str) -> CommandError {
    CommandError::new(Exit::Usage, format!("no account has the id or name {account:?}; `accounts list` shows them"))
}

fn no_key(error: KeyPlaceError) -> CommandError {
    let exit = match error {
        KeyPlaceError::Keys(_) => Exit::Config,
        KeyPlaceError::Missing(_) => Exit::NoInput,
        KeyPlaceError::OpenToOthers(_) => Exit::NoPerm,
        KeyPlaceError::Make { .. } => Exit::CantCreate,
    };
    CommandError::new(exit, error.to_string())
}

fn not_encrypted(error: EncryptError) -> CommandError {
    CommandError::new(Exit::Software, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_random_and_says_so() {
        let (a, b) = (random_uuid().unwrap(), random_uuid().unwrap());
        assert!(a != b && a.len() == 36 && a.as_bytes()[14] == b'4', "{a}");
        assert!(b"89ab".contains(&a.as_bytes()[19]), "{a}");
    }

    #[test]
    fn a_stream_is_told_in_a_few_words() {
        let now = Wall::from_millis(100_000_000);
        let mut row = ListenKeyRow {
            account_id: 1,
            listen_key: Ciphertext::new("x"),
            last_created_at: None,
            last_keep_alive_at: None,
            last_frame_at: None,
            last_keep_alive: None,
            failure_count: 0,
        };
        assert_eq!(stream_state(&row, now), "key not kept yet, nothing received yet");
        row.last_keep_alive_at = Some(Wall::from_millis(99_940_000));
        row.last_keep_alive = Some(KeepAlive::Success);
        row.last_frame_at = Some(Wall::from_millis(100_009_000));
        assert_eq!(stream_state(&row, now), "key kept 60 s ago, active 0 s ago");
        row.last_keep_alive = Some(KeepAlive::Failure);
        row.failure_count = 3;
        row.last_frame_at = Some(Wall::from_millis(90_000_000));
        assert_eq!(stream_state(&row, now), "keep-alive failed 3 times, last good 60 s ago, active 2 h ago");
        // Of sha256sum: printf test | sha256sum.
        assert_eq!(fingerprint("test"), "9f86");
        assert_eq!(shown("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
        let rows = [["1".to_owned(), "müller".to_owned()], ["10".to_owned(), "b".to_owned()]];
        assert_eq!(table(["id", "name"], &rows), "id  name\n1   müller\n10  b\n");
    }
}
