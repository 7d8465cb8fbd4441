//! What the kernel says about processes, and the statistics of it.

mod machine;
mod process;
mod stats;

pub(crate) use machine::{Machine, kernel_bytes};
pub(crate) use process::{Clock, Tree};
pub(crate) use stats::{Summary, percentile, ratios, summary};
