//! What is measured. Names are stable: pages and scripts refer to them.

use crate::load::{Budget, Load};
use crate::proxy::Kind;
use crate::proxy::Kind::{Baseline, Haproxy, Nginx, Relay, Sealock};
use crate::traffic::Framing;

/// One thing that is measured of several proxies.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) group: Group,
    pub(crate) work: Work,
    /// The figures to show, the others are in the JSON only.
    pub(crate) shows: Vec<Figure>,
    pub(crate) kinds: &'static [Kind],
    /// Fewer rounds than asked for, where one takes long.
    pub(crate) rounds: Option<usize>,
}

/// How it is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// Processor time while messages flow.
    Flow { load: Load, sessions: u32, large: bool },
    /// Processor time of whole connections.
    Handshake { resume: bool },
    /// Memory of sessions at rest.
    Idle { sessions: u32 },
    /// Processor time of sessions at rest.
    IdleCpu { sessions: u32 },
    /// Memory while one large message passes.
    Peak { load: Load },
    /// Waiting time of an echo beside handshakes.
    Stall,
}

/// Scenarios that belong together: a table and a plot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Echo,
    Records,
    Bulk,
    Handshake,
    Idle,
    IdleCpu,
    Peak,
    Scale,
    Sizes,
    Stall,
}

impl Group {
    /// In the order of the page.
    pub(crate) const ALL: [Self; 10] = [
        Self::Echo,
        Self::Records,
        Self::Bulk,
        Self::Handshake,
        Self::Idle,
        Self::IdleCpu,
        Self::Peak,
        Self::Scale,
        Self::Sizes,
        Self::Stall,
    ];

    /// For file names.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Records => "records",
            Self::Bulk => "bulk",
            Self::Handshake => "handshake",
            Self::Idle => "idle",
            Self::IdleCpu => "idle-cpu",
            Self::Peak => "peak",
            Self::Scale => "scale",
            Self::Sizes => "sizes",
            Self::Stall => "stall",
        }
    }

    /// The heading.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Echo => "Echo",
            Self::Records => "Small records, one way",
            Self::Bulk => "Bulk, one way",
            Self::Handshake => "Connections",
            Self::Idle => "Memory of idle sessions",
            Self::IdleCpu => "Processor time of idle sessions",
            Self::Peak => "Peak memory of a 64 MiB message",
            Self::Scale => "Many active sessions",
            Self::Sizes => "Large messages",
            Self::Stall => "Waiting time beside handshakes",
        }
    }

    /// What its scenarios are.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Echo => {
                "16 sessions; `d1`: one 64 B message under way (raw), `d32`: 32 of them (`u32be`). A client's message is a TLS record."
            }
            Self::Records => {
                "4 sessions send without pause. `line-200`: lines of 200 B, the line feed included. A client's message is a TLS \
                 record, as most clients write them; `batch`: many messages in one record and one write."
            }
            Self::Bulk => "4 sessions send without pause, `u32be` records or raw bytes.",
            Self::Handshake => {
                "16 at a time: TCP, TLS, upgrade where the proxy speaks WebSocket, dial, one greeting of 8 B from the backend, \
                 Close frames likewise, close_notify, end of stream. `resumed`: TLS 1.3 tickets."
            }
            Self::Idle => {
                "Growth since the proxy started, a session. `fresh`: after an opening message of 8 B in each direction; `after`: \
                 after an echo of 16 KiB in each session. Kernel: slabs and TCP buffers, the half of what the four sockets of a \
                 session take."
            }
            Self::IdleCpu => "9,000 sessions; sealock pings each, as is its default.",
            Self::Peak => {
                "Growth of the resident memory while one `u32be` record of 64 MiB passes, over what it was before. `echo`: both ways at once, \
                 as with a backend that answers while it reads."
            }
            Self::Scale => {
                "Echo of 64 B, depth 1, raw, over more and more sessions, all of them active. With one session, both processors sleep \
                 between any two messages, and waking them up is most of the cost; with thousands, the kernel's own state of each \
                 connection is out of the caches when its turn comes. The relay, which does nothing else, shows both."
            }
            Self::Sizes => "4 sessions send `u32be` records without pause.",
            Self::Stall => {
                "16 sessions echo 64 B every 10 ms while 500 connections a second are made and closed beside them, by another thread \
                 of the generator, of lower priority."
            }
        }
    }
}

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    CpuPerMessage,
    CpuPerByte,
    CpuPerConnection,
    CpuPerSecond,
    PssFresh,
    PssAfter,
    PssGrowth,
    PssClosed,
    Kernel,
    PeakGrowth,
    P50Quiet,
    P99Quiet,
    P50,
    P99,
    Handshakes,
}

impl Figure {
    /// For the JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CpuPerMessage => "cpu_us_per_message",
            Self::CpuPerByte => "cpu_ns_per_byte",
            Self::CpuPerConnection => "cpu_ms_per_connection",
            Self::CpuPerSecond => "cpu_ms_per_second",
            Self::PssFresh => "pss_fresh_bytes",
            Self::PssAfter => "pss_after_bytes",
            Self::PssGrowth => "pss_growth_bytes",
            Self::PssClosed => "pss_closed_bytes",
            Self::Kernel => "kernel_bytes",
            Self::PeakGrowth => "peak_growth_mib",
            Self::P50Quiet => "p50_quiet_us",
            Self::P99Quiet => "p99_quiet_us",
            Self::P50 => "p50_us",
            Self::P99 => "p99_us",
            Self::Handshakes => "handshakes_per_second",
        }
    }

    /// For people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::CpuPerMessage => "CPU a message, µs",
            Self::CpuPerByte => "CPU a byte, ns",
            Self::CpuPerConnection => "CPU a connection, ms",
            Self::CpuPerSecond => "CPU a second, ms",
            Self::PssFresh => "PSS a session, fresh, B",
            Self::PssAfter => "PSS a session, after 16 KiB, B",
            Self::PssGrowth => "PSS a session, growth by 16 KiB, B",
            Self::PssClosed => "PSS kept when all have closed, B a session",
            Self::Kernel => "kernel memory a session, B",
            Self::PeakGrowth => "growth of peak RSS, MiB",
            Self::P50Quiet => "p50 without handshakes, µs",
            Self::P99Quiet => "p99 without handshakes, µs",
            Self::P50 => "p50, µs",
            Self::P99 => "p99, µs",
            Self::Handshakes => "handshakes a second",
        }
    }
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const EVERY: &[Kind] = &Kind::ALL;
const FRAMED: &[Kind] = &[Sealock, Baseline, Nginx, Haproxy, Relay];
const SECURE: &[Kind] = &[Sealock, Baseline, Nginx, Haproxy];
const SCALED: &[Kind] = &[Sealock, Baseline, Nginx, Relay];
const TWO: &[Kind] = &[Sealock, Baseline, Nginx];

/// All scenarios, in the order of the page.
pub(crate) fn all() -> Vec<Scenario> {
    let mut list = Vec::new();
    echo(&mut list);
    one_way(&mut list);
    whole_connections(&mut list);
    at_rest(&mut list);
    growth(&mut list);
    list
}

fn load(framing: Framing, size: u64, up: Budget, down: Budget) -> Load {
    Load {
        framing,
        size,
        up,
        down,
        batch: false,
    }
}

fn scenario(name: &str, group: Group, work: Work, shows: &[Figure], kinds: &'static [Kind]) -> Scenario {
    Scenario {
        name: name.to_owned(),
        group,
        work,
        shows: shows.to_vec(),
        kinds,
        rounds: None,
    }
}

fn flow(name: &str, group: Group, load: Load, kinds: &'static [Kind]) -> Scenario {
    let figure = if load.size >= 4 * KIB {
        Figure::CpuPerByte
    } else {
        Figure::CpuPerMessage
    };
    let work = Work::Flow {
        load,
        sessions: 4,
        large: false,
    };
    scenario(name, group, work, &[figure], kinds)
}

fn echo(list: &mut Vec<Scenario>) {
    for (name, framing, depth, kinds) in [
        ("echo-64-d1", Framing::Raw, 1, EVERY),
        ("echo-64-d32", Framing::U32be, 32, FRAMED),
    ] {
        let work = Work::Flow {
            load: load(framing, 64, Budget::depth(depth), Budget::ANSWERS),
            sessions: 16,
            large: false,
        };
        list.push(scenario(name, Group::Echo, work, &[Figure::CpuPerMessage], kinds));
    }
}

/// The two directions: a name and the budgets of client and backend.
const WAYS: [(&str, Budget, Budget); 2] = [
    ("up", Budget::ENDLESS, Budget::NONE),
    ("down", Budget::NONE, Budget::ENDLESS),
];

fn one_way(list: &mut Vec<Scenario>) {
    for (name, framing, size, group, kinds) in [
        ("u32be-64", Framing::U32be, 64, Group::Records, FRAMED),
        ("u32be-1k", Framing::U32be, KIB, Group::Records, FRAMED),
        ("line-200", Framing::Lines, 199, Group::Records, FRAMED),
        ("u32be-16k", Framing::U32be, 16 * KIB, Group::Bulk, FRAMED),
        ("u32be-1m", Framing::U32be, MIB, Group::Bulk, FRAMED),
        ("raw-16k", Framing::Raw, 16 * KIB, Group::Bulk, EVERY),
    ] {
        for (way, up, down) in WAYS {
            let load = load(framing, size, up, down);
            list.push(flow(&format!("{way}-{name}"), group, load, kinds));
        }
    }
    let batch = Load {
        batch: true,
        ..load(Framing::U32be, 64, Budget::ENDLESS, Budget::NONE)
    };
    list.push(flow("up-u32be-64-batch", Group::Records, batch, FRAMED));
}

fn whole_connections(list: &mut Vec<Scenario>) {
    for (name, resume) in [("handshake-full", false), ("handshake-resumed", true)] {
        let work = Work::Handshake { resume };
        list.push(scenario(
            name,
            Group::Handshake,
            work,
            &[Figure::CpuPerConnection],
            SECURE,
        ));
    }
    list.push(scenario(
        "stall",
        Group::Stall,
        Work::Stall,
        &[Figure::P99, Figure::P99Quiet],
        SECURE,
    ));
}

fn at_rest(list: &mut Vec<Scenario>) {
    let figures = [
        Figure::PssFresh,
        Figure::PssAfter,
        Figure::PssGrowth,
        Figure::PssClosed,
        Figure::Kernel,
    ];
    for (name, sessions) in [("idle-1k", 1000), ("idle-5k", 5000), ("idle-9k", 9000)] {
        list.push(scenario(
            name,
            Group::Idle,
            Work::Idle { sessions },
            &figures,
            SECURE,
        ));
    }
    let work = Work::IdleCpu { sessions: 9000 };
    list.push(Scenario {
        rounds: Some(1),
        ..scenario(
            "idle-cpu-9k",
            Group::IdleCpu,
            work,
            &[Figure::CpuPerSecond],
            SECURE,
        )
    });
    for (name, up, down) in [
        ("peak-64m-up", Budget::some(1), Budget::NONE),
        ("peak-64m-down", Budget::NONE, Budget::some(1)),
        ("peak-64m-echo", Budget::some(1), Budget::some(1)),
    ] {
        let load = load(Framing::U32be, 64 * MIB, up, down);
        list.push(scenario(
            name,
            Group::Peak,
            Work::Peak { load },
            &[Figure::PeakGrowth],
            SECURE,
        ));
    }
}

fn growth(list: &mut Vec<Scenario>) {
    for sessions in [1, 16, 256, 2000, 9000] {
        let work = Work::Flow {
            load: load(Framing::Raw, 64, Budget::depth(1), Budget::ANSWERS),
            sessions,
            large: false,
        };
        let name = format!("scale-{sessions}");
        list.push(scenario(
            &name,
            Group::Scale,
            work,
            &[Figure::CpuPerMessage],
            SCALED,
        ));
    }
    for (way, up, down) in WAYS {
        for (name, size) in [
            ("4k", 4 * KIB),
            ("16k", 16 * KIB),
            ("64k", 64 * KIB),
            ("256k", 256 * KIB),
            ("1m", MIB),
            ("4m", 4 * MIB),
            ("16m", 16 * MIB),
            ("64m", 64 * MIB),
        ] {
            let work = Work::Flow {
                load: load(Framing::U32be, size, up, down),
                sessions: 4,
                large: true,
            };
            let name = format!("sizes-{way}-{name}");
            list.push(scenario(&name, Group::Sizes, work, &[Figure::CpuPerByte], TWO));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Kind::Websockify;

    #[test]
    fn names_are_unique_and_every_group_has_some() {
        let all = all();
        let names: std::collections::BTreeSet<_> = all.iter().map(|one| &one.name).collect();
        assert_eq!(names.len(), all.len());
        for group in Group::ALL {
            assert!(all.iter().any(|one| one.group == group), "{group:?}");
        }
    }

    #[test]
    fn websockify_is_only_asked_for_raw() {
        for one in all() {
            if let Work::Flow { load, .. } = one.work {
                assert!(
                    load.framing == Framing::Raw || !one.kinds.contains(&Websockify),
                    "{}",
                    one.name
                );
            }
        }
    }
}
