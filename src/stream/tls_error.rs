//! Why TLS failed, in the words of somebody who has to do something about it.
//!
//! rustls' errors are sorted by whose move it is: the operator's (roots, clock, host name), the server's, or nobody's
//! (a broken line). The sentences name no byte of a key, ticket or plaintext.

use std::fmt;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use crate::domain::Wall;

/// A failure of TLS. [`fmt::Display`] gives the sentence for people, [`TlsError::as_str`] the word for counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsError {
    /// The certificate leads to no root that is trusted here.
    UnknownIssuer,
    /// The certificate's time is over, or our clock is ahead.
    Expired {
        /// The last day of the certificate, if known.
        not_after: Option<Wall>,
    },
    /// The certificate's time has not come, or our clock is behind.
    NotYetValid {
        /// The first day of the certificate, if known.
        not_before: Option<Wall>,
    },
    /// The certificate belongs to somebody else.
    WrongName {
        /// The name that was asked for.
        expected: String,
        /// The names that the certificate is for.
        presented: Vec<String>,
    },
    /// The certificate is bad in another way.
    BadCertificate(String),
    /// The server refused us with an alert.
    Refused(String),
    /// The server speaks no version or suite that we speak.
    Incompatible(String),
    /// What answers there is not a TLS server.
    NotTls,
    /// A record could not be decrypted, or the server broke the protocol.
    Broken(String),
    /// The plaintext buffer has no room for one more record: messages must be taken out first.
    PlainFull,
    /// Nothing can be written before the handshake ends, or after the goodbye.
    NotWritable,
    /// The extra roots cannot be used.
    BadRoots(String),
    /// Not a host name that a certificate can be for.
    BadName(String),
}

impl TlsError {
    /// The word used in counters.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            TlsError::UnknownIssuer => "unknown_issuer",
            TlsError::Expired { .. } => "expired",
            TlsError::NotYetValid { .. } => "not_yet_valid",
            TlsError::WrongName { .. } => "wrong_name",
            TlsError::BadCertificate(_) => "bad_certificate",
            TlsError::Refused(_) => "refused",
            TlsError::Incompatible(_) => "incompatible",
            TlsError::NotTls => "not_tls",
            TlsError::Broken(_) => "broken",
            TlsError::PlainFull => "plain_full",
            TlsError::NotWritable => "not_writable",
            TlsError::BadRoots(_) => "bad_roots",
            TlsError::BadName(_) => "bad_name",
        }
    }
}

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => from_certificate(error),
            Error::NoCertificatesPresented => TlsError::BadCertificate("the server sent none".into()),
            Error::AlertReceived(alert) => from_alert(alert),
            Error::PeerIncompatible(why) => TlsError::Incompatible(format!("{why:?}")),
            Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
                TlsError::NotTls
            }
            Error::UnsupportedNameType => TlsError::BadName("of an unsupported kind".into()),
            other => TlsError::Broken(other.to_string()),
        }
    }
}

fn from_certificate(error: CertificateError) -> TlsError {
    let day = |time: rustls::pki_types::UnixTime| {
        Some(Wall::from_millis(i64::try_from(time.as_secs()).unwrap_or(i64::MAX).saturating_mul(1_000)))
    };
    match error {
        CertificateError::UnknownIssuer => TlsError::UnknownIssuer,
        CertificateError::Expired => TlsError::Expired { not_after: None },
        CertificateError::ExpiredContext { not_after, .. } => TlsError::Expired { not_after: day(not_after) },
        CertificateError::NotValidYet => TlsError::NotYetValid { not_before: None },
        CertificateError::NotValidYetContext { not_before, .. } => {
            TlsError::NotYetValid { not_before: day(not_before) }
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            TlsError::WrongName { expected: expected.to_str().into_owned(), presented }
        }
        CertificateError::NotValidForName => TlsError::WrongName { expected: "the host".into(), presented: Vec::new() },
        CertificateError::BadSignature => TlsError::BadCertificate(
            "a signature is not that of the authority it names, as with an outdated root in net.extra_roots".into(),
        ),
        other => TlsError::BadCertificate(other.to_string()),
    }
}

fn from_alert(alert: AlertDescription) -> TlsError {
    match alert {
        AlertDescription::ProtocolVersion | AlertDescription::InsufficientSecurity => {
            TlsError::Incompatible(format!("{alert:?}"))
        }
        _ => TlsError::Refused(format!("{alert:?}")),
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::UnknownIssuer => f.write_str(
                "the server's certificate is not signed by an authority trusted here; a proxy that opens TLS, or a \
                 private authority, needs its root in net.extra_roots",
            ),
            TlsError::Expired { not_after } => {
                f.write_str("the server's certificate expired")?;
                write_day(f, " on ", *not_after)?;
                f.write_str(" by this machine's clock")
            }
            TlsError::NotYetValid { not_before } => {
                f.write_str("the server's certificate is not valid yet")?;
                write_day(f, ", only from ", *not_before)?;
                f.write_str(" by this machine's clock")
            }
            TlsError::WrongName { expected, presented } if presented.is_empty() => {
                write!(f, "the server's certificate is not for {expected}")
            }
            TlsError::WrongName { expected, presented } => {
                let shown = &presented[..presented.len().min(NAMES_SHOWN)];
                let more = if shown.len() < presented.len() { " and others" } else { "" };
                write!(f, "the server's certificate is not for {expected}, but for {}{more}", shown.join(", "))
            }
            TlsError::BadCertificate(why) => write!(f, "the server's certificate cannot be accepted: {why}"),
            TlsError::Refused(alert) => write!(f, "the server refused the TLS connection with the alert {alert}"),
            TlsError::Incompatible(why) => write!(f, "the server shares no TLS version or cipher with us: {why}"),
            TlsError::NotTls => f.write_str("what answers on that port does not speak TLS"),
            TlsError::Broken(why) => write!(f, "the TLS connection broke: {why}"),
            TlsError::PlainFull => f.write_str("there is no room for more plaintext"),
            TlsError::NotWritable => f.write_str("the TLS connection cannot be written to now"),
            TlsError::BadRoots(why) => write!(f, "the extra roots cannot be used: {why}"),
            TlsError::BadName(name) => write!(f, "{name:?} is not a host name"),
        }
    }
}

/// A shared certificate can carry a hundred names.
const NAMES_SHOWN: usize = 3;

fn write_day(f: &mut fmt::Formatter<'_>, before: &str, day: Option<Wall>) -> fmt::Result {
    let Some(day) = day else { return Ok(()) };
    let stamp = day.to_string();
    write!(f, "{before}{}", &stamp[.."YYYY-MM-DD".len()])
}

impl std::error::Error for TlsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_sorted_by_whose_move_it_is() {
        let name = rustls::pki_types::ServerName::try_from("a.example").unwrap();
        let time = |secs| rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(secs));
        let other = |presented| CertificateError::NotValidForNameContext { expected: name.clone(), presented };
        let many = ["b", "c", "d", "e"].map(|c| format!("{c}.example")).to_vec();
        check(Error::InvalidCertificate(CertificateError::UnknownIssuer), "unknown_issuer", "net.extra_roots");
        check(
            Error::InvalidCertificate(CertificateError::ExpiredContext { time: time(2), not_after: time(86_400) }),
            "expired",
            "expired on 1970-01-02 by this machine's clock",
        );
        check(Error::InvalidCertificate(CertificateError::Expired), "expired", "expired by this machine's clock");
        check(
            Error::InvalidCertificate(CertificateError::NotValidYetContext { time: time(2), not_before: time(86_400) }),
            "not_yet_valid",
            "only from 1970-01-02",
        );
        check(Error::InvalidCertificate(other(vec![])), "wrong_name", "is not for a.example");
        check(
            Error::InvalidCertificate(other(many)),
            "wrong_name",
            "but for b.example, c.example, d.example and others",
        );
        check(Error::InvalidCertificate(CertificateError::Revoked), "bad_certificate", "Revoked");
        check(Error::AlertReceived(AlertDescription::AccessDenied), "refused", "AccessDenied");
        check(Error::AlertReceived(AlertDescription::ProtocolVersion), "incompatible", "ProtocolVersion");
        check(Error::InvalidMessage(InvalidMessage::InvalidContentType), "not_tls", "does not speak TLS");
        check(Error::DecryptError, "broken", "cannot decrypt");
    }

    fn check(error: Error, word: &str, part: &str) {
        let error = TlsError::from(error);
        assert_eq!(error.as_str(), word);
        assert!(error.to_string().contains(part), "{error} does not say {part:?}");
    }
}
