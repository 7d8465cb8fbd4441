//! What a route says about who may connect and how.

use super::Origins;

/// A route's rules for the opening handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Pages that may connect.
    pub origins: Origins,
    /// Clients that tell no origin: not browsers.
    pub absent_origin: AbsentOrigin,
    /// Subprotocols in the order of preference; the first that the client offers is chosen.
    pub subprotocols: Vec<String>,
    /// How a client learns that the backend cannot be reached.
    pub on_dial_failure: OnDialFailure,
}

/// What happens to a request without an `Origin` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbsentOrigin {
    /// It may connect: only browsers send origins, and only pages are confined by them.
    Allow,
    /// 403.
    Refuse,
}

/// How a client learns that there is no backend, or no place, for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDialFailure {
    /// 502, 503 or 504 instead of the upgrade. Page code sees only that the connection failed.
    Status,
    /// The upgrade succeeds and a Close frame tells why. Page code can read it.
    Close,
}
