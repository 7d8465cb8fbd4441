//! What a session has moved, what it has not, and how it ended.

use crate::close::CloseReason;
use crate::websocket::CloseCode;

/// Counts of one session. Bytes are payload: message bytes, without frame headers or framing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages from the client that became records.
    pub messages_up: u64,
    /// Their bytes.
    pub bytes_up: u64,
    /// Records of the backend that became messages.
    pub messages_down: u64,
    /// Their bytes.
    pub bytes_down: u64,
    /// Empty messages and records that were left out (`empty = "skip"`).
    pub skipped: u64,
    /// Records over the limit that were dropped (`oversized = "discard"`).
    pub oversized: u64,
    /// Bytes of the client that reached nobody: unfinished messages, and what came after the end.
    pub lost_up: u64,
    /// Bytes of the backend that reached nobody.
    pub lost_down: u64,
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        // Taken apart, so that none is forgotten.
        let Self {
            messages_up,
            bytes_up,
            messages_down,
            bytes_down,
            skipped,
            oversized,
            lost_up,
            lost_down,
        } = other;
        self.messages_up += messages_up;
        self.bytes_up += bytes_up;
        self.messages_down += messages_down;
        self.bytes_down += bytes_down;
        self.skipped += skipped;
        self.oversized += oversized;
        self.lost_up += lost_up;
        self.lost_down += lost_down;
    }
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The first cause.
    pub reason: CloseReason,
    /// The close code: ours where we closed first, the client's where it did.
    pub code: Option<CloseCode>,
    /// What was moved.
    pub counters: Counters,
    /// The most memory it held for bytes on their way; see [`super::held_bytes`].
    pub held_max: u64,
}
