//! sealock lets browsers reach TCP services that know nothing of WebSocket.
pub mod addr;
pub mod backend;
pub mod bridge;
pub mod close;
pub mod config;
pub mod framing;
pub mod message;
pub mod outbox;
pub mod route;
pub mod units;
pub mod upgrade;
pub mod utf8;
pub mod websocket;
