//! The bridge: pipes one session both ways, translating between messages and records, and decides when and how it ends.
//!
//! - `uplink` and `downlink` are the two translators: pure, bytes in, bytes out.
//! - `lifecycle` decides: pure, events and `now` in, orders and one deadline out.
//! - `pump` obeys, and `run` awaits it. Its bytes are in `buffers`; what they take is counted in `memory`.

mod buffers;
mod counters;
mod delivery;
mod downlink;
mod lifecycle;
mod live;
mod memory;
mod pump;
mod run;
mod settings;
#[cfg(test)]
mod simulation;
mod uplink;

pub use counters::{Counters, Edges, Ended};
pub use live::{Live, State, Stop};
pub use memory::{held_bytes, set_budget};
pub use run::{refuse, run};
pub use settings::{Accept, Both, Deliver, HalfClose, InvalidText, RatePolicy, Rates, Settings, Timeouts};
