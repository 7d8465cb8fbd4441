//! Decides where a session goes, whether it waits, or why not. Pure: the time is handed in.
//!
//! Each target has so many places. Who finds all of them taken waits in a queue, in the order of coming: the first in the queue is
//! told whenever something may have changed for it, and stays there until it has its place, so that nobody can overtake it.

use std::collections::VecDeque;
use std::time::Instant;

use super::balance::{Balance, Candidate};
use super::health::{Attempt, Health, Rule};

/// Targets of one route at most.
pub const MAX_TARGETS: usize = 64;

/// How much a route's targets take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Sessions at each target.
    pub(super) places: usize,
    /// Sessions that may wait for one.
    pub(super) queue: usize,
}

/// The targets that a session has tried already: a bit for each of [`MAX_TARGETS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tried(u64);

impl Tried {
    /// One more.
    pub(super) fn add(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    fn has(self, index: usize) -> bool {
        self.0 & (1 << index) != 0
    }

    fn any(self) -> bool {
        self.0 != 0
    }
}

/// A place in the queue. Whoever has one gives it back with [`Places::leave`], unless it got a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// What is to be done with a session.
#[derive(Debug)]
#[must_use]
pub(super) enum Verdict {
    /// Dial this target; the place is taken.
    Go {
        /// Where it stands in the list.
        index: usize,
        /// To be told how the dial went.
        attempt: Attempt,
        /// How many targets could be tried behind this one.
        others: usize,
    },
    /// Wait until told, or until this time, and ask again.
    Wait(Option<Instant>),
    /// Every target is down, or was tried already.
    Down,
    /// As many wait as may.
    Full,
}

/// One target.
#[derive(Debug)]
pub(super) struct Slot {
    key: u64,
    /// Sessions, and dials under way.
    pub(super) sessions: usize,
    chosen: u64,
    /// Its health.
    pub(super) health: Health,
}

/// All targets of a route and those who wait for them. `W` is whatever wakes the one who waits.
#[derive(Debug)]
pub(super) struct Places<W> {
    balance: Balance,
    room: Room,
    slots: Vec<Slot>,
    /// Choices so far.
    choices: u64,
    /// Tickets so far.
    tickets: u64,
    /// In the order of their tickets.
    queue: VecDeque<(Ticket, W)>,
}

impl<W> Places<W> {
    /// Targets with these keys, at most [`MAX_TARGETS`].
    pub(super) fn new(balance: Balance, room: Room, rule: Rule, keys: impl IntoIterator<Item = u64>) -> Self {
        let slot = |key| Slot {
            key,
            sessions: 0,
            chosen: 0,
            health: Health::new(rule),
        };
        Self {
            balance,
            room,
            slots: keys.into_iter().take(MAX_TARGETS).map(slot).collect(),
            choices: 0,
            tickets: 0,
            queue: VecDeque::new(),
        }
    }

    /// The targets, in the order of the list.
    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// One of them.
    pub(super) fn slot(&mut self, index: usize) -> Option<&mut Slot> {
        self.slots.get_mut(index)
    }

    /// How many wait.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Where a session of the client with this key goes. One that waits holds its `ticket`, and has none left when it goes.
    ///
    /// One that has tried a target already does not wait: it takes what is free, or is told that nothing is.
    pub(super) fn enter(
        &mut self,
        now: Instant,
        client: u64,
        tried: Tried,
        ticket: &mut Option<Ticket>,
    ) -> Verdict {
        let admits = |slot: &Slot| slot.health.admits(now);
        let up = |(index, slot): &(usize, &Slot)| !tried.has(*index) && admits(slot);
        let free = |(_, slot): &(usize, &Slot)| slot.sessions < self.room.places;
        if !self.slots.iter().enumerate().any(|slot| up(&slot)) {
            return Verdict::Down;
        }
        let first = self
            .queue
            .front()
            .is_none_or(|(front, _)| Some(*front) == *ticket);
        if first || tried.any() {
            let open = self.slots.iter().enumerate().filter(up).filter(free);
            let others = open.clone().count().saturating_sub(1);
            let candidate = |(index, slot): (usize, &Slot)| Candidate {
                index,
                key: slot.key,
                sessions: slot.sessions,
                chosen: slot.chosen,
            };
            if let Some(index) = self.balance.choose(client, open.map(candidate)) {
                if let Some(ticket) = ticket.take() {
                    self.leave(ticket);
                }
                self.choices += 1;
                let slot = &mut self.slots[index];
                slot.sessions += 1;
                slot.chosen = self.choices;
                let attempt = slot.health.begin();
                return Verdict::Go {
                    index,
                    attempt,
                    others,
                };
            }
        }
        if tried.any() {
            return Verdict::Down;
        }
        if ticket.is_none() && self.queue.len() >= self.room.queue {
            return Verdict::Full;
        }
        let trials = self.slots.iter().filter_map(|slot| slot.health.next_trial());
        Verdict::Wait(trials.min().filter(|at| first && *at > now))
    }

    /// Joins the end of the queue.
    pub(super) fn join(&mut self, waker: W) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.queue.push_back((ticket, waker));
        ticket
    }

    /// Leaves the queue.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        if let Ok(at) = self.queue.binary_search_by_key(&ticket, |(one, _)| *one) {
            self.queue.remove(at);
        }
    }

    /// The first in the queue: to be told after whatever may have changed something for it.
    pub(super) fn front(&self) -> Option<&W> {
        self.queue.front().map(|(_, waker)| waker)
    }

    /// A session of this target, or a dial, is over.
    pub(super) fn release(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.sessions = slot.sessions.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    const RULE: Rule = Rule {
        fall: 1,
        rise: None,
        pause: Duration::from_secs(16),
    };

    fn places(targets: u64, places: usize, queue: usize) -> Places<u64> {
        let room = Room { places, queue };
        Places::new(Balance::LeastSessions, room, RULE, 1..=targets)
    }

    fn enter(places: &mut Places<u64>, now: Instant, ticket: &mut Option<Ticket>) -> Verdict {
        places.enter(now, 0, Tried::default(), ticket)
    }

    /// Takes a place at a target that must be up, and gives its index.
    fn take(places: &mut Places<u64>, now: Instant, ticket: &mut Option<Ticket>) -> usize {
        match enter(places, now, ticket) {
            Verdict::Go { index, attempt, .. } => {
                places.slot(index).unwrap().health.passed(attempt);
                index
            }
            other => panic!("{other:?}"),
        }
    }

    /// Marks a target as down.
    fn fell(places: &mut Places<u64>, index: usize, now: Instant) {
        let health = &mut places.slot(index).unwrap().health;
        let attempt = health.begin();
        health.failed(attempt, now);
    }

    #[test]
    fn who_comes_later_waits_longer() {
        let now = start();
        let mut places = places(1, 1, 2);
        take(&mut places, now, &mut None);
        let mut tickets: Vec<_> = (1..=2)
            .map(|waker| {
                assert!(matches!(enter(&mut places, now, &mut None), Verdict::Wait(None)));
                Some(places.join(waker))
            })
            .collect();
        assert!(matches!(enter(&mut places, now, &mut None), Verdict::Full));
        places.release(0);
        assert_eq!(places.front(), Some(&1));
        // Neither the second nor a newcomer gets in between.
        assert!(matches!(
            enter(&mut places, now, &mut tickets[1]),
            Verdict::Wait(None)
        ));
        assert!(matches!(enter(&mut places, now, &mut None), Verdict::Full));
        take(&mut places, now, &mut tickets[0]);
        assert_eq!((tickets[0], places.front()), (None, Some(&2)));
        places.leave(tickets[1].unwrap());
        assert_eq!(places.queued(), 0);
        assert!(matches!(enter(&mut places, now, &mut None), Verdict::Wait(None)));
    }

    #[test]
    fn nobody_waits_for_what_is_down() {
        let now = start();
        let mut places = places(2, 1, 9);
        fell(&mut places, 0, now);
        take(&mut places, now, &mut None);
        // The other one is only full, and the first may be tried in a second.
        let mut ticket = Some(places.join(1));
        let due = now + Duration::from_secs(1);
        assert!(matches!(enter(&mut places, now, &mut ticket), Verdict::Wait(Some(at)) if at == due));
        fell(&mut places, 1, now);
        assert!(matches!(enter(&mut places, now, &mut ticket), Verdict::Down));
        assert_eq!(take(&mut places, due, &mut ticket), 0);
    }

    #[test]
    fn who_was_refused_once_tries_the_others_and_does_not_wait() {
        let now = start();
        let mut places = places(3, 1, 9);
        let mut tried = Tried::default();
        tried.add(0);
        let mut next = |tried, others| match places.enter(now, 0, tried, &mut None) {
            Verdict::Go {
                index, others: told, ..
            } => {
                assert_eq!(told, others);
                Some(index)
            }
            Verdict::Down => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(next(tried, 1), Some(1));
        tried.add(1);
        assert_eq!(next(tried, 0), Some(2));
        // Not tried, but taken.
        let mut first = Tried::default();
        first.add(0);
        assert_eq!(next(first, 0), None);
    }

    #[derive(Clone, Debug)]
    enum Event {
        Come,
        Ask(prop::sample::Index),
        GiveUp(prop::sample::Index),
        End(prop::sample::Index),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        use prop::sample::Index;
        let event = prop_oneof![
            3 => Just(Event::Come),
            2 => any::<Index>().prop_map(Event::Ask),
            1 => any::<Index>().prop_map(Event::GiveUp),
            2 => any::<Index>().prop_map(Event::End),
        ];
        prop::collection::vec(event, 0..120)
    }

    proptest! {
        #[test]
        fn places_and_queue_have_their_limits_and_nobody_is_forgotten(
            events in events(), targets in 1..4_u64, room in 1..4_usize, queue in 0..4_usize,
        ) {
            let now = start();
            let mut places = places(targets, room, queue);
            let (mut sessions, mut waiting): (Vec<usize>, Vec<Option<Ticket>>) = Default::default();
            for event in events {
                match event {
                    Event::Come => match enter(&mut places, now, &mut None) {
                        Verdict::Go { index, attempt, .. } => {
                            places.slot(index).unwrap().health.passed(attempt);
                            sessions.push(index);
                        }
                        Verdict::Wait(_) => waiting.push(Some(places.join(0))),
                        Verdict::Full => prop_assert_eq!(places.queued(), queue),
                        Verdict::Down => prop_assert!(false, "nothing is down"),
                    },
                    Event::Ask(at) if !waiting.is_empty() => {
                        let at = at.index(waiting.len());
                        if let Verdict::Go { index, attempt, .. } = enter(&mut places, now, &mut waiting[at]) {
                            prop_assert_eq!(at, 0, "overtaken");
                            places.slot(index).unwrap().health.passed(attempt);
                            sessions.push(index);
                            waiting.remove(0);
                        }
                    }
                    Event::GiveUp(at) if !waiting.is_empty() => {
                        let ticket = waiting.remove(at.index(waiting.len()));
                        places.leave(ticket.unwrap());
                    }
                    Event::End(at) if !sessions.is_empty() => {
                        let index = sessions.swap_remove(at.index(sessions.len()));
                        places.release(index);
                    }
                    _ => {}
                }
                prop_assert_eq!(places.queued(), waiting.len());
                prop_assert!(waiting.len() <= queue);
                let counted: usize = places.slots().iter().map(|slot| slot.sessions).sum();
                prop_assert_eq!(counted, sessions.len());
                prop_assert!(places.slots().iter().all(|slot| slot.sessions <= room));
            }
            // As sessions end, all who wait get their place, in order.
            for mut ticket in waiting {
                if let Some(index) = sessions.pop() {
                    places.release(index);
                }
                sessions.push(take(&mut places, now, &mut ticket));
            }
        }
    }
}
