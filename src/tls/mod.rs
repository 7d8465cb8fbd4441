//! Ends TLS. The only place that knows rustls.

pub mod client;
mod connection;
mod connector;
mod expiry;
mod handshake;
mod identity;
mod sealed;
mod stream;

pub use connection::TlsConnection;
pub use connector::{BackendTls, Connector};
pub use handshake::{Failure, accept};
pub use identity::{ClientCa, DevelopmentCa, Identity, IdentityError, server_config};
pub use stream::Stream;
pub use tokio_rustls::rustls::ServerConfig;
