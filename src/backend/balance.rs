//! Chooses one of the targets that could take a session. Pure.

/// How sessions are spread over the targets of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turn: the one that was not chosen for the longest time.
    #[default]
    RoundRobin,
    /// The one with the fewest sessions; between equals, in turn.
    LeastSessions,
    /// Always the same one for a client's address. Where targets come or go, only those clients move that must (rendezvous hashing).
    ClientAddress,
}

/// A target that could take a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Where it stands in the list.
    pub(super) index: usize,
    /// What tells it from the others, wherever it stands: [`key`] of its text.
    pub(super) key: u64,
    /// Sessions that it has, with those that are being dialled.
    pub(super) sessions: usize,
    /// Which choice was the last that fell on it; 0 for none.
    pub(super) chosen: u64,
}

impl Balance {
    /// The index of the target that takes the session of a client with this [`key`]; `None` where there is no candidate.
    pub(super) fn choose(self, client: u64, candidates: impl Iterator<Item = Candidate>) -> Option<usize> {
        // Not a counter modulo the number of targets: with it, the neighbour of a target that is down would get the share of both.
        let chosen = match self {
            Self::RoundRobin => candidates.min_by_key(|one| (one.chosen, one.index)),
            Self::LeastSessions => candidates.min_by_key(|one| (one.sessions, one.chosen, one.index)),
            Self::ClientAddress => candidates.max_by_key(|one| mix(client ^ one.key)),
        };
        chosen.map(|one| one.index)
    }
}

/// A number for some bytes: the same in every process and version, so that several gateways choose alike. (FNV-1a, well mixed.)
pub(super) fn key(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(hash)
}

/// Lets every bit have its say in every other one: the finalizer of SplitMix64.
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(names: &[String]) -> Vec<Candidate> {
        let of = |(index, name): (usize, &String)| Candidate {
            index,
            key: key(name.as_bytes()),
            sessions: 0,
            chosen: 0,
        };
        names.iter().enumerate().map(of).collect()
    }

    /// The names that these clients are sent to.
    fn homes<'a>(names: &'a [String], clients: &[u32]) -> Vec<&'a str> {
        let candidates = named(names);
        let home = |client: &u32| {
            let client = key(&client.to_be_bytes());
            let index = Balance::ClientAddress.choose(client, candidates.iter().copied());
            names[index.unwrap()].as_str()
        };
        clients.iter().map(home).collect()
    }

    fn names() -> impl Strategy<Value = Vec<String>> {
        prop::collection::hash_set("tcp://[a-z]{1,8}:[1-9][0-9]{0,3}", 2..9)
            .prop_map(|set| set.into_iter().collect())
    }

    proptest! {
        #[test]
        fn only_the_clients_of_a_target_that_goes_move(
            names in names(), gone: prop::sample::Index, clients in prop::collection::vec(any::<u32>(), 1..200),
        ) {
            let gone = gone.index(names.len());
            let mut rest = names.clone();
            let lost = rest.remove(gone);
            for (before, after) in homes(&names, &clients).iter().zip(homes(&rest, &clients)) {
                // Read backwards: a target that comes takes clients from the others, and moves nobody between them.
                prop_assert!(*before == after || *before == lost, "{before} -> {after}, {lost} went");
            }
        }

        #[test]
        fn the_order_of_the_list_moves_nobody(
            names in names(), clients in prop::collection::vec(any::<u32>(), 1..100),
        ) {
            let turned: Vec<String> = names.iter().rev().cloned().collect();
            prop_assert_eq!(homes(&names, &clients), homes(&turned, &clients));
        }

        #[test]
        fn the_turns_of_the_open_targets_differ_by_one_at_most(
            open in prop::collection::vec(any::<bool>(), 2..9), before in 0..20_u64,
        ) {
            prop_assume!(open.contains(&true));
            let mut slots: Vec<Candidate> = (0..open.len())
                .map(|index| Candidate { index, key: 0, sessions: 0, chosen: 0 })
                .collect();
            let mut choice = 0;
            let mut turn = |slots: &mut Vec<Candidate>, all: bool| {
                let candidates = slots.iter().copied().filter(|one| all || open[one.index]);
                let index = Balance::RoundRobin.choose(0, candidates).unwrap();
                choice += 1;
                slots[index].chosen = choice;
                index
            };
            // All were there for a while, then some fail.
            for _ in 0..before {
                turn(&mut slots, true);
            }
            let mut turns = vec![0; open.len()];
            for _ in 0..50 {
                turns[turn(&mut slots, false)] += 1;
            }
            let of_open = turns.iter().zip(&open).filter(|(_, open)| **open).map(|(turns, _)| *turns);
            let (least, most) = (of_open.clone().min().unwrap(), of_open.max().unwrap());
            prop_assert!(most - least <= 1, "{turns:?}");
            prop_assert!(turns.iter().zip(&open).all(|(turns, open)| *open || *turns == 0));
        }

        #[test]
        fn the_least_loaded_target_is_chosen(sessions in prop::collection::vec(0..5_usize, 1..9)) {
            let slots = sessions.iter().enumerate().map(|(index, sessions)| Candidate {
                index, key: 0, sessions: *sessions, chosen: 0,
            });
            let index = Balance::LeastSessions.choose(0, slots).unwrap();
            prop_assert_eq!(sessions[index], *sessions.iter().min().unwrap());
        }
    }

    #[test]
    fn clients_are_spread_evenly() {
        let names: Vec<String> = (1..=4).map(|last| format!("tcp://10.0.0.{last}:6667")).collect();
        let clients: Vec<u32> = (0..4000).map(|last| 0xC0A8_0000 + last).collect();
        let homes = homes(&names, &clients);
        for name in &names {
            let share = homes.iter().filter(|home| *home == name).count();
            // A thousand each; four standard deviations are 110.
            assert!((890..=1110).contains(&share), "{name}: {share}");
        }
    }

    #[test]
    fn keys_are_the_same_in_every_version() {
        assert_eq!(key(b""), 0xf52a_15e9_a9b5_e89b);
        assert_eq!(key(b"tcp://127.0.0.1:6667"), key(b"tcp://127.0.0.1:6667"));
        assert_ne!(key(b"tcp://127.0.0.1:6667"), key(b"tcp://127.0.0.1:6668"));
    }

    #[test]
    fn without_a_candidate_there_is_no_choice() {
        for balance in [
            Balance::RoundRobin,
            Balance::LeastSessions,
            Balance::ClientAddress,
        ] {
            assert_eq!(balance.choose(1, std::iter::empty()), None);
        }
    }
}
