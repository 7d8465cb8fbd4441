//! sealock lets browsers reach TCP services that know nothing of WebSocket: one message is one record of the service's stream.
//!
//! The path of a connection is the layout of the crate:
//!
//! ```text
//!              accept -> tls -> upgrade -> route -> backend        each knows its own step only;
//!                                  '------------------.            session alone knows their order
//!                                                     v
//!              .------------------- bridge -------------------.
//!  client ---> | websocket -> Part -> framing -> Outbox       | ---> backend
//!         <--- |      Outbox <- websocket <- Part <- framing  | <---
//!              '------- lifecycle decides, pump obeys --------'
//!                                  |
//!                                  v
//!              close: why it ended -> status, close code, reason, level, label
//! ```
//!
//! - A message or record goes through as [`message::Part`]s, and waits in an [`outbox::Outbox`], where it can be held until it may
//!   leave. Nothing on the path needs a whole message; what has to be gathered is bounded by `max_message`.
//! - [`websocket`], [`framing`], [`route`], [`close`] and the decisions of [`bridge`] are pure: bytes, events and the time go in.
//! - [`config`] reads the file into values that cannot be wrong, [`app`] hands each stage the few that it needs.
//!
//! `docs/ARCHITECTURE.md` says more, `docs/PROTOCOL.md` what happens on the wire.

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
pub mod advice;
pub mod quota;
pub mod session;
pub mod sessions;

// Beside it.
pub mod cli;
pub mod app;
pub mod admin;
pub mod drain;
pub mod generation;
pub mod reload;
pub mod signals;
pub mod limits;
pub mod config;
pub mod demo;
pub mod probe;
pub mod decode;
pub mod top;
pub mod telemetry;

// Shared by all.
pub mod addr;
pub(crate) mod alike;
pub mod charset;
pub mod escape;
pub(crate) mod files;
pub mod io;
pub mod message;
pub mod outbox;
pub mod rate;
pub mod units;
pub mod utf8;
