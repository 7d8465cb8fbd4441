//! `sealock top`: a live view of a running sealock in a terminal, over its admin listener. It only looks.

mod client;
mod head;
mod keys;
mod line;
mod model;
mod run;
mod screen;
mod table;
mod terminal;
mod text;
mod view;

use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::admin::read_token;
use crate::config;
use crate::units::parse_duration;

use client::{Client, Token};
use view::{Looking, View};

const DEFAULT_URL: &str = "http://127.0.0.1:9901";
/// Not in an option, where every user of the machine could read it.
const TOKEN_VARIABLE: &str = "SEALOCK_ADMIN_TOKEN";

/// What to look at, and how.
#[derive(Debug, Args)]
#[command(
    after_help = "The token of the admin listener is read from --token-file, from SEALOCK_ADMIN_TOKEN in the \
                        environment, or from where --config has it.\nIt only looks: nothing can be changed from here."
)]
pub struct Top {
    /// The admin listener [default: http://127.0.0.1:9901]
    #[arg(value_name = "URL", conflicts_with = "config")]
    url: Option<String>,
    /// Find the admin listener and its token in a configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// File that holds the token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How often to look
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = pace)]
    interval: Duration,
    /// Print one picture as plain text, after one interval, which the rates are of; so it is without a terminal, and
    /// where TERM is dumb or not set
    #[arg(long)]
    once: bool,
    /// Show the sessions of one route only
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// The column to sort sessions by
    #[arg(long, value_name = "COLUMN", default_value = "traffic",
          value_parser = PossibleValuesParser::new(table::names(table::SESSIONS)))]
    sort: String,
}

fn pace(text: &str) -> Result<Duration, String> {
    let pace = parse_duration(text).map_err(|error| error.to_string())?;
    let possible = Duration::from_millis(100)..=Duration::from_hours(1);
    possible
        .contains(&pace)
        .then_some(pace)
        .ok_or_else(|| "expected a time from 100ms to 1h".into())
}

/// Runs the view. 0 when it was left, 1 when there was nothing to look at; none when the configuration is wrong, which has been told.
///
/// `load` reads the admin listener out of a file, where it has one.
pub async fn run(args: Top, load: impl Fn(&Path) -> Option<Option<config::Admin>>) -> Option<ExitCode> {
    let found = match &args.config {
        Some(file) => Some((file.as_path(), load(file)?)),
        None => None,
    };
    Some(match top(&args, found).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            // A reader that has gone is no reason to stop.
            drop(writeln!(std::io::stderr(), "error: {problem}"));
            ExitCode::FAILURE
        }
    })
}

async fn top(args: &Top, found: Option<(&Path, Option<config::Admin>)>) -> Result<(), String> {
    let admin = found.map(|(file, admin)| admin.ok_or_else(|| nothing(file)));
    let admin = admin.transpose()?;
    let admin = admin.as_ref();
    let url = match admin {
        Some(admin) => format!("http://{}", reachable(admin.bind)?),
        None => args.url.clone().unwrap_or_else(|| DEFAULT_URL.into()),
    };
    let client = Client::new(&url, token(args, admin)?, args.route.clone())?;
    let by = table::names(table::SESSIONS).position(|name| name == args.sort);
    let view = View {
        sessions: Looking::by(by.unwrap_or(table::BY_TRAFFIC)),
        route: args.route.clone(),
        ..View::default()
    };
    if args.once || !can_draw() {
        let text = run::once(&client, &view, args.interval).await?;
        let mut out = std::io::stdout().lock();
        // A reader that has gone is no reason to complain.
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
        return Ok(());
    }
    // https://no-color.org
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    run::watch(client, view, args.interval, colour).await
}

/// Whether standard output is a terminal that can be drawn on.
fn can_draw() -> bool {
    let kind = std::env::var_os("TERM").unwrap_or_default();
    std::io::stdout().is_terminal() && !kind.is_empty() && kind != "dumb"
}

fn nothing(file: &Path) -> String {
    format!(
        "{} has no [admin]: there is nothing to look at\n  help: add [admin] with bind = \"127.0.0.1:9901\", and restart sealock",
        file.display()
    )
}

/// Where a listener can be reached from its own machine.
fn reachable(bind: SocketAddr) -> Result<SocketAddr, String> {
    if bind.port() == 0 {
        return Err("the system chooses the port of [admin]\n  help: sealock prints its address when it starts; write that".into());
    }
    let mut address = bind;
    if bind.ip().is_unspecified() {
        address.set_ip(match bind {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(address)
}

/// The token: what was said last is closest to what is meant.
fn token(args: &Top, admin: Option<&config::Admin>) -> Result<Option<Token>, String> {
    let of_file = |file: &Path| {
        let token = read_token(file).map_err(|error| error.to_string())?;
        Ok(Some(Token {
            token,
            source: file.display().to_string(),
        }))
    };
    if let Some(file) = &args.token_file {
        return of_file(file);
    }
    // Empty is how some say that there is none.
    if let Some(token) = std::env::var_os(TOKEN_VARIABLE).filter(|token| !token.is_empty()) {
        let token = token.into_string().unwrap_or_default();
        return match config::Token::problem(&token) {
            Some(problem) => Err(format!("{TOKEN_VARIABLE}: {problem}")),
            None => Ok(Some(Token {
                token,
                source: TOKEN_VARIABLE.into(),
            })),
        };
    }
    match admin.and_then(|admin| admin.token.as_ref()) {
        None => Ok(None),
        Some(config::Token::File(file)) => of_file(file),
        Some(config::Token::Here(token)) => Ok(Some(Token {
            token: token.clone(),
            source: "the configuration".into(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_reached_on_loopback() {
        for (bind, address) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("0.0.0.0:2", "127.0.0.1:2"),
            ("[::]:3", "[::1]:3"),
            ("192.0.2.1:4", "192.0.2.1:4"),
        ] {
            assert_eq!(reachable(bind.parse().unwrap()), Ok(address.parse().unwrap()));
        }
        assert!(reachable("127.0.0.1:0".parse().unwrap()).is_err());
    }

    #[test]
    fn the_interval_has_bounds() {
        for (text, good) in [
            ("100ms", true),
            ("1h", true),
            ("99ms", false),
            ("61m", false),
            ("2", false),
        ] {
            assert_eq!(pace(text).is_ok(), good, "{text}");
        }
    }
}
