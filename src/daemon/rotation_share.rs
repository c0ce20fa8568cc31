//! How many planned rotations may begin in a window of connection attempts: a share, so that a thousand sockets of one age
//! never crowd out an account that has none. The gate counts their attempts as any other.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::Mono;
use crate::domain::limits::ROTATIONS_PERCENT;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct RotationShare {
    limit: usize,
    window: Duration,
    begun: VecDeque<Mono>,
}

impl RotationShare {
    /// A share of `ordinary` attempts in a window, at least one.
    #[must_use]
    pub fn of(ordinary: usize, window: Duration) -> RotationShare {
        RotationShare { limit: (ordinary * ROTATIONS_PERCENT / 100).max(1), window, begun: VecDeque::new() }
    }

    /// How many in a window.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether one more may begin now; it is counted.
    pub fn take(&mut self, now: Mono) -> bool {
        while self.begun.front().is_some_and(|at| at.plus(self.window) <= now) {
            self.begun.pop_front();
        }
        let has_room = self.begun.len() < self.limit;
        if has_room {
            self.begun.push_back(now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_herd_is_spread() {
        let at = |seconds: u64| Mono::from_nanos(seconds * 1_000_000_000);
        let mut share = RotationShare::of(240, Duration::from_secs(300));
        let begun = |share: &mut RotationShare, seconds| (0..1_000).filter(|_| share.take(at(seconds))).count();
        assert_eq!((begun(&mut share, 1), begun(&mut share, 300), begun(&mut share, 301)), (24, 0, 24));
        assert_eq!(begun(&mut RotationShare::of(3, Duration::from_secs(300)), 1), 1);
    }
}
