//! Reads what a route says about how fast its clients may be, and how old its sessions become.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::Diagnostic;
use super::reader::{Item, Section};
use super::suggest::quote;
use crate::bridge::{RatePolicy, Rates};
use crate::units::ByteSize;

const MOST_MESSAGES: u64 = 1_000_000_000;
const MOST_BYTES: u64 = 1 << 40;
const AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 366);

/// What one table says. `Some(None)` is off.
#[derive(Clone, Default)]
pub(super) struct Pace {
    age: Option<Option<Duration>>,
    messages: Option<Option<NonZeroU64>>,
    bytes: Option<Option<NonZeroU64>>,
    policy: Option<Spanned<RatePolicy>>,
}

impl Pace {
    pub(super) fn read(section: &Section<'_>) -> Self {
        Self {
            age: section
                .get("max_session_age")
                .and_then(|item| item.duration_in_or_off(AGE)),
            messages: section.get("message_rate").and_then(|item| messages(&item)),
            bytes: section.get("byte_rate").and_then(|item| bytes(&item)),
            policy: section.get("rate_policy").and_then(|item| {
                let words = [("delay", RatePolicy::Delay), ("close", RatePolicy::Close)];
                Some(Spanned::new(item.span.clone(), item.choice(&words)?))
            }),
        }
    }

    /// These, and the others where these say nothing.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            age: self.age.or(other.age),
            messages: self.messages.or(other.messages),
            bytes: self.bytes.or(other.bytes),
            policy: self.policy.or(other.policy),
        }
    }

    /// Checks what a route says itself against all that holds for it.
    pub(super) fn check(&self, all: &Self, route: &Section<'_>) {
        let Some(policy) = &self.policy else {
            return;
        };
        let counted = all.messages.flatten().is_some() || all.bytes.flatten().is_some();
        // One that is written wrongly has been reported already, and was meant to be there.
        let written = ["message_rate", "byte_rate"]
            .iter()
            .any(|key| route.mentions(key));
        if !counted && !written {
            let problem = Diagnostic::error("`rate_policy` has no meaning without a rate")
                .at(policy.span(), "nothing is counted")
                .help("remove it, or add message_rate = \"100/s\" or byte_rate = \"1 MiB/s\"");
            route.reader.report(problem);
        }
    }

    pub(super) fn age(&self) -> Option<Duration> {
        self.age.flatten()
    }

    pub(super) fn rates(&self) -> Rates {
        Rates {
            messages: self.messages.flatten(),
            bytes: self.bytes.flatten(),
            policy: self
                .policy
                .as_ref()
                .map_or(RatePolicy::Delay, |policy| *policy.get_ref()),
        }
    }
}

/// A number of messages a second.
fn messages(item: &Item<'_>) -> Option<Option<NonZeroU64>> {
    rate(item, "\"100/s\"", MOST_MESSAGES, |text| text.parse().ok())
}

/// A number of bytes a second.
fn bytes(item: &Item<'_>) -> Option<Option<NonZeroU64>> {
    rate(item, "\"1 MiB/s\"", MOST_BYTES, |text| {
        ByteSize::parse(text).ok().map(|ByteSize(bytes)| bytes)
    })
}

fn rate(
    item: &Item<'_>,
    example: &str,
    most: u64,
    read: impl Fn(&str) -> Option<u64>,
) -> Option<Option<NonZeroU64>> {
    let help = format!("write how much in a second, such as {example}, or \"off\"");
    let title = format!("`{}` is not a rate", item.key);
    if !matches!(item.value, DeValue::String(_)) {
        item.wrong(title, super::reader::found(item.value), help);
        return None;
    }
    let text = item.text(example)?;
    if text.value.trim() == "off" {
        return Some(None);
    }
    let number = text
        .value
        .trim()
        .strip_suffix("/s")
        .map(str::trim_end)
        .and_then(&read);
    let Some(number) = number else {
        let meant = text.literal().filter(|text| read(text.trim()).is_some());
        let help = meant.map_or(help, |text| {
            format!(
                "write {}, if that is for a second",
                quote(&format!("{}/s", text.trim()))
            )
        });
        item.wrong(title, "cannot be read", help);
        return None;
    };
    let fitting = NonZeroU64::new(number).filter(|rate| rate.get() <= most);
    if fitting.is_none() {
        let label = if number == 0 {
            "nothing at all"
        } else {
            "too large"
        };
        item.wrong(format!("`{}` is out of range", item.key), label, help);
    }
    fitting.map(Some)
}
