//! Reads what may stand in `[[route]]` and in `[defaults]`, lays one over the other, and checks the sum.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::{Basis, Diagnostic, Span};
use super::framing::{self, Framings};
use super::keys::Place;
use super::rates::Pace;
use super::reader::{Item, Section};
use super::scalar::TIMEOUT;
use super::suggest::quote;
use super::text::Text;
use crate::bridge::{Accept, Both, Deliver, HalfClose, Settings, Timeouts};
use crate::framing::{Embedded, EmbeddedError, Empty, Framing, Oversized, Partial};
use crate::message::Kind;
use crate::units::ByteSize;
use crate::upgrade::{AbsentOrigin, OnDialFailure, Origin, Origins, Policy, is_token};

pub(super) const MAX_MESSAGE: std::ops::RangeInclusive<u64> = 1..=(1 << 40);
const DEFAULT_MAX_MESSAGE: ByteSize = ByteSize(1 << 20);
const DEFAULT_DIAL_TIMEOUT: Duration = Duration::from_secs(5);
const LINGER: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);
const ORIGINS: &str = "[\"https://app.example.com\"]";

/// What one table says. `None` where it says nothing, or says it wrongly, which has been reported then.
#[derive(Clone, Default)]
pub(super) struct Written {
    framing: Option<Framings>,
    /// Where it is written.
    framing_span: Option<Span>,
    /// A framing is written, but wrongly: what depends on it cannot be checked.
    bad_framing: bool,
    accept: Option<Accept>,
    deliver: Option<Deliver>,
    text: Text,
    origins: Option<Origins>,
    absent_origin: Option<AbsentOrigin>,
    subprotocols: Option<Vec<String>>,
    max_message: Option<u64>,
    embedded: Option<Spanned<Embedded>>,
    oversized: Both<Option<Oversized>>,
    partial: Option<Partial>,
    empty: Both<Option<Spanned<Empty>>>,
    half_close: Option<Spanned<HalfClose>>,
    dial_timeout: Option<Duration>,
    on_dial_failure: Option<OnDialFailure>,
    record_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    close_timeout: Option<Duration>,
    linger: Option<Duration>,
    idle_timeout: Option<Option<Duration>>,
    ping_interval: Option<Option<Duration>>,
    pong_timeout: Option<Duration>,
    pace: Pace,
}

/// A route's settings once everything is known.
pub(super) struct Resolved {
    pub(super) policy: Policy,
    pub(super) settings: Settings,
    pub(super) dial_timeout: Duration,
}

impl Written {
    /// Reads the settings of a table.
    pub(super) fn read(section: &Section<'_>) -> Self {
        let timeout = |key| section.get(key).and_then(|item| item.duration(TIMEOUT));
        let timeout_or_off = |key| section.get(key).and_then(|item| item.duration_or_off());
        Self {
            origins: section.get("origins").and_then(|item| origins(&item)),
            absent_origin: section.get("absent_origin").and_then(|item| {
                item.choice(&[("allow", AbsentOrigin::Allow), ("refuse", AbsentOrigin::Refuse)])
            }),
            subprotocols: section.get("subprotocols").and_then(|item| subprotocols(&item)),
            half_close: section.get("half_close").and_then(|item| {
                let words = [
                    ("never", HalfClose::Never),
                    ("empty-message", HalfClose::EmptyMessage),
                ];
                Some(Spanned::new(item.span.clone(), item.choice(&words)?))
            }),
            dial_timeout: timeout("dial_timeout"),
            on_dial_failure: section.get("on_dial_failure").and_then(|item| {
                item.choice(&[("status", OnDialFailure::Status), ("close", OnDialFailure::Close)])
            }),
            record_timeout: timeout("record_timeout"),
            write_timeout: timeout("write_timeout"),
            close_timeout: timeout("close_timeout"),
            linger: section.get("linger").and_then(|item| item.duration(LINGER)),
            idle_timeout: timeout_or_off("idle_timeout"),
            ping_interval: timeout_or_off("ping_interval"),
            pong_timeout: timeout("pong_timeout"),
            pace: Pace::read(section),
            ..Self::read_translation(section)
        }
    }

    /// Reads those settings of a table that say how messages are translated.
    pub(super) fn read_translation(section: &Section<'_>) -> Self {
        let framing = section.get("framing").map(|item| framing::read(&item));
        let (accept, deliver) = section.get("message").map_or((None, None), |item| message(&item));
        Self {
            framing_span: section.get("framing").map(|item| item.span),
            bad_framing: matches!(framing, Some(None)),
            framing: framing.flatten(),
            accept,
            deliver,
            text: Text::read(section),
            max_message: section.get("max_message").and_then(|item| item.size(MAX_MESSAGE)),
            embedded: section
                .get("embedded_delimiter")
                .and_then(|item| Some(Spanned::new(item.span.clone(), embedded(&item)?))),
            oversized: both(section, "oversized", Place::OversizedPair, |item| {
                item.choice(&[("close", Oversized::Close), ("discard", Oversized::Discard)])
            }),
            partial: section.get("partial").and_then(|item| {
                let words = [
                    ("error", Partial::Error),
                    ("deliver", Partial::Deliver),
                    ("drop", Partial::Drop),
                ];
                item.choice(&words)
            }),
            empty: both(section, "empty", Place::EmptyPair, |item| {
                let chosen = item.choice(&[("deliver", Empty::Deliver), ("skip", Empty::Skip)])?;
                Some(Spanned::new(item.span.clone(), chosen))
            }),
            ..Self::default()
        }
    }

    /// These settings, and the others where these say nothing.
    pub(super) fn or(self, other: Self) -> Self {
        let own_framing = self.framing.is_some() || self.bad_framing;
        Self {
            bad_framing: self.bad_framing || (!own_framing && other.bad_framing),
            framing: if own_framing { self.framing } else { other.framing },
            framing_span: self.framing_span.or(other.framing_span),
            accept: self.accept.or(other.accept),
            deliver: self.deliver.or(other.deliver),
            text: self.text.or(other.text),
            origins: self.origins.or(other.origins),
            absent_origin: self.absent_origin.or(other.absent_origin),
            subprotocols: self.subprotocols.or(other.subprotocols),
            max_message: self.max_message.or(other.max_message),
            embedded: self.embedded.or(other.embedded),
            oversized: either(self.oversized, other.oversized),
            partial: self.partial.or(other.partial),
            empty: either(self.empty, other.empty),
            half_close: self.half_close.or(other.half_close),
            dial_timeout: self.dial_timeout.or(other.dial_timeout),
            on_dial_failure: self.on_dial_failure.or(other.on_dial_failure),
            record_timeout: self.record_timeout.or(other.record_timeout),
            write_timeout: self.write_timeout.or(other.write_timeout),
            close_timeout: self.close_timeout.or(other.close_timeout),
            linger: self.linger.or(other.linger),
            idle_timeout: self.idle_timeout.or(other.idle_timeout),
            ping_interval: self.ping_interval.or(other.ping_interval),
            pong_timeout: self.pong_timeout.or(other.pong_timeout),
            pace: self.pace.or(other.pace),
        }
    }

    /// These settings, of a subprotocol, with what the route says itself of the framing that both have: an escape that the route does
    /// not want is not wanted here.
    pub(super) fn beneath(mut self, route: &Self) -> Self {
        let refuses = |embedded: &Spanned<Embedded>| *embedded.get_ref() == Embedded::Reject;
        if self.framing.is_none() && !self.bad_framing && self.embedded.is_none() {
            self.embedded = route.embedded.clone().filter(refuses);
        }
        self
    }

    /// Lays the settings of a route (or of one of its subprotocols) over the defaults and fills in the rest.
    pub(super) fn resolve(self, defaults: &Self, route: &Section<'_>) -> Option<Resolved> {
        let own_embedded = self.embedded.is_some();
        // What a subprotocol has from its route was told there.
        let told = route.place == Place::Subprotocol
            && self.empty.to_backend.is_none()
            && self.empty.to_client.is_none();
        let (own_text, own_pace) = (self.text.clone(), self.pace.clone());
        let all = self.or(defaults.clone());
        if !told {
            all.check_half_close(route);
        }
        if all.framing.is_none() && !all.bad_framing && !route.mentions("framing") {
            route.require(
                "a route",
                &[(
                    "framing",
                    "framing = \"lines\"    # or \"raw\": bytes as they come",
                )],
            );
        }
        let Framings {
            to_backend,
            to_client,
        } = all.framing?;
        let max_message = all.max_message.unwrap_or(DEFAULT_MAX_MESSAGE.0);
        for framing in [&to_backend.framing, &to_client.framing] {
            check_size(framing, max_message, all.framing_span.as_ref(), route)?;
        }
        let embedded = check_embedded(all.embedded, own_embedded, &to_backend.framing, route)?;
        let accept = all.accept.unwrap_or(Accept::Any);
        let deliver = all.deliver.unwrap_or(match to_client.kind {
            Some(Kind::Text) => Deliver::Text,
            // A charset is one of text.
            Some(Kind::Binary) | None if all.text.charset().is_some() => Deliver::Text,
            Some(Kind::Binary) | None => Deliver::Binary,
        });
        own_pace.check(&all.pace, route);
        own_text.check(&all.text, accept, deliver, route);
        let usual = Timeouts::default();
        Some(Resolved {
            dial_timeout: all.dial_timeout.unwrap_or(DEFAULT_DIAL_TIMEOUT),
            policy: Policy {
                origins: all.origins.unwrap_or(Origins::Same),
                absent_origin: all.absent_origin.unwrap_or(AbsentOrigin::Allow),
                subprotocols: all.subprotocols.unwrap_or_default(),
                on_dial_failure: all.on_dial_failure.unwrap_or(OnDialFailure::Status),
            },
            settings: Settings {
                accept,
                deliver,
                max_message,
                charset: all.text.charset(),
                unmappable: all.text.unmappable(),
                invalid_text: all.text.invalid_text(deliver),
                embedded,
                oversized: or(all.oversized, Oversized::Close),
                partial: all.partial.unwrap_or_else(|| to_client.framing.default_partial()),
                empty: Both {
                    to_backend: all.empty.to_backend.map_or(Empty::Deliver, Spanned::into_inner),
                    to_client: all.empty.to_client.map_or(Empty::Deliver, Spanned::into_inner),
                },
                half_close: all.half_close.map_or(HalfClose::Never, Spanned::into_inner),
                rates: all.pace.rates(),
                timeouts: Timeouts {
                    record: all.record_timeout.unwrap_or(usual.record),
                    write: all.write_timeout.unwrap_or(usual.write),
                    close: all.close_timeout.unwrap_or(usual.close),
                    linger: all.linger.unwrap_or(usual.linger),
                    idle: all.idle_timeout.unwrap_or(usual.idle),
                    ping: all.ping_interval.unwrap_or(usual.ping),
                    pong: all.pong_timeout.unwrap_or(usual.pong),
                    age: all.pace.age(),
                    ..usual
                },
                to_backend: to_backend.framing,
                to_client: to_client.framing,
            },
        })
    }

    fn check_half_close(&self, route: &Section<'_>) {
        if let (Some(half_close), Some(empty)) = (&self.half_close, &self.empty.to_backend)
            && *half_close.get_ref() == HalfClose::EmptyMessage
            && *empty.get_ref() == Empty::Skip
        {
            let problem = Diagnostic::error("empty messages cannot both end a direction and be skipped")
                .at(half_close.span(), "gives them a meaning")
                .at(empty.span(), "drops them")
                .help("write empty = \"deliver\" or half_close = \"never\"");
            route.reader.report(problem);
        }
    }
}

/// Checks that records of a fixed size are not all over the limit.
fn check_size(framing: &Framing, max_message: u64, span: Option<&Span>, route: &Section<'_>) -> Option<()> {
    let size = match framing {
        Framing::Fixed(rule) if rule.size() > max_message => ByteSize(rule.size()),
        _ => return Some(()),
    };
    let [size, limit] = [size, ByteSize(max_message)].map(|size| size.to_string());
    let problem = Diagnostic::error(format!("all records are over `max_message`, which is {limit}"))
        .at(span?.clone(), format!("records of {size}"))
        .help(format!("write max_message = {} or more", quote(&size)));
    route.reader.report(problem);
    None
}

/// Reads a policy that may be one word for both directions, or one for each.
fn both<T: Clone>(
    section: &Section<'_>,
    key: &'static str,
    place: Place,
    read: impl Fn(&Item<'_>) -> Option<T>,
) -> Both<Option<T>> {
    let none = Both {
        to_backend: None,
        to_client: None,
    };
    let Some(item) = section.get(key) else {
        return none;
    };
    if !item.value.is_table() {
        let chosen = read(&item);
        return Both {
            to_backend: chosen.clone(),
            to_client: chosen,
        };
    }
    item.table(place).map_or(none, |section| Both {
        to_backend: section.get("to_backend").and_then(|item| read(&item)),
        to_client: section.get("to_client").and_then(|item| read(&item)),
    })
}

fn either<T>(one: Both<Option<T>>, other: Both<Option<T>>) -> Both<Option<T>> {
    Both {
        to_backend: one.to_backend.or(other.to_backend),
        to_client: one.to_client.or(other.to_client),
    }
}

fn or<T: Copy>(written: Both<Option<T>>, default: T) -> Both<T> {
    Both {
        to_backend: written.to_backend.unwrap_or(default),
        to_client: written.to_client.unwrap_or(default),
    }
}

/// Checks the policy for embedded delimiters against the framing. One from `[defaults]` goes unused where it has no meaning, and where
/// there is an escape: only the route itself can mean that this is not to be used.
fn check_embedded(
    written: Option<Spanned<Embedded>>,
    own: bool,
    framing: &Framing,
    route: &Section<'_>,
) -> Option<Embedded> {
    let usual = framing.default_embedded();
    let Some(written) = written.filter(|_| own || usual != Embedded::Escape) else {
        return Some(usual);
    };
    let span = written.span();
    let problem = match framing.check_embedded(written.get_ref()) {
        Ok(()) => return Some(written.into_inner()),
        Err(EmbeddedError::Replacement(error)) => {
            let mut problem = Diagnostic::error(error.to_string()).at(span, "could form a new delimiter");
            if let Some(framing) = route.get("framing") {
                problem = problem.at(framing.span, "the delimiter is set here");
            }
            problem.help("replace with something harmless, such as { replace = \" \" }")
        }
        Err(_) if !own => return Some(usual),
        Err(error @ EmbeddedError::NoEscape) => Diagnostic::error(error.to_string())
            .at(span, "nothing to escape with")
            .help("write \"reject\", \"split\" or { replace = … }, or give a block framing an escape"),
        Err(error) => Diagnostic::error("`embedded_delimiter` has no meaning here")
            .at(span, "")
            .help(format!("{error}: remove this line")),
    };
    route.reader.report(problem);
    None
}

fn message(item: &Item<'_>) -> (Option<Accept>, Option<Deliver>) {
    let accept = |item: &Item<'_>| {
        item.choice(&[
            ("text", Accept::Text),
            ("binary", Accept::Binary),
            ("auto", Accept::Any),
        ])
    };
    let deliver = |item: &Item<'_>| {
        item.choice(&[
            ("text", Deliver::Text),
            ("binary", Deliver::Binary),
            ("auto", Deliver::Auto),
        ])
    };
    if !item.value.is_table() {
        // Both hold the same words: asking the second only where the first was right tells each mistake once.
        return accept(item).map_or((None, None), |taken| (Some(taken), deliver(item)));
    }
    item.table(Place::MessagePair).map_or((None, None), |section| {
        (
            section.get("to_backend").and_then(|item| accept(&item)),
            section.get("to_client").and_then(|item| deliver(&item)),
        )
    })
}

fn embedded(item: &Item<'_>) -> Option<Embedded> {
    if !item.value.is_table() {
        // The words only: the other form is a table.
        let words = [
            ("reject", &Embedded::Reject),
            ("escape", &Embedded::Escape),
            ("split", &Embedded::Split),
        ];
        return item.choice_or(&words, "{ replace = … }").cloned();
    }
    let section = item.table(Place::Replacement)?;
    section.require("this", &[("replace", "embedded_delimiter = { replace = \" \" }")]);
    Some(Embedded::Replace(section.get("replace")?.bytes()?.into()))
}

fn origins(item: &Item<'_>) -> Option<Origins> {
    if let DeValue::String(_) = item.value {
        let text = item.text(ORIGINS)?;
        return match text.value.as_str() {
            "same" => Some(Origins::Same),
            "*" => Some(Origins::Any),
            _ => {
                let listed = text.literal().filter(|text| text.parse::<Origin>().is_ok());
                let help = match listed {
                    Some(origin) => format!("write [{}]", quote(origin)),
                    None => format!("a list looks like {ORIGINS}"),
                };
                item.wrong("`origins` is \"same\", \"*\" or a list", "something else", help);
                None
            }
        };
    }
    let elements = item.list(ORIGINS)?;
    if elements.is_empty() {
        item.wrong(
            "`origins` is empty",
            "no page could connect",
            "remove it: pages of the same origin may connect then",
        );
        return None;
    }
    let read = item.each(&elements, origin)?;
    Some(Origins::Listed(
        read.into_iter().map(|(_, origin)| origin).collect(),
    ))
}

fn origin(item: &Item<'_>) -> Option<Origin> {
    let text = item.text("\"https://app.example.com\"")?;
    let error = match text.value.parse::<Origin>() {
        Ok(origin) => return Some(origin),
        Err(error) => error,
    };
    let (title, help) = match text.literal() {
        Some("*") => (
            "\"*\" stands alone, not in a list".to_owned(),
            "write origins = \"*\"".to_owned(),
        ),
        Some("same") => (
            "\"same\" stands alone, not in a list".to_owned(),
            "list the origin of your own pages too, such as \"https://app.example.com\"".to_owned(),
        ),
        Some(literal) => (error.to_string(), meant_origin(literal)),
        None => (error.to_string(), meant_origin("")),
    };
    item.wrong(title, "not an origin", help);
    None
}

fn meant_origin(text: &str) -> String {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let bare = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let scheme = if text.starts_with("http://") {
        "http"
    } else {
        "https"
    };
    let meant = format!("{scheme}://{bare}");
    if meant.parse::<Origin>().is_ok() {
        format!("write {}", quote(&meant))
    } else {
        "write scheme, host and, if it is not the usual one, the port: \"https://app.example.com:8443\""
            .to_owned()
    }
}

/// A list of subprotocols.
fn subprotocols(item: &Item<'_>) -> Option<Vec<String>> {
    let elements = item.list("[\"text.ircv3.net\"]")?;
    let read = item.each(&elements, token)?;
    Some(read.into_iter().map(|(_, name)| name).collect())
}

/// RFC 9110 §5.6.2: what a subprotocol is made of (RFC 6455 §4.1).
pub(super) fn token(item: &Item<'_>) -> Option<String> {
    let text = item.text("\"text.ircv3.net\"")?.value;
    if !is_token(&text) {
        let problem = Diagnostic::error("a subprotocol has no spaces and no separators")
            .at(item.span.clone(), "not a token")
            .help("write letters, digits and any of ! # $ % & ' * + - . ^ _ ` | ~");
        item.report(problem.basis(Basis::Value));
        return None;
    }
    Some(text)
}
