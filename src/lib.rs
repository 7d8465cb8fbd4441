//! sealock lets browsers reach TCP services that know nothing of WebSocket.
// The path of a connection.
pub mod accept;
pub mod tls;
pub mod upgrade;
pub mod route;
pub mod backend;
pub mod websocket;
pub mod framing;
pub mod bridge;
pub mod close;
pub mod session;

// Beside it.
pub mod cli;
pub mod app;
pub mod signals;
pub mod config;
pub mod demo;
pub mod probe;
pub mod telemetry;

// Shared by all.
pub mod addr;
pub mod escape;
pub mod io;
pub mod message;
pub mod outbox;
pub mod units;
pub mod utf8;
