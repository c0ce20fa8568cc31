//! Where this installation keeps the application's key: the settings (with the environment's `APP_KEY` merged in), a file
//! that they name, or a file of our own beside the embedded database, made with a key from the system's randomness.
//!
//! Our own file is one line, for its owner only, put there whole or not at all and never over another: two processes that
//! start at once end up with the same key. Errors name the file and never what is in it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::app_key::{APP_KEY, APP_PREVIOUS_KEYS, AppKeyError, AppKeys};
use super::secret::Secret;
use super::settings::UserDataSettings;

/// Of AES-256, the cipher of Laravel's choice.
const KEY_LEN: usize = 32;

/// Where the keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    current: Option<Secret>,
    previous: Option<Secret>,
    /// Asked where `current` is not set.
    file: Option<PathBuf>,
    /// Whether the file is ours to make and to be strict about.
    is_ours: bool,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyPlaceError {
    /// What is there is no key, or nobody has said where one is.
    #[error(transparent)]
    Keys(#[from] AppKeyError),
    /// Our own file is not there.
    #[error("the key file {} is not there", .0.display())]
    Missing(PathBuf),
    /// Others can read or change our own file.
    #[error("the key file {} is open to others than its owner: chmod 600 it", .0.display())]
    OpenToOthers(PathBuf),
    /// Our own file cannot be made.
    #[error("cannot make the key file {path}: {error}", path = path.display())]
    Make {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl KeyPlace {
    /// By the settings: `app_key`, else `app_key_file`, else the file beside the embedded database, where that is the store.
    #[must_use]
    pub fn of(settings: &UserDataSettings, embedded_database: Option<&Path>) -> KeyPlace {
        let beside = || embedded_database.map(UserDataSettings::key_file_beside);
        KeyPlace {
            current: settings.app_key.clone(),
            previous: settings.app_previous_keys.clone(),
            file: settings.app_key_file.clone().or_else(beside),
            is_ours: embedded_database.is_some(),
        }
    }

    /// The keys there.
    ///
    /// # Errors
    /// See [`KeyPlaceError`].
    pub fn load(&self) -> Result<AppKeys, KeyPlaceError> {
        let file = self.file.as_deref().filter(|_| self.current.is_none());
        if let Some(path) = file.filter(|_| self.is_ours) {
            check_private(path)?;
        }
        let variable = |name: &str| match name {
            APP_KEY => self.current.as_ref().map(|key| key.expose().to_owned()),
            APP_PREVIOUS_KEYS => self.previous.as_ref().map(|keys| keys.expose().to_owned()),
            _ => None,
        };
        Ok(AppKeys::load(variable, file)?)
    }

    /// The keys there; a file of our own that is missing is made first.
    ///
    /// # Errors
    /// See [`KeyPlaceError`].
    pub fn load_or_make(&self) -> Result<AppKeys, KeyPlaceError> {
        match self.load() {
            Err(KeyPlaceError::Missing(path)) => {
                make(&path).map_err(|error| KeyPlaceError::Make { path: path.clone(), error })?;
                // What stands there now, ours or that of a process that was faster.
                self.load()
            }
            found => found,
        }
    }
}

fn check_private(path: &Path) -> Result<(), KeyPlaceError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(KeyPlaceError::Missing(path.to_owned())),
        #[cfg(unix)]
        Ok(file) if std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o077 != 0 => {
            Err(KeyPlaceError::OpenToOthers(path.to_owned()))
        }
        // Any other fault shows itself when the file is read.
        _ => Ok(()),
    }
}

/// Puts a file with a random key at `path`, unless one appeared there meanwhile.
fn make(path: &Path) -> io::Result<()> {
    let random = |bytes: &mut [u8]| {
        getrandom::fill(bytes).map_err(|error| io::Error::other(format!("no randomness from the system: {error}")))
    };
    let (mut key, mut nonce) = ([0; KEY_LEN], [0; 8]);
    random(&mut key)?;
    random(&mut nonce)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{:016x}.draft", u64::from_le_bytes(nonce)));
    let draft = PathBuf::from(draft);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    let written = writeln!(file, "base64:{}", STANDARD.encode(key)).and_then(|()| file.sync_all());
    // A link takes no place that is taken, which a rename would.
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    });
    // A draft that stays behind holds a key that nothing was encrypted with.
    let _ = fs::remove_file(&draft);
    linked?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// 32 times `k` and `p`.
    const K: &str = "base64:a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";
    const P: &str = "base64:cHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHA=";

    fn settings(key: Option<&str>, previous: Option<&str>, file: Option<&Path>) -> UserDataSettings {
        UserDataSettings {
            app_key: key.map(Secret::new),
            app_previous_keys: previous.map(Secret::new),
            app_key_file: file.map(Path::to_owned),
            ..UserDataSettings::default()
        }
    }

    #[test]
    fn a_key_of_our_own_is_made_once_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let place = KeyPlace::of(&settings(None, Some(P), None), Some(&folder.path().join("k.sqlite")));
        let path = folder.path().join("k.sqlite.app-key");
        assert!(matches!(place.load(), Err(KeyPlaceError::Missing(missing)) if missing == path));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let place = place.clone();
                std::thread::spawn(move || place.load_or_make().unwrap())
            })
            .collect();
        let made = place.load_or_make().unwrap();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), made, "everybody has the same key");
        }
        assert_eq!(made.all().len(), 2, "previous keys are a setting of their own");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft stays");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let open = place.load_or_make().unwrap_err();
        assert!(matches!(open, KeyPlaceError::OpenToOthers(_)), "{open}");
        let nowhere = KeyPlace::of(&settings(None, None, None), Some(&folder.path().join("no/k.sqlite")));
        assert!(matches!(nowhere.load_or_make(), Err(KeyPlaceError::Make { .. })));
    }

    #[test]
    fn a_key_that_is_set_comes_first_and_a_file_of_the_applications_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let env = folder.path().join(".env");
        fs::write(&env, format!("APP_NAME=x\nAPP_KEY={P}\n")).unwrap();
        fs::set_permissions(&env, fs::Permissions::from_mode(0o644)).unwrap();
        let keys = |settings: &UserDataSettings| KeyPlace::of(settings, None).load();
        let expected = |key: &str| AppKeys::parse(key, "").unwrap();
        assert_eq!(keys(&settings(None, None, Some(&env))).unwrap(), expected(P));
        assert_eq!(keys(&settings(Some(K), None, Some(&env))).unwrap(), expected(K));
        // With a key set, a file that is not there does not matter, embedded or not.
        let set = settings(Some(K), None, None);
        assert_eq!(KeyPlace::of(&set, Some(&folder.path().join("k.sqlite"))).load_or_make().unwrap(), expected(K));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made");
        // In server mode nothing is ever made.
        let gone = folder.path().join("gone");
        let server = KeyPlace::of(&settings(None, None, Some(&gone)), None);
        assert!(matches!(server.load_or_make(), Err(KeyPlaceError::Keys(AppKeyError::File { .. }))));
        assert!(!gone.exists());
        let unset = KeyPlace::of(&settings(None, None, None), None).load_or_make().unwrap_err();
        assert!(unset.to_string().starts_with("there is no APP_KEY"), "{unset}");
    }
}
