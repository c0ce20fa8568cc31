//! `sim`: the exchange simulator alone on a port, for any client; faults by script, and by lines on standard input.

use std::fmt::Write as _;
use std::io::BufRead as _;
use std::time::Duration;

use crossbeam_channel::{Receiver, after, bounded, never, select};

use super::args::SimArgs;
use super::exit::{CommandError, Exit};
use super::out;
use crate::ops::Signals;
use crate::ops::signals::Signal;
use crate::sim::{AccountsConfig, Injection, Script, SimConfig, SimHandle, Simulator, vocabulary};

/// Seconds of one round of faults; the next round follows with another seed.
const ROUND_S: u64 = 60;
/// Lines of standard input that wait.
const LINES_MAX: usize = 64;

pub(super) fn run(args: &SimArgs) -> Result<Exit, CommandError> {
    if !args.listen.ip().is_loopback() {
        let sentence = format!("--listen {}: the simulator listens on loopback only; use 127.0.0.1", args.listen);
        return Err(CommandError::new(Exit::Usage, sentence));
    }
    let script = args.script.as_deref().map(read_script).transpose()?;
    let signals = Signals::listen().map_err(|error| CommandError::new(Exit::Software, error.to_string()))?;
    let sim = Simulator::start(config(args))
        .map_err(|error| CommandError::new(Exit::Unavailable, format!("cannot listen on {}: {error}", args.listen)))?;
    out(&tell(&sim, args)?)?;
    if let Some(script) = script {
        sim.run_script(script);
    }
    let mut lines = lines();
    let mut round = args.seed;
    let mut round_ends = if args.faults { after(Duration::ZERO) } else { never() };
    loop {
        select! {
            recv(signals.receiver()) -> signal => match signal {
                Ok(Signal::Stop) | Err(_) => break,
                Ok(Signal::Reload) => {}
            },
            recv(lines) -> line => match line {
                Ok(line) => out(&obey(&sim, line.trim()))?,
                // The end of standard input ends nothing else.
                Err(_) => lines = never(),
            },
            recv(round_ends) -> _ => {
                sim.run_script(Script::demo(ROUND_S, round).with_accounts(ROUND_S, round, args.accounts as usize));
                round = round.wrapping_add(1);
                round_ends = after(Duration::from_secs(ROUND_S));
            }
        }
    }
    sim.stop();
    Ok(Exit::Ok)
}

fn config(args: &SimArgs) -> SimConfig {
    SimConfig {
        seed: args.seed,
        port: args.listen.port(),
        connection_lifetime: Duration::from_secs(args.connection_life_s),
        accounts: AccountsConfig {
            // The range of the argument is far inside.
            count: args.accounts as usize,
            frames_per_second: args.frames_per_second as f64,
            listen_key_lifetime: Duration::from_secs(args.key_life_s),
            ..AccountsConfig::default()
        },
        ..SimConfig::default()
    }
}

fn read_script(path: &std::path::Path) -> Result<Script, CommandError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| CommandError::new(Exit::NoInput, format!("--script {}: {error}", path.display())))?;
    text.parse().map_err(|error| CommandError::new(Exit::Usage, format!("--script {}: {error}", path.display())))
}

/// Lines of standard input, as they come.
fn lines() -> Receiver<String> {
    let (sender, receiver) = bounded(LINES_MAX);
    // A read of standard input cannot be broken off, so the thread ends with the process.
    let reader = std::thread::Builder::new().name("stdin".into()).spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    if let Err(error) = reader {
        tracing::warn!("standard input is not read: {error}");
    }
    receiver
}

/// Does what a line asks for; the answer.
fn obey(sim: &SimHandle, line: &str) -> String {
    if line.is_empty() || line.starts_with('#') {
        return String::new();
    }
    if line == "help" {
        return vocabulary();
    }
    match line.parse::<Injection>() {
        Ok(Injection::Account { account, .. }) if account >= sim.accounts().len() => {
            format!("refused: there are {} accounts, counted from 0\n", sim.accounts().len())
        }
        Ok(fault) => {
            sim.inject(fault);
            format!("asked for: {fault}\n")
        }
        Err(error) => format!("refused: {error}\n"),
    }
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
    let mut told = format!(
        "stream  {}\nrest    {}\n{trust}\n\
         For `kraite-streams prices`:\n  [prices]\n  url = \"{base}\"\n  [net]\n  extra_roots = \"{}\"\n\n",
        sim.stream_url(),
        sim.rest_base(),
        args.roots.as_deref().map_or("FILE".into(), |path| path.display().to_string()),
    );
    let accounts = sim.accounts();
    if !accounts.is_empty() {
        let _ = write!(
            told,
            "For `kraite-streams user-data`, too:\n  [user_data]\n  url = \"{base}\"\n  [net]\n  rest_binance = \"{}\"\n\n",
            sim.rest_base()
        );
        for account in accounts {
            let mode = if account.hedge_mode { "hedge" } else { "one-way" };
            let _ = writeln!(told, "account {} {mode} {} {}", account.index, account.api_key, account.api_secret);
        }
        told.push('\n');
    }
    told.push_str("A line on standard input is a fault, like: prices cut. `help` lists them. Ctrl-C ends it.\n");
    Ok(told)
}
