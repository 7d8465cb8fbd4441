//! Serves the HTTP request: the checks of RFC 6455 §4.2.1, the refusals, and the 101.

mod origin;
mod policy;

pub use origin::{Origin, OriginError, Origins};
pub use policy::{AbsentOrigin, OnDialFailure, Policy};
