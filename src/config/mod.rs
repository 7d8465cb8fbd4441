//! Reads the configuration file: from what was written, with its spans, to a [`Config`] that cannot be wrong.
//!
//! Two passes. The parser gives a tree in which every key and value knows its place, and all syntax errors. A reader then walks
//! that tree by hand, takes what it knows, and reports *every* problem, each with the place, what was expected and what to write
//! instead. A `Config` exists only when there was none.
//!
//! ```text
//! source -> toml's tree -> reader  (keys known? types, units, ranges; ${VARIABLES} in strings)
//!                            |-> limits, listeners, routes = defaults + route, checked against each other
//!                            '-> problems -> Diagnostics -> text for a person
//! ```
//!
//! [`parse`] touches nothing but its arguments; [`load`] reads the file and the environment. Certificates are not read here.

mod admin;
mod backend;
mod diagnostic;
mod framing;
mod interpolate;
mod keys;
mod listener;
mod mask;
mod model;
mod rates;
mod reader;
mod render;
mod route;
mod scalar;
mod settings;
mod suggest;
mod syntax;
#[cfg(test)]
mod tests;
mod text;
mod value;

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

use diagnostic::Basis;
pub use diagnostic::{Diagnostic, Diagnostics, Severity, Span};
use keys::Place;
pub use model::{
    Admin, BackendTls, Bind, Certificate, Config, Limits, Listener, OtherCertificate, Route, Tls, Token,
    Written,
};
use reader::{Item, Reader, Section};
use suggest::quote;
pub use value::{Directions, parse_framing};

use crate::addr::Prefix;
use crate::telemetry;
use crate::units::ByteSize;

const DEFAULT_DRAIN_WINDOW: Duration = Duration::from_secs(5);
const DEFAULT_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_RELOAD_INTERVAL: Duration = Duration::from_secs(10);
/// No configuration is this long; something else was named by mistake.
const LONGEST_FILE: u64 = 4 << 20;
/// What a count may be at most. Every session and every connection needs a file descriptor.
const MOST: usize = 10_000_000;
/// What sessions may be allowed to hold together.
const BUDGET: std::ops::RangeInclusive<u64> = (64 << 10)..=(1 << 40);

/// A configuration that can be used, and what is odd about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings only; may be empty.
    pub warnings: Diagnostics,
}

/// Reads a configuration file. Variables come from the environment, relative paths start at the file's folder, or in the working
/// directory where it is a pipe, which has none.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    let text = Text::read(path)?;
    parse(&text.source, &text.name, &text.base_dir, &variable)
}

/// Reads the admin listener out of a configuration file, and nothing else: what stands elsewhere may need variables that only sealock
/// itself is given.
pub fn load_admin(path: &Path) -> Result<Option<Admin>, Diagnostics> {
    let text = Text::read(path)?;
    let (admin, ..) = walk(&text.source, &text.name, &text.base_dir, &variable, admin::read)?;
    Ok(admin)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What stands in a file.
struct Text {
    name: String,
    source: String,
    base_dir: PathBuf,
}

impl Text {
    fn read(path: &Path) -> Result<Self, Diagnostics> {
        let name = path.display().to_string();
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| {
            let regular = file.metadata()?.is_file();
            file.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
            Ok(regular)
        });
        let refuse = |problem| Err(Diagnostics::new(&name, "", vec![problem]));
        let regular = match read {
            Ok(regular) => regular,
            Err(error) => {
                let help = "name another file with --config, or check who may read this one";
                return refuse(Diagnostic::error(format!("the file cannot be read: {error}")).help(help));
            }
        };
        if bytes.len() as u64 > LONGEST_FILE {
            let help = "name the configuration, not another file";
            return refuse(Diagnostic::error("the file has more than 4 MiB").help(help));
        }
        let base_dir = path.parent().filter(|_| regular);
        match String::from_utf8(bytes) {
            Ok(source) => Ok(Self {
                source,
                base_dir: base_dir.map(Path::to_owned).unwrap_or_default(),
                name,
            }),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                Err(not_utf8(&name, error.as_bytes(), at))
            }
        }
    }
}

fn not_utf8(name: &str, bytes: &[u8], at: usize) -> Diagnostics {
    // Up to the first bad byte this is the same text; there stands U+FFFD.
    let source = String::from_utf8_lossy(bytes);
    let span = at..at + char::REPLACEMENT_CHARACTER.len_utf8();
    let problem = Diagnostic::error("the file is not UTF-8")
        .at(span, "a byte that is no character")
        .help("save it as UTF-8");
    let veiled = mask::veil(&source, &DeTable::new(), true);
    Diagnostics::new(name, &veiled, vec![problem])
}

/// Reads a configuration from text. `name` is what messages call it, `base_dir` is where relative paths start, `env` looks
/// variables up.
pub fn parse(
    source: &str,
    name: &str,
    base_dir: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Diagnostics> {
    let (mut config, text, warnings) = walk(source, name, base_dir, env, read)?;
    let name = name.to_owned();
    config.written = Arc::new(Written { name, text });
    Ok(Loaded { config, warnings })
}

/// Takes what is asked for out of a text; gives it with the text, masked, and what is odd about it.
fn walk<T>(
    source: &str,
    name: &str,
    base_dir: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    take: impl FnOnce(&Section<'_>) -> Option<T>,
) -> Result<(T, String, Diagnostics), Diagnostics> {
    let (tree, errors) = DeTable::parse_recoverable(source);
    // What messages quote.
    let veiled = mask::veil(source, tree.get_ref(), !errors.is_empty());
    let reader = Reader {
        source: &veiled,
        base_dir,
        env,
        problems: RefCell::new(
            errors
                .iter()
                .map(|error| syntax::explain(&veiled, error))
                .collect(),
        ),
        shares: RefCell::default(),
        gather_budget: RefCell::default(),
    };
    let taken = take(&Section::open(&reader, Place::Top, 0..0, tree.get_ref()));
    let problems = Diagnostics::new(name, &veiled, reader.problems.into_inner());
    match taken {
        Some(taken) if problems.count(Severity::Error) == 0 => {
            Ok((taken, mask::mask(source, tree.get_ref()), problems))
        }
        _ => Err(problems),
    }
}

fn read(top: &Section<'_>) -> Option<Config> {
    let span = |key, usual| {
        top.get(key).map_or(Some(usual), |item| {
            item.duration(Duration::ZERO..=Duration::from_hours(24))
        })
    };
    let drain_window = span("drain_window", DEFAULT_DRAIN_WINDOW);
    let shutdown_timeout = span("shutdown_timeout", DEFAULT_SHUTDOWN_TIMEOUT);
    let reload_interval = top
        .get("reload_interval")
        .map_or(Some(Some(DEFAULT_RELOAD_INTERVAL)), |item| item.duration_or_off());
    let log_level = top
        .get("log_level")
        .map_or(Some(None), |item| log_level(&item).map(Some));
    let log_file = top
        .get("log_file")
        .map_or(Some(None), |item| listener::file(&item).map(Some));
    let limits = limits(top);
    let admin = admin::read(top);
    let listeners = listener::read_all(top);
    let mut routes = route::read_all(top);
    let (drain_window, shutdown_timeout) = (drain_window?, shutdown_timeout?);
    // Who is told last must have time as well; but a window of the whole time leaves half of it. A process that waits for nobody at its
    // end does not treat those so that it is to go on without.
    let patience = if shutdown_timeout.is_zero() {
        DEFAULT_SHUTDOWN_TIMEOUT
    } else {
        shutdown_timeout
    };
    let drain = patience - drain_window.min(patience / 2);
    routes.iter_mut().for_each(|route| route.set_drain(drain));
    let limits = limits?;
    warn_of_limits(top, &limits, &routes);
    Some(Config {
        listeners,
        routes,
        limits,
        admin: admin?,
        drain_window,
        shutdown_timeout,
        written: Arc::default(),
        reload_interval: reload_interval?,
        log_level: log_level?,
        log_file: log_file?,
    })
}

fn log_level(item: &Item<'_>) -> Option<String> {
    let text = item.text("\"info\"")?;
    if let Err(problem) = telemetry::check_level(&text.value) {
        // What the parser says quotes the value, which may come from the environment.
        let label = if text.literal().is_some() { &problem } else { "" };
        item.wrong(
            "this is not a log level",
            label,
            "write \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or a list such as \"info,sealock::backend=debug\"",
        );
        return None;
    }
    Some(text.value)
}

/// The most sessions of a listener or a route, where it says so.
fn max_sessions(section: &Section<'_>) -> Option<Option<usize>> {
    section
        .get("max_sessions")
        .map_or(Some(None), |item| share(&item).map(Some))
}

fn share(item: &Item<'_>) -> Option<usize> {
    let share = item.count(1..=MOST)?;
    let mut shares = item.reader.shares.borrow_mut();
    shares.push(Spanned::new(item.span.clone(), share));
    Some(share)
}

/// Warns of limits that another one makes void.
fn warn_of_limits(top: &Section<'_>, limits: &Limits, routes: &[Route]) {
    let most = limits.max_sessions;
    for share in top
        .reader
        .shares
        .borrow()
        .iter()
        .filter(|share| *share.get_ref() > most)
    {
        let void = Diagnostic::warning("this limit is never reached")
            .at(
                share.span(),
                format!("the whole process has at most {most} sessions"),
            )
            .help("raise `max_sessions` of `[limits]`, or lower this one");
        top.reader.report(void.basis(Basis::Value));
    }
    let Some(budget) = top.reader.gather_budget.borrow().clone() else {
        return;
    };
    let largest = routes.iter().max_by_key(|route| route.settings.max_message);
    if let Some(route) = largest.filter(|route| route.settings.max_message > limits.gather_budget) {
        let (name, size) = (quote(&route.name), ByteSize(route.settings.max_message));
        let small = Diagnostic::warning("the longest messages may not fit")
            .at(budget, "all sessions together hold no more")
            .help(format!(
                "the route {name} has max_message = {}: write at least that much, or lower it",
                quote(&size.to_string())
            ));
        top.reader.report(small.basis(Basis::Value));
    }
}

fn limits(top: &Section<'_>) -> Option<Limits> {
    let usual = Limits::default();
    let Some(item) = top.get("limits") else {
        return Some(usual);
    };
    let section = item.table(Place::Limits)?;
    let count = |key, usual| section.get(key).map_or(Some(usual), |item| item.count(1..=MOST));
    let max_sessions = count("max_sessions", usual.max_sessions);
    let max_handshakes = count("max_handshakes", usual.max_handshakes);
    let per_client = section
        .get("max_sessions_per_client")
        .map_or(Some(usual.max_sessions_per_client), |item| {
            item.count_or_off(1..=MOST)
        });
    if let (Some(item), Some(Some(most))) = (section.get("max_sessions_per_client"), per_client) {
        let share = Spanned::new(item.span, most);
        section.reader.shares.borrow_mut().push(share);
    }
    let prefix = |key, usual: u8, most| {
        section.get(key).map_or(Some(usual), |item| {
            item.count(1..=most).and_then(|bits| u8::try_from(bits).ok())
        })
    };
    let per_second = section
        .get("handshakes_per_second")
        .map_or(Some(usual.handshakes_per_second), |item| {
            item.count_or_off(1..=MOST)
        });
    let gather_budget = section
        .get("gather_budget")
        .map_or(Some(usual.gather_budget), |item| {
            *section.reader.gather_budget.borrow_mut() = Some(item.span.clone());
            item.size(BUDGET)
        });
    let v4 = prefix("client_prefix_v4", usual.client_prefix.v4, 32);
    let v6 = prefix("client_prefix_v6", usual.client_prefix.v6, 128);
    Some(Limits {
        max_sessions: max_sessions?,
        max_sessions_per_client: per_client?,
        client_prefix: Prefix { v4: v4?, v6: v6? },
        max_handshakes: max_handshakes?,
        handshakes_per_second: per_second?,
        gather_budget: gather_budget?,
    })
}
