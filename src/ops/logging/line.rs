//! One event as one line: `2026-11-23 07:30:15.123 INFO  target: message key=value`, or a JSON object.

use std::fmt::{self, Debug, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::domain::{Clock, Wall};
use crate::ops::settings::LogFormat;
use crate::ops::status::iso;

/// The format in use, which a reload may change.
pub(super) struct LineFormat {
    json: AtomicBool,
    clock: Arc<dyn Clock>,
}

impl LineFormat {
    pub(super) fn new(format: LogFormat, clock: Arc<dyn Clock>) -> Self {
        LineFormat { json: AtomicBool::new(format == LogFormat::Json), clock }
    }

    pub(super) fn set(&self, format: LogFormat) {
        self.json.store(format == LogFormat::Json, Ordering::Relaxed);
    }

    pub(super) fn for_layer(self: Arc<Self>) -> SharedFormat {
        SharedFormat(self)
    }
}

/// What the layer holds.
pub(super) struct SharedFormat(Arc<LineFormat>);

impl<S, N> FormatEvent<S, N> for SharedFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let LineFormat { json, clock } = &*self.0;
        let wall = clock.now().wall;
        if json.load(Ordering::Relaxed) { write_json(&mut out, event, wall) } else { write_text(&mut out, event, wall) }
    }
}

fn write_text(out: &mut Writer<'_>, event: &Event<'_>, wall: Wall) -> fmt::Result {
    let metadata = event.metadata();
    let mut fields = TextFields::default();
    event.record(&mut fields);
    let TextFields { message, rest } = fields;
    writeln!(out, "{wall} {:<5} {}: {message}{rest}", metadata.level().as_str(), short_target(metadata.target()))
}

fn write_json(out: &mut Writer<'_>, event: &Event<'_>, wall: Wall) -> fmt::Result {
    let metadata = event.metadata();
    let mut object = Map::new();
    event.record(&mut JsonFields(&mut object));
    // Ours last, so that no field of an event can take their place.
    object.insert("at".to_owned(), iso(wall).into());
    object.insert("level".to_owned(), metadata.level().as_str().to_ascii_lowercase().into());
    object.insert("target".to_owned(), short_target(metadata.target()).into());
    writeln!(out, "{}", Value::Object(object))
}

/// `prices::writer` for `kraite_streams::prices::writer`.
fn short_target(target: &str) -> &str {
    target.strip_prefix("kraite_streams::").unwrap_or(target)
}

#[derive(Default)]
struct TextFields {
    message: String,
    rest: String,
}

impl TextFields {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let result = if field.name() == "message" {
            write!(Escaped(&mut self.message), "{value}")
        } else {
            write!(Escaped(&mut self.rest), " {}={value}", field.name())
        };
        debug_assert!(result.is_ok(), "writing into a String");
    }
}

impl Visit for TextFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        // A text with blanks is quoted, so that the end of a value can be seen.
        if field.name() != "message" && (value.is_empty() || value.contains([' ', '"', '='])) {
            self.put(field, format_args!("{value:?}"));
        } else {
            self.put(field, format_args!("{value}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}

/// Escapes control characters on their way into a text: a line stays a line, a terminal stays as it was.
struct Escaped<'t>(&'t mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if is_unsafe(character) {
                write!(self.0, "{}", character.escape_unicode())?;
            } else {
                self.0.push(character);
            }
        }
        Ok(())
    }
}

/// Control characters, line separators, and marks that turn the direction of text around.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

struct JsonFields<'o>(&'o mut Map<String, Value>);

impl Visit for JsonFields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
}
