//! Reads `[[route]]`.

use std::collections::HashMap;
use std::sync::Arc;

use super::backend;
use super::diagnostic::{Diagnostic, Span};
use super::keys::Place;
use super::model::Route;
use super::reader::{Item, Reader, Section};
use super::settings::{self, Written};
use super::suggest::quote;
use crate::bridge::Settings;
use crate::route::{HostPattern, PathPattern};

/// Names are labels of metrics and stand in logs.
const LONGEST_NAME: usize = 64;

/// What is compared between routes, with its place.
#[derive(Default)]
struct Seen {
    names: HashMap<String, Span>,
    patterns: HashMap<(HostPattern, PathPattern), Span>,
}

/// Reads all routes and compares them.
pub(super) fn read_all(top: &Section<'_>) -> Vec<Route> {
    let defaults = top
        .get("defaults")
        .and_then(|item| item.table(Place::Defaults))
        .map_or_else(Written::default, |section| Written::read(&section));
    let mut seen = Seen::default();
    let sections = top.tables("route", Place::Route);
    let routes = sections
        .iter()
        .filter_map(|section| read(section, &defaults, &mut seen))
        .collect();
    if !top.mentions("route") {
        let missing = Diagnostic::error("there is no route").help(
            "add, for example\n[[route]]\nname = \"irc\"\npath = \"/irc\"\nbackend = \"tcp://127.0.0.1:6667\"\nframing = \"irc\"",
        );
        top.reader.report(missing);
    }
    routes
}

fn read(section: &Section<'_>, defaults: &Written, seen: &mut Seen) -> Option<Route> {
    section.require(
        "a route",
        &[
            ("name", "name = \"irc\""),
            ("path", "path = \"/irc\""),
            ("backend", "backend = \"tcp://127.0.0.1:6667\""),
        ],
    );
    let name = section.get("name").and_then(|item| {
        let name = name(&item)?;
        seen.name(section.reader, &name, item.span);
        Some(name)
    });
    let hosts = section.get("hosts").map_or(Some(Vec::new()), |item| hosts(&item));
    let path = section
        .get("path")
        .and_then(|item| Some((path(&item)?, item.span)));
    let backend = section.get("backend").and_then(|item| backend::read(&item));
    if let (Some(hosts), Some((path, span))) = (&hosts, &path) {
        seen.patterns(section.reader, hosts, path, span);
    }
    let max_sessions = super::max_sessions(section);
    let written = Written::read(section);
    let subprotocols = subprotocols(section, &written, defaults);
    let mut resolved = written.resolve(defaults, section)?;
    check_subprotocols(&subprotocols, &resolved.policy.subprotocols, section);
    let names = subprotocols.iter().map(|one| one.name.clone());
    resolved.policy.subprotocols = names.chain(resolved.policy.subprotocols).collect();
    let backend = backend?;
    Some(Route {
        name: name?,
        hosts: hosts?.into_iter().map(|(_, host)| host).collect(),
        path: path?.0,
        max_sessions: max_sessions?,
        backend_tls: backend.tls.clone(),
        backend: backend.plan(section.reader, &resolved.settings, resolved.dial_timeout)?,
        policy: resolved.policy,
        settings: Arc::new(resolved.settings),
        subprotocols: subprotocols
            .into_iter()
            .filter_map(|one| Some((one.name, Arc::new(one.settings?))))
            .collect(),
    })
}

/// A `[[route.subprotocol]]`.
struct Subprotocol {
    name: String,
    span: Span,
    /// None where it is wrong, which has been reported then.
    settings: Option<Settings>,
}

/// Reads `[[route.subprotocol]]`. Where one says nothing, the route's settings hold, and below them the defaults.
fn subprotocols(route: &Section<'_>, own: &Written, defaults: &Written) -> Vec<Subprotocol> {
    let sections = route.tables("subprotocol", Place::Subprotocol);
    let outer = own.clone().or(defaults.clone());
    let one = |section: &Section<'_>| {
        section.require("a subprotocol", &[("name", "name = \"text.ircv3.net\"")]);
        let written = Written::read_translation(section).beneath(own);
        let settings = written.resolve(&outer, section).map(|resolved| resolved.settings);
        let item = section.get("name")?;
        Some(Subprotocol {
            name: settings::token(&item)?,
            span: item.span,
            settings,
        })
    };
    sections.iter().filter_map(one).collect()
}

/// A name says one thing.
fn check_subprotocols(own: &[Subprotocol], listed: &[String], route: &Section<'_>) {
    for (at, one) in own.iter().enumerate() {
        if let Some(first) = own[..at].iter().find(|first| first.name == one.name) {
            let problem = Diagnostic::error("two subprotocols of a route have the same name")
                .at(one.span.clone(), "again here")
                .at(first.span.clone(), "first here")
                .help("remove one of them");
            route.reader.report(problem);
        }
        if listed.contains(&one.name) {
            let mut problem = Diagnostic::error("a subprotocol with a table of its own is not listed")
                .at(one.span.clone(), "has a table");
            if let Some(list) = route.get("subprotocols") {
                problem = problem.at(list.span, "listed here too");
            }
            let help = "remove it from `subprotocols`: those are translated as the route is";
            route.reader.report(problem.help(help));
        }
    }
}

impl Seen {
    fn name(&mut self, reader: &Reader<'_>, name: &str, span: Span) {
        if let Some(first) = self.names.get(name) {
            let problem = Diagnostic::error("two routes have the same name")
                .at(span, "again here")
                .at(first.clone(), "first here")
                .help("names tell routes apart in logs and metrics: change one");
            reader.report(problem);
        } else {
            self.names.insert(name.to_owned(), span);
        }
    }

    fn patterns(
        &mut self,
        reader: &Reader<'_>,
        hosts: &[(Span, HostPattern)],
        path: &PathPattern,
        span: &Span,
    ) {
        let any = [(span.clone(), HostPattern::Any)];
        let hosts = if hosts.is_empty() { &any } else { hosts };
        let patterns = hosts
            .iter()
            .map(|(place, host)| ((host.clone(), path.clone()), place));
        let (taken, free): (Vec<_>, Vec<_>) =
            patterns.partition(|(pattern, _)| self.patterns.contains_key(pattern));
        for (pattern, place) in taken {
            let problem = Diagnostic::error("two routes have the same host and path")
                .at(place.clone(), "never reached")
                .at(self.patterns[&pattern].clone(), "always taken first")
                .help("change the host or the path of one of them");
            reader.report(problem);
        }
        // Only now: a host listed twice in one route is told where it is read.
        self.patterns
            .extend(free.into_iter().map(|(pattern, place)| (pattern, place.clone())));
    }
}

fn name(item: &Item<'_>) -> Option<String> {
    let text = item.text("\"irc\"")?;
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if (1..=LONGEST_NAME).contains(&text.value.len()) && text.value.bytes().all(fits) {
        return Some(text.value);
    }
    let label = match text.value.len() {
        0 => "empty",
        1..=LONGEST_NAME => "other characters",
        _ => "too long",
    };
    let help = text
        .literal()
        .and_then(meant_name)
        .unwrap_or_else(|| format!("write 1 to {LONGEST_NAME} of a-z, 0-9, - and _, such as \"irc\""));
    item.wrong("a name has only a-z, 0-9, - and _", label, help);
    None
}

fn meant_name(text: &str) -> Option<String> {
    let meant = text.trim().to_ascii_lowercase().replace([' ', '.', '/'], "-");
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let sound = (1..=LONGEST_NAME).contains(&meant.len()) && meant.bytes().all(fits);
    sound.then(|| format!("write {}", quote(&meant)))
}

fn hosts(item: &Item<'_>) -> Option<Vec<(Span, HostPattern)>> {
    let elements = item.list("[\"chat.example.com\"]")?;
    if elements.is_empty() {
        item.wrong(
            "`hosts` is empty",
            "no host could match",
            "remove it to serve every host",
        );
        return None;
    }
    item.each(&elements, host)
}

fn host(item: &Item<'_>) -> Option<HostPattern> {
    let text = item.text("\"chat.example.com\"")?;
    match text.value.parse::<HostPattern>() {
        Ok(host) => Some(host),
        Err(error) => {
            let help = text.literal().and_then(meant_host).unwrap_or_else(|| {
                "write a name, an address, or \"*.example.com\" for every host below it; other letters as xn--…".to_owned()
            });
            item.wrong(error.to_string(), "not a host", help);
            None
        }
    }
}

/// The host of what is rather a URL or an authority.
fn meant_host(text: &str) -> Option<String> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && !host.ends_with(':') => host,
        _ => authority,
    };
    let bracketed = format!("[{host}]");
    let meant = if host.parse::<std::net::Ipv6Addr>().is_ok() {
        &bracketed
    } else {
        host
    };
    meant.parse::<HostPattern>().ok()?;
    Some(format!("write {}", quote(meant)))
}

fn path(item: &Item<'_>) -> Option<PathPattern> {
    let text = item.text("\"/irc\"")?;
    match text.value.parse::<PathPattern>() {
        Ok(path) => Some(path),
        Err(error) => {
            let meant = text.literal().and_then(|text| {
                let bare = text.split(['?', '#']).next().unwrap_or_default();
                let meant = [bare.to_owned(), format!("/{bare}"), bare.replacen('*', "/*", 1)];
                meant.into_iter().find(|text| text.parse::<PathPattern>().is_ok())
            });
            let help = match meant {
                Some(meant) => format!("write {}", quote(&meant)),
                None => "write \"/irc\" for one path, \"/irc/*\" for everything below".to_owned(),
            };
            item.wrong(error.to_string(), "not a path", help);
            None
        }
    }
}
