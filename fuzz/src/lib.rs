//! What must hold for any bytes from a client, a backend or a file.
//!
//! Each target is a function that takes bytes and panics where a rule is broken. The fuzzer calls it (`fuzz/run.sh`), and so do the
//! tests with the committed seeds, on any toolchain. A target that has parameters reads them from the first bytes (see [`input`]);
//! `frames`, `request_head` and `config` are otherwise what they say: a stream of frames, a request, a file.
#![forbid(unsafe_code)]

mod config;
mod frames;
mod framing;
pub mod input;
mod request_head;
mod session;
pub mod tls;

pub use config::config;
pub use frames::frames;
pub use framing::{
    framing_block, framing_counted, framing_delimiter, framing_json_seq, framing_length_prefix,
    framing_protocols, framing_raw, framing_stuffed,
};
pub use request_head::{is_upgraded, request_head};
pub use session::session;
pub use tls::tls;

/// A target: panics where a rule is broken.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("config", config),
    ("frames", frames),
    ("framing_block", framing_block),
    ("framing_counted", framing_counted),
    ("framing_delimiter", framing_delimiter),
    ("framing_json_seq", framing_json_seq),
    ("framing_length_prefix", framing_length_prefix),
    ("framing_protocols", framing_protocols),
    ("framing_raw", framing_raw),
    ("framing_stuffed", framing_stuffed),
    ("request_head", request_head),
    ("session", session),
    ("tls", tls),
];
