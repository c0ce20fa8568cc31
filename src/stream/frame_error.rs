//! How a server can break the WebSocket protocol: small, `Copy`, one variant per rule, each with its section of RFC 6455.

use std::fmt;

/// How the server broke RFC 6455, or our limit. The connection is of no use after any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A message above our limit, known from its header.
    Oversize {
        /// Bytes of the message so far, with the frame that was announced.
        length: u64,
    },
    /// A masked frame (§5.1).
    Masked,
    /// A reserved bit without an extension (§5.2).
    ReservedBits,
    /// An opcode without a meaning (§5.2).
    BadOpcode(u8),
    /// A ping, pong or close of more than 125 bytes (§5.5).
    ControlTooLong,
    /// A ping, pong or close in fragments (§5.5).
    ControlFragmented,
    /// A length that was not written in the fewest bytes (§5.2).
    LengthNotMinimal,
    /// A 64-bit length with its top bit set (§5.2).
    LengthTopBit,
    /// A continuation of nothing (§5.4).
    UnexpectedContinuation,
    /// A new message inside an unfinished one (§5.4).
    ExpectedContinuation,
    /// A close frame of one byte (§5.5.1).
    CloseTruncated,
    /// A close code that must not be on the wire (§7.4).
    BadCloseCode(u16),
    /// A close reason that is not UTF-8 (§5.5.1).
    CloseReasonNotUtf8,
}

impl FrameError {
    /// The word used in counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FrameError::Oversize { .. } => "oversize",
            FrameError::Masked => "masked",
            FrameError::ReservedBits => "reserved_bits",
            FrameError::BadOpcode(_) => "bad_opcode",
            FrameError::ControlTooLong => "control_too_long",
            FrameError::ControlFragmented => "control_fragmented",
            FrameError::LengthNotMinimal => "length_not_minimal",
            FrameError::LengthTopBit => "length_top_bit",
            FrameError::UnexpectedContinuation => "unexpected_continuation",
            FrameError::ExpectedContinuation => "expected_continuation",
            FrameError::CloseTruncated => "close_truncated",
            FrameError::BadCloseCode(_) => "bad_close_code",
            FrameError::CloseReasonNotUtf8 => "close_reason_not_utf8",
        }
    }

    /// The code to close the connection with (RFC 6455 §7.4.1).
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            FrameError::Oversize { .. } => 1009,
            FrameError::CloseReasonNotUtf8 => 1007,
            _ => 1002,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Oversize { length } => {
                write!(f, "the server sent a message of {length} bytes, above our limit")
            }
            FrameError::Masked => f.write_str("the server sent a masked frame"),
            FrameError::ReservedBits => f.write_str("the server set a reserved bit, but no extension was agreed"),
            FrameError::BadOpcode(opcode) => write!(f, "the server sent a frame with the unknown opcode {opcode}"),
            FrameError::ControlTooLong => f.write_str("the server sent a control frame of more than 125 bytes"),
            FrameError::ControlFragmented => f.write_str("the server sent a control frame in fragments"),
            FrameError::LengthNotMinimal => f.write_str("the server wrote a frame length in more bytes than it needs"),
            FrameError::LengthTopBit => f.write_str("the server sent a frame length with its top bit set"),
            FrameError::UnexpectedContinuation => f.write_str("the server continued a message that it never began"),
            FrameError::ExpectedContinuation => f.write_str("the server began a message inside an unfinished one"),
            FrameError::CloseTruncated => f.write_str("the server sent a close frame of one byte"),
            FrameError::BadCloseCode(code) => write!(f, "the server closed with the illegal code {code}"),
            FrameError::CloseReasonNotUtf8 => f.write_str("the server gave a close reason that is not UTF-8"),
        }
    }
}

impl std::error::Error for FrameError {}
