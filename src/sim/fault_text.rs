//! Faults as people write them: `account 0 silence lasts=10s`, `venue outage lasts=5s`, `prices cut`; and scripts of them, a
//! line each with its time in front: `2500ms account 0 cut`.
//!
//! Whom it meets, the word that ledgers and logs use, then what differs from the ordinary parameters. What is printed
//! ([`Injection`]'s `Display`) is read back as the same.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::fault::{FaultKind, Script};
use super::private::fault::{AccountFault, ExpiryNotice, Injection, ReadFault, VenueFault};
use super::private::reads::Read;

/// Why a text is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultTextError {
    /// The first word.
    #[error("a fault begins with prices, account N or venue, like: account 0 cut")]
    Target,
    /// The fault's own word.
    #[error("there is no fault {0:?}; `help` lists all")]
    Fault(String),
    /// A parameter that is none.
    #[error("{0:?} is no parameter of {1}; write {2}")]
    Parameter(String, &'static str, String),
    /// Its value.
    #[error("{0}={1}: {2}")]
    Value(&'static str, String, &'static str),
    /// The time in front of a line of a script.
    #[error("a line of a script begins with its time, like 500ms, 10s or 2m, and {0:?} is none")]
    Time(String),
    /// Where in a script.
    #[error("line {0}: {1}")]
    Line(usize, Box<FaultTextError>),
}

/// A parameter, to be read or written.
enum Slot<'a> {
    Time(&'a mut Duration),
    Status(&'a mut u16),
    Code(&'a mut i32),
    Count(&'a mut u32),
    Notice(&'a mut ExpiryNotice),
    Only(&'a mut Option<&'static str>),
}

const NOTICES: [(&str, ExpiryNotice); 5] = [
    ("silent", ExpiryNotice::Silent),
    ("number", ExpiryNotice::Number),
    ("text_time", ExpiryNotice::TextTime),
    ("no_key", ExpiryNotice::NoKey),
    ("twice", ExpiryNotice::Twice),
];

impl Slot<'_> {
    fn read(&mut self, name: &'static str, text: &str) -> Result<(), FaultTextError> {
        let wrong = |expected| FaultTextError::Value(name, text.to_owned(), expected);
        match self {
            Slot::Time(time) => **time = read_time(text).ok_or(wrong("write a time like 500ms, 10s, 2m or forever"))?,
            Slot::Status(status) => {
                let read = text.parse().ok().filter(|status| (400..600).contains(status));
                **status = read.ok_or(wrong("write an HTTP status from 400 to 599"))?;
            }
            Slot::Code(code) => **code = text.parse().map_err(|_| wrong("write a code like -1008, or 0"))?,
            Slot::Count(count) => {
                let read = text.parse().ok().filter(|count| (1..=100_000).contains(count));
                **count = read.ok_or(wrong("write a number from 1 to 100000"))?;
            }
            Slot::Notice(notice) => {
                let found = NOTICES.iter().find(|(word, _)| *word == text);
                **notice = found.ok_or(wrong("write silent, number, text_time, no_key or twice"))?.1;
            }
            Slot::Only(only) => {
                let paths = ["/fapi/v1/", "/fapi/v3/"].map(|root| format!("{root}{text}"));
                let read = paths.iter().find_map(|path| Read::of(path));
                **only = Some(read.ok_or(wrong("write the last part of a read's path, like userTrades"))?.as_str());
            }
        }
        Ok(())
    }

    fn write(&self) -> Option<String> {
        Some(match self {
            Slot::Time(time) => time_text(**time),
            Slot::Status(status) => status.to_string(),
            Slot::Code(code) => code.to_string(),
            Slot::Count(count) => count.to_string(),
            Slot::Notice(notice) => NOTICES.iter().find(|(_, one)| one == *notice)?.0.to_owned(),
            Slot::Only(only) => (**only)?.to_owned(),
        })
    }
}

type Slots<'a> = Vec<(&'static str, Slot<'a>)>;

fn slots(injection: &mut Injection) -> Slots<'_> {
    match injection {
        Injection::Prices(kind) => match kind {
            FaultKind::Stall { lasts } | FaultKind::RefuseConnect { lasts } => vec![("lasts", Slot::Time(lasts))],
            FaultKind::SlowHandshake { delay } => vec![("delay", Slot::Time(delay))],
            FaultKind::RefuseUpgrade { status } => vec![("status", Slot::Status(status))],
            _ => Vec::new(),
        },
        Injection::Account { fault, .. } => match fault {
            AccountFault::Silence { lasts }
            | AccountFault::Mute { lasts }
            | AccountFault::Deaf { lasts }
            | AccountFault::Stall { lasts } => vec![("lasts", Slot::Time(lasts))],
            AccountFault::Lag { delay }
            | AccountFault::LagNext { delay }
            | AccountFault::SlowHandshake { delay }
            | AccountFault::KeyDelay { delay } => vec![("delay", Slot::Time(delay))],
            AccountFault::RefuseUpgrade { status } => vec![("status", Slot::Status(status))],
            AccountFault::KeyError { status, code } => {
                vec![("status", Slot::Status(status)), ("code", Slot::Code(code))]
            }
            AccountFault::Flood { frames } => vec![("frames", Slot::Count(frames))],
            AccountFault::ExpireKey { notice } => vec![("notice", Slot::Notice(notice))],
            AccountFault::RotateKey { grace } => vec![("grace", Slot::Time(grace))],
            AccountFault::Read { fault, only } => {
                let mut slots = slots_of_read(fault);
                slots.push(("only", Slot::Only(only)));
                slots
            }
            _ => Vec::new(),
        },
        Injection::Venue(fault) => match fault {
            VenueFault::RefuseConnects { lasts }
            | VenueFault::Outage { lasts }
            | VenueFault::Ban { lasts }
            | VenueFault::RateLimit { lasts } => vec![("lasts", Slot::Time(lasts))],
            VenueFault::RestErrors { status, lasts } => {
                vec![("status", Slot::Status(status)), ("lasts", Slot::Time(lasts))]
            }
            VenueFault::Reads { fault, lasts } => {
                let mut slots = slots_of_read(fault);
                slots.push(("lasts", Slot::Time(lasts)));
                slots
            }
            VenueFault::StaleReads { lag } => vec![("lag", Slot::Time(lag))],
        },
    }
}

fn slots_of_read(fault: &mut ReadFault) -> Slots<'_> {
    match fault {
        ReadFault::Error { status, code } => vec![("status", Slot::Status(status)), ("code", Slot::Code(code))],
        ReadFault::Slow { delay } => vec![("delay", Slot::Time(delay))],
        ReadFault::Garbage | ReadFault::Truncated | ReadFault::Reset => Vec::new(),
    }
}

impl FromStr for Injection {
    type Err = FaultTextError;

    fn from_str(text: &str) -> Result<Self, FaultTextError> {
        let mut words = text.split_ascii_whitespace();
        let target = words.next().ok_or(FaultTextError::Target)?;
        let account = match target {
            "account" => Some(words.next().and_then(|word| word.parse().ok()).ok_or(FaultTextError::Target)?),
            "prices" | "venue" => None,
            _ => return Err(FaultTextError::Target),
        };
        let word = words.next().unwrap_or_default();
        let found = match (target, account) {
            (_, Some(account)) => {
                let fault = AccountFault::ALL.into_iter().find(|fault| fault.as_str() == word);
                fault.map(|fault| fault.on(account))
            }
            ("prices", _) => FaultKind::ALL.into_iter().find(|kind| kind.as_str() == word).map(Injection::Prices),
            _ => VenueFault::ALL.into_iter().find(|fault| fault.as_str() == word).map(Injection::Venue),
        };
        let mut injection = found.ok_or_else(|| FaultTextError::Fault(word.to_owned()))?;
        let kind = injection.as_str();
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let mut slots = slots(&mut injection);
            let Some((name, slot)) = slots.iter_mut().find(|(known, _)| *known == name) else {
                let known: Vec<String> = slots.iter().map(|(name, _)| format!("{name}=…")).collect();
                let known = if known.is_empty() { "none: it has no parameters".to_owned() } else { known.join(" ") };
                return Err(FaultTextError::Parameter(word.to_owned(), kind, known));
            };
            slot.read(name, value)?;
        }
        Ok(injection)
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Injection::Prices(_) => f.write_str("prices ")?,
            Injection::Account { account, .. } => write!(f, "account {account} ")?,
            Injection::Venue(_) => f.write_str("venue ")?,
        }
        f.write_str(self.as_str())?;
        let mut copy = *self;
        for (name, slot) in slots(&mut copy) {
            if let Some(value) = slot.write() {
                write!(f, " {name}={value}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Script {
    type Err = FaultTextError;

    /// A fault a line, its time since the script began in front; empty lines and those that begin with `#` are skipped.
    fn from_str(text: &str) -> Result<Self, FaultTextError> {
        let mut steps = Vec::new();
        for (at, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (time, fault) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let step = match read_time(time) {
                Some(time) => fault.parse().map(|fault: Injection| (time, fault)),
                None => Err(FaultTextError::Time(time.to_owned())),
            };
            steps.push(step.map_err(|error| FaultTextError::Line(at + 1, Box::new(error)))?);
        }
        Ok(Script::new(steps))
    }
}

/// Every fault with its ordinary parameters, a line each.
#[must_use]
pub fn vocabulary() -> String {
    let prices = FaultKind::ALL.into_iter().map(Injection::Prices);
    let accounts = AccountFault::ALL.into_iter().map(|fault| fault.on(0));
    let venue = VenueFault::ALL.into_iter().map(Injection::Venue);
    prices.chain(accounts).chain(venue).map(|fault| format!("{fault}\n")).collect()
}

fn read_time(text: &str) -> Option<Duration> {
    if text == "forever" {
        return Some(Duration::MAX);
    }
    let (number, unit_ms) = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)]
        .into_iter()
        .find_map(|(unit, ms)| Some((text.strip_suffix(unit)?.parse::<u64>().ok()?, ms)))?;
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

fn time_text(time: Duration) -> String {
    match time.as_millis() {
        _ if time == Duration::MAX => "forever".to_owned(),
        ms if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        let all = vocabulary();
        assert_eq!(all.lines().count(), FaultKind::ALL.len() + AccountFault::ALL.len() + VenueFault::ALL.len());
        for line in all.lines() {
            let read: Injection = line.parse().unwrap();
            assert_eq!(read.to_string(), line);
        }
        for (text, expected) in [
            ("account 7 silence", AccountFault::Silence { lasts: Duration::MAX }.on(7)),
            ("account 0 mute lasts=1500ms", AccountFault::Mute { lasts: Duration::from_millis(1_500) }.on(0)),
            ("account 0 expire_key notice=silent", AccountFault::ExpireKey { notice: ExpiryNotice::Silent }.on(0)),
            ("venue outage lasts=2m", VenueFault::Outage { lasts: Duration::from_secs(120) }.into()),
            (
                " account 1  read_error code=0 only=userTrades status=418 ",
                AccountFault::Read { fault: ReadFault::Error { status: 418, code: 0 }, only: Some("userTrades") }.on(1),
            ),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_fault_says_why() {
        for (text, part) in [
            ("", "begins with"),
            ("account cut", "begins with"),
            ("venue cut", "no fault \"cut\""),
            ("account 0 cut lasts=1s", "it has no parameters"),
            ("account 0 mute delay=1s", "write lasts=…"),
            ("account 0 mute lasts=1", "write a time"),
            ("account 0 mute lasts=9999999999999999h", "write a time"),
            ("account 0 key_error status=200", "from 400"),
            ("account 0 read_slow only=nothing", "like userTrades"),
        ] {
            let error = text.parse::<Injection>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn scripts() {
        let script: Script = "# a round\n\n2s venue ban lasts=1s\n500ms account 0 cut\n".parse().unwrap();
        let steps: Vec<_> = script.steps().map(|(at, fault)| (at.as_millis(), fault.as_str())).collect();
        assert_eq!(steps, [(500, "cut"), (2_000, "ban")]);
        let told = |text: &str| text.parse::<Script>().unwrap_err().to_string();
        assert_eq!(
            told("1s account 0 cut\naccount 0 cut"),
            "line 2: a line of a script begins with its time, like 500ms, 10s or 2m, and \"account\" is none"
        );
        assert!(told("1s account 0 fall").starts_with("line 1: there is no fault"));
    }
}
