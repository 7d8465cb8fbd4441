//! What others may know of a session while it runs, and may ask of it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;

use super::Counters;
use crate::close::CloseReason;

/// The window into a session: shared by its pump and by whoever looks at it.
#[derive(Debug, Default)]
pub struct Live {
    waker: AtomicWaker,
    order: AtomicU8,
    state: Mutex<State>,
}

/// What a session has done so far, as of its last pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What it has moved, and what it has not.
    pub counters: Counters,
    /// Bytes in them of a message of the client, and of a record of the backend, that have begun and may yet come to nothing.
    pub unfinished: (u64, u64),
    /// Memory that it holds for bytes on their way; see [`super::held_bytes`].
    pub held: u64,
    /// The client does not take what waits for it.
    pub client_blocked: bool,
    /// The backend does not take what waits for it.
    pub backend_blocked: bool,
    /// It was told to end, and waits for a good moment or for the other side.
    pub ending: bool,
}

/// Why a session is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stop {
    /// sealock goes for good.
    Shutdown = 1,
    /// sealock, or the route, is replaced or taken out of service.
    Drain = 2,
    /// It is older than `max_session_age`.
    MaxAge = 3,
    /// An operator ends it.
    Operator = 4,
}

/// How a session is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) stop: Stop,
    pub(super) haste: Haste,
}

/// How soon a session is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Haste {
    /// At the next good moment.
    None = 0,
    /// Now: its client is told, and has a while to answer.
    Now = 0x40,
    /// Without waiting for anybody.
    Cut = 0x80,
}

/// The bits of an order that tell the haste.
const HASTE: u8 = 0xC0;

impl Stop {
    const ALL: [Self; 4] = [Self::Shutdown, Self::Drain, Self::MaxAge, Self::Operator];

    pub(super) fn reason(self) -> CloseReason {
        match self {
            Self::Shutdown => CloseReason::Shutdown,
            Self::Drain => CloseReason::Drain,
            Self::MaxAge => CloseReason::MaxAge,
            Self::Operator => CloseReason::Operator,
        }
    }
}

impl State {
    /// What it has moved for good: none of these counts will ever be less.
    pub fn settled(mut self) -> Counters {
        self.counters.bytes_up -= self.unfinished.0;
        self.counters.bytes_down -= self.unfinished.1;
        self.counters
    }
}

impl Live {
    /// Asks the session to end as soon as it is between messages and records on both sides and nothing seems to be on its way. The
    /// first cause that is told is the one that counts.
    pub fn drain(&self, stop: Stop) {
        let _first = self
            .order
            .compare_exchange(0, stop as u8, Ordering::Release, Ordering::Relaxed)
            .is_ok();
        self.waker.wake();
    }

    /// Ends the session now, wherever it is: its client is told, and has `close_timeout` to answer.
    pub fn end(&self, stop: Stop) {
        self.hasten(stop, Haste::Now);
    }

    /// Ends the session without waiting for anybody: both connections are reset.
    pub fn cut(&self, stop: Stop) {
        self.hasten(stop, Haste::Cut);
    }

    fn hasten(&self, stop: Stop, haste: Haste) {
        let told = |order: u8| {
            let cause = if order == 0 { stop as u8 } else { order & !HASTE };
            Some(cause | (order & HASTE).max(haste as u8))
        };
        let _order = self
            .order
            .fetch_update(Ordering::Release, Ordering::Relaxed, told)
            .is_ok();
        self.waker.wake();
    }

    /// What the session has done so far.
    pub fn state(&self) -> State {
        self.lock().clone()
    }

    /// Lets others see what the session has done.
    pub(super) fn publish(&self, publish: impl FnOnce(&mut State)) {
        publish(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the session was told, if it was; the waker is woken when it is.
    pub(super) fn told(&self, waker: &Waker) -> Option<Told> {
        self.waker.register(waker);
        let order = self.order.load(Ordering::Acquire);
        if order == 0 {
            return None;
        }
        let stop = Stop::ALL.into_iter().find(|stop| *stop as u8 == order & !HASTE)?;
        let haste = match order & HASTE {
            0 => Haste::None,
            0x40 => Haste::Now,
            _ => Haste::Cut,
        };
        Some(Told { stop, haste })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_counts_and_haste_is_never_taken_back() {
        let live = Live::default();
        let told = || live.told(Waker::noop());
        assert_eq!(told(), None);
        for (haste, tell) in [
            (Haste::None, Live::drain as fn(&Live, Stop)),
            (Haste::None, Live::drain),
            (Haste::Now, Live::end),
            (Haste::Now, Live::drain),
            (Haste::Now, Live::end),
            (Haste::Cut, Live::cut),
            (Haste::Cut, Live::end),
            (Haste::Cut, Live::drain),
        ] {
            let stop = if told().is_none() {
                Stop::MaxAge
            } else {
                Stop::Shutdown
            };
            tell(&live, stop);
            let expected = Told {
                stop: Stop::MaxAge,
                haste,
            };
            assert_eq!(told(), Some(expected));
        }
        let other = Live::default();
        other.end(Stop::Operator);
        assert!(
            other
                .told(Waker::noop())
                .is_some_and(|told| told.haste == Haste::Now && told.stop == Stop::Operator)
        );
    }
}
