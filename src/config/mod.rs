//! Reads the configuration file: from what was written, with its spans, to a [`Config`] that cannot be wrong.

mod model;

pub use model::{Certificate, Config, Limits, Listener, Route, Tls};
