//! Which spelling of the private URL delivered for each account, remembered across restarts, so that a restart does not go
//! through those that do not.
//!
//! A small file beside the spool, for its owner only (0600): the spool's holder is its only writer, and the two are moved and
//! removed together. Not a column: the accounts' tables are another application's, and not a record: the spool's format need
//! not know of spellings. It is a hint. A file that is lost, damaged or wrong costs some seconds of trying; so it is written
//! whole beside its place and renamed, not synced.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::domain::limits::SPOOL_ACCOUNTS_MAX;
use crate::exchange::binance::private_url::Spelling;
use crate::spool::AccountId;

/// Bytes of the file that are read: a line is an id of 20 digits, a word and two more.
const FILE_LEN_MAX: u64 = 32 * SPOOL_ACCOUNTS_MAX as u64;

/// See the module's documentation.
#[derive(Debug)]
pub struct SpellingMemory {
    path: PathBuf,
    known: BTreeMap<AccountId, Spelling>,
    /// The file does not say all of `known` yet.
    is_news: bool,
    has_failed: bool,
}

impl SpellingMemory {
    /// What the file beside `spool_folder` says; nothing where there is none, or none that can be read.
    #[must_use]
    pub fn beside(spool_folder: &Path) -> SpellingMemory {
        let mut name = spool_folder.as_os_str().to_owned();
        name.push(".spellings");
        let path = PathBuf::from(name);
        let mut text = String::new();
        let known = match fs::File::open(&path).and_then(|file| file.take(FILE_LEN_MAX).read_to_string(&mut text)) {
            Ok(_) => text.lines().filter_map(read_line).take(SPOOL_ACCOUNTS_MAX).collect(),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!("{} cannot be read, spellings are tried anew: {error}", path.display());
                }
                BTreeMap::new()
            }
        };
        SpellingMemory { path, known, is_news: false, has_failed: false }
    }

    /// The spelling that last delivered for `account`.
    #[must_use]
    pub fn of(&self, account: AccountId) -> Option<Spelling> {
        self.known.get(&account).copied()
    }

    /// `spelling` has delivered for `account`.
    pub fn note(&mut self, account: AccountId, spelling: Spelling) {
        let has_room = self.known.len() < SPOOL_ACCOUNTS_MAX || self.known.contains_key(&account);
        if has_room && self.known.insert(account, spelling) != Some(spelling) {
            self.is_news = true;
        }
    }

    /// Writes what is new. A fault is told once, and what is new is tried again with the next news.
    pub fn save(&mut self) {
        if !std::mem::take(&mut self.is_news) {
            return;
        }
        match self.write() {
            Ok(()) => self.has_failed = false,
            Err(error) if !std::mem::replace(&mut self.has_failed, true) => {
                tracing::warn!("{} cannot be written: {error}", self.path.display());
            }
            Err(_) => {}
        }
    }

    fn write(&self) -> io::Result<()> {
        let mut text = String::new();
        for (account, spelling) in &self.known {
            writeln!(text, "{} {}", account.0, spelling.as_str()).expect("a string takes it");
        }
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&beside, &self.path)
    }
}

fn read_line(line: &str) -> Option<(AccountId, Spelling)> {
    let (account, word) = line.split_once(' ')?;
    let spelling = Spelling::ALL.into_iter().find(|spelling| spelling.as_str() == word)?;
    Some((AccountId(account.parse().ok()?), spelling))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_delivered_is_known_to_the_next_process_and_to_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let spool = folder.path().join("streams.spool");
        let mut memory = SpellingMemory::beside(&spool);
        memory.save();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing to say, no file");
        memory.note(AccountId(7), Spelling::Path);
        memory.note(AccountId(1), Spelling::Query);
        memory.save();
        memory.note(AccountId(7), Spelling::Stream);
        memory.save();
        let next = SpellingMemory::beside(&spool);
        assert_eq!([1, 7, 8].map(|id| next.of(AccountId(id))), [Some(Spelling::Query), Some(Spelling::Stream), None]);
        let file = folder.path().join("streams.spool.spellings");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // A damaged file is a hint less.
        fs::write(&file, b"1 query\n\xff\n2 stream\n").unwrap();
        assert_eq!(SpellingMemory::beside(&spool).of(AccountId(1)), None);
        fs::write(&file, "1 query\n-2 path\n3 paths\n\n4\n5 path \n6 path\n").unwrap();
        let next = SpellingMemory::beside(&spool);
        let known = [1, 2, 3, 4, 5, 6].map(|id| next.of(AccountId(id)));
        assert_eq!(known, [Some(Spelling::Query), None, None, None, None, Some(Spelling::Path)]);
        // A folder that is gone harms nobody.
        let mut nowhere = SpellingMemory::beside(&folder.path().join("gone/streams.spool"));
        nowhere.note(AccountId(1), Spelling::Path);
        nowhere.save();
        assert_eq!(nowhere.of(AccountId(1)), Some(Spelling::Path));
    }
}
