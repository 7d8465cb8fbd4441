//! Tests of the whole: the real program, real sockets, and on both sides clients and servers that know nothing of sealock.
//!
//! Every test starts its own sealock on ports that the system chooses, and reads what it logs; nothing sleeps to be in step.

#![allow(
    unreachable_pub,
    reason = "nothing is reachable in a test's crate; `pub` says what a module offers to the others"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod support;

mod admin;
mod backend_tls;
mod backends;
mod bad_backend;
mod bad_frames;
mod bad_messages;
mod bad_records;
mod bad_request;
mod bad_tls;
mod browser;
mod bulk;
mod console;
mod daemon;
mod decode;
mod dns;
mod docs;
mod drain;
mod early_and_late;
mod edges;
mod forwarded;
mod framing_pages;
mod handover;
mod irc;
mod layering;
mod lifecycle;
mod limits;
mod logs;
mod lsp;
mod memory;
mod mllp;
mod modbus;
mod mqtt;
mod postgres;
mod probe;
mod protocols;
mod proxy_protocol;
mod redis;
mod references;
mod reload;
mod slow_peers;
mod smoke;
mod ssh;
mod stomp;
mod subprotocols;
mod syslog;
mod tls_clients;
mod tls_fragments;
mod tls_scan;
mod top;
mod unix;
