//! When a connected stream is not alive: connected is not alive, only data is (facts/incumbent.md §9.2, §9.17).
//!
//! Two clocks that never mix. The *connection's*: no data since the upgrade for `silence` → reconnect. The *stream's*: no
//! data across all reconnects for `escalate` → tell the daemon, because retrying for ever may never heal (§9.42). The
//! second one starts with the process and is moved by data alone, never by a connect or a ping. Both are monotonic. Time
//! in which this process stood still (suspended machine, stopped process) does not count against the stream.

use std::time::Duration;

use crate::domain::Mono;
use crate::domain::limits::{DATA_SILENCE_EXIT, DATA_SILENCE_MAX, STANDSTILL_MIN};

/// What a stream must do to count as alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Data flows all the time, as in a price stream with a tick every second; pings are no data.
    StrictData {
        /// Without data for this long a connection is given up.
        silence: Duration,
        /// Without data for this long across connections, the daemon hears of it, again after each such span.
        escalate: Duration,
    },
}

impl Default for Liveness {
    fn default() -> Self {
        Liveness::StrictData { silence: DATA_SILENCE_MAX, escalate: DATA_SILENCE_EXIT }
    }
}

/// The stream's data clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataClock {
    silence: Duration,
    escalate: Duration,
    /// The last data, or the start.
    silent_since: Mono,
    /// What the next escalation counts from: as above, moved on by each escalation and by standstills.
    escalate_from: Mono,
}

impl DataClock {
    pub fn start(liveness: Liveness, now: Mono) -> DataClock {
        let Liveness::StrictData { silence, escalate } = liveness;
        DataClock { silence, escalate, silent_since: now, escalate_from: now }
    }

    /// Data came.
    pub fn touch(&mut self, now: Mono) {
        self.silent_since = now;
        self.escalate_from = now;
    }

    pub fn silent(&self, now: Mono) -> Duration {
        now.since(self.silent_since)
    }

    /// When a connection that is up since `live_since` must be given up.
    pub fn connection_deadline(&self, live_since: Mono) -> Mono {
        self.silent_since.max(live_since).plus(self.silence)
    }

    pub fn escalation_deadline(&self) -> Mono {
        self.escalate_from.plus(self.escalate)
    }

    /// `due` was to be handled and is handled only `now`: takes a standstill out of the count.
    pub fn forgive_standstill(&mut self, due: Mono, now: Mono) {
        let late = now.since(due);
        if late >= STANDSTILL_MIN {
            self.escalate_from = self.escalate_from.plus(late);
        }
    }

    /// How long the stream has been silent, once per `escalate`.
    pub fn poll_escalation(&mut self, now: Mono) -> Option<Duration> {
        if now < self.escalation_deadline() {
            return None;
        }
        self.escalate_from = now;
        Some(self.silent(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_connection_has_its_own_silence_and_the_stream_another() {
        let mut clock = DataClock::start(Liveness::default(), at(100));
        assert_eq!(clock.connection_deadline(at(110)), at(140));
        assert_eq!(clock.escalation_deadline(), at(400));
        clock.touch(at(120));
        assert_eq!(clock.connection_deadline(at(110)), at(150));
        // A later connect starts the connection's clock and leaves the stream's alone.
        assert_eq!(clock.connection_deadline(at(200)), at(230));
        assert_eq!(clock.escalation_deadline(), at(420));
        assert_eq!(clock.poll_escalation(at(419)), None);
        assert_eq!(clock.poll_escalation(at(420)), Some(Duration::from_secs(300)));
        assert_eq!(clock.poll_escalation(at(421)), None);
        assert_eq!(clock.poll_escalation(at(720)), Some(Duration::from_secs(600)));
    }

    #[test]
    fn a_standstill_does_not_count() {
        let mut clock = DataClock::start(Liveness::default(), at(0));
        clock.forgive_standstill(at(30), at(3_630));
        assert_eq!(clock.poll_escalation(at(3_630)), None);
        assert_eq!(clock.escalation_deadline(), at(3_900));
        // A little late is just late.
        clock.forgive_standstill(at(3_700), at(3_704));
        assert_eq!(clock.escalation_deadline(), at(3_900));
    }
}
