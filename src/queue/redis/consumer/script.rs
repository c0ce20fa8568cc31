//! The consumer's scripts. Each is one step at the server, and each but the lease's begins by asking whether the caller holds
//! the lease.

use crate::queue::redis::url::QueueKeys;

/// A script of the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Lease,
    Reserve,
    Ack,
    Release,
    Extend,
    HandBack,
}

impl Script {
    pub const ALL: [Script; 6] =
        [Script::Lease, Script::Reserve, Script::Ack, Script::Release, Script::Extend, Script::HandBack];

    /// For sentences.
    pub fn name(self) -> &'static str {
        match self {
            Script::Lease => "the lease's script",
            Script::Reserve => "a reserve",
            Script::Ack => "an ack",
            Script::Release => "a release",
            Script::Extend => "an extension",
            Script::HandBack => "a hand-back",
        }
    }

    /// Its text.
    pub fn text(self) -> &'static str {
        macro_rules! with_prelude {
            ($file:literal) => {
                concat!(include_str!("prelude.lua"), include_str!($file))
            };
        }
        match self {
            Script::Lease => with_prelude!("lease.lua"),
            Script::Reserve => with_prelude!("reserve.lua"),
            Script::Ack => with_prelude!("ack.lua"),
            Script::Release => with_prelude!("release.lua"),
            Script::Extend => with_prelude!("extend.lua"),
            Script::HandBack => with_prelude!("hand_back.lua"),
        }
    }

    /// The command that runs it: by its digest where the server has it, else by its text, which the server then keeps.
    pub fn command(self, digest: Option<&str>, keys: &QueueKeys, token: &str) -> redis::Cmd {
        let mut command = match digest {
            Some(digest) => redis::cmd("EVALSHA").arg(digest).to_owned(),
            None => redis::cmd("EVAL").arg(self.text()).to_owned(),
        };
        let keys = [
            &keys.queue,
            &keys.notify,
            &keys.reserved,
            &keys.delayed,
            &keys.in_hand,
            &keys.lease,
            &keys.fence,
            &keys.aside,
        ];
        command.arg(keys.len()).arg(&keys[..]).arg(token);
        command
    }
}
