//! Runs one case under callgrind and reads what it counted.
//!
//! Each case has a process of its own, whose heap, environment and arguments are the same each time. Callgrind shows it one made-up
//! processor for all machines with AVX2: what libraries choose when they run (memchr, simdutf8, glibc) does not depend on more.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

/// The function that is counted, as callgrind names it: with a hash behind it, perhaps.
const COUNTED: &str = "--toggle-collect=sealock_instructions::counted*";

/// glibc copies large blocks with `rep movsb` where the processor says that this is fast. Callgrind counts that byte by byte, which
/// would make such a copy look ten times as dear as it is. Without it, copies are counted in vector instructions.
const TUNABLES: &str = "glibc.cpu.hwcaps=-ERMS,-FSRM";

/// The instructions of one run of this case's work.
pub(crate) fn count(case: &str) -> Result<u64, Box<dyn Error>> {
    let output = Command::new(valgrind()?)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", COUNTED])
        .arg(std::env::current_exe()?)
        .args(["run", case])
        // The environment stands on the stack, and moves it.
        .env_clear()
        .env("GLIBC_TUNABLES", TUNABLES)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let counted = said
        .lines()
        .find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    match counted {
        Some(count @ 1..) if output.status.success() => Ok(count),
        _ => Err(format!("{case} cannot be counted: {}\n{said}", output.status).into()),
    }
}

/// Where valgrind is: it is started without an environment to find it with.
pub(crate) fn valgrind() -> Result<PathBuf, Box<dyn Error>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("valgrind"))
        .find(|file| file.is_file());
    found.ok_or_else(|| "there is no valgrind".into())
}
