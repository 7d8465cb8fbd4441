//! The soak: normal sessions, every fault, and an operator who changes everything, all at once; and at the end an account
//! of every
//! record, descriptor, task and byte of memory.
//!
//! `tests/soak.sh` starts it. It is no part of `cargo test`: it is meant to take long.

#![allow(
    unreachable_pub,
    reason = "nothing is reachable in a test's crate; `pub` says what a module offers to the others"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a soak that cannot go on fails by panicking"
)]

mod accounts;
mod backends;
mod config;
mod faults;
mod log;
mod operator;
mod stage;
mod traffic;
mod verdict;
mod wire;
mod words;

#[allow(
    dead_code,
    unused_imports,
    reason = "what the other tests share is more than is used here"
)]
#[path = "../it/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use clap::Parser;
use tokio_util::sync::CancellationToken;

use crate::accounts::Books;
use crate::stage::Stage;
use crate::verdict::Verdict;
use crate::wire::PATIENCE;

/// Mixes normal sessions with every fault, reloads and drains, and accounts for everything at the end.
#[derive(Parser)]
struct Options {
    /// How long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// How many normal sessions at once
    #[arg(long, default_value_t = 240)]
    sessions: usize,
    /// What is chosen by chance: the same seed, the same choices. Their order in time is the machine's
    #[arg(long)]
    seed: Option<u64>,
}

/// As many misdeeds at once.
const HANDS: usize = 24;

/// How much of the time goes into the state that the end is compared with, and at least and at most so long.
const WARM_UP: (f64, Duration, Duration) = (0.25, Duration::from_secs(8), Duration::from_secs(60));

/// Sessions that are open when the process is told to end.
const LAST: usize = 60;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!(
        "soak: {} min, {} sessions at once, --seed {seed}",
        options.minutes, options.sessions
    );
    sealock::limits::raise_open_files(options.sessions * 8);
    let books = Arc::new(Books::default());
    let (stage, mut process) = Stage::start(Arc::clone(&books)).await;
    let log = log::read(Arc::clone(&stage));
    let all = Duration::from_secs_f64(options.minutes * 60.0);
    let (part, least, most) = WARM_UP;
    let warm_up = all.mul_f64(part).clamp(least, most);
    let mut verdict = Verdict::new(Arc::clone(&stage));
    for (time, seed) in [(warm_up, seed), (all.saturating_sub(warm_up), seed + 1)] {
        let begin = Instant::now();
        let stop = CancellationToken::new();
        let _stopped = stop.clone().drop_guard();
        let timer = async {
            tokio::time::sleep(time).await;
            // A slow machine needs longer: what has not happened cannot be compared, nor judged.
            while !faults::missing(&stage.books).is_empty() && begin.elapsed() < time + PATIENCE {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            println!(
                "soak: {:.0} s are over, sessions end",
                begin.elapsed().as_secs_f64()
            );
            stop.cancel();
        };
        tokio::join!(
            timer,
            traffic::run(&stage, options.sessions, seed, &stop),
            faults::run(&stage, HANDS, seed, &stop),
            operator::run(Arc::clone(&stage), log.clone(), seed, &stop),
            operator::watch(&stage, &stop),
        );
        verdict.at_rest().await;
    }
    verdict.compare_sums().await;
    verdict.end(&mut process, &log, LAST).await;
    verdict.report()
}
