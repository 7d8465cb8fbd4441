//! Reaches a route's backend: chooses one of its targets, resolves the name and dials, all within one deadline.
//!
//! ```text
//! Pool::open ── search ── places: which target, or wait, or why not ──► dial ── all addresses of the name
//!                            ▲  balance   health                          │     PROXY header, TLS
//!                            ├──────────── passed, failed ────────────────┘
//!                            └──────────── checks, where the route says so
//! ```

mod balance;
mod check;
mod dial;
mod exchange;
mod health;
mod names;
mod places;
mod plan;
mod pool;
mod proxy;
mod refused;
mod search;
mod stream;
mod target;

pub use balance::Balance;
pub use check::Check;
pub use dial::{DialError, Reached, Shortage};
pub use exchange::Exchange;
pub use health::Condition;
pub use places::MAX_TARGETS;
pub use plan::{Plan, Secure, Securing};
pub use pool::{Caller, Opened, Place, Pool, Snapshot, TargetStatus};
pub use proxy::ProxyVersion;
pub use refused::Refused;
pub use stream::Stream;
pub use target::{Target, TargetError};
