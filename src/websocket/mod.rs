//! RFC 6455, the server's side, as pure state machines: [`Decoder`] reads what a client sends, [`Encoder`] writes what it gets.
//!
//! Neither holds a message. The decoder unmasks in place and hands out [`Part`](crate::message::Part)s of the caller's buffer; it
//! leaves an incomplete frame header or control frame (at most [`MAX_LEFT`] bytes) for the caller to show again.

mod close;
mod decode;
mod encode;
mod mask;
#[cfg(test)]
mod tests;

pub use close::{CloseCode, CloseFrame, MAX_REASON, cut_reason};
pub use decode::{Decoder, Event, ProtocolError, Violation, WholeMessage};
pub(crate) use encode::FRAGMENT;
pub use encode::{Encoder, Gather};

/// The most bytes a decoder leaves unconsumed: a frame header of 14 bytes and a control frame's payload of 125 (RFC 6455 §5.2, §5.5).
pub const MAX_LEFT: usize = 14 + MAX_CONTROL;

/// The longest payload of a control frame (RFC 6455 §5.5).
pub const MAX_CONTROL: usize = 125;

/// Frame opcodes (RFC 6455 §5.2, §11.8).
mod opcode {
    pub(super) const CONTINUATION: u8 = 0x0;
    pub(super) const TEXT: u8 = 0x1;
    pub(super) const BINARY: u8 = 0x2;
    pub(super) const CLOSE: u8 = 0x8;
    pub(super) const PING: u8 = 0x9;
    pub(super) const PONG: u8 = 0xA;
}
