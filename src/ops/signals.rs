//! Signals, one meaning each: SIGTERM and SIGINT stop inside the bound, a second one ends at once, SIGHUP reloads settings
//! and opens logs again.

use std::io;
use std::thread;

use crossbeam_channel::{Receiver, TrySendError, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals as Incoming};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// End in order, inside [`STOP_MAX`](crate::domain::limits::STOP_MAX).
    Stop,
    /// Read the settings again, open the log file again, read the symbol map again.
    Reload,
}

/// Signals of this process, while it lives.
pub struct Signals {
    incoming: Receiver<Signal>,
    handle: Handle,
}

/// Waiting signals: more would only ask for the same again.
const WAITING_MAX: usize = 4;

impl Signals {
    /// Takes the signals over from their default action.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen() -> io::Result<Signals> {
        let mut signals = Incoming::new([SIGTERM, SIGINT, SIGHUP])?;
        let handle = signals.handle();
        let (outgoing, incoming) = bounded(WAITING_MAX);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut stopping = false;
            for signal in signals.forever() {
                match decide(signal, &mut stopping) {
                    Decision::Tell(signal) => {
                        if let Err(TrySendError::Disconnected(_)) = outgoing.try_send(signal) {
                            return;
                        }
                    }
                    Decision::EndNow(code) => signal_hook::low_level::exit(code),
                }
            }
        })?;
        Ok(Signals { incoming, handle })
    }

    /// Where they arrive.
    #[must_use]
    pub fn receiver(&self) -> &Receiver<Signal> {
        &self.incoming
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Tell(Signal),
    EndNow(i32),
}

fn decide(signal: i32, stopping: &mut bool) -> Decision {
    match signal {
        SIGHUP => Decision::Tell(Signal::Reload),
        // The shell's convention for a process that a signal ended.
        _ if *stopping => Decision::EndNow(128 + signal),
        _ => {
            *stopping = true;
            Decision::Tell(Signal::Stop)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_second_stop_ends_at_once() {
        for (first, second, code) in [(SIGTERM, SIGTERM, 143), (SIGINT, SIGTERM, 143), (SIGTERM, SIGINT, 130)] {
            let mut stopping = false;
            assert_eq!(decide(SIGHUP, &mut stopping), Decision::Tell(Signal::Reload));
            assert_eq!(decide(first, &mut stopping), Decision::Tell(Signal::Stop));
            assert_eq!(decide(SIGHUP, &mut stopping), Decision::Tell(Signal::Reload));
            assert_eq!(decide(second, &mut stopping), Decision::EndNow(code));
        }
    }

    #[test]
    fn real_signals_arrive() {
        let signals = Signals::listen().unwrap();
        let next = || signals.receiver().recv_timeout(Duration::from_secs(20));
        for (raised, told) in [(SIGHUP, Signal::Reload), (SIGTERM, Signal::Stop), (SIGHUP, Signal::Reload)] {
            signal_hook::low_level::raise(raised).unwrap();
            assert_eq!(next(), Ok(told));
        }
    }
}
