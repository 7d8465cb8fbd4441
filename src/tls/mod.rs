//! Ends TLS. The only place that knows rustls.

mod certificates;
pub mod client;
mod connection;
mod connector;
mod der;
mod expiry;
mod handshake;
mod identity;
mod names;
mod sealed;
mod stream;
mod words;

pub use certificates::Certificates;
pub use connection::TlsConnection;
pub use connector::{BackendTls, Connector, SystemRoots};
pub use handshake::{Failure, accept};
pub use identity::{ClientCa, DevelopmentCa, Identity, IdentityError, server_config};
pub use stream::Stream;
pub use tokio_rustls::rustls::ServerConfig;
