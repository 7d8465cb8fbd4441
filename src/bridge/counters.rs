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
