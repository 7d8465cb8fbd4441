//! `sealock decode`: what a framing makes of a capture, which framing a capture has, and the way back.
//!
//! ```text
//! capture ─► bytes ─┬─► Cutter ─► records: a line each, or JSON      decode
//!            or hex └─► guess: the whole catalogue, ranked           decode --guess
//! messages ─► lines, hex or JSON ─► framing ─► bytes or hex          decode --encode
//! ```
//!
//! It runs without the runtime and the network: files and pipes, a chunk at a time. What it knows of framings is what
//! [`crate::framing`] offers to everybody, so a new framing is decoded, encoded and guessed as soon as it has a preset.

mod capture;
mod cut;
mod encode;
mod guess;
mod records;
mod show;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgGroup, Args, ValueEnum};

use crate::config::{Config, parse_framing};
use crate::framing::{DecodeRules, Embedded, Framing, Oversized, Partial};
use crate::units::ByteSize;

/// The longest message where nothing else is said: as in routes.
const MAX_MESSAGE: u64 = 1 << 20;
/// The command line makes no sense: what clap says of its own findings.
const USAGE: u8 = 2;

/// What to decode, and how.
#[derive(Debug, Args)]
#[command(override_usage = "\
    sealock decode --framing <NAME|TABLE> [OPTIONS] [FILE]\n       \
    sealock decode --config <FILE> --route <NAME> [OPTIONS] [FILE]\n       \
    sealock decode --guess [OPTIONS] [FILE]")]
#[command(group(ArgGroup::new("rule").required(true).args(["framing", "config", "guess"])))]
pub struct Decode {
    /// The capture, or with --encode the messages; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    input: PathBuf,
    /// Framing: a preset such as irc, or a table as in the configuration file
    #[arg(short, long, value_name = "NAME|TABLE")]
    framing: Option<String>,
    /// Take framing, max_message and oversized from a route of this configuration file
    #[arg(short, long, value_name = "FILE", requires = "route")]
    config: Option<PathBuf>,
    /// The route
    #[arg(long, value_name = "NAME", requires = "config")]
    route: Option<String>,
    /// The subprotocol of the route whose translation counts
    #[arg(long, value_name = "NAME", requires = "route")]
    subprotocol: Option<String>,
    /// Where the two directions differ: what the service sends (to-client), or what it gets
    #[arg(long, value_name = "SIDE", value_enum, default_value_t = Direction::ToClient)]
    direction: Direction,
    /// The longest message [default: 1 MiB, or what the route says]
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| ByteSize::parse(text))]
    max_message: Option<ByteSize>,
    /// The capture is hex, or a dump by xxd, hexdump -C, od -t x1; with --encode, each message is a line of hex
    #[arg(long)]
    hex: bool,
    /// Print JSON lines; with --encode, read them
    #[arg(long)]
    json: bool,
    /// The way back: each line of the input is a message, and its record is written
    #[arg(long, conflicts_with = "guess")]
    encode: bool,
    /// With --encode: write a line of hex for each record
    #[arg(long, requires = "encode")]
    hex_out: bool,
    /// Try every framing on a capture and rank those that fit
    #[arg(long, conflicts_with_all = ["json", "direction"])]
    guess: bool,
}

/// The side that records go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Direction {
    ToClient,
    ToBackend,
}

/// By what a capture is decoded, or messages are encoded.
#[derive(Clone, Debug)]
struct Rule {
    framing: Framing,
    /// How the person who asked calls it.
    name: String,
    limits: DecodeRules,
    embedded: Embedded,
    partial: Partial,
}

/// Decodes, encodes or guesses. 0: every byte, or every message, found its place, or a framing fits; 1: not so, as was said; 2: the
/// command line is wrong. `None` when `load` could not load the configuration, which it has told.
pub fn run(args: &Decode, load: impl FnOnce(&Path) -> Option<Config>) -> Option<ExitCode> {
    let rule = if let (Some(file), Some(route)) = (&args.config, &args.route) {
        from_route(&load(file)?, route, args)
    } else {
        args.framing
            .as_ref()
            .map(|value| written(value, args))
            .transpose()
    };
    let done = match rule {
        Err(problem) => {
            report(&problem);
            return Some(USAGE.into());
        }
        Ok(_) if args.encode && args.hex && args.json => {
            report("error: a message is a line of hex or of JSON: use --hex or --json, not both");
            return Some(USAGE.into());
        }
        Ok(Some(rule)) if args.encode => encode::run(args, &rule),
        Ok(Some(rule)) => records::run(args, &rule),
        Ok(None) => guess::run(args),
    };
    Some(match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            report(&format!("error: {problem}"));
            ExitCode::FAILURE
        }
    })
}

fn written(value: &str, args: &Decode) -> Result<Rule, String> {
    let read = parse_framing(value, "--framing").map_err(|problems| problems.to_string())?;
    let framing = match args.direction {
        Direction::ToClient => read.to_client,
        Direction::ToBackend => read.to_backend,
    };
    Ok(Rule {
        partial: framing.default_partial(),
        framing,
        name: value.trim().to_owned(),
        limits: limits(args, MAX_MESSAGE, Oversized::Close),
        embedded: Embedded::Reject,
    })
}

fn from_route(config: &Config, name: &str, args: &Decode) -> Result<Option<Rule>, String> {
    let Some(route) = config.routes.iter().find(|route| route.name == name) else {
        let names: Vec<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
        return Err(format!(
            "error: there is no route {name:?}\n  help: the routes are {}",
            names.join(", ")
        ));
    };
    let own = |name: &String| route.subprotocols.iter().any(|(known, _)| known == name);
    if let Some(subprotocol) = args.subprotocol.as_ref().filter(|name| !own(name)) {
        return Err(format!(
            "error: route {name} translates no subprotocol {subprotocol:?} in its own way\n  \
             help: without --subprotocol, its framing is the one of all others"
        ));
    }
    let settings = route.settings_for(args.subprotocol.as_deref());
    let (framing, oversized) = match args.direction {
        Direction::ToClient => (&settings.to_client, settings.oversized.to_client),
        Direction::ToBackend => (&settings.to_backend, settings.oversized.to_backend),
    };
    Ok(Some(Rule {
        framing: framing.clone(),
        name: format!("route {name}"),
        limits: limits(args, settings.max_message, oversized),
        embedded: settings.embedded.clone(),
        partial: settings.partial,
    }))
}

fn limits(args: &Decode, max_message: u64, oversized: Oversized) -> DecodeRules {
    DecodeRules {
        max_message: args.max_message.map_or(max_message, |ByteSize(size)| size),
        oversized,
        text: false,
    }
}

/// Prints for the person who asked. A reader that has gone is no reason to stop.
fn report(text: &str) {
    drop(writeln!(std::io::stderr(), "{}", text.trim_end()));
}

/// `1 record`, `2 records`.
fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
