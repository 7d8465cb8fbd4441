//! Decides where a session goes, whether it waits, or why not. Pure: the time is handed in.
//!
//! Each target has so many places. Who finds all of them taken waits in a queue, in the order of coming: the first in the queue is
//! told whenever something may have changed for it, and stays there until it has its place, so that nobody can overtake it. Who has
//! failed at one target waits on where it stood, and only what it has not tried is kept for it.

use std::collections::VecDeque;
use std::time::Instant;

use super::balance::{Balance, Candidate};
use super::health::{Attempt, Condition, Health, Rule};

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

/// Some of the targets: a bit for each of [`MAX_TARGETS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Set(u64);

impl Set {
    fn add(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    fn has(self, index: usize) -> bool {
        self.0 & (1 << index) != 0
    }
}

/// A session that looks for a place. Whoever has one gives it back with [`Places::leave`].
#[derive(Debug)]
pub(super) struct Seeker {
    /// Its place in the order of coming.
    ticket: u64,
    /// The client, by its key.
    client: u64,
    tried: Set,
    /// It has found out, or is about to, whether a target that is down still is.
    on_trial: bool,
    /// It was let into the queue, and may come back.
    has_waited: bool,
}

/// What is to be done with a session.
#[derive(Debug)]
#[must_use]
pub(super) enum Verdict {
    /// Dial this target; the place is taken. Who waits has left the queue then, but for a trial, which is no reason to leave.
    Go {
        /// Where it stands in the list.
        index: usize,
        /// To be told how the dial went.
        attempt: Attempt,
        /// How many targets that are up could be tried behind this one.
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

impl Slot {
    fn is_up(&self) -> bool {
        self.health.condition() != Condition::Down
    }
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
    queue: VecDeque<Waiter<W>>,
}

#[derive(Debug)]
struct Waiter<W> {
    ticket: u64,
    tried: Set,
    on_trial: bool,
    waker: W,
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

    /// Somebody comes: the client with this key.
    pub(super) fn seeker(&mut self, client: u64) -> Seeker {
        self.tickets += 1;
        Seeker {
            ticket: self.tickets,
            client,
            tried: Set::default(),
            on_trial: false,
            has_waited: false,
        }
    }

    /// Where a session goes now. Each target is named to it once.
    ///
    /// While a target is up that it has not tried, it makes one trial of another at most, and waits where that one is only full.
    pub(super) fn enter(&mut self, now: Instant, seeker: &mut Seeker) -> Verdict {
        let wanted = self.wanted(seeker.tried, seeker.on_trial);
        let wanted = || {
            let slots = self.slots.iter().enumerate();
            slots.filter(move |(index, _)| wanted.has(*index))
        };
        if !wanted().any(|(_, slot)| slot.health.admits(now)) {
            return Verdict::Down;
        }
        let kept = self.kept_from(seeker.ticket);
        let open = wanted().filter(|(index, slot)| {
            slot.health.admits(now) && slot.sessions < self.room.places && !kept.has(*index)
        });
        let candidate = |(index, slot): (usize, &Slot)| Candidate {
            index,
            key: slot.key,
            sessions: slot.sessions,
            chosen: slot.chosen,
        };
        if let Some(index) = self.balance.choose(seeker.client, open.clone().map(candidate)) {
            let others = open
                .filter(|(other, slot)| *other != index && slot.is_up())
                .count();
            self.choices += 1;
            seeker.tried.add(index);
            let slot = &mut self.slots[index];
            slot.sessions += 1;
            slot.chosen = self.choices;
            let attempt = slot.health.begin(now);
            if attempt.is_trial() {
                seeker.on_trial = true;
                if let Some(at) = self.find(seeker) {
                    self.queue[at].tried = seeker.tried;
                    self.queue[at].on_trial = true;
                }
            } else {
                self.leave(seeker);
            }
            return Verdict::Go {
                index,
                attempt,
                others,
            };
        }
        if !seeker.has_waited && self.queue.len() >= self.room.queue {
            return Verdict::Full;
        }
        let due = wanted()
            .filter(|(index, _)| !kept.has(*index))
            .filter_map(|(_, slot)| slot.health.next_trial());
        Verdict::Wait(due.filter(|at| *at > now).min())
    }

    /// Joins the queue where it belongs, by the order of coming.
    pub(super) fn join(&mut self, seeker: &mut Seeker, waker: W) {
        seeker.has_waited = true;
        let waiter = Waiter {
            ticket: seeker.ticket,
            tried: seeker.tried,
            on_trial: seeker.on_trial,
            waker,
        };
        match self.at(seeker.ticket) {
            Ok(at) => self.queue[at] = waiter,
            Err(at) => self.queue.insert(at, waiter),
        }
    }

    /// True when it stands in the queue.
    pub(super) fn waits(&self, seeker: &Seeker) -> bool {
        self.find(seeker).is_some()
    }

    /// Leaves the queue.
    pub(super) fn leave(&mut self, seeker: &Seeker) {
        if let Some(at) = self.find(seeker) {
            self.queue.remove(at);
        }
    }

    /// Those who are to be told after whatever may have changed something for them: for each target, the first that wants it.
    pub(super) fn next(&self) -> impl Iterator<Item = &W> {
        let mut kept = Set::default();
        let all = self.all();
        self.queue
            .iter()
            .map_while(move |waiter| {
                let before = kept;
                kept.0 |= self.wanted(waiter.tried, waiter.on_trial).0;
                (before != all).then_some((kept != before).then_some(&waiter.waker))
            })
            .flatten()
    }

    /// The targets that are kept for those who came before this one.
    fn kept_from(&self, ticket: u64) -> Set {
        let mut kept = Set::default();
        for waiter in self.queue.iter().take_while(|waiter| waiter.ticket < ticket) {
            kept.0 |= self.wanted(waiter.tried, waiter.on_trial).0;
            if kept == self.all() {
                break;
            }
        }
        kept
    }

    /// What is left to somebody who has tried these: those that are up only, if there are some and it has made a trial of another.
    fn wanted(&self, tried: Set, on_trial: bool) -> Set {
        let mut up = Set::default();
        let slots = self.slots.iter().enumerate().filter(|(_, slot)| slot.is_up());
        slots.for_each(|(index, _)| up.add(index));
        let untried = self.all().0 & !tried.0;
        match untried & up.0 {
            up @ 1.. if on_trial => Set(up),
            _ => Set(untried),
        }
    }

    fn all(&self) -> Set {
        let others = MAX_TARGETS.saturating_sub(self.slots.len());
        Set(u64::MAX.checked_shr(others as u32).unwrap_or(0))
    }

    fn find(&self, seeker: &Seeker) -> Option<usize> {
        self.at(seeker.ticket).ok()
    }

    fn at(&self, ticket: u64) -> Result<usize, usize> {
        self.queue.binary_search_by_key(&ticket, |waiter| waiter.ticket)
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

    /// What a newcomer is told.
    fn come(places: &mut Places<u64>, now: Instant) -> Verdict {
        let mut seeker = places.seeker(0);
        places.enter(now, &mut seeker)
    }

    /// Somebody who comes and has to wait.
    fn wait(places: &mut Places<u64>, now: Instant, waker: u64) -> Seeker {
        let mut seeker = places.seeker(0);
        assert!(matches!(places.enter(now, &mut seeker), Verdict::Wait(_)));
        places.join(&mut seeker, waker);
        seeker
    }

    /// Takes a place at a target that must be up, and gives its index.
    fn take(places: &mut Places<u64>, now: Instant, seeker: &mut Seeker) -> usize {
        match places.enter(now, seeker) {
            Verdict::Go { index, attempt, .. } => {
                places.slot(index).unwrap().health.passed(attempt);
                index
            }
            other => panic!("{other:?}"),
        }
    }

    /// The same for a newcomer.
    fn take_new(places: &mut Places<u64>, now: Instant) -> usize {
        let mut seeker = places.seeker(0);
        take(places, now, &mut seeker)
    }

    /// Marks a target as down.
    fn fell(places: &mut Places<u64>, index: usize, now: Instant) {
        let health = &mut places.slot(index).unwrap().health;
        let attempt = health.begin(now);
        health.failed(attempt, now);
    }

    /// A dial of this target has failed, which is not enough to be down.
    fn fails(places: &mut Places<u64>, verdict: Verdict, now: Instant) -> usize {
        match verdict {
            Verdict::Go { index, attempt, .. } => {
                places.slot(index).unwrap().health.failed(attempt, now);
                places.release(index);
                index
            }
            other => panic!("{other:?}"),
        }
    }

    fn told(places: &Places<u64>) -> Vec<u64> {
        places.next().copied().collect()
    }

    #[test]
    fn who_comes_later_waits_longer() {
        let now = start();
        let mut places = places(1, 1, 2);
        take_new(&mut places, now);
        let mut first = wait(&mut places, now, 1);
        let mut second = wait(&mut places, now, 2);
        assert!(matches!(come(&mut places, now), Verdict::Full));
        places.release(0);
        assert_eq!(told(&places), [1]);
        // Neither the second nor a newcomer gets in between.
        assert!(matches!(places.enter(now, &mut second), Verdict::Wait(None)));
        assert!(matches!(come(&mut places, now), Verdict::Full));
        take(&mut places, now, &mut first);
        assert_eq!((places.waits(&first), told(&places)), (false, vec![2]));
        places.leave(&second);
        assert_eq!(places.queued(), 0);
        assert!(matches!(come(&mut places, now), Verdict::Wait(None)));
    }

    #[test]
    fn nobody_waits_for_what_is_down() {
        let now = start();
        let mut places = places(2, 1, 9);
        fell(&mut places, 0, now);
        take_new(&mut places, now);
        // The other one is only full, and the first may be tried in a second.
        let mut seeker = wait(&mut places, now, 1);
        let due = now + Duration::from_secs(1);
        assert!(matches!(places.enter(now, &mut seeker), Verdict::Wait(Some(at)) if at == due));
        fell(&mut places, 1, now);
        assert!(matches!(places.enter(now, &mut seeker), Verdict::Down));
        assert_eq!(take(&mut places, due, &mut seeker), 0);
    }

    #[test]
    fn who_has_failed_waits_on_where_it_stood_for_what_it_has_not_tried() {
        let now = start();
        let room = Room { places: 1, queue: 2 };
        let rule = Rule { fall: 9, ..RULE };
        let mut places = Places::new(Balance::LeastSessions, room, rule, 1..=2);
        assert_eq!(take_new(&mut places, now), 0);
        assert_eq!(take_new(&mut places, now), 1);
        let mut first = wait(&mut places, now, 1);
        let mut second = wait(&mut places, now, 2);
        places.release(1);
        let verdict = places.enter(now, &mut first);
        assert_eq!(fails(&mut places, verdict, now), 1);
        // Somebody has come meanwhile, and the queue is as long as it may be.
        let mut third = wait(&mut places, now, 3);
        assert!(matches!(places.enter(now, &mut first), Verdict::Wait(None)));
        places.join(&mut first, 1);
        assert_eq!(
            told(&places),
            [1, 2],
            "1 for the one that is left to it, 2 for the other"
        );
        assert!(matches!(places.enter(now, &mut third), Verdict::Wait(None)));
        assert_eq!(take(&mut places, now, &mut second), 1);
        places.release(0);
        assert!(matches!(places.enter(now, &mut third), Verdict::Wait(None)));
        assert_eq!(take(&mut places, now, &mut first), 0);
    }

    #[test]
    fn who_has_failed_and_never_waited_may_wait_if_the_queue_has_room() {
        let now = start();
        for queue in [0, 1] {
            let rule = Rule { fall: 9, ..RULE };
            let mut places: Places<u64> =
                Places::new(Balance::RoundRobin, Room { places: 1, queue }, rule, 1..=3);
            assert_eq!(take_new(&mut places, now), 0);
            let mut seeker = places.seeker(0);
            for (index, others) in [(1, 1), (2, 0)] {
                let verdict = places.enter(now, &mut seeker);
                assert!(matches!(verdict, Verdict::Go { others: told, .. } if told == others));
                assert_eq!(fails(&mut places, verdict, now), index);
            }
            match places.enter(now, &mut seeker) {
                Verdict::Full => assert_eq!(queue, 0),
                Verdict::Wait(None) => assert_eq!(queue, 1),
                other => panic!("{other:?}"),
            }
            fell(&mut places, 0, now);
            (0..8).for_each(|_| fell(&mut places, 0, now));
            assert!(matches!(places.enter(now, &mut seeker), Verdict::Down));
        }
    }

    #[test]
    fn a_trial_is_no_reason_to_leave_the_queue() {
        let now = start();
        let mut places = places(3, 1, 9);
        fell(&mut places, 1, now);
        fell(&mut places, 2, now);
        take_new(&mut places, now);
        let mut first = wait(&mut places, now, 1);
        let mut second = wait(&mut places, now, 2);
        let due = now + Duration::from_secs(1);
        let trial = places.enter(due, &mut first);
        assert!(matches!(&trial, Verdict::Go { attempt, .. } if attempt.is_trial()));
        // One of them only; the next one has the other.
        assert!(places.waits(&first));
        assert!(matches!(places.enter(due, &mut first), Verdict::Wait(None)));
        let other = places.enter(due, &mut second);
        assert_ne!(fails(&mut places, trial, due), fails(&mut places, other, due));
        assert_eq!(told(&places), [1], "what is up is all that is left to both");
        places.release(0);
        assert!(matches!(places.enter(due, &mut second), Verdict::Wait(_)));
        assert_eq!(take(&mut places, due, &mut first), 0);
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
            let (mut sessions, mut waiting): (Vec<usize>, Vec<Seeker>) = Default::default();
            for event in events {
                match event {
                    Event::Come => {
                        let mut seeker = places.seeker(0);
                        match places.enter(now, &mut seeker) {
                            Verdict::Go { index, attempt, .. } => {
                                places.slot(index).unwrap().health.passed(attempt);
                                sessions.push(index);
                            }
                            Verdict::Wait(_) => {
                                places.join(&mut seeker, 0);
                                waiting.push(seeker);
                            }
                            Verdict::Full => prop_assert_eq!(places.queued(), queue),
                            Verdict::Down => prop_assert!(false, "nothing is down"),
                        }
                    }
                    Event::Ask(at) if !waiting.is_empty() => {
                        let at = at.index(waiting.len());
                        if let Verdict::Go { index, attempt, .. } = places.enter(now, &mut waiting[at]) {
                            prop_assert_eq!(at, 0, "overtaken");
                            places.slot(index).unwrap().health.passed(attempt);
                            sessions.push(index);
                            waiting.remove(0);
                        }
                    }
                    Event::GiveUp(at) if !waiting.is_empty() => {
                        let seeker = waiting.remove(at.index(waiting.len()));
                        places.leave(&seeker);
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
            for mut seeker in waiting {
                if let Some(index) = sessions.pop() {
                    places.release(index);
                }
                sessions.push(take(&mut places, now, &mut seeker));
            }
        }
    }
}
