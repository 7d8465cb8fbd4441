//! Asks a target now and then whether it is well. Only where the route says so: some services serve one connection and exit.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

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
        let checked = timeout(check.timeout, once(&shared, index, &check)).await;
        match checked {
            Ok(Ok(())) => shared.checked(index, None),
            // Not its fault.
            Ok(Err(Unwell::Dial(error))) if error.is_out_of_descriptors() => {}
            Ok(Err(error)) => shared.checked(index, Some(&error as &dyn Display)),
            Err(_) => shared.checked(index, Some(&DialError::Timeout(check.timeout))),
        }
        // The checks of several gateways must not fall into step.
        sleep(check.interval.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
    }
}

async fn once(shared: &Shared, index: usize, check: &Check) -> Result<(), Unwell> {
    let noted = |addresses: &[_]| shared.note(index, addresses);
    let greeting = shared.greeting(None)?;
    let opening = shared.opening(&greeting);
    let mut stream = dial(&shared.targets[index], opening, check.timeout, noted)
        .await?
        .stream;
    if let Some(exchange) = &check.exchange {
        stream.write_all(&exchange.send).await?;
        let mut ear = Ear::new(exchange);
        let mut bytes = [0; 1024];
        loop {
            let got = stream.read(&mut bytes).await?;
            if ear.hear(&bytes[..got])? {
                break;
            }
        }
    }
    // It has passed; how it ends is of no interest.
    drop(stream.shutdown().await);
    Ok(())
}
