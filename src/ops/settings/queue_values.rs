//! Texts of `[queue]` that must hold more than words. Each function takes the value in or answers with what to write
//! instead.

use super::values::check_authority;
use super::{QueueTarget, SecretUrl, Settings};

pub(super) fn url(settings: &mut Settings, text: &str) -> Result<(), String> {
    if text == QueueTarget::IN_PROCESS {
        settings.queue.target = QueueTarget::InProcess;
        return Ok(());
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("begin with redis:// or rediss://, or write \"in_process\"".to_owned());
    };
    match scheme {
        "redis" | "rediss" => check_authority(place(rest).0)?,
        "redis+sentinel" | "rediss+sentinel" => {
            let (hosts, path) = place(rest);
            hosts.split(',').try_for_each(check_authority)?;
            if path.split(['/', '?']).nth(1).is_none_or(str::is_empty) {
                return Err("name the service behind the Sentinels: redis+sentinel://host:26379/service".to_owned());
            }
        }
        "redis+unix" | "unix" if rest.starts_with('/') => {}
        "redis+unix" | "unix" => return Err("write the path of the socket: redis+unix:///run/redis.sock".to_owned()),
        _ => return Err("begin with redis:// or rediss://, or write \"in_process\"".to_owned()),
    }
    settings.queue.target = QueueTarget::Redis(SecretUrl::new(text));
    Ok(())
}

/// Hosts and what stands behind them. The last `@` ends the password, which may hold anything.
fn place(rest: &str) -> (&str, &str) {
    let hosts = rest.rfind('@').map_or(rest, |at| &rest[at + 1..]);
    hosts.split_at(hosts.find(['/', '?']).unwrap_or(hosts.len()))
}

pub(super) fn prefix(settings: &mut Settings, text: &str) -> Result<(), String> {
    settings.queue.prefix = text.to_owned();
    Ok(())
}

pub(super) fn horizon_prefix(settings: &mut Settings, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("Horizon has a prefix always: write config horizon.prefix".to_owned());
    }
    settings.queue.horizon_prefix = text.to_owned();
    Ok(())
}

pub(super) fn name(settings: &mut Settings, text: &str) -> Result<(), String> {
    if text.is_empty() || text.contains(char::is_whitespace) || text.contains(':') {
        return Err("name a queue, without blanks or colons and without the prefix".to_owned());
    }
    settings.queue.name = text.to_owned();
    Ok(())
}

/// A PHP class name: identifiers of letters, digits, `_` and anything above ASCII, with `\` between them
/// (<https://www.php.net/manual/en/language.oop5.basic.php>), fully qualified without the leading `\`.
pub(super) fn job_class(settings: &mut Settings, text: &str) -> Result<(), String> {
    let fits = |part: &str| {
        let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80;
        part.bytes().next().is_some_and(letter) && part.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
    };
    if !text.is_empty() && !text.split('\\').all(fits) {
        return Err("write the full class name in single quotes, without a leading \\".to_owned());
    }
    settings.queue.job_class = (!text.is_empty()).then(|| text.to_owned());
    Ok(())
}
