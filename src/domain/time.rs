//! Two clocks that are never mixed: [`Mono`] for durations and deadlines, [`Wall`] for stamps that people and databases
//! read. A wall clock may jump by an hour; nothing that decides whether a peer is alive looks at it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// A monotonic instant: nanoseconds since an origin of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(u64);

impl Mono {
    /// The origin.
    pub const ZERO: Mono = Mono(0);
    /// Later than any instant that occurs: a deadline that never comes.
    pub const NEVER: Mono = Mono(u64::MAX);

    /// From nanoseconds since the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Mono(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This instant and `duration`; stays at [`Mono::NEVER`] past the end.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        let nanos = duration.as_nanos();
        if nanos > (u64::MAX - self.0) as u128 { Mono::NEVER } else { Mono(self.0 + nanos as u64) }
    }

    /// Time since `earlier`; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A wall-clock instant: microseconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(i64);

/// `YYYY-MM-DD HH:MM:SS.mmm`: the length of what [`Wall::stamp`] writes.
pub const STAMP_LEN: usize = 23;

impl Wall {
    /// From microseconds since 1970 UTC.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Wall(micros)
    }

    /// From milliseconds since 1970 UTC, as venues send them; saturates.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Wall(millis.saturating_mul(1_000))
    }

    /// Microseconds since 1970 UTC.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970 UTC, truncated towards the past.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Truncated to whole seconds, towards the past.
    #[must_use]
    pub const fn truncated_to_seconds(self) -> Self {
        Wall(self.0.div_euclid(1_000_000) * 1_000_000)
    }

    /// `YYYY-MM-DD HH:MM:SS.mmm` in UTC, truncated, without allocation. Years outside 0..=9999 are clamped.
    #[must_use]
    pub fn stamp(self) -> [u8; STAMP_LEN] {
        const MIN: i64 = -62_167_219_200_000;
        const MAX: i64 = 253_402_300_799_999;
        let millis = self.as_millis().clamp(MIN, MAX);
        let (year, month, day) = civil_from_days(millis.div_euclid(86_400_000));
        let of_day = millis.rem_euclid(86_400_000) as u32;
        let mut out = *b"0000-00-00 00:00:00.000";
        digits(&mut out[0..4], year as u32);
        digits(&mut out[5..7], month);
        digits(&mut out[8..10], day);
        digits(&mut out[11..13], of_day / 3_600_000);
        digits(&mut out[14..16], of_day / 60_000 % 60);
        digits(&mut out[17..19], of_day / 1_000 % 60);
        digits(&mut out[20..23], of_day % 1_000);
        out
    }
}

impl std::fmt::Display for Wall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.stamp()).expect("a stamp is ASCII"))
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For durations and deadlines.
    pub mono: Mono,
    /// For stamps.
    pub wall: Wall,
}

/// The clock that all processes of a machine share, and how a process's own stands to it. It never jumps; it may stand still
/// while the machine sleeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineClock {
    /// Which boot, and which namespace of clocks: only where these are the same two processes' clocks are; 0 if unknown.
    pub boot: u64,
    /// What the machine's clock showed at [`Mono::ZERO`].
    pub at_zero: Duration,
}

/// Where `now` comes from: the system's clocks, or a test's.
pub trait Clock: Send + Sync {
    /// Both clocks at this moment.
    fn now(&self) -> Now;
}

/// The system's clocks. The monotonic one goes on while the machine sleeps: venues forget keys and sockets in that time, too.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Duration,
}

/// Since the machine started, sleep included.
fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

impl SystemClock {
    /// Starts the monotonic clock at zero. One per process: instants of two clocks do not compare.
    #[must_use]
    pub fn start() -> Self {
        SystemClock { origin: boot_time() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |n| -n),
        };
        let mono = u64::try_from(boot_time().saturating_sub(self.origin).as_nanos()).unwrap_or(u64::MAX - 1);
        Now { mono: Mono(mono), wall: Wall(wall) }
    }
}

/// Days since 1970 to (year, month, day): Howard Hinnant's `civil_from_days`, proleptic Gregorian.
const fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    (yoe + era * 400 + (month <= 2) as i64, month, day)
}

fn digits(out: &mut [u8], mut n: u32) {
    for slot in out.iter_mut().rev() {
        *slot = b'0' + (n % 10) as u8;
        n /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_utc_and_truncated() {
        for (micros, text) in [
            (0, "1970-01-01 00:00:00.000"),
            (-1, "1969-12-31 23:59:59.999"),
            (951_782_399_999_999, "2000-02-28 23:59:59.999"),
            (951_782_400_000_000, "2000-02-29 00:00:00.000"),
            (1_795_419_015_123_999, "2026-11-23 07:30:15.123"),
            (i64::MAX, "9999-12-31 23:59:59.999"),
        ] {
            assert_eq!(Wall::from_micros(micros).to_string(), text, "{micros}");
        }
        assert_eq!(Wall::from_micros(-1).truncated_to_seconds().as_micros(), -1_000_000);
    }

    #[test]
    fn monotonic_arithmetic_saturates() {
        assert_eq!(Mono::ZERO.plus(Duration::MAX), Mono::NEVER);
        assert_eq!(Mono::ZERO.since(Mono::NEVER), Duration::ZERO);
        assert_eq!(Mono::from_nanos(5).plus(Duration::from_nanos(7)).since(Mono::from_nanos(2)).as_nanos(), 10);
    }
}
