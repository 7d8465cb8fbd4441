//! Asks a target now and then whether it is well. Only where the route says so: some services serve one connection and exit.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout_at};

use super::Stream;
use super::dial::{DialError, dial};
use super::exchange::{Ear, Exchange, Unheard};
use super::pool::Shared;

/// How the targets of a route are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The time between two checks of a target, ±10 %.
    pub interval: Duration,
    /// Longest check: dial and answer.
    pub timeout: Duration,
    /// Checks in a row after which a target is up again.
    pub rise: u32,
    /// What is asked. Without it, a target that can be dialled is well.
    pub exchange: Option<Exchange>,
}

/// Why a check has failed.
#[derive(Debug, thiserror::Error)]
enum Unwell {
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("{0}")]
    Lost(#[from] io::Error),
    #[error("{0}")]
    Unheard(#[from] Unheard),
}

/// Checks one target, again and again.
pub(super) async fn run(shared: Arc<Shared>, index: usize, check: Check) {
    loop {
        match once(&shared, index, &check).await {
            Ok(()) => shared.checked(index, None),
            // Not its fault.
            Err(Unwell::Dial(error)) if error.shortage().is_some() => {}
            Err(error) => shared.checked(index, Some(&error as &dyn Display)),
        }
        // The checks of several gateways must not fall into step.
        sleep(check.interval.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
    }
}

async fn once(shared: &Shared, index: usize, check: &Check) -> Result<(), Unwell> {
    let deadline = Instant::now() + check.timeout;
    let noted = |addresses: &[_]| shared.note(index, addresses);
    let greeting = shared.greeting(None)?;
    let opening = shared.opening(&greeting);
    let mut stream = dial(&shared.targets[index], opening, check.timeout, noted)
        .await?
        .stream;
    if let Some(exchange) = &check.exchange {
        let heard = timeout_at(deadline, ask(&mut stream, exchange)).await;
        heard.map_err(|_| DialError::Timeout(check.timeout))??;
    }
    // It has passed; how it ends is of no interest.
    drop(timeout_at(deadline, stream.shutdown()).await);
    Ok(())
}

async fn ask(stream: &mut Stream, exchange: &Exchange) -> Result<(), Unwell> {
    stream.write_all(&exchange.send).await?;
    let mut ear = Ear::new(exchange);
    let mut bytes = [0; 1024];
    loop {
        let got = stream.read(&mut bytes).await?;
        if ear.hear(&bytes[..got])? {
            return Ok(());
        }
    }
}
