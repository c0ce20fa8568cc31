//! The texts that a connection still wants to send, and the pace at which a client may speak at all.
//!
//! Venues count what a client sends, pings and pongs included, and answer an excess with a close and a ban
//! (facts/binance.md §3). Between two messages of ours lies [`CLIENT_MESSAGE_EVERY`], so there is never a burst. A pong
//! goes out at once, because a venue that asks wants its answer, but the next message waits for it as for any other.

use std::collections::VecDeque;

use crate::domain::Mono;
use crate::domain::limits::{CLIENT_MESSAGE_EVERY, CLIENT_TEXT_LEN_MAX, CLIENT_TEXTS_MAX};

/// See the module's documentation. Holds no memory while nothing waits.
#[derive(Debug, Default)]
pub(super) struct ClientQueue {
    texts: VecDeque<String>,
    /// No message before this.
    next: Mono,
}

impl ClientQueue {
    /// Takes `text` as the last one. Returns whether there was room.
    pub fn push(&mut self, text: String) -> bool {
        let fits = self.texts.len() < CLIENT_TEXTS_MAX && text.len() <= CLIENT_TEXT_LEN_MAX;
        if fits {
            self.texts.push_back(text);
        }
        fits
    }

    /// The next text. Only while [`ClientQueue::is_open`].
    pub fn pop(&mut self) -> Option<String> {
        let text = self.texts.pop_front();
        if self.texts.is_empty() {
            self.texts = VecDeque::new();
        }
        text
    }

    /// Whether a message may be sent now.
    pub fn is_open(&self, now: Mono) -> bool {
        now >= self.next
    }

    /// A message is sent, a pong included.
    pub fn handle_spoken(&mut self, now: Mono) {
        self.next = now.plus(CLIENT_MESSAGE_EVERY);
    }

    /// When the first text that waits may go.
    pub fn deadline(&self) -> Mono {
        if self.texts.is_empty() { Mono::NEVER } else { self.next }
    }

    /// The connection is gone: so is what it had to say. The pace of the next one is its own.
    pub fn clear(&mut self) {
        *self = ClientQueue::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_a_second_without_a_burst_and_a_bounded_queue() {
        let mut queue = ClientQueue::default();
        assert_eq!(queue.deadline(), Mono::NEVER);
        assert!((0..CLIENT_TEXTS_MAX).all(|n| queue.push(n.to_string())));
        assert!(!queue.push("one more".to_owned()) && !queue.push("x".repeat(CLIENT_TEXT_LEN_MAX + 1)));
        let mut sent = Vec::new();
        for millis in 0..5_000 {
            let now = Mono::from_nanos(millis * 1_000_000);
            // A pong in between counts.
            if millis == 1_100 {
                queue.handle_spoken(now);
            }
            if queue.is_open(now)
                && let Some(text) = queue.pop()
            {
                queue.handle_spoken(now);
                sent.push((millis, text));
            }
        }
        assert_eq!(sent.len(), CLIENT_TEXTS_MAX);
        assert!(sent.iter().enumerate().all(|(at, (_, text))| *text == at.to_string()), "in order");
        assert!(sent.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 250), "{sent:?}");
        assert_eq!((sent[4].0, sent[5].0), (1_000, 1_350));
        assert_eq!(queue.deadline(), Mono::NEVER);
    }
}
