//! sealock lets browsers reach TCP services that know nothing of WebSocket.

pub mod demo;
