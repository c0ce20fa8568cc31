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
    check_name(text)?;
    settings.queue.name = text.to_owned();
    Ok(())
}

pub(super) fn check_name(text: &str) -> Result<(), String> {
    if text.is_empty() || text.contains(char::is_whitespace) || text.contains(':') {
        return Err("name a queue, without blanks or colons and without the prefix".to_owned());
    }
    Ok(())
}

pub(super) fn job_class(settings: &mut Settings, text: &str) -> Result<(), String> {
    if !text.is_empty() {
        check_class(text)?;
    }
    settings.queue.job_class = (!text.is_empty()).then(|| text.to_owned());
    Ok(())
}

/// A PHP class name: identifiers of letters, digits, `_` and anything above ASCII, with `\` between them
/// (<https://www.php.net/manual/en/language.oop5.basic.php>), fully qualified without the leading `\`.
pub(super) fn check_class(text: &str) -> Result<(), String> {
    let fits = |part: &str| {
        let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80;
        part.bytes().next().is_some_and(letter) && part.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
    };
    if !text.split('\\').all(fits) {
        return Err("write the full class name in single quotes, without a leading \\".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_urls_of_every_kind_are_taken() {
        for (url, taken) in [
            ("in_process", true),
            ("redis://127.0.0.1", true),
            ("redis://:p@ss/w?rd@[::1]:6379/0", true),
            ("rediss://kraite:x@redis.example:6380/2?protocol=resp3", true),
            ("redis+unix:///run/redis.sock", true),
            ("redis+sentinel://u:p@a:26379,b:26379/mymaster/0", true),
            ("redis+sentinel://a:26379,b:26379", false),
            ("redis+sentinel://a:26379,/mymaster", false),
            ("redis+unix://run/redis.sock", false),
            ("redis://a,b", false),
            ("redis://", false),
            ("redis:a", false),
        ] {
            let text = format!("[queue]\nurl = {url:?}\njob_class = 'A\\B'\n");
            assert_eq!(Settings::parse(&text, "f").is_ok(), taken, "{url}");
        }
        //SHARE
        let share = Settings::parse("[spool]\nmax_mb = 800\naccount_share_percent = 25\n", "f").unwrap();
        assert_eq!(share.spool.account_bytes_max(), 200 << 20);
    }
}
