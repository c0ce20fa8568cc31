//! Whether anybody listens where streams connect to. In an outage of the host, its network or the venue's front every attempt
//! fails before a connection comes about, and a thousand streams that go on trying are a storm that helps nobody. So after a
//! few such failures in a row one attempt at a time finds out; when it succeeds the others go, spaced, the most important
//! first: nobody is left to a backoff that has grown in the meantime.

use crate::domain::Mono;
use crate::domain::limits::{CONNECT_PROBE_EVERY, CONNECT_SPACED_FOR, CONNECT_SPACING, CONNECT_UNREACHED_MAX};

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reach {
    /// In a row.
    unreached: u32,
    /// No attempt before.
    not_before: Mono,
    /// Attempts are spaced until then.
    spaced_until: Mono,
}

impl Reach {
    /// How long an attempt has to wait because of it, if it has.
    pub fn not_before(&self, now: Mono) -> Option<Mono> {
        (now < self.not_before).then_some(self.not_before)
    }

    /// An attempt begins.
    pub fn handle_granted(&mut self, now: Mono) {
        if self.is_lost() {
            self.not_before = now.plus(CONNECT_PROBE_EVERY);
        } else if now < self.spaced_until {
            self.not_before = now.plus(CONNECT_SPACING);
        }
    }

    /// A connection came about. Whether that is news.
    pub fn handle_reached(&mut self, now: Mono) -> bool {
        let is_news = self.is_lost();
        if is_news {
            (self.not_before, self.spaced_until) = (now, now.plus(CONNECT_SPACED_FOR));
        }
        self.unreached = 0;
        is_news
    }

    /// None did.
    pub fn handle_unreached(&mut self, now: Mono) {
        self.unreached = self.unreached.saturating_add(1);
        if self.unreached == CONNECT_UNREACHED_MAX {
            self.not_before = now.plus(CONNECT_PROBE_EVERY);
        }
    }

    fn is_lost(&self) -> bool {
        self.unreached >= CONNECT_UNREACHED_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const fn ms(ms: u64) -> Mono {
        Mono::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn an_outage_is_found_out_by_one_attempt_a_second_and_its_end_is_spaced() {
        let mut reach = Reach::default();
        for attempt in 0..CONNECT_UNREACHED_MAX {
            assert_eq!(reach.not_before(ms(0)), None, "{attempt}");
            reach.handle_granted(ms(0));
            reach.handle_unreached(ms(0));
        }
        let mut now = 0;
        for _ in 0..20 {
            assert_eq!(reach.not_before(ms(now + 999)), Some(ms(now + 1_000)));
            now += 1_000;
            assert_eq!(reach.not_before(ms(now)), None);
            reach.handle_granted(ms(now));
            reach.handle_unreached(ms(now));
        }
        assert!(reach.handle_reached(ms(now)) && !reach.handle_reached(ms(now)));
        let end = ms(now).plus(CONNECT_SPACED_FOR);
        let (mut granted, mut at) = (0, ms(now));
        while at < end {
            assert_eq!(reach.not_before(at), None);
            reach.handle_granted(at);
            granted += 1;
            at = reach.not_before(at).expect("the next one waits");
        }
        assert_eq!(granted, CONNECT_SPACED_FOR.as_millis() / CONNECT_SPACING.as_millis());
        let later = end.plus(Duration::from_millis(20));
        reach.handle_granted(later);
        assert_eq!(reach.not_before(later), None, "as always");
    }

    #[test]
    fn a_connection_in_between_is_no_outage() {
        let mut reach = Reach::default();
        for _ in 0..50 {
            (1..CONNECT_UNREACHED_MAX).for_each(|_| reach.handle_unreached(ms(1)));
            assert!(!reach.handle_reached(ms(1)));
            assert_eq!(reach.not_before(ms(1)), None);
        }
    }
}
