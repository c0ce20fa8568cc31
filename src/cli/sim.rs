//! `sim`: the exchange simulator alone on a port, for any client.

use std::time::Duration;

use super::args::SimArgs;
use super::exit::{CommandError, Exit};
use super::out;
use crate::ops::Signals;
use crate::ops::signals::Signal;
use crate::sim::{Script, SimConfig, SimHandle, Simulator};

/// Seconds of one round of faults; the next round follows with another seed.
const ROUND_S: u64 = 60;

pub(super) fn run(args: &SimArgs) -> Result<Exit, CommandError> {
    if !args.listen.ip().is_loopback() {
        let sentence = format!("--listen {}: the simulator listens on loopback only; use 127.0.0.1", args.listen);
        return Err(CommandError::new(Exit::Usage, sentence));
    }
    let signals = Signals::listen().map_err(|error| CommandError::new(Exit::Software, error.to_string()))?;
    let sim = Simulator::start(SimConfig { seed: args.seed, port: args.listen.port(), ..SimConfig::default() })
        .map_err(|error| CommandError::new(Exit::Unavailable, format!("cannot listen on {}: {error}", args.listen)))?;
    let told = tell(&sim, args)?;
    out(&told)?;
    let mut round = args.seed;
    loop {
        if args.faults {
            sim.run_script(Script::demo(ROUND_S, round));
            round = round.wrapping_add(1);
        }
        match signals.receiver().recv_timeout(Duration::from_secs(ROUND_S)) {
            Ok(Signal::Stop) | Err(crossbeam_channel::RecvTimeoutError::Disconnected) => break,
            Ok(Signal::Reload) | Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
        }
    }
    sim.stop();
    Ok(Exit::Ok)
}

fn tell(sim: &SimHandle, args: &SimArgs) -> Result<String, CommandError> {
    let trust = match &args.roots {
        Some(path) => {
            sim.write_ca(path)
                .map_err(|error| CommandError::new(Exit::CantCreate, format!("--roots {}: {error}", path.display())))?;
            format!("trust   {}\n", path.display())
        }
        None => "trust   not written; --roots FILE writes its certificate authority\n".to_owned(),
    };
    let base = sim.stream_base();
    Ok(format!(
        "stream  {}\nrest    {}\n{trust}\n\
         For `kraite-streams prices`:\n  [prices]\n  url = \"{base}\"\n  [net]\n  extra_roots = \"{}\"\n\nCtrl-C ends it.\n",
        sim.stream_url(),
        sim.rest_base(),
        args.roots.as_deref().map_or("FILE".into(), |path| path.display().to_string()),
    ))
}
