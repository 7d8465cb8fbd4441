//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::proxy::{Kind, relay};
use crate::{Result, run, scenario};

/// Measures what sealock costs beside nginx, HAProxy, websockify and a bare relay
#[derive(Debug, Parser)]
#[command(name = "sealock-bench", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure
    Run(Options),
    /// Name the scenarios
    List,
    /// Be the bare TCP relay, on a port that is printed
    Relay {
        /// Where to relay to
        #[arg(long)]
        backend: SocketAddr,
    },
}

/// What to measure, how long, and where to write.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The sealock to measure: a release build
    #[arg(long, value_name = "FILE", default_value = "target/release/sealock")]
    pub(crate) sealock: PathBuf,
    /// Another build of sealock, measured in turn with it
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Only these of the proxies, by name
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = proxy)]
    pub(crate) proxy: Vec<Kind>,
    /// Only scenarios whose names start with one of these
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Rounds; in each, the proxies take turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    pub(crate) rounds: u8,
    /// Seconds that messages flow for a figure
    #[arg(long, default_value_t = 0.6, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Seconds that idle sessions are watched
    #[arg(long, default_value_t = 30.0, value_parser = seconds)]
    pub(crate) idle_seconds: f64,
    /// One short round: shows that everything works, not what it costs
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write all figures of all rounds to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the page: between its markers, if the file is there; plots go to a folder beside it
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let range = 0.05..=120.0;
    range
        .contains(&seconds)
        .then_some(seconds)
        .ok_or_else(|| format!("not between {} and {}", range.start(), range.end()))
}

fn proxy(text: &str) -> Result<Kind, String> {
    let named = Kind::ALL.into_iter().find(|kind| kind.name() == text);
    named.ok_or_else(|| format!("one of {}", Kind::ALL.map(Kind::name).join(", ")))
}

/// Does what the command line asks. Exit codes: 0 done, 1 something failed, 2 wrong usage.
pub(crate) fn main() -> ExitCode {
    let command = Cli::parse().command;
    match with_runtime(command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn with_runtime(command: Command) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(LocalSet::new().run_until(async {
        match command {
            Command::Run(options) => tokio::select! {
                // Dropping the run ends the proxies.
                done = run::run(options) => done,
                name = interrupted() => Err(format!("stopped by {}", name?).into()),
            },
            Command::List => {
                scenario::all().iter().for_each(|one| println!("{}", one.name));
                Ok(true)
            }
            Command::Relay { backend } => relay(backend).await.map(|()| true),
        }
    }))
}

/// Waits for a signal that asks to end.
async fn interrupted() -> Result<&'static str> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
        _ = hangup.recv() => "SIGHUP",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        assert!(seconds("0.3").is_ok());
        assert!(seconds("1e9").is_err());
    }
}
