//! Reads `backend`: one target, a list of them, or a table that says how sessions are spread over them.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::{Basis, Diagnostic};
use super::keys::Place;
use super::listener;
use super::model::BackendTls;
use super::reader::{Item, Reader, Section, found};
use super::scalar::TIMEOUT;
use super::suggest::quote;
use crate::backend::{Balance, Check, Exchange, MAX_TARGETS, Plan, ProxyVersion, Target};
use crate::bridge::Settings;
use crate::framing::EncodeState;
use crate::message::{Kind, Part};
use crate::outbox::Outbox;

const DEFAULT_QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);
const DEFAULT_FALL: usize = 3;
const DEFAULT_RISE: usize = 2;
const MOST_IN_A_ROW: usize = 1_000_000;
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// Of what a check sends or expects.
const LONGEST_TEXT: usize = 4096;
/// Each of those who wait has a connection.
const MOST_QUEUED: usize = 100_000;
const TARGETS: &str = "[\"tcp://10.0.0.1:6667\", \"tcp://10.0.0.2:6667\"]";

/// A backend as it is written; what the rest of its route says is still to come.
pub(super) struct Written {
    plan: Plan,
    health: Option<Health>,
    /// For those targets that speak TLS.
    pub(super) tls: Option<BackendTls>,
}

impl Written {
    fn new(plan: Plan) -> Self {
        let tls = plan.targets.iter().any(Target::is_tls).then(BackendTls::default);
        Self {
            plan,
            health: None,
            tls,
        }
    }

    /// With what stands elsewhere in the route.
    pub(super) fn plan(
        self,
        reader: &Reader<'_>,
        settings: &Settings,
        dial_timeout: Duration,
    ) -> Option<Plan> {
        let check = match self.health {
            Some(health) => Some(health.check(reader, settings)?),
            None => None,
        };
        Some(Plan {
            dial_timeout,
            check,
            ..self.plan
        })
    }
}

/// Reads the value of `backend`.
pub(super) fn read(item: &Item<'_>) -> Option<Written> {
    match item.value {
        DeValue::String(_) => Some(Written::new(plan(vec![target(item)?]))),
        DeValue::Array(_) => Some(Written::new(plan(targets(item)?))),
        DeValue::Table(_) => table(&item.table(Place::Backend)?),
        other => {
            let help = format!("write backend = \"tcp://127.0.0.1:6667\", or {TARGETS}");
            item.wrong("`backend` is a string, a list or a table", found(other), help);
            None
        }
    }
}

/// These targets, and otherwise the defaults.
fn plan(targets: Vec<Target>) -> Plan {
    Plan {
        targets,
        balance: Balance::default(),
        dial_timeout: Duration::ZERO,
        max_sessions: None,
        queue: 0,
        queue_timeout: DEFAULT_QUEUE_TIMEOUT,
        fall: DEFAULT_FALL as u32,
        retry_after: DEFAULT_RETRY_AFTER,
        proxy_protocol: None,
        check: None,
    }
}

/// `health`, while the route's framing is not known yet.
struct Health {
    check: Check,
    /// The message to be sent, and what is expected.
    send: Option<Spanned<Vec<u8>>>,
    expect: Option<Vec<u8>>,
}

impl Health {
    fn read(item: &Item<'_>) -> Option<Self> {
        let section = item.table(Place::Health)?;
        let duration = |key, usual| {
            section
                .get(key)
                .map_or(Some(usual), |item| item.duration(TIMEOUT))
        };
        let interval = duration("interval", DEFAULT_INTERVAL);
        let timeout = duration("timeout", DEFAULT_CHECK_TIMEOUT);
        let rise = section
            .get("rise")
            .map_or(Some(DEFAULT_RISE), |item| item.count(1..=MOST_IN_A_ROW));
        let bytes = |item: Item<'_>| {
            let bytes = item.bytes()?;
            if bytes.is_empty() || bytes.len() > LONGEST_TEXT {
                let help = format!("write 1 to {LONGEST_TEXT} bytes");
                item.wrong(format!("`{}` has 1 to {LONGEST_TEXT} bytes", item.key), "", help);
                return None;
            }
            Some(Spanned::new(item.span, bytes))
        };
        let text = |key| section.get(key).map_or(Some(None), |item| bytes(item).map(Some));
        let (send, expect) = (text("send"), text("expect"));
        needs(&section, "send", "expect", "nothing would be learnt of it");
        if let (Some(interval), Some(timeout)) = (interval, timeout)
            && timeout > interval
            && let Some(item) = section.get("timeout").or_else(|| section.get("interval"))
        {
            let slow = Diagnostic::warning("a check may take longer than the time between two of them")
                .at(item.span, "while one waits for an answer, no other begins")
                .help("let `timeout` be at most `interval`");
            section.reader.report(slow.basis(Basis::Value));
        }
        Some(Self {
            check: Check {
                interval: interval?,
                timeout: timeout?,
                rise: u32::try_from(rise?).ok()?,
                exchange: None,
            },
            send: send?,
            expect: expect?.map(Spanned::into_inner),
        })
    }

    /// Puts the question into the framing of the route.
    fn check(self, reader: &Reader<'_>, settings: &Settings) -> Option<Check> {
        let Some(expect) = self.expect else {
            return Some(self.check);
        };
        let mut record = Outbox::default();
        if let Some(send) = self.send {
            let span = send.span();
            let message = Part::whole(Kind::Binary, send.get_ref());
            let framing = &settings.to_backend;
            if let Err(error) = framing.encode(
                &mut EncodeState::default(),
                &settings.embedded,
                &message,
                &mut record,
            ) {
                let problem = Diagnostic::error(format!("`send` is no message of this route: {error}"))
                    .at(span, "cannot be sent")
                    .help("write it as a client would send it: the framing of the route is put around it");
                reader.report(problem.basis(Basis::Value));
                return None;
            }
        }
        Some(Check {
            exchange: Some(Exchange {
                send: record.ready().to_vec(),
                expect,
                framing: settings.to_client.clone(),
            }),
            ..self.check
        })
    }
}

fn table(section: &Section<'_>) -> Option<Written> {
    section.require("a backend", &[("targets", &format!("targets = {TARGETS}"))]);
    let targets = section.get("targets").and_then(|item| targets(&item));
    let balance = section.get("balance").map_or(Some(Balance::default()), |item| {
        item.choice(&[
            ("round-robin", Balance::RoundRobin),
            ("least-sessions", Balance::LeastSessions),
            ("client-address", Balance::ClientAddress),
        ])
    });
    let count = |key, usual, range| section.get(key).map_or(Some(usual), |item| item.count(range));
    let duration = |key, usual| {
        section
            .get(key)
            .map_or(Some(usual), |item| item.duration(TIMEOUT))
    };
    let max_sessions = section
        .get("max_sessions")
        .map_or(Some(None), |item| item.count(1..=super::MOST).map(Some));
    let queue = count("queue", 0, 0..=MOST_QUEUED);
    let queue_timeout = duration("queue_timeout", DEFAULT_QUEUE_TIMEOUT);
    let fall = count("fall", DEFAULT_FALL, 1..=MOST_IN_A_ROW);
    let retry_after = duration("retry_after", DEFAULT_RETRY_AFTER);
    let proxy_protocol = section.get("proxy_protocol").map_or(Some(None), |item| {
        item.choice(&[("v1", Some(ProxyVersion::V1)), ("v2", Some(ProxyVersion::V2))])
    });
    needs(
        section,
        "queue",
        "max_sessions",
        "nobody has to wait: there is always a place",
    );
    needs(section, "queue_timeout", "queue", "nobody waits");
    let health = section
        .get("health")
        .map_or(Some(None), |item| Health::read(&item).map(Some));
    if let (Some(checks), Some(item)) = (section.get("health"), section.get("retry_after")) {
        let unused = Diagnostic::error("`retry_after` has no meaning beside `health`")
            .at(item.key_span, "no session tries what is down")
            .at(checks.key_span, "checks bring it back")
            .help("remove `retry_after`");
        section.reader.report(unused);
    }
    let tls = section.get("tls").map(|item| (tls(&item), item.key_span.clone()));
    let mut written = Written::new(Plan {
        balance: balance?,
        max_sessions: max_sessions?,
        queue: queue?,
        queue_timeout: queue_timeout?,
        fall: u32::try_from(fall?).ok()?,
        retry_after: retry_after?,
        proxy_protocol: proxy_protocol?,
        ..plan(targets?)
    });
    written.health = health?;
    match tls {
        Some((_, span)) if written.tls.is_none() => {
            let unused = Diagnostic::error("`tls` has no meaning here")
                .at(span, "no target speaks it")
                .help("remove it, or write tls:// for tcp:// in `targets`");
            section.reader.report(unused);
            return None;
        }
        Some((tls, _)) => written.tls = Some(tls?),
        None => {}
    }
    Some(written)
}

fn tls(item: &Item<'_>) -> Option<BackendTls> {
    let section = item.table(Place::BackendTls)?;
    let file = |key| {
        section
            .get(key)
            .map_or(Some(None), |item| listener::file(&item).map(Some))
    };
    let (ca_file, cert_file, key_file) = (file("ca_file"), file("cert_file"), file("key_file"));
    let server_name = section
        .get("server_name")
        .map_or(Some(None), |item| server_name(&item).map(Some));
    needs(&section, "cert_file", "key_file", "alone here");
    needs(&section, "key_file", "cert_file", "alone here");
    Some(BackendTls {
        ca_file: ca_file?,
        server_name: server_name?,
        certificate: cert_file?.zip(key_file?),
    })
}

/// A name or an address, as it may stand in a certificate.
fn server_name(item: &Item<'_>) -> Option<String> {
    let text = item.text("\"irc.example.com\"")?.value;
    let bare = !text.contains([':', '[']) && crate::addr::normalize_host(&text).is_some();
    if bare || text.parse::<std::net::IpAddr>().is_ok() {
        return Some(text);
    }
    item.wrong(
        "`server_name` is a host name or an address",
        "something else",
        "write it as it stands in the backend's certificate, without a port, such as \"irc.example.com\"",
    );
    None
}

/// Reports a key that means nothing without another one.
fn needs(section: &Section<'_>, key: &'static str, other: &'static str, because: &str) {
    if let Some(item) = section.get(key)
        && !section.mentions(other)
    {
        let alone = Diagnostic::error(format!("`{key}` has no meaning without `{other}`"))
            .at(item.key_span.clone(), because)
            .help(format!("remove it, or add `{other}`"));
        section.reader.report(alone);
    }
}

fn targets(item: &Item<'_>) -> Option<Vec<Target>> {
    let elements = item.list(TARGETS)?;
    if elements.is_empty() || elements.len() > MAX_TARGETS {
        let label = if elements.is_empty() { "none" } else { "too many" };
        item.wrong(
            format!("a backend has 1 to {MAX_TARGETS} targets"),
            label,
            format!("write, for example, {TARGETS}"),
        );
        return None;
    }
    let read = item.each(&elements, target)?;
    Some(read.into_iter().map(|(_, target)| target).collect())
}

fn target(item: &Item<'_>) -> Option<Target> {
    let text = item.text("\"tcp://127.0.0.1:6667\"")?;
    match text.value.parse::<Target>() {
        Ok(target) => Some(target),
        Err(error) => {
            let help = text
                .literal()
                .and_then(meant_target)
                .unwrap_or_else(|| "write \"tcp://127.0.0.1:6667\" or \"unix:/run/service.sock\"".to_owned());
            let problem = Diagnostic::error(error.to_string())
                .at(item.span.clone(), "not a backend")
                .help(help);
            item.report(problem.basis(Basis::Value));
            None
        }
    }
}

/// A target that only lacks its scheme, its brackets or a slash.
fn meant_target(text: &str) -> Option<String> {
    let rest = text
        .strip_prefix("tcp:")
        .unwrap_or(text)
        .trim_start_matches('/')
        .trim_end_matches('/');
    let bracketed = rest
        .rsplit_once(':')
        .map(|(host, port)| format!("tcp://[{host}]:{port}"));
    let socket = text.strip_prefix("unix:").unwrap_or(text).trim_start_matches('/');
    let file = (text.starts_with("unix:/") || text.starts_with('/')).then(|| format!("unix:/{socket}"));
    let all = [file, Some(format!("tcp://{rest}")), bracketed];
    let meant = all
        .into_iter()
        .flatten()
        .find(|text| text.parse::<Target>().is_ok())?;
    Some(format!("write {}", quote(&meant)))
}
