//! What a private frame says at its outermost levels: the members that mean something, and the wrapper
//! `{"stream":"<key>@<EVENT>","data":{…}}` that the stream spelling puts around each event (facts/binance.md §1.4).
//!
//! All spans lie within a text that [`grammar`](super::grammar) proved; of a key that occurs twice the last one counts, as
//! in `serde_json` and JavaScript.

use super::outline::{self, Span, key_is};

/// The members of one object that mean something here: their values.
#[derive(Default)]
pub(super) struct Members {
    pub(super) event: Option<Span>,
    pub(super) event_time: Option<Span>,
    pub(super) listen_key: Option<Span>,
    pub(super) stream: Option<Span>,
    pub(super) data: Option<Span>,
    pub(super) result: Option<Span>,
    pub(super) error: Option<Span>,
    pub(super) id: Option<Span>,
    pub(super) code: Option<Span>,
    pub(super) msg: Option<Span>,
}

impl Members {
    /// Of the value at `start`; nothing is found in what is no object.
    pub(super) fn of(text: &[u8], start: usize) -> Members {
        let mut members = Members::default();
        for (key, value) in outline::members(text, start) {
            if let Some(place) = members.place(&text[key]) {
                *place = Some(value);
            }
        }
        members
    }

    fn place(&mut self, key: &[u8]) -> Option<&mut Option<Span>> {
        Some(match key {
            key if key_is(key, b"e") => &mut self.event,
            key if key_is(key, b"E") => &mut self.event_time,
            key if key_is(key, b"id") => &mut self.id,
            key if key_is(key, b"data") => &mut self.data,
            key if key_is(key, b"stream") => &mut self.stream,
            key if key_is(key, b"result") => &mut self.result,
            key if key_is(key, b"error") => &mut self.error,
            key if key_is(key, b"code") => &mut self.code,
            key if key_is(key, b"msg") => &mut self.msg,
            key if key_is(key, b"listenKey") => &mut self.listen_key,
            _ => return None,
        })
    }

    /// The wrapper that these members are: a text in `stream`, anything in `data`, and no event of its own. What else a
    /// wrapper may hold one day belongs to the transport, not to the event.
    pub(super) fn wrapper(&self, text: &[u8]) -> Option<Wrapper> {
        if self.event.is_some() {
            return None;
        }
        let name = inside(text, self.stream.as_ref()?)?;
        let at_sign = text[name.clone()].iter().position(|&byte| byte == b'@');
        Some(Wrapper { suffix: at_sign.map_or(name.end, |at| name.start + at)..name.end, event: self.data.clone()? })
    }
}

/// A wrapper taken off.
pub(super) struct Wrapper {
    /// What follows the listen key in the stream's name, with its `@`; empty where there is none.
    pub(super) suffix: Span,
    /// The value of `data`, without the blanks around it.
    pub(super) event: Span,
}

/// The inside of a string; `None` for any other value.
pub(super) fn inside(text: &[u8], value: &Span) -> Option<Span> {
    (text.get(value.start) == Some(&b'"')).then(|| value.start + 1..value.end - 1)
}

/// An integer, sent as a number or as a string.
pub(super) fn integer<T: std::str::FromStr>(text: &[u8], value: &Span) -> Option<T> {
    let digits = inside(text, value).unwrap_or_else(|| value.clone());
    std::str::from_utf8(&text[digits]).ok()?.parse().ok()
}
