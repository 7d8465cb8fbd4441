//! What sessions hold for bytes on their way, in memory of their own: what was left over when a sink was full, and what is gathered.
//! Between passes it is all there is beside a session's fixed size; a session at rest holds nothing.

use std::sync::atomic::{AtomicU64, Ordering};

/// What all sessions of the process hold.
static HELD: AtomicU64 = AtomicU64::new(0);

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
        drop(one);
        assert_eq!(ACCOUNT.load(Ordering::Relaxed), 7);
        drop(two);
        assert_eq!(ACCOUNT.load(Ordering::Relaxed), 0);
    }
}
