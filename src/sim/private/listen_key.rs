//! Listen keys of one account: one active at a time, extended by POST and PUT, dead without a word when their time is over
//! (`facts/binance.md` §2).

use std::sync::Arc;
use std::time::Duration;

use crate::domain::Mono;

/// The keys of one account.
#[derive(Debug, Default)]
pub(in crate::sim) struct KeyRing {
    active: Option<Key>,
    /// The key before a rotation; it still delivers for a while.
    retired: Option<Key>,
}

struct Key {
    text: Arc<str>,
    until: Mono,
    /// It delivers nothing, though it is extended like any other.
    is_numb: bool,
}

// A key is a bearer credential; no output shows it.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key {{ until: {:?} }}", self.until)
    }
}

impl KeyRing {
    /// POST: the active key, extended; a fresh one where there is none. The second member says whether it is fresh.
    pub(in crate::sim) fn post(
        &mut self,
        now: Mono,
        lifetime: Duration,
        fresh: impl FnOnce() -> Arc<str>,
    ) -> (Arc<str>, bool) {
        let is_numb = self.active.as_ref().is_some_and(|key| key.is_numb);
        match self.put(now, lifetime).filter(|_| !is_numb) {
            Some(text) => (text, false),
            None => {
                let text = fresh();
                self.active = Some(Key { text: Arc::clone(&text), until: now.plus(lifetime), is_numb: false });
                (text, true)
            }
        }
    }

    /// The active key delivers nothing from now on.
    pub(in crate::sim) fn numb_active(&mut self) {
        if let Some(key) = &mut self.active {
            key.is_numb = true;
        }
    }

    /// PUT: the active key, extended; `None` where there is none.
    pub(in crate::sim) fn put(&mut self, now: Mono, lifetime: Duration) -> Option<Arc<str>> {
        let key = self.active.as_mut().filter(|key| now < key.until)?;
        key.until = now.plus(lifetime);
        Some(Arc::clone(&key.text))
    }

    /// Another key from now on; the one before delivers for `grace`. Returns the text of the one that is gone for good.
    pub(in crate::sim) fn rotate(
        &mut self,
        now: Mono,
        lifetime: Duration,
        grace: Duration,
        fresh: Arc<str>,
    ) -> Option<Arc<str>> {
        let gone = self.retired.take().map(|key| key.text);
        self.retired = self.active.take().map(|key| Key { until: now.plus(grace), ..key });
        self.active = Some(Key { text: fresh, until: now.plus(lifetime), is_numb: false });
        gone
    }

    /// The active key is dead from now on.
    pub(in crate::sim) fn drop_active(&mut self) -> Option<Arc<str>> {
        self.active.take().map(|key| key.text)
    }

    /// The active key.
    pub(in crate::sim) fn active(&self) -> Option<&Arc<str>> {
        self.active.as_ref().map(|key| &key.text)
    }

    /// Whether events are sent to who listens with `text`.
    pub(in crate::sim) fn delivers(&self, text: &str, now: Mono) -> bool {
        [&self.active, &self.retired]
            .into_iter()
            .flatten()
            .any(|key| *key.text == *text && now < key.until && !key.is_numb)
    }

    /// When the next key dies.
    pub(in crate::sim) fn due(&self) -> Mono {
        [&self.active, &self.retired].into_iter().flatten().map(|key| key.until).min().unwrap_or(Mono::NEVER)
    }

    /// Whether the active key's time is over.
    pub(in crate::sim) fn is_active_over(&self, now: Mono) -> bool {
        self.active.as_ref().is_some_and(|key| now >= key.until)
    }

    /// A retired key whose time is over.
    pub(in crate::sim) fn poll_retired(&mut self, now: Mono) -> Option<Arc<str>> {
        self.retired.take_if(|key| now >= key.until).map(|key| key.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(minutes: u64) -> Mono {
        Mono::ZERO.plus(Duration::from_secs(60 * minutes))
    }

    #[test]
    fn a_post_extends_what_is_there_and_a_put_needs_something() {
        let mut ring = KeyRing::default();
        assert_eq!(ring.put(at(0), HOUR), None);
        let (a, fresh) = ring.post(at(0), HOUR, || "A".into());
        assert!(fresh && ring.due() == at(60) && ring.delivers(&a, at(59)) && !ring.delivers("B", at(1)));
        assert_eq!(ring.post(at(30), HOUR, || "B".into()), (Arc::clone(&a), false));
        assert_eq!(ring.put(at(80), HOUR), Some(Arc::clone(&a)));
        assert!(ring.delivers(&a, at(139)) && !ring.delivers(&a, at(140)) && ring.is_active_over(at(140)));
        assert_eq!(ring.put(at(140), HOUR), None);
        assert_eq!(ring.post(at(140), HOUR, || "B".into()), ("B".into(), true));
        assert_eq!(ring.drop_active().as_deref(), Some("B"));
        assert_eq!((ring.active(), ring.due()), (None, Mono::NEVER));
    }

    #[test]
    fn a_numb_key_is_extended_and_delivers_nothing_until_a_post_gives_another() {
        let mut ring = KeyRing::default();
        ring.numb_active();
        ring.post(at(0), HOUR, || "A".into());
        ring.numb_active();
        assert!(!ring.delivers("A", at(1)));
        assert_eq!((ring.put(at(30), HOUR), ring.due()), (Some("A".into()), at(90)));
        assert_eq!(ring.post(at(31), HOUR, || "B".into()), ("B".into(), true));
        assert!(ring.delivers("B", at(32)) && !ring.delivers("A", at(32)));
    }

    #[test]
    fn after_a_rotation_both_deliver_for_a_while() {
        let mut ring = KeyRing::default();
        ring.post(at(0), HOUR, || "A".into());
        assert_eq!(ring.rotate(at(10), HOUR, Duration::from_secs(60), "B".into()), None);
        assert!(ring.delivers("A", at(10)) && ring.delivers("B", at(10)) && ring.due() == at(11));
        assert_eq!(ring.poll_retired(at(10)), None);
        assert_eq!(ring.poll_retired(at(11)).as_deref(), Some("A"));
        assert!(!ring.delivers("A", at(10)));
        assert!(!format!("{ring:?}").contains('B'));
    }
}
