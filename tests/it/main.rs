//! Tests of the whole: the real program, real sockets, and on both sides clients and servers that know nothing of sealock.
//!
//! Every test starts its own sealock on ports that the system chooses, and reads what it logs; nothing sleeps to be in step.

#![allow(unreachable_pub, reason = "a test has no outside")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests are tests"
)]

mod support;

mod docs;
mod bad_backend;
mod bad_frames;
mod bad_messages;
mod bad_records;
mod bad_request;
mod bad_tls;
mod daemon;
mod early_and_late;
mod lifecycle;
mod slow_peers;
mod layering;
mod smoke;
