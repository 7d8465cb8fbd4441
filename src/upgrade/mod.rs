//! Serves the HTTP request: the checks of RFC 6455 §4.2.1, the refusals, and the 101.

mod forwarded;
mod handshake;
mod origin;
mod page;
mod policy;
mod serve;

pub use forwarded::{ForwardedHeader, Forwarding};
pub(crate) use handshake::is_token;
pub use origin::{Origin, OriginError, Origins};
pub use page::Page;
pub use policy::{AbsentOrigin, OnDialFailure, Policy};
pub use serve::{Bounds, Gate, Refused, Upgraded, serve, turn_away};
