//! What a session has moved, what it has not, and how it ended.

use crate::close::CloseReason;
use crate::websocket::CloseCode;

/// Counts of one session. Bytes are payload as it was received: without frame headers and framing, and before any transcoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages from the client that became records.
    pub messages_up: u64,
    /// Their bytes.
    pub bytes_up: u64,
    /// Records of the backend that became messages.
    pub messages_down: u64,
    /// Their bytes.
    pub bytes_down: u64,
    /// Bytes of the client that reached nobody: unfinished messages, and what came after the end.
    pub lost_up: u64,
    /// Bytes of the backend that reached nobody.
    pub lost_down: u64,
    /// Most sessions meet no edge, and have no room for its counts.
    edges: Option<Box<Edges>>,
}

/// How often a policy was applied at an edge, and the session went on. (Policies that end it are told as its end.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edges {
    /// Delimiters inside messages that were let pass, replaced or escaped (`embedded_delimiter`).
    pub embedded: u64,
    /// Messages over the limit that were dropped (`oversized = "discard"`).
    pub oversized_up: u64,
    /// Records over the limit that were dropped.
    pub oversized_down: u64,
    /// Empty messages that were left out (`empty = "skip"`).
    pub empty_up: u64,
    /// Empty records that were left out.
    pub empty_down: u64,
    /// Records cut short by the end of the stream that were delivered (`partial = "deliver"`).
    pub partial_delivered: u64,
    /// Records cut short that were dropped (`partial = "drop"`, or a cut header that is no part of a message).
    pub partial_dropped: u64,
    /// Places in records that were no text, and got U+FFFD (`invalid_text = "replace"`).
    pub invalid_replaced: u64,
    /// Records that were no text and were delivered as binary messages (`invalid_text = "binary"`).
    pub invalid_binary: u64,
    /// Characters that the charset does not have, and became question marks (`unmappable = "replace"`).
    pub unmappable_replaced: u64,
    /// Characters that the charset does not have, and became references (`unmappable = "escape"`).
    pub unmappable_escaped: u64,
    /// Bytes that stood outside of any record, and were skipped.
    pub outside: u64,
    /// How often the client had to wait because of its rates (`rate_policy = "delay"`).
    pub throttled: u64,
}

impl Counters {
    /// The counts of edges that the session has met.
    pub fn edges(&self) -> Edges {
        self.edges.as_deref().copied().unwrap_or_default()
    }

    /// The counts of edges, to add to one.
    #[cold]
    pub(super) fn edges_mut(&mut self) -> &mut Edges {
        self.edges.get_or_insert_default()
    }

    /// Becomes the same as `other`, without another allocation where there is one.
    pub(super) fn copy_from(&mut self, other: &Self) {
        let edges = match (self.edges.take(), &other.edges) {
            (Some(mut own), Some(edges)) => {
                *own = **edges;
                Some(own)
            }
            (_, edges) => edges.clone(),
        };
        *self = Self { edges, ..*other };
    }

    /// Messages of the client that count for its rates: those that became nothing too.
    pub(super) fn taken(&self) -> u64 {
        let edges = self.edges.as_ref();
        let met = edges.map_or(0, |edges| edges.empty_up + edges.oversized_up);
        self.messages_up + met
    }

    /// Grows with whatever comes of the client's messages.
    pub(super) fn heard(&self) -> u64 {
        self.taken() + self.bytes_up + self.lost_up
    }
}

impl std::ops::AddAssign<&Self> for Counters {
    fn add_assign(&mut self, other: &Self) {
        // Taken apart, so that none is forgotten.
        let Self {
            messages_up,
            bytes_up,
            messages_down,
            bytes_down,
            lost_up,
            lost_down,
            edges,
        } = other;
        self.messages_up += messages_up;
        self.bytes_up += bytes_up;
        self.messages_down += messages_down;
        self.bytes_down += bytes_down;
        self.lost_up += lost_up;
        self.lost_down += lost_down;
        if let Some(edges) = edges {
            *self.edges_mut() += **edges;
        }
    }
}

impl Edges {
    /// All of them, each with its name in metrics. A direction stands in the name where an edge has one in each.
    pub fn named(&self) -> [(&'static str, u64); 13] {
        [
            ("embedded", self.embedded),
            ("oversized_up", self.oversized_up),
            ("oversized_down", self.oversized_down),
            ("empty_up", self.empty_up),
            ("empty_down", self.empty_down),
            ("partial_delivered", self.partial_delivered),
            ("partial_dropped", self.partial_dropped),
            ("invalid_replaced", self.invalid_replaced),
            ("invalid_binary", self.invalid_binary),
            ("unmappable_replaced", self.unmappable_replaced),
            ("unmappable_escaped", self.unmappable_escaped),
            ("outside", self.outside),
            ("throttled", self.throttled),
        ]
    }
}

impl std::ops::AddAssign for Edges {
    fn add_assign(&mut self, other: Self) {
        let Self {
            embedded,
            oversized_up,
            oversized_down,
            empty_up,
            empty_down,
            partial_delivered,
            partial_dropped,
            invalid_replaced,
            invalid_binary,
            unmappable_replaced,
            unmappable_escaped,
            outside,
            throttled,
        } = other;
        self.embedded += embedded;
        self.oversized_up += oversized_up;
        self.oversized_down += oversized_down;
        self.empty_up += empty_up;
        self.empty_down += empty_down;
        self.partial_delivered += partial_delivered;
        self.partial_dropped += partial_dropped;
        self.invalid_replaced += invalid_replaced;
        self.invalid_binary += invalid_binary;
        self.unmappable_replaced += unmappable_replaced;
        self.unmappable_escaped += unmappable_escaped;
        self.outside += outside;
        self.throttled += throttled;
    }
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The first cause.
    pub reason: CloseReason,
    /// The close code: ours where we closed first, the client's where it did.
    pub code: Option<CloseCode>,
    /// What exactly went wrong, where the cause does not say it all.
    pub detail: Option<Box<str>>,
    /// What was moved.
    pub counters: Counters,
    /// The most memory it held for bytes on their way; see [`super::held_bytes`].
    pub held_max: u64,
}
