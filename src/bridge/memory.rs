//! What sessions hold for bytes on their way, in memory of their own: what was left over when a sink was full, and what is gathered.
//! Between passes it is all there is beside a session's fixed size; a session at rest holds nothing.

use std::sync::atomic::{AtomicU64, Ordering};

/// What all sessions of the process hold.
static HELD: AtomicU64 = AtomicU64::new(0);

/// What they may hold before those that gather have to wait.
static BUDGET: AtomicU64 = AtomicU64::new(u64::MAX);

/// Sets how much all sessions of the process may hold before those that gather have to wait (`gather_budget`).
pub fn set_budget(bytes: u64) {
    BUDGET.store(bytes, Ordering::Relaxed);
}

/// Whether a session may gather more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It may.
    Enough,
    /// Not until others hold less.
    Short,
    /// What it holds alone is more than all may.
    Never,
}

/// Bytes of memory that all sessions of the process hold for bytes on their way. Exact, as far as each session's last pass.
pub fn held_bytes() -> u64 {
    HELD.load(Ordering::Relaxed)
}

/// One session's part of an account. It gives everything back when it is dropped, however the session ended.
pub(super) struct Charge {
    account: &'static AtomicU64,
    held: u64,
    most: u64,
}

impl Charge {
    /// A session that holds nothing yet, on the account of the process.
    pub(super) fn new() -> Self {
        Self::on(&HELD)
    }

    fn on(account: &'static AtomicU64) -> Self {
        Self {
            account,
            held: 0,
            most: 0,
        }
    }

    /// Sets what the session holds now.
    pub(super) fn set(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        // Most passes begin and end with nothing: they must not touch what all threads share.
        if bytes > self.held {
            self.account.fetch_add(bytes - self.held, Ordering::Relaxed);
            self.most = self.most.max(bytes);
        } else if bytes < self.held {
            self.account.fetch_sub(self.held - bytes, Ordering::Relaxed);
        }
        self.held = bytes;
    }

    /// Whether the session, which gathers so much at the moment, may gather more.
    pub(super) fn room(&self, gathers: usize) -> Room {
        self.room_in(BUDGET.load(Ordering::Relaxed), gathers)
    }

    fn room_in(&self, budget: u64, gathers: usize) -> Room {
        let gathers = gathers as u64;
        let since_last_pass = gathers.saturating_sub(self.held);
        if gathers > budget {
            Room::Never
        } else if self.account.load(Ordering::Relaxed) + since_last_pass > budget {
            Room::Short
        } else {
            Room::Enough
        }
    }

    /// The most it held at the end of a pass.
    pub(super) fn most(&self) -> u64 {
        self.most
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_the_sum_of_its_sessions() {
        static ACCOUNT: AtomicU64 = AtomicU64::new(0);
        let (mut one, mut two) = (Charge::on(&ACCOUNT), Charge::on(&ACCOUNT));
        for (first, second) in [(0, 0), (10, 0), (10, 5), (3, 9), (0, 9), (7, 7)] {
            one.set(first);
            two.set(second);
            assert_eq!(ACCOUNT.load(Ordering::Relaxed), (first + second) as u64);
        }
        assert_eq!((one.most(), two.most()), (10, 9));
        assert_eq!(ACCOUNT.load(Ordering::Relaxed), 14);
        for (budget, gathers, room) in [
            (14, 7, Room::Enough),
            (13, 7, Room::Short),
            (14, 8, Room::Short),
            (15, 8, Room::Enough),
            (7, 8, Room::Never),
        ] {
            assert_eq!(one.room_in(budget, gathers), room, "{budget} {gathers}");
        }
        drop(one);
        assert_eq!(ACCOUNT.load(Ordering::Relaxed), 7);
        drop(two);
        assert_eq!(ACCOUNT.load(Ordering::Relaxed), 0);
    }
}
