//! What sessions hold for bytes on their way, in memory of their own: what was left over when a sink was full, and what is gathered.
//! Between passes it is all there is beside a session's fixed size; a session at rest holds nothing.

use std::sync::atomic::{AtomicU64, Ordering};

/// What all sessions of the process hold, and what of it is gathered: parts of a message or record that has to be whole. The rest waits
/// for a side that does not take it, and is bounded by one read of each session.
static HELD: Accounts = Accounts::new();

/// What they may gather before those that gather more have to wait.
static BUDGET: AtomicU64 = AtomicU64::new(u64::MAX);

/// What each may gather in any case: small messages must not pay for large ones.
const SHARE: u64 = 16 << 10;

/// Sets how much all sessions of the process may gather before those that gather more have to wait (`gather_budget`).
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
    HELD.held.load(Ordering::Relaxed)
}

/// True while sessions hold more than the budget altogether: then they read little at a time.
pub(super) fn is_tight() -> bool {
    held_bytes() > BUDGET.load(Ordering::Relaxed)
}

/// Sums over sessions.
struct Accounts {
    held: AtomicU64,
    gathered: AtomicU64,
}

impl Accounts {
    const fn new() -> Self {
        Self {
            held: AtomicU64::new(0),
            gathered: AtomicU64::new(0),
        }
    }
}

/// One session's part of the accounts. It gives everything back when it is dropped, however the session ended.
pub(super) struct Charge {
    accounts: &'static Accounts,
    held: u64,
    gathered: u64,
    most: u64,
}

impl Charge {
    /// A session that holds nothing yet, on the account of the process.
    pub(super) fn new() -> Self {
        Self::on(&HELD)
    }

    fn on(accounts: &'static Accounts) -> Self {
        Self {
            accounts,
            held: 0,
            gathered: 0,
            most: 0,
        }
    }

    /// Sets what the session holds now, and what of it is gathered.
    pub(super) fn set(&mut self, held: usize, gathered: usize) {
        let accounts = self.accounts;
        change(&accounts.held, &mut self.held, held as u64);
        change(&accounts.gathered, &mut self.gathered, gathered as u64);
        self.most = self.most.max(self.held);
    }

    /// Whether the session, which gathers so much at the moment, may gather more.
    pub(super) fn room(&self, gathers: usize) -> Room {
        self.room_in(BUDGET.load(Ordering::Relaxed), gathers)
    }

    fn room_in(&self, budget: u64, gathers: usize) -> Room {
        let gathers = gathers as u64;
        let since_last_pass = gathers.saturating_sub(self.gathered);
        if gathers <= SHARE {
            Room::Enough
        } else if gathers > budget {
            Room::Never
        } else if self.accounts.gathered.load(Ordering::Relaxed) + since_last_pass > budget {
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
        self.set(0, 0);
    }
}

/// Most passes begin and end with nothing: they must not touch what all threads share.
fn change(account: &AtomicU64, part: &mut u64, now: u64) {
    if now > *part {
        account.fetch_add(now - *part, Ordering::Relaxed);
    } else if now < *part {
        account.fetch_sub(*part - now, Ordering::Relaxed);
    }
    *part = now;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_the_sum_of_its_sessions() {
        static ACCOUNTS: Accounts = Accounts::new();
        const KIB: usize = 1 << 10;
        let sums = || [&ACCOUNTS.held, &ACCOUNTS.gathered].map(|sum| sum.load(Ordering::Relaxed));
        let (mut one, mut two) = (Charge::on(&ACCOUNTS), Charge::on(&ACCOUNTS));
        for (first, second) in [(0, 0), (10, 0), (10, 5), (3, 9), (0, 9), (70, 70)] {
            one.set(first * KIB, first * KIB);
            two.set(second * KIB + 1, second * KIB);
            assert_eq!(
                sums(),
                [(first + second) * KIB + 1, (first + second) * KIB].map(|sum| sum as u64)
            );
        }
        assert_eq!((one.most(), two.most()), (70 * 1024, 70 * 1024 + 1));
        for (budget, gathers, room) in [
            (140, 70, Room::Enough),
            (139, 70, Room::Short),
            (140, 71, Room::Short),
            (141, 71, Room::Enough),
            (70, 71, Room::Never),
            // A small share is everybody's.
            (1, 16, Room::Enough),
            (1, 17, Room::Never),
        ] {
            assert_eq!(
                one.room_in(budget << 10, gathers * KIB),
                room,
                "{budget} {gathers}"
            );
        }
        drop(one);
        assert_eq!(sums(), [70 * 1024 + 1, 70 * 1024]);
        drop(two);
        assert_eq!(sums(), [0, 0]);
    }
}
