//! Why there is no backend for a session.

use std::sync::Arc;
use std::time::Duration;

use super::{DialError, Shortage, Target};
use crate::close::CloseReason;

/// Why there is no backend for a session.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A dial failed, and no other target could be tried. What was dialled is told with it.
    #[error("{0}: {1}")]
    Dial(Arc<Target>, #[source] DialError),
    /// Every target is down; the last failure of one of them.
    #[error("{0}")]
    Down(String),
    /// Every target has as many sessions as it takes, and as many wait as may.
    #[error("{0} sessions wait already")]
    QueueFull(usize),
    /// No place became free in time.
    #[error("no place within {}", crate::units::show_duration(*.0))]
    QueueTimeout(Duration),
}

impl Refused {
    /// What kind of end that is.
    pub fn reason(&self) -> CloseReason {
        match self {
            Self::Dial(_, DialError::Short(Shortage::Descriptors(_))) => CloseReason::OutOfDescriptors,
            Self::Dial(_, DialError::Short(_)) => CloseReason::OutOfResources,
            Self::Dial(_, DialError::Name(_)) => CloseReason::DialName,
            Self::Dial(_, DialError::Failed(_)) => CloseReason::DialFailed,
            Self::Dial(_, DialError::Tls(_)) => CloseReason::DialTls,
            Self::Dial(_, DialError::Timeout(_)) => CloseReason::DialTimeout,
            Self::Down(_) => CloseReason::BackendDown,
            Self::QueueFull(_) => CloseReason::BackendFull,
            Self::QueueTimeout(_) => CloseReason::QueueTimeout,
        }
    }
}
