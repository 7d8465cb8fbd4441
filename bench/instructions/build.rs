//! Tells the program which compiler built it, and for what.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let of = |name| std::env::var(name).unwrap_or_default();
    let version = Command::new(of("RUSTC")).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!("cargo::rustc-env=BUILT_WITH={}", version.unwrap_or_default());
    println!("cargo::rustc-env=BUILT_FOR={}", of("TARGET"));
}
