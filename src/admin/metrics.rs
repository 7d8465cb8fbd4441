//! `/metrics`. Names and labels are those of `docs/OPERATIONS.md`; a test compares them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use hyper::header::HeaderValue;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;

use super::serve::Answer;
use super::{Admin, api, process};
use crate::bridge::{Counts, held_bytes};
use crate::drain::State;
use crate::sessions::{Done, REMOVED};
use crate::telemetry::counts::{self, Seen};
use crate::telemetry::lost_lines;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What Prometheus had before that, and what tools without a preference of their own read.
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics, in the format that is asked for.
pub(super) fn answer(admin: &Arc<Admin>, accept: Option<&HeaderValue>) -> Answer {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics(Arc::clone(admin))));
    let mut body = String::new();
    if text::encode(&mut body, &registry).is_err() {
        return Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written");
    }
    let openmetrics = accept
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(wants_openmetrics);
    Answer {
        status: StatusCode::OK,
        content_type: if openmetrics { OPENMETRICS } else { PLAIN },
        body: if openmetrics { body } else { plain(&body) }.into(),
    }
}

/// Whether an `Accept` likes the newer format better, or names it and likes it as much.
fn wants_openmetrics(accept: &str) -> bool {
    const NAME: &str = "application/openmetrics-text";
    let newer = quality(accept, &[NAME, "application/*", "*/*"]);
    let older = quality(accept, &["text/plain", "text/*", "*/*"]);
    newer > older || (newer >= older && quality(accept, &[NAME]) > 0.0)
}

/// How welcome something is, by the first of these ranges that an `Accept` has; of several with other parameters, by the best.
fn quality(accept: &str, ranges: &[&str]) -> f32 {
    let of = |one: &str, range: &str| {
        let mut parts = one.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(range) {
            return None;
        }
        let said = parts.find_map(|part| part.strip_prefix(['q', 'Q'])?.strip_prefix('=')?.parse().ok());
        // To the parser "nan" is a number.
        Some(said.filter(|quality: &f32| !quality.is_nan()).unwrap_or(1.0))
    };
    let best = |range: &&str| {
        accept
            .split(',')
            .filter_map(|one| of(one, range))
            .reduce(f32::max)
    };
    ranges.iter().find_map(best).unwrap_or_default()
}

/// The same in the older format: there the name of a counter ends with `_total` in its type too, and nothing marks the end.
fn plain(openmetrics: &str) -> String {
    let counters: Vec<&str> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(&name) => {
                text += &format!("# {what} {name}_total {rest}\n");
            }
            _ => text += &format!("{line}\n"),
        }
    }
    text
}

struct Metrics(Arc<Admin>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.process(&mut page)?;
        self.connections(&mut page)?;
        self.sessions(&mut page)?;
        self.backends(&mut page)
    }
}

impl Metrics {
    fn process(&self, page: &mut Page<'_>) -> fmt::Result {
        let generation = self.0.service.current.load();
        let reloads = self.0.service.reload.state();
        let failed = reloads.last.as_ref().is_some_and(|last| last.problem.is_some());
        let usage = process::usage();
        page.gauges(
            "sealock_build_info",
            "The version that runs.",
            [([("version", env!("CARGO_PKG_VERSION"))], 1.0)],
        )?;
        for (name, help, value) in [
            (
                "sealock_ready",
                "Whether sessions are begun: 0 while draining or stopping.",
                Some(flag(self.0.service.state() == State::Ready)),
            ),
            (
                "sealock_generation",
                "How often the configuration was replaced.",
                Some(generation.number as f64),
            ),
            (
                "sealock_generation_timestamp_seconds",
                "When the configuration in force was put there.",
                seconds(generation.since),
            ),
            (
                "sealock_reload_failed",
                "Whether the last reload failed: the configuration in force is not what the file says.",
                Some(flag(failed)),
            ),
            (
                "sealock_reload_blind",
                "Whether the files cannot be looked at: nobody knows whether they have changed.",
                Some(flag(reloads.blind.is_some())),
            ),
            (
                "sealock_reload_waiting",
                "Settings of the configuration in force that wait for a restart.",
                Some(reloads.waiting.len() as f64),
            ),
            (
                "sealock_buffer_bytes",
                "Memory that sessions hold for bytes on their way.",
                Some(held_bytes() as f64),
            ),
            (
                "sealock_tasks",
                "Tasks that the process runs.",
                Some(Handle::current().metrics().num_alive_tasks() as f64),
            ),
            (
                "process_open_fds",
                "Open files.",
                usage.open_files.map(|files| files as f64),
            ),
            (
                "process_max_fds",
                "Files that may be open.",
                usage.most_open_files.map(|files| files as f64),
            ),
            (
                "process_resident_memory_bytes",
                "Memory in use.",
                usage.resident.map(|bytes| bytes as f64),
            ),
            (
                "process_start_time_seconds",
                "When the process began to serve.",
                seconds(self.0.started),
            ),
        ] {
            if let Some(value) = value {
                page.gauges::<0>(name, help, [([], value)])?;
            }
        }
        page.counters(
            "sealock_reloads",
            "Attempts to put another configuration in force.",
            [("success", reloads.succeeded), ("failure", reloads.failed)]
                .map(|(outcome, count)| ([("outcome", outcome)], count)),
        )?;
        page.counters::<0>(
            "sealock_log_lines_lost",
            "Lines of the log that could not be written.",
            [([], lost_lines())],
        )
    }

    fn connections(&self, page: &mut Page<'_>) -> fmt::Result {
        let generation = self.0.service.current.load();
        page.counters::<0>(
            "sealock_connections",
            "Connections that were accepted.",
            [([], counts::connections())],
        )?;
        page.gauges::<0>(
            "sealock_connections_opening",
            "Connections that are not sessions yet.",
            [([], counts::connections_opening() as f64)],
        )?;
        page.counters::<0>(
            "sealock_accept_errors",
            "Failed attempts to accept a connection.",
            [([], crate::accept::errors())],
        )?;
        page.counters(
            "sealock_accept_waits",
            "How often the listeners stopped accepting for a while, by the limit that was reached.",
            self.0
                .service
                .pace
                .waits()
                .map(|(limit, count)| ([("limit", limit)], count)),
        )?;
        page.counters(
            "sealock_refusals",
            "Connections that did not become sessions, by cause.",
            counts::refusals().map(|(cause, count)| ([("cause", cause)], count)),
        )?;
        page.histograms::<0>(
            "sealock_tls_handshake_seconds",
            "TLS handshakes that succeeded.",
            [([], counts::tls_handshakes().seen())],
        )?;
        let bounds = self.0.listeners.iter();
        let expiries: Vec<_> = bounds
            .filter_map(|bound| {
                let not_after = generation.ports.get(bound.listener)?.not_after?;
                Some((bound.address.to_string(), not_after.as_second() as f64))
            })
            .collect();
        page.gauges(
            "sealock_certificate_expiry_timestamp_seconds",
            "When the first certificate of a listener ends.",
            expiries
                .iter()
                .map(|(listener, expiry)| ([("listener", listener.as_str())], *expiry)),
        )
    }

    fn sessions(&self, page: &mut Page<'_>) -> fmt::Result {
        let generation = self.0.service.current.load();
        let mut totals: BTreeMap<String, (usize, Done)> = self.0.service.totals().into_iter().collect();
        for destination in &generation.destinations {
            totals.entry(destination.route.name.clone()).or_default();
        }
        let routes = || totals.iter().map(|(route, (_, done))| (route.as_str(), done));
        page.gauges(
            "sealock_sessions",
            "Sessions that run.",
            totals
                .iter()
                .filter(|(route, _)| *route != REMOVED)
                .map(|(route, (running, _))| ([("route", route.as_str())], *running as f64)),
        )?;
        page.gauges::<0>(
            "sealock_sessions_limit",
            "Sessions that may run: max_sessions.",
            [([], generation.config.limits.max_sessions as f64)],
        )?;
        page.counters(
            "sealock_session_ends",
            "Sessions that have ended, by cause.",
            routes().flat_map(|(route, done)| {
                let ends = done.ends.iter();
                ends.map(move |(cause, count)| ([("route", route), ("cause", *cause)], *count))
            }),
        )?;
        let both = |up: fn(&Done) -> u64, down: fn(&Done) -> u64| {
            routes().flat_map(move |(route, done)| {
                let sample = |direction, count| ([("route", route), ("direction", direction)], count);
                [sample("up", up(done)), sample("down", down(done))]
            })
        };
        page.counters(
            "sealock_messages",
            "Messages that became records (up), and records that became messages (down).",
            both(
                |done| done.counters.messages_up,
                |done| done.counters.messages_down,
            ),
        )?;
        page.counters(
            "sealock_message_bytes",
            "Bytes of them: payload, as it was received.",
            both(|done| done.counters.bytes_up, |done| done.counters.bytes_down),
        )?;
        page.counters(
            "sealock_lost_bytes",
            "Bytes that reached nobody.",
            both(|done| done.counters.lost_up, |done| done.counters.lost_down),
        )?;
        page.counters(
            "sealock_edges",
            "How often a policy was applied at an edge.",
            routes().flat_map(|(route, done)| {
                let edges = done.counters.edges().named().into_iter();
                edges.map(move |(edge, count)| ([("route", route), ("edge", edge)], count))
            }),
        )?;
        let times = counts::routes();
        page.histograms(
            "sealock_message_size_bytes",
            "The same messages and bytes, by size.",
            routes().flat_map(|(route, done)| {
                let sizes = times
                    .get(route)
                    .map(|times| Arc::clone(&times.sizes))
                    .unwrap_or_default();
                let sample = |direction, counts: &Counts, bytes: u64| {
                    let buckets: Vec<_> = counts.seen().collect();
                    let seen = Seen {
                        sum: bytes as f64,
                        count: buckets.iter().map(|(_, count)| count).sum(),
                        buckets,
                    };
                    ([("route", route), ("direction", direction)], seen)
                };
                [
                    sample("up", &sizes.up, done.counters.bytes_up),
                    sample("down", &sizes.down, done.counters.bytes_down),
                ]
            }),
        )?;
        page.histograms(
            "sealock_session_seconds",
            "Sessions that have ended: how long they were.",
            times
                .iter()
                .map(|(route, times)| ([("route", route.as_str())], times.session.seen())),
        )?;
        page.histograms(
            "sealock_dial_seconds",
            "How long it took to reach a backend, the wait for a place included.",
            times
                .iter()
                .map(|(route, times)| ([("route", route.as_str())], times.dial.seen())),
        )
    }

    fn backends(&self, page: &mut Page<'_>) -> fmt::Result {
        let service = &self.0.service;
        let generation = service.current.load();
        let pools: Vec<_> = generation
            .destinations
            .iter()
            .map(|destination| {
                let name = destination.route.name.as_str();
                (
                    name,
                    destination.pool.snapshot(),
                    service.is_draining(destination),
                )
            })
            .collect();
        page.gauges(
            "sealock_backend_targets",
            "Targets by condition.",
            pools.iter().flat_map(|(route, pool, _)| {
                ["unknown", "up", "down"].map(|condition| {
                    let fits = pool
                        .targets
                        .iter()
                        .filter(|target| api::condition(target.condition) == condition);
                    let labels = [("route", *route), ("condition", condition)];
                    (labels, fits.count() as f64)
                })
            }),
        )?;
        page.gauges(
            "sealock_backend_queue",
            "Clients that wait for a place at a target.",
            pools
                .iter()
                .map(|(route, pool, _)| ([("route", *route)], pool.queued as f64)),
        )?;
        page.gauges(
            "sealock_backend_certificate_expiry_timestamp_seconds",
            "When the certificate of a route ends that its targets are shown.",
            generation.destinations.iter().filter_map(|destination| {
                let labels = [("route", destination.route.name.as_str())];
                Some((labels, destination.not_after?.as_second() as f64))
            }),
        )?;
        page.gauges(
            "sealock_route_draining",
            "Whether a route refuses new sessions.",
            pools
                .iter()
                .map(|(route, _, draining)| ([("route", *route)], flag(*draining))),
        )
    }
}

/// Labels with their values.
type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

/// What is written so far.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, u64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, samples, |encoder, count| {
            encoder.encode_counter::<NoLabelSet, _, u64>(&count, None)
        })
    }

    fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, f64)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, samples, |encoder, value| {
            encoder.encode_gauge(&value)
        })
    }

    fn histograms<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, Seen)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, samples, |encoder, seen| {
            encoder.encode_histogram::<NoLabelSet>(seen.sum, seen.count, &seen.buckets, None)
        })
    }

    fn family<'l, const N: usize, T>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl IntoIterator<Item = (Labels<'l, N>, T)>,
        write: impl Fn(&mut MetricEncoder<'_>, T) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            if N == 0 {
                write(&mut family, value)?;
            } else {
                write(&mut family.encode_family(&labels)?, value)?;
            }
        }
        Ok(())
    }
}

fn flag(set: bool) -> f64 {
    f64::from(u8::from(set))
}

fn seconds(time: SystemTime) -> Option<f64> {
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_liked_better() {
        const OPEN: &str = "application/openmetrics-text";
        for (accept, expected) in [
            ("OM", true),
            ("om;version=1.0.0,text/plain;q=0.5", true),
            (
                "om;version=1.0.0;q=0.5,om;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                true,
            ),
            ("text/plain, om", true),
            ("om;q=0.8, text/plain ; Q=0.8", true),
            ("om;q=0.5,text/plain", false),
            ("om;q=0.5,text/plain;q=0.501", false),
            ("om;q=0.5,text/*;q=0.9", false),
            ("om;q=0", false),
            ("om;q=0.0,*/*", false),
            ("om;q=0,text/plain;q=0", false),
            ("om;q=nan,text/plain;q=x", true),
            ("om;q=0.1,text/plain;q=0,*/*", true),
            ("text/plain;q=0,*/*", true),
            ("application/*", true),
            ("*/*", false),
            ("", false),
            ("text/html", false),
            ("text/plain;x=om", false),
        ] {
            let accept = accept.replace("om", OPEN).replace("OM", &OPEN.to_uppercase());
            assert_eq!(wants_openmetrics(&accept), expected, "{accept}");
        }
    }

    #[test]
    fn counters_have_their_whole_name_in_the_older_format() {
        let openmetrics = "# HELP a_b What it is.\n# TYPE a_b counter\na_b_total{x=\"# TYPE c counter\"} 1\n\
                           # HELP c What it is.\n# TYPE c gauge\nc 1\n# EOF\n";
        let expected = "# HELP a_b_total What it is.\n# TYPE a_b_total counter\na_b_total{x=\"# TYPE c counter\"} 1\n\
                        # HELP c What it is.\n# TYPE c gauge\nc 1\n";
        assert_eq!(plain(openmetrics), expected);
    }
}
