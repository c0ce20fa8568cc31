//! Who holds a lease, as a text that another process on the same machine can hold against `/proc`: a holder that is provably
//! dead is not waited for.
//!
//! `<host>/<boot id>/<pid namespace>/<uid>/<pid>/<start time>/<random>`. Boot and namespace say whose process numbers these
//! are; the user, because `hidepid` hides others' processes; the start time, because numbers are used again.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::domain::Random;

/// What stands for a part that the system does not tell.
const UNKNOWN: &str = "-";
/// What stands for the start time of a process that has ended and was not waited for.
const ENDED: &str = "ended";

/// The token of a holder in this process. No two are the same.
pub(super) fn token(random: &mut Random) -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(|c| c.is_ascii_graphic() && *c != '/').take(64).collect();
    let host = if host.is_empty() { UNKNOWN } else { &host };
    let place = Place::read().unwrap_or_else(|| format!("{UNKNOWN}/{UNKNOWN}/{UNKNOWN}"));
    let pid = std::process::id();
    let start = start_time(pid).ok().flatten().unwrap_or_else(|| UNKNOWN.to_owned());
    format!("{host}/{place}/{pid}/{start}/{:016x}{:016x}", random.next_u64(), random.next_u64())
}

/// Whether the holder of this token is provably dead. Of one elsewhere, nothing is known.
pub(super) fn is_gone(token: &str) -> bool {
    let parts: Vec<_> = token.split('/').collect();
    let [_, boot, namespace, uid, pid, start, _] = parts[..] else { return false };
    if [boot, namespace, uid, start].contains(&UNKNOWN) {
        return false;
    }
    let (Some(place), Ok(pid)) = (Place::read(), pid.parse::<u32>()) else { return false };
    if place != format!("{boot}/{namespace}/{uid}") {
        return false;
    }
    match start_time(pid) {
        Ok(Some(found)) => found != start,
        Ok(None) => false,
        // Only a /proc of our own namespace knows: it shows ourselves under our number.
        Err(error) => error.kind() == io::ErrorKind::NotFound && start_time(std::process::id()).is_ok(),
    }
}

struct Place;

impl Place {
    /// `<boot id>/<pid namespace>/<uid>` of this process.
    fn read() -> Option<String> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        let namespace = namespace.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?;
        let uid = fs::metadata("/proc/self").ok()?.uid();
        Some(format!("{}/{namespace}/{uid}", boot.trim()))
    }
}

/// Field 22 of `/proc/<pid>/stat` (`man 5 proc_pid_stat`); of a zombie, which runs no more, another text; none where the file
/// reads otherwise.
fn start_time(pid: u32) -> io::Result<Option<String>> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))?;
    // The second field is the program's name, with anything in it, in parentheses.
    let fields: Vec<_> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
    Ok(match (fields.first(), fields.get(19)) {
        (Some(&("Z" | "X")), Some(_)) => Some(ENDED.to_owned()),
        (Some(_), Some(&start)) => Some(start.to_owned()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn only_the_provably_dead_are_gone() {
        let mut random = Random::from_seed(1);
        let own = token(&mut random);
        assert_ne!(own, token(&mut random));
        assert!(!is_gone(&own), "{own}");
        let mut parts: Vec<_> = own.split('/').map(str::to_owned).collect();
        assert_eq!(parts.len(), 7);

        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        parts[4] = child.id().to_string();
        parts[5] = start_time(child.id()).unwrap().unwrap();
        let of_child = parts.join("/");
        assert!(!is_gone(&of_child));
        let of_predecessor = of_child.replace(&format!("/{}/", parts[5]), "/1/");
        assert!(is_gone(&of_predecessor), "a process of its number that started at another time is another one");
        child.kill().unwrap();
        // A zombie soon, and nothing once it is waited for.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !is_gone(&of_child) {
            assert!(std::time::Instant::now() < deadline, "{of_child}");
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(is_gone(&of_child), "{of_child}");
        for (part, other) in [(1, "another-boot"), (2, "1"), (3, "4294967294"), (3, UNKNOWN), (4, "x"), (5, UNKNOWN)] {
            let mut parts = parts.clone();
            parts[part] = other.to_owned();
            assert!(!is_gone(&parts.join("/")), "{parts:?}");
        }
        for text in ["", "a", "a/b/c/d/e/f", "a/b/c/d/e/f/g", "a/b/c/d/e/f/g/h"] {
            assert!(!is_gone(text), "{text}");
        }
    }
}
