//! What other threads ask of a running loop: a bounded channel of commands, and a waker.
//!
//! Streams are named by keys of the caller's choice. A command for a key that is not hosted (any more) does nothing: its
//! stream may have ended in the meantime, and its consumer has heard so.

use std::sync::Arc;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};
use mio::Waker;

use super::Stream;
use crate::domain::limits::{LOOP_COMMAND_WAIT, LOOP_COMMANDS_MAX};
use crate::stream::{ConnectClass, Pace, StreamUrl};

/// One command.
pub(super) enum Command {
    Add { key: u64, stream: Box<Stream> },
    Remove { key: u64 },
    Pause { key: u64 },
    Resume { key: u64 },
    PauseAll,
    ResumeAll,
    Reconnect { key: u64, url: Option<Box<StreamUrl>>, pace: Pace },
    SendText { key: u64, text: String },
    SetClass { key: u64, class: ConnectClass },
}

pub(super) fn channel(waker: Arc<Waker>) -> (LoopControl, Receiver<Command>) {
    let (commands, receiver) = bounded(LOOP_COMMANDS_MAX);
    (LoopControl { commands, waker }, receiver)
}

/// The remote control of a loop; cheap to clone, for any thread but the loop's own.
///
/// Commands of one caller take effect in their order, each within a turn. When [`LOOP_COMMANDS_MAX`] wait, a call blocks
/// for at most [`LOOP_COMMAND_WAIT`].
#[derive(Clone)]
pub struct LoopControl {
    commands: Sender<Command>,
    waker: Arc<Waker>,
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandRefused {
    /// The loop did not take its commands in time.
    #[error("the loop did not take a command within {} s", LOOP_COMMAND_WAIT.as_secs())]
    Busy,
    /// The loop has ended.
    #[error("the loop has ended")]
    Ended,
}

impl LoopControl {
    /// Hosts one more stream. One that has this key is removed first. While all are paused the new one is, too.
    ///
    /// # Errors
    /// When the loop is busy or has ended; as all commands here.
    pub fn add(&self, key: u64, stream: Stream) -> Result<(), CommandRefused> {
        self.send(Command::Add { key, stream: Box::new(stream) })
    }

    /// Ends a stream: goodbye, at most [`crate::domain::limits::CLOSE_ECHO_MAX`] for what is under way, then
    /// [`crate::stream::StreamEvent::Stopped`] and the consumer is dropped. The key is free at once.
    ///
    /// # Errors
    /// As [`LoopControl::add`].
    pub fn remove(&self, key: u64) -> Result<(), CommandRefused> {
        self.send(Command::Remove { key })
    }

    /// Stops reading one stream ([`crate::stream::Hold::Own`]).
    ///
    /// # Errors
    /// As [`LoopControl::add`].
    pub fn pause(&self, key: u64) -> Result<(), CommandRefused> {
        self.send(Command::Pause { key })
    }

    /// Takes back [`LoopControl::pause`] or [`crate::stream::Request::Pause`]. A consumer that asks for a pause must have
    /// said so to whoever resumes *before* it looks for room a last time, or a resume may come too early and be lost.
    ///
    /// # Errors
    /// As [`LoopControl::add`].
    pub fn resume(&self, key: u64) -> Result<(), CommandRefused> {
        self.send(Command::Resume { key })
    }

    /// Stops reading all streams, those that are added later included ([`crate::stream::Hold::All`]).
    ///
    /// # Errors
    /// As [`LoopControl::add`].
    pub fn pause_all(&self) -> Result<(), CommandRefused> {
        self.send(Command::PauseAll)
    }

    /// Takes back [`LoopControl::pause_all`]; a stream that is paused for a reason of its own stays so.
    ///
    /// # Errors
    /// As [`LoopControl::add`].
    pub fn resume_all(&self) -> Result<(), CommandRefused> {
        self.send(Command::ResumeAll)
    }

    /// Leaves the stream's connection or attempt and begins afresh at `url`: at once, or from a wait between attempts when
    /// that is over.
    ///
    /// # Errors
    /// As [`LoopControl::add`].
    pub fn replace_url(&self, key: u64, url: StreamUrl) -> Result<(), CommandRefused> {
        self.reconnect(key, Some(url), Pace::Now)
    }

    /// As [`crate::stream::Request::Reconnect`].
    ///
    /// # Errors
    /// As [`LoopControl::add`].
    pub fn reconnect(&self, key: u64, url: Option<StreamUrl>, pace: Pace) -> Result<(), CommandRefused> {
        self.send(Command::Reconnect { key, url: url.map(Box::new), pace })
    }

    /// As [`crate::stream::Request::Text`].
    ///
    /// # Errors
    /// As [`LoopControl::add`].
    pub fn send_text(&self, key: u64, text: String) -> Result<(), CommandRefused> {
        self.send(Command::SendText { key, text })
    }

    /// Changes which share of the connection attempts a stream uses, also while it waits for one: an account that opens a
    /// position.
    ///
    /// # Errors
    /// As [`LoopControl::add`].
    pub fn set_class(&self, key: u64, class: ConnectClass) -> Result<(), CommandRefused> {
        self.send(Command::SetClass { key, class })
    }

    /// Makes the loop look at its deadlines now: its own wait does not know that the machine has slept meanwhile.
    pub fn wake(&self) {
        // An event descriptor refuses a write only when it is already signalled.
        let _ = self.waker.wake();
    }

    fn send(&self, command: Command) -> Result<(), CommandRefused> {
        self.commands.send_timeout(command, LOOP_COMMAND_WAIT).map_err(|refused| match refused {
            SendTimeoutError::Timeout(_) => CommandRefused::Busy,
            SendTimeoutError::Disconnected(_) => CommandRefused::Ended,
        })?;
        self.wake();
        Ok(())
    }
}
