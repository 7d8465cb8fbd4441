//! Close frames: codes, reasons, and which of them may appear on the wire (RFC 6455 §5.5.1, §7.4).

use super::decode::{ProtocolError, Violation};

/// The longest reason: a control frame's 125 bytes less the code (RFC 6455 §5.5).
pub const MAX_REASON: usize = 123;

/// A close code as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// Purpose fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The server goes down, or a page is left.
    pub const GOING_AWAY: Self = Self(1001);
    /// WebSocket protocol error.
    pub const PROTOCOL: Self = Self(1002);
    /// A kind of data that cannot be accepted.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Data that does not fit the kind of the message, such as text that is not UTF-8.
    pub const INVALID: Self = Self(1007);
    /// Policy violation.
    pub const POLICY: Self = Self(1008);
    /// Message too big.
    pub const TOO_BIG: Self = Self(1009);
    /// Unexpected condition at the server.
    pub const INTERNAL: Self = Self(1011);
    /// Service restart (IANA registry).
    pub const RESTART: Self = Self(1012);
    /// Try again later (IANA registry).
    pub const TRY_AGAIN: Self = Self(1013);
    /// Bad gateway (IANA registry).
    pub const BAD_GATEWAY: Self = Self(1014);

    /// True for codes that an endpoint may send: those registered for use on the wire, and 3000 to 4999 (RFC 6455 §7.4.2).
    pub fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a Close frame says, borrowed from the frame. `None` for the code means an empty payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// Why the sender closes.
    pub code: Option<CloseCode>,
    /// Text for people, at most [`MAX_REASON`] bytes.
    pub reason: &'a str,
}

impl<'a> CloseFrame<'a> {
    pub(super) fn parse(payload: &'a [u8]) -> Result<Self, ProtocolError> {
        let (code, reason) = match payload {
            [] => {
                return Ok(Self {
                    code: None,
                    reason: "",
                });
            }
            [_] => return Err(Violation::CloseLength.into()),
            [high, low, reason @ ..] => (CloseCode(u16::from_be_bytes([*high, *low])), reason),
        };
        if !code.may_be_sent() {
            return Err(Violation::CloseCode.into());
        }
        let reason = std::str::from_utf8(reason).map_err(|_| ProtocolError::InvalidText)?;
        Ok(Self {
            code: Some(code),
            reason,
        })
    }
}

/// Cuts a reason to [`MAX_REASON`] bytes at a character.
pub fn cut_reason(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_REASON)]
}
