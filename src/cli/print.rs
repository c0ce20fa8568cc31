//! `print settings` and `print supervisor`: files to start from.

use std::path::Path;

use super::args::{SupervisedRole, SupervisorArgs};
use super::exit::{CommandError, Exit};
use super::out;
use crate::domain::limits::STOP_MAX;
use crate::ops::settings::Settings;

pub(super) fn settings() -> Result<Exit, CommandError> {
    out(&Settings::default_file())?;
    Ok(Exit::Ok)
}

/// The thin PHP job that a Laravel application pastes.
pub(super) fn laravel_adapter(intents: bool) -> Result<Exit, CommandError> {
    out(if intents { crate::queue::LARAVEL_INTENT_ADAPTER } else { crate::queue::LARAVEL_ADAPTER })?;
    Ok(Exit::Ok)
}

pub(super) fn supervisor(settings: Option<&Path>, args: &SupervisorArgs) -> Result<Exit, CommandError> {
    let unknown =
        |what: &str, error: std::io::Error| CommandError::new(Exit::IoErr, format!("cannot tell {what}: {error}"));
    let binary = std::env::current_exe().map_err(|error| unknown("where this program lies", error))?;
    let here = std::env::current_dir().map_err(|error| unknown("the current directory", error))?;
    let directory = args.directory.as_ref().map_or_else(|| here.clone(), |directory| here.join(directory));
    let settings = settings.map(|settings| here.join(settings));
    out(&section(args.role, &binary, settings.as_deref(), &directory, args.user.as_deref())?)?;
    Ok(Exit::Ok)
}

/// Seconds that supervisord waits before it kills: our own bound and as much again.
const STOP_WAIT_S: u64 = 2 * STOP_MAX.as_secs();
/// Seconds after which a start counts as one.
const START_S: u64 = 5;
const _: () = assert!(STOP_WAIT_S > STOP_MAX.as_secs());

impl SupervisedRole {
    const fn command(self) -> &'static str {
        match self {
            SupervisedRole::Prices => "prices",
            SupervisedRole::UserData => "user-data",
            SupervisedRole::Work => "work",
            SupervisedRole::Run => "run",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            SupervisedRole::Prices => "Price daemon",
            SupervisedRole::UserData => "User-data daemon",
            SupervisedRole::Work => "Worker",
            SupervisedRole::Run => "Price and user-data daemon",
        }
    }

    /// When it ends by itself.
    const fn ends(self) -> &'static str {
        match self {
            SupervisedRole::Prices => {
                "\
; Every end is followed by a start. The daemon ends by itself in three cases only:
;   75  no price for prices.silence_exit_s: a fresh process is wanted
;   75  another process writes these prices; it waited for that one, and is tried again
;   78  settings that cannot work: it ends within startsecs, and after startretries supervisord says FATAL
; An absent venue or database never ends it."
            }
            SupervisedRole::UserData | SupervisedRole::Work | SupervisedRole::Run => {
                "\
; Every end is followed by a start. Settings that cannot work end the daemon (78) within startsecs, and after startretries
; supervisord says FATAL. An absent venue, database or queue never ends it."
            }
        }
    }
}

fn section(
    role: SupervisedRole,
    binary: &Path,
    settings: Option<&Path>,
    directory: &Path,
    user: Option<&str>,
) -> Result<String, CommandError> {
    let mut command = format!("{} {}", word(binary)?, role.command());
    if let Some(settings) = settings {
        command.push_str(&format!(" --settings {}", word(settings)?));
    }
    let user = user.map_or(";user=kraite".to_owned(), |user| format!("user={user}"));
    let directory = value(directory)?;
    Ok(format!(
        "\
; {title} of kraite-streams. Put this file into supervisord's conf.d, then: supervisorctl update
[program:kraite-streams-{program}]
command={command}
directory={directory}
{user}
numprocs=1
autostart=true
{ends}
autorestart=true
exitcodes=0
startsecs={START_S}
startretries=10
; SIGTERM is answered within {bound} s (close frame, last write); the wait is longer, so that it is never killed meanwhile.
stopsignal=TERM
stopwaitsecs={STOP_WAIT_S}
stopasgroup=true
killasgroup=true
; Logs go to standard error; supervisord rotates them. With ops.log_file set, rotate that file and send SIGHUP.
redirect_stderr=true
stdout_logfile=/var/log/supervisor/%(program_name)s.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=5
; Secrets belong into the environment, and this file then into mode 0600. Write % as %%.
;environment=KRAITE_STORE_URL=\"postgres://kraite:password@127.0.0.1:5432/kraite\"
",
        bound = STOP_MAX.as_secs(),
        title = role.title(),
        program = role.command(),
        ends = role.ends(),
    ))
}

/// A path as a value of supervisord's file, where `%` starts an expansion.
fn value(path: &Path) -> Result<String, CommandError> {
    let text = path.to_str().filter(|text| !text.contains(char::is_control)).ok_or_else(|| {
        CommandError::new(Exit::DataErr, format!("supervisord's file cannot hold the path {}", path.display()))
    })?;
    Ok(text.replace('%', "%%"))
}

/// A path as one word of a command, which supervisord splits as a shell does.
fn word(path: &Path) -> Result<String, CommandError> {
    let text = value(path)?;
    let is_plain = text.chars().all(|c| c.is_alphanumeric() || "/._-+,:@%".contains(c));
    Ok(if is_plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn keys(text: &str) -> BTreeMap<&str, &str> {
        let lines = text.lines().filter(|line| !line.starts_with(';') && !line.starts_with('['));
        lines.map(|line| line.split_once('=').expect("key=value")).collect()
    }

    #[test]
    fn the_section_has_every_key_that_matters() {
        let text = section(
            SupervisedRole::Prices,
            Path::new("/opt/kraite streams/bin"),
            Some(Path::new("/etc/it's 5%.toml")),
            Path::new("/var/lib/100%"),
            Some("kraite"),
        )
        .unwrap();
        assert_eq!(
            text.lines().filter(|line| line.starts_with('[')).collect::<Vec<_>>(),
            ["[program:kraite-streams-prices]"]
        );
        let keys = keys(&text);
        for (key, value) in [
            ("command", r"'/opt/kraite streams/bin' prices --settings '/etc/it'\''s 5%%.toml'"),
            ("directory", "/var/lib/100%%"),
            ("user", "kraite"),
            ("numprocs", "1"),
            ("autostart", "true"),
            ("autorestart", "true"),
            ("exitcodes", "0"),
            ("startsecs", "5"),
            ("startretries", "10"),
            ("stopsignal", "TERM"),
            ("stopasgroup", "true"),
            ("killasgroup", "true"),
            ("redirect_stderr", "true"),
        ] {
            assert_eq!(keys.get(key), Some(&value), "{key}");
        }
        assert!(keys["stopwaitsecs"].parse::<u64>().unwrap() > STOP_MAX.as_secs());
        assert!(keys["stdout_logfile"].starts_with('/'));
    }

    #[test]
    fn what_the_file_cannot_hold_is_refused() {
        let bad = Path::new("/a\nautostart=false");
        assert!(section(SupervisedRole::Run, bad, None, Path::new("/"), None).is_err());
        assert!(section(SupervisedRole::Prices, Path::new("/a"), Some(bad), Path::new("/"), None).is_err());
        assert!(section(SupervisedRole::Prices, Path::new("/a"), None, bad, None).is_err());
        let plain = section(SupervisedRole::Prices, Path::new("/a"), None, Path::new("/"), None).unwrap();
        assert!(plain.contains("\ncommand=/a prices\n") && plain.contains("\n;user=kraite\n"));
    }

    #[test]
    fn name_and_command_follow_the_role() {
        for (role, command) in [
            (SupervisedRole::Prices, "prices"),
            (SupervisedRole::UserData, "user-data"),
            (SupervisedRole::Work, "work"),
            (SupervisedRole::Run, "run"),
        ] {
            let text = section(role, Path::new("/a"), None, Path::new("/"), None).unwrap();
            assert!(text.contains(&format!("\n[program:kraite-streams-{command}]\ncommand=/a {command}\n")), "{text}");
            assert!(text.contains("\n; Every end is followed by a start.") && text.contains("\nautorestart=true\n"));
        }
    }
}
