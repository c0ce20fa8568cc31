//! PHP's `serialize()` text read back: the four properties of a job that an application pushed (facts/laravel_queue.md §6, §8).
//!
//! Strict, for what stands on a queue is anybody's: `O a s i d b N` as PHP writes them, every length counted, nothing behind the
//! last `}`. References, custom serializers, enums and objects inside the payload are refused: they fail the job, not the worker.
//!
//! The payload becomes JSON text again, the way `json_encode` with `JSON_UNESCAPED_UNICODE | JSON_PRESERVE_ZERO_FRACTION` spells
//! it. It means what the recorded frame meant to PHP, but is not its bytes: spaces, escapes and repeated keys are gone; an
//! integer keeps its digits; a double has the digits that PHP wrote (the shortest that read back equal), `.0` where it has
//! neither point nor exponent, and infinity is `1e999`, which reads as it; an array with the keys 0 to n-1 in order is a list,
//! so the empty object is one too.

mod scan;

use std::fmt;

use self::scan::{Key, Scan, canonical_int, utf8};
use crate::domain::limits::JOB_CLASS_LEN_MAX;

/// What a job's object says, borrowed from its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// The class.
    pub class: &'a str,
    /// `accountId`
    pub account: i64,
    /// `apiSystemId`
    pub api_system: i64,
    /// `apiSystemCanonical`
    pub canonical: &'a str,
}

/// Why a text is no such job. Small and `Copy`; `at` is the byte offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhpError {
    /// What is wrong.
    pub kind: PhpErrorKind,
    /// Where, in bytes from the start.
    pub at: usize,
}

/// The kinds of [`PhpError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhpErrorKind {
    /// Does not begin with an object: Laravel takes such a command for an encrypted one.
    NotAnObject,
    /// The text ends inside a value.
    Truncated,
    /// A byte that cannot stand here, or a number that PHP does not write so.
    Unexpected,
    /// Bytes behind the object.
    Trailing,
    /// Nested deeper than PHP's JSON goes.
    TooDeep,
    /// A reference, a custom serializer, an enum, or an object inside the payload.
    Unsupported,
    /// Text that is not UTF-8, where it must be.
    BadText,
    /// The property is missing.
    Missing(&'static str),
    /// The property is not of its type.
    Type(&'static str),
}

impl fmt::Display for PhpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PhpErrorKind::NotAnObject => {
                return f.write_str("the command is no serialized object; an encrypted one is not read");
            }
            PhpErrorKind::Missing(name) => return write!(f, "the command's object has no property {name}"),
            PhpErrorKind::Type(name) => write!(f, "the property {name} is not of its type")?,
            PhpErrorKind::Truncated => f.write_str("the command ends inside a value")?,
            PhpErrorKind::Unexpected => f.write_str("the command is not as PHP serializes")?,
            PhpErrorKind::Trailing => f.write_str("bytes behind the command's object")?,
            PhpErrorKind::TooDeep => f.write_str("the command is nested too deep")?,
            PhpErrorKind::Unsupported => {
                f.write_str("a reference, a custom serializer, an enum, or an object inside the payload")?;
            }
            PhpErrorKind::BadText => f.write_str("text that is not UTF-8")?,
        }
        write!(f, " at byte {}", self.at)
    }
}

impl std::error::Error for PhpError {}

/// Reads commands; keeps its memory.
#[derive(Debug, Default)]
pub struct PhpReader {
    /// For each array and object, in the order of their openings: whether its keys are 0 to n-1.
    lists: Vec<bool>,
}

/// A value's place: where its text begins, and how many arrays and objects were opened before it.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    list: usize,
}

impl PhpReader {
    /// A reader without memory yet.
    #[must_use]
    pub fn new() -> Self {
        PhpReader::default()
    }

    /// Reads a job's `data.command` of any class; writes the property `payload` as JSON into `payload`, in place of what is there.
    ///
    /// Names of protected and private properties count as the public ones'; an id may be its decimal text, which PHP coerces.
    ///
    /// # Errors
    /// [`PhpError`].
    pub fn read<'a>(&mut self, text: &'a [u8], payload: &mut Vec<u8>) -> Result<Command<'a>, PhpError> {
        payload.clear();
        self.lists.clear();
        if !text.starts_with(b"O:") {
            return Err(PhpError { kind: PhpErrorKind::NotAnObject, at: 0 });
        }
        let mut scan = Scan { text, at: 2, lists: &mut self.lists };
        let class_at = scan.at;
        let class = scan.text_of(b':')?;
        let class = utf8(class, class_at)?;
        if class.is_empty() || class.len() > JOB_CLASS_LEN_MAX {
            return scan.fail(PhpErrorKind::Unexpected);
        }
        let count = scan.count()?;
        scan.expect(b"{")?;
        scan.lists.push(false);
        let mut places: [Option<Place>; 4] = [None; 4];
        for _ in 0..count {
            let key_at = scan.at;
            let Key::Text(name) = scan.key()? else {
                return Err(PhpError { kind: PhpErrorKind::Unexpected, at: key_at });
            };
            let place = Place { at: scan.at, list: scan.lists.len() };
            scan.skip(1)?;
            // `\0*\0name` is protected, `\0Class\0name` private.
            let name = name.rsplit(|&byte| byte == 0).next().unwrap_or(name);
            if let Some(known) = PROPERTIES.iter().position(|property| property.as_bytes() == name) {
                places[known] = Some(place);
            }
        }
        scan.expect(b"}")?;
        if scan.at < text.len() {
            return scan.fail(PhpErrorKind::Trailing);
        }
        let place = |known: usize| {
            places[known].ok_or(PhpError { kind: PhpErrorKind::Missing(PROPERTIES[known]), at: text.len() })
        };
        let command = Command {
            class,
            account: self.id(text, place(0)?, PROPERTIES[0])?,
            api_system: self.id(text, place(1)?, PROPERTIES[1])?,
            canonical: {
                let place = place(2)?;
                match self.scalar(text, place)? {
                    Some(Key::Text(canonical)) => utf8(canonical, place.at)?,
                    _ => return Err(PhpError { kind: PhpErrorKind::Type(PROPERTIES[2]), at: place.at }),
                }
            },
        };
        let place = place(3)?;
        if text[place.at] != b'a' {
            return Err(PhpError { kind: PhpErrorKind::Type(PROPERTIES[3]), at: place.at });
        }
        let mut scan = Scan { text, at: place.at, lists: &mut self.lists };
        scan.write_json(&mut { place.list }, payload)?;
        Ok(command)
    }

    fn id(&mut self, text: &[u8], place: Place, name: &'static str) -> Result<i64, PhpError> {
        let id = match self.scalar(text, place)? {
            Some(Key::Int(id)) => Some(id),
            Some(Key::Text(digits)) => canonical_int(digits),
            None => None,
        };
        id.ok_or(PhpError { kind: PhpErrorKind::Type(name), at: place.at })
    }

    /// An integer or a text; none where something else stands.
    fn scalar<'a>(&mut self, text: &'a [u8], place: Place) -> Result<Option<Key<'a>>, PhpError> {
        let mut scan = Scan { text, at: place.at, lists: &mut self.lists };
        match text[place.at] {
            b'i' | b's' => scan.key().map(Some),
            _ => Ok(None),
        }
    }
}

const PROPERTIES: [&str; 4] = ["accountId", "apiSystemId", "apiSystemCanonical", "payload"];

#[cfg(test)]
mod tests;
