//! Which server has the queue: the one of the settings, the node that a cluster named, or the primary that Sentinels name.

use redis::Value;

use super::RedisConfig;
use super::link::{Link, text};
use super::url::RedisUrl;
use crate::queue::sink::{PushError, PushErrorClass};

/// Where to connect. `moved_to`, a cluster's word, counts once.
pub(super) fn find_server(config: &RedisConfig, moved_to: &mut Option<(String, u16)>) -> Result<RedisUrl, PushError> {
    match config.sentinels.is_empty() {
        true => Ok(match moved_to.take() {
            Some((host, port)) => config.url.at(&host, port),
            None => config.url.clone(),
        }),
        false => ask_sentinels(config),
    }
}

/// The primary's address, from the first Sentinel that knows it. The library's own Sentinel client has no timeouts.
fn ask_sentinels(config: &RedisConfig) -> Result<RedisUrl, PushError> {
    let mut last = None;
    for sentinel in &config.sentinels {
        let asked = Link::open(sentinel, config.terms()).and_then(|mut link| {
            let name = &config.sentinel_master;
            let answer = link.demand(redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name))?;
            let pair = match &answer {
                Value::Array(pair) => pair.as_slice(),
                Value::Nil => {
                    let text = format!("the Sentinel at {sentinel} knows no primary of the name {name}");
                    return Err(PushError::refused(PushErrorClass::Other, text));
                }
                _ => &[],
            };
            let [host, port] = pair else { return Err(link.strange("a question for the primary", &answer)) };
            match (text(host), text(port).and_then(|port| port.parse().ok())) {
                (Some(host), Some(port)) => Ok(config.url.at(&host, port)),
                _ => Err(link.strange("a question for the primary", &answer)),
            }
        });
        match asked {
            Ok(server) => return Ok(server),
            Err(error) => last = Some(error),
        }
    }
    let mut error = last.expect("there is at least one Sentinel: the caller looked");
    error.text = format!("none of {} Sentinels tells the primary; the last: {}", config.sentinels.len(), error.text);
    Err(error)
}
