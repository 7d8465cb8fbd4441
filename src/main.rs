//! The `sealock` command: see [`sealock::cli`].

fn main() {}
