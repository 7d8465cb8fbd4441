//! Measures what a proxy costs.
//!
//! One process is load generator and TCP backend together, on one processor; the proxy between them has another one to itself.
//! What is reported is the proxy's processor time and memory, as the kernel counts them: figures that survive a shared machine. Proxies
//! take turns within each round, and ratios are taken within a round.
//!
//! ```text
//!   client ── TLS ──▶ proxy ── TCP ──▶ backend        scenario: what is measured      measure/: what the kernel says
//!   load/client      proxy/            load/backend   cell: one, of one proxy, once   report/: table, JSON, page, plots
//! ```
//!
//! sealock gets WebSocket frames; proxies that only end TLS get the records that stand for them, so that the same payload passes.
//! Both ends check every byte and every boundary: a proxy that loses or changes anything fails the run.

mod cell;
mod cli;
mod cpu;
mod handshakes;
mod load;
mod measure;
mod proxy;
mod report;
mod results;
mod run;
mod scenario;
mod traffic;

use std::process::ExitCode;

/// Errors are texts for the person who runs this.
type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    cli::main()
}
