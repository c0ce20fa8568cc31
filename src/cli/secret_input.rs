//! An API key and its secret as a person types them, or as two lines come through a pipe: never from an argument, which
//! every user of the machine can read in the process list.
//!
//! On a terminal nothing is echoed: it is switched to single bytes without echo and without signals, so that Ctrl-C comes
//! as a byte and the terminal is always put back before this program ends.

use std::io::{self, IsTerminal as _, Read, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use super::exit::{CommandError, Exit};
use crate::ops::secret::Secret;

/// Bytes of a key or secret. Binance's have 64.
const SECRET_LEN_MAX: usize = 512;
/// What two lines of them come to, with room for blank ones.
const PIPED_LEN_MAX: u64 = 2 * SECRET_LEN_MAX as u64 + 64;

/// Reads key and secret from standard input, prompting on standard error where it is a terminal.
///
/// # Errors
/// Input that ends early or was given up with Ctrl-C, a line that cannot be a key; none is quoted.
pub(super) fn read_key_and_secret() -> Result<(Secret, Secret), CommandError> {
    let mut stdin = io::stdin().lock();
    let (key, secret) = if stdin.is_terminal() {
        let _quiet = Quiet::begin().map_err(unreadable)?;
        (prompt("API key", &mut stdin)?, prompt("API secret", &mut stdin)?)
    } else {
        piped(&mut stdin)?
    };
    Ok((checked("API key", &key)?, checked("API secret", &secret)?))
}

fn prompt(what: &str, from: &mut impl Read) -> Result<String, CommandError> {
    let mut stderr = io::stderr();
    // A prompt that nobody can see is no reason to stop.
    let _ = write!(stderr, "{what} (not shown): ");
    let line = typed_line(from);
    let _ = writeln!(stderr);
    line
}

/// One line of single bytes: what the terminal would do itself if it were allowed to echo.
fn typed_line(from: &mut impl Read) -> Result<String, CommandError> {
    const CTRL_C: u8 = 0x03;
    const CTRL_D: u8 = 0x04;
    const BACKSPACE: u8 = 0x08;
    const CTRL_U: u8 = 0x15;
    const DELETE: u8 = 0x7f;
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        match from.read(&mut byte) {
            Ok(0) => return Err(ended()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        }
        match byte[0] {
            b'\r' | b'\n' => return text(line),
            CTRL_C => return Err(CommandError::new(Exit::Usage, "given up; nothing was changed")),
            CTRL_D => return Err(ended()),
            CTRL_U => line.clear(),
            BACKSPACE | DELETE => {
                line.pop();
            }
            byte if line.len() <= SECRET_LEN_MAX => line.push(byte),
            _ => {}
        }
    }
}

/// Two lines; blank ones do not count.
fn piped(from: &mut impl Read) -> Result<(String, String), CommandError> {
    let mut bytes = Vec::new();
    from.take(PIPED_LEN_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    let all = text(bytes)?;
    let lines: Vec<&str> = all.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines[..] {
        [key, secret] => Ok((key.to_owned(), secret.to_owned())),
        [] | [_] => Err(ended()),
        _ => Err(refused("standard input holds more than two lines: the API key, then the secret")),
    }
}

/// A key goes into an HTTP header and a secret into a signature: visible ASCII, and that many bytes of it.
fn checked(what: &str, text: &str) -> Result<Secret, CommandError> {
    let text = text.trim();
    if text.is_empty() || text.len() > SECRET_LEN_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(refused(&format!(
            "the {what} must be 1 to {SECRET_LEN_MAX} visible characters without blanks; it has not been stored"
        )));
    }
    Ok(Secret::new(text))
}

fn text(bytes: Vec<u8>) -> Result<String, CommandError> {
    String::from_utf8(bytes).map_err(|_| refused("standard input is not text"))
}

fn ended() -> CommandError {
    refused("standard input ended early: give two lines, the API key and then the secret")
}

fn refused(sentence: &str) -> CommandError {
    CommandError::new(Exit::DataErr, sentence)
}

fn unreadable(error: impl Into<io::Error>) -> CommandError {
    CommandError::new(Exit::IoErr, format!("cannot read standard input: {}", error.into()))
}

/// A terminal that echoes nothing, until this is dropped.
struct Quiet {
    before: Termios,
}

impl Quiet {
    fn begin() -> io::Result<Quiet> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        // Dropping what was typed ahead: it was echoed, so it is no secret any more.
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Quiet { before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing put back.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_are_a_key_and_a_secret() {
        for (input, found) in [
            (&b"key\nsecret\n"[..], Ok(("key", "secret"))),
            (b"key\r\n\r\n  secret  ", Ok(("key", "secret"))),
            (b"key\n", Err("ended early")),
            (b"", Err("ended early")),
            (b"key\nsecret\ngeheim\n", Err("more than two lines")),
            (b"key\ngeheim\xff\n", Err("not text")),
        ] {
            match (piped(&mut &input[..]), found) {
                (Ok((key, secret)), Ok(expected)) => assert_eq!((key.as_str(), secret.as_str()), expected),
                (Err(error), Err(part)) => {
                    assert!(error.sentence.contains(part) && !error.sentence.contains("geheim"), "{error}");
                }
                (answer, _) => panic!("{input:?}: {}", answer.is_ok()),
            }
        }
        let long = "x".repeat(SECRET_LEN_MAX + 1);
        for bad in ["", "a b", "geheim\u{e4}", "geheim\u{7}", long.as_str()] {
            let error = checked("API key", bad).unwrap_err();
            assert!(error.exit == Exit::DataErr && !error.sentence.contains("geheim"), "{error}");
        }
        assert_eq!(checked("API key", " k ").unwrap().expose(), "k");
    }

    #[test]
    fn a_typed_line_can_be_mended_and_given_up() {
        for (input, found) in [
            (&b"abc\rnext"[..], Ok("abc")),
            (b"abx\x7fc\n", Ok("abc")),
            (b"\x08\x7fwrong\x15abc\n", Ok("abc")),
            (b"abc\x03", Err(Exit::Usage)),
            (b"abc\x04", Err(Exit::DataErr)),
            (b"abc", Err(Exit::DataErr)),
        ] {
            let line = typed_line(&mut &input[..]);
            assert_eq!(line.as_deref().map_err(|error| error.exit), found, "{input:?}");
        }
    }
}
