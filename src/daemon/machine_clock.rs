//! The machine's clock that its processes share: `CLOCK_BOOTTIME`, which runs from the boot, also in a sleep, and never jumps.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::domain::{Clock, MachineClock};

/// How the machine's clock stands to `clock`, to a few microseconds.
#[must_use]
pub fn machine_clock(clock: &dyn Clock) -> MachineClock {
    let time = clock_gettime(ClockId::Boottime);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    let since_boot = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0)) + Duration::from_nanos(nanos);
    let own = Duration::from_nanos(clock.now().mono.as_nanos());
    MachineClock { boot: boot().unwrap_or(0), at_zero: since_boot.saturating_sub(own) }
}

/// The boot's random identity, and of containers that have a clock of their own the namespace's number.
fn boot() -> Option<u64> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let hex: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    let namespace = fs::read_link("/proc/self/ns/time").unwrap_or_default();
    let namespace = namespace.to_string_lossy();
    let digits = namespace.chars().filter_map(|c| c.to_digit(10)).map(u64::from);
    let number = digits.fold(0, |number: u64, digit| number.wrapping_mul(10).wrapping_add(digit));
    Some(u64::from_str_radix(&hex, 16).ok()? ^ number).filter(|boot| *boot != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::SystemClock;

    #[test]
    fn clocks_that_start_apart_agree_on_the_machines_time() {
        let first = SystemClock::start();
        std::thread::sleep(Duration::from_millis(20));
        let second = SystemClock::start();
        let (one, other) = (machine_clock(&first), machine_clock(&second));
        assert!(one.boot != 0 && one.boot == other.boot);
        assert!(other.at_zero - one.at_zero >= Duration::from_millis(20));
        let read = |clock: &SystemClock, machine: MachineClock| clock.now().mono.plus(machine.at_zero);
        let (before, after) = (read(&first, one), read(&second, other));
        assert!(after.plus(Duration::from_millis(5)) > before, "{before:?} {after:?}");
    }
}
