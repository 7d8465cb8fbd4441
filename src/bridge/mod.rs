//! The bridge: pipes one session both ways, translating between messages and records, and decides when and how it ends.
//!
//! - `uplink` and `downlink` are the two translators: pure, bytes in, bytes out.
//! - `lifecycle` decides: pure, events and `now` in, orders and one deadline out.
//! - `pump` obeys: the only file here that awaits. Its bytes are in `buffers`.

mod buffers;
mod counters;
mod downlink;
mod lifecycle;
mod pump;
mod settings;
#[cfg(test)]
mod simulation;
mod uplink;

pub use counters::{Counters, Ended};
pub use pump::{refuse, run};
pub use settings::{Accept, Deliver, HalfClose, Settings, Timeouts};
