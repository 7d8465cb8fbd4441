//! The `sealock` command. Everything is in the library; see [`sealock::cli`].

use std::process::ExitCode;

/// It is small at rest, and gives memory back after a burst; see `docs/DESIGN.md`. It replaces C's allocator as well, from which the
/// cryptography of each session comes.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    sealock::cli::main()
}
