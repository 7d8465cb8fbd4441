//! The configuration file: every text is answered, and a configuration that is given keeps what its documentation promises.
//!
//! Input: the file.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use sealock::backend::{MAX_TARGETS, Target};
use sealock::bridge::{HalfClose, Settings};
use sealock::config::{Bind, Config, Diagnostics, Listener, Loaded, Route, Severity, Tls, parse};
use sealock::framing::{Delimiter, Embedded, Empty, Framing};
use sealock::route::{HostPattern, PathPattern, RouteTable};
use sealock::upgrade::Origins;

const NAME: &str = "sealock.toml";
const FOLDER: &str = "/etc/sealock";
/// The value of `${SECRET}`: it may come from the environment, and must not be printed.
const SECRET: &str = "hunter2 hunter2";
const YEAR: Duration = Duration::from_hours(24 * 366);

/// Any text is answered, always the same, and with what can be used or with a reason why not.
pub fn config(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else {
        return;
    };
    let problems = match read(source) {
        Ok(loaded) => {
            assert_eq!(loaded.warnings.count(Severity::Error), 0);
            check(&loaded.config, source);
            assert_eq!(
                read(source).ok().map(|again| again.warnings),
                Some(loaded.warnings.clone())
            );
            loaded.warnings
        }
        Err(problems) => {
            assert!(problems.count(Severity::Error) > 0, "refused without a reason");
            assert_eq!(read(source).err(), Some(problems.clone()));
            problems
        }
    };
    print(&problems, source);
}

fn read(source: &str) -> Result<Loaded, Diagnostics> {
    parse(source, NAME, Path::new(FOLDER), &|name| match name {
        "HOST" => Some("127.0.0.1".to_owned()),
        "PORT" => Some("6667".to_owned()),
        "EMPTY" => Some(String::new()),
        "SECRET" => Some(SECRET.to_owned()),
        _ => None,
    })
}

/// Every problem has its place and its text, and the text is safe to print.
fn print(problems: &Diagnostics, source: &str) {
    for problem in problems.iter() {
        assert!(!problem.title.is_empty());
        for (span, _) in &problem.labels {
            assert!(
                source.get(span.clone()).is_some(),
                "{span:?} is not a place in the file"
            );
        }
    }
    let plain = problems.render(false);
    assert!(plain.contains(NAME));
    assert!(
        !plain.contains(|c: char| c.is_control() && c != '\n'),
        "a control character is printed"
    );
    assert!(
        !plain.contains(SECRET) || source.contains(SECRET),
        "a secret is printed"
    );
    assert!(!problems.render(true).is_empty());
}

fn check(config: &Config, source: &str) {
    assert!(!config.listeners.is_empty() && !config.routes.is_empty());
    assert!(config.limits.max_sessions > 0 && config.limits.max_handshakes > 0);
    assert!(config.shutdown_timeout <= YEAR);
    let mut binds = HashSet::new();
    for listener in &config.listeners {
        assert!(
            matches!(&listener.bind, Bind::Address(address) if address.port() == 0)
                || binds.insert(listener.bind.to_string()),
            "two listeners on {}",
            listener.bind
        );
        check_listener(listener, source);
    }
    let mut names = HashSet::new();
    for route in &config.routes {
        assert!(names.insert(&route.name), "two routes named {}", route.name);
        check_route(route);
    }
    check_reach(&config.routes);
}

fn check_listener(listener: &Listener, source: &str) {
    for timeout in [listener.handshake_timeout, listener.request_timeout] {
        assert!(timeout > Duration::ZERO && timeout <= YEAR);
    }
    assert!((8 << 10..=1 << 20).contains(&listener.max_head));
    match &listener.tls {
        Tls::On(files) => {
            assert!(files.cert_file.is_absolute() && files.key_file.is_absolute());
            assert!(
                files
                    .client_ca_file
                    .as_ref()
                    .is_none_or(|file| file.is_absolute())
            );
        }
        // In words, or written with escapes.
        Tls::Off => assert!(
            matches!(&listener.bind, Bind::Address(address) if address.ip().to_canonical().is_loopback())
                || source.contains("anywhere")
                || source.contains(['\\', '$'])
        ),
    }
}

fn check_route(route: &Route) {
    assert!((1..=64).contains(&route.name.len()));
    assert!(
        route
            .name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
    );
    for host in &route.hosts {
        assert_eq!(host.to_string().parse().as_ref(), Ok(host));
    }
    assert_eq!(route.path.to_string().parse().as_ref(), Ok(&route.path));
    assert!((1..=MAX_TARGETS).contains(&route.backend.targets.len()));
    for target in &route.backend.targets {
        assert_eq!(target.to_string().parse::<Target>().as_ref(), Ok(target));
    }
    assert!(route.backend.dial_timeout > Duration::ZERO && route.backend.dial_timeout <= YEAR);
    if let Origins::Listed(listed) = &route.policy.origins {
        assert!(!listed.is_empty());
    }
    let mut subprotocols = HashSet::new();
    for name in &route.policy.subprotocols {
        assert!(subprotocols.insert(name), "{name} is listed twice");
        assert!(
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte))
        );
    }
    check_settings(&route.settings);
}

fn check_settings(settings: &Settings) {
    assert!((1..=1 << 40).contains(&settings.max_message));
    for framing in [&settings.to_backend, &settings.to_client] {
        match framing {
            Framing::LengthPrefix(rule) => assert_eq!(rule.check(), []),
            Framing::Varint(rule) => assert_eq!(rule.check(), []),
            Framing::Fixed(rule) => assert!(rule.size() <= settings.max_message),
            _ => {}
        }
    }
    match (&settings.embedded, &settings.to_backend) {
        (Embedded::Reject, _) | (Embedded::Split, Framing::Delimiter(_)) => {}
        (Embedded::Replace(with), Framing::Delimiter(rule)) => {
            assert_eq!(Delimiter::check_replacement(rule, with), Ok(()))
        }
        (embedded, framing) => panic!("{embedded:?} with {framing:?}"),
    }
    assert!(settings.half_close == HalfClose::Never || settings.empty.to_backend == Empty::Deliver);
    let timeouts = &settings.timeouts;
    let positive = [timeouts.record, timeouts.write, timeouts.close, timeouts.pong];
    for timeout in positive.into_iter().chain(timeouts.idle).chain(timeouts.ping) {
        assert!(timeout > Duration::ZERO && timeout <= YEAR);
    }
    assert!(timeouts.linger <= YEAR);
}

/// No route is hidden behind the others: there is a host and a path that leads to it. A control character stands where a pattern
/// leaves it open, as no other pattern can hold one.
fn check_reach(routes: &[Route]) {
    let entries = routes
        .iter()
        .enumerate()
        .map(|(at, route)| (route.hosts.clone(), route.path.clone(), at));
    let table = RouteTable::new(entries);
    for (at, route) in routes.iter().enumerate() {
        let path = match &route.path {
            PathPattern::Exact(path) => path.clone(),
            PathPattern::Prefix(prefix) => format!("{prefix}\u{1}"),
        };
        let any = [HostPattern::Any];
        for host in if route.hosts.is_empty() {
            &any
        } else {
            &route.hosts[..]
        } {
            let host = match host {
                HostPattern::Exact(host) => host.clone(),
                HostPattern::Suffix(suffix) => format!("\u{1}{suffix}"),
                HostPattern::Any => "\u{1}".to_owned(),
            };
            assert_eq!(
                table.find(&host, &path),
                Some(&at),
                "{host:?}{path:?} does not lead to {}",
                route.name
            );
        }
    }
}
