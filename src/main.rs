//! The `sealock` command. Everything is in the library; see [`sealock::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    sealock::cli::main()
}
