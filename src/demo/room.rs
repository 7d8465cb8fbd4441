//! Knows who is in the chat and carries what is said to everybody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast::{self, Receiver, Sender, error};

/// Lines that a guest may be behind. They are kept once for all guests, so this bounds the room's memory, not the guest's.
const BACKLOG: usize = 1024;

/// Bytes that are passed on to a guest in one write, give or take a line.
const PIECE: usize = 16 * 1024;

/// Names for guests who have not chosen one.
const BIRDS: [&str; 12] = [
    "avocet", "curlew", "dunlin", "egret", "gannet", "heron", "osprey", "petrel", "plover", "puffin", "skua",
    "tern",
];

/// The place where guests meet.
pub(super) struct Room {
    lines: Sender<Arc<str>>,
    /// Names as they are written, by their lower case: no two guests may look alike.
    names: Mutex<BTreeMap<String, String>>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            lines: broadcast::channel(BACKLOG).0,
            names: Mutex::default(),
        }
    }

    /// Gives a newcomer a name and tells everybody, the newcomer included.
    pub(super) fn enter(self: Arc<Self>) -> Seat {
        let bird = fastrand::choice(BIRDS).unwrap_or("guest");
        let mut names = self.names();
        // There are more candidates than guests, since the backend limits its connections.
        let name = std::iter::once(bird.to_owned())
            .chain((2u32..).map(|n| format!("{bird}{n}")))
            .find(|name| !names.contains_key(name))
            .unwrap_or_default();
        names.insert(name.clone(), name.clone());
        drop(names);
        let lines = self.lines.subscribe();
        self.say(format!("* {name} comes in"));
        Seat {
            room: self,
            name,
            lines,
            farewell: "leaves".to_owned(),
        }
    }

    fn say(&self, line: String) {
        // Fails only when nobody is there to hear it.
        self.lines.send(line.into()).ok();
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A guest's place in the room. Dropped, it is free again and everybody is told.
pub(super) struct Seat {
    room: Arc<Room>,
    name: String,
    lines: Receiver<Arc<str>>,
    farewell: String,
}

/// The guest is more than the backlog behind, and lines are lost to it.
#[derive(Debug)]
pub(super) struct TooSlow;

impl Seat {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Everybody's names, in order.
    pub(super) fn all(&self) -> Vec<String> {
        self.room.names().values().cloned().collect()
    }

    /// Says a line to everybody.
    pub(super) fn say(&self, line: String) {
        self.room.say(line);
    }

    /// Takes another name, if nobody else has it.
    pub(super) fn rename(&mut self, name: &str) -> bool {
        let (old, new) = (self.name.to_lowercase(), name.to_lowercase());
        let mut names = self.room.names();
        if old != new && names.contains_key(&new) {
            return false;
        }
        names.remove(&old);
        names.insert(new, name.to_owned());
        drop(names);
        let old = std::mem::replace(&mut self.name, name.to_owned());
        self.say(format!("* {old} is now {name}"));
        true
    }

    /// What everybody will be told when this guest has gone.
    pub(super) fn set_farewell(&mut self, farewell: impl Into<String>) {
        self.farewell = farewell.into();
    }

    /// Waits for a line and adds it to `out`, with those that lie ready behind it. May be cancelled without loss.
    pub(super) async fn hear(&mut self, out: &mut String) -> Result<(), TooSlow> {
        match self.lines.recv().await {
            Ok(line) => push_line(out, &line),
            Err(error::RecvError::Lagged(_)) => return Err(TooSlow),
            // Cannot be: this seat holds the room, and the room its sender.
            Err(error::RecvError::Closed) => return Ok(()),
        }
        self.overhear(out)
    }

    /// Adds the lines that lie ready to `out`, up to a piece worth writing: the backlog of the room is not to be copied
    /// for every guest. Nothing added means that there is nothing more.
    pub(super) fn overhear(&mut self, out: &mut String) -> Result<(), TooSlow> {
        while out.len() < PIECE {
            match self.lines.try_recv() {
                Ok(line) => push_line(out, &line),
                Err(error::TryRecvError::Lagged(_)) => return Err(TooSlow),
                Err(error::TryRecvError::Empty | error::TryRecvError::Closed) => break,
            }
        }
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.names().remove(&self.name.to_lowercase());
        self.say(format!("* {} {}", self.name, self.farewell));
    }
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(seat: &mut Seat) -> String {
        let mut out = String::new();
        seat.overhear(&mut out).unwrap();
        out
    }

    #[test]
    fn names_are_unique_whatever_their_case_and_free_again_after() {
        let room = Arc::new(Room::new());
        let mut guests: Vec<Seat> = (0..64).map(|_| Arc::clone(&room).enter()).collect();
        assert_eq!(guests[0].all().len(), 64);
        assert!(guests[0].rename("Ada"));
        assert!(!guests[1].rename("aDA"));
        assert!(
            guests[0].rename("ADA"),
            "a guest may change the case of its own name"
        );
        guests.remove(0);
        assert!(guests[0].rename("ada"));
    }

    #[test]
    fn everybody_hears_in_order_who_comes_speaks_and_goes() {
        let room = Arc::new(Room::new());
        let mut ada = Arc::clone(&room).enter();
        ada.rename("ada");
        heard(&mut ada);
        let mut ben = Arc::clone(&room).enter();
        let bird = ben.name().to_owned();
        ben.rename("ben");
        ben.say("ben: hello".to_owned());
        ben.set_farewell("sails");
        drop(ben);
        assert_eq!(
            heard(&mut ada),
            format!("* {bird} comes in\n* {bird} is now ben\nben: hello\n* ben sails\n")
        );
    }

    #[test]
    fn a_guest_that_does_not_listen_is_found_out() {
        let room = Arc::new(Room::new());
        let mut seat = room.enter();
        for n in 0..=BACKLOG {
            seat.say(n.to_string());
        }
        assert!(seat.overhear(&mut String::new()).is_err());
    }
}
