//! Our side of TLS and that of tokio-rustls, with the client's stream and the server's cut at every border, merged, damaged and cut off.

use std::io::ErrorKind;

use sealock_fuzz::tls::{Borders, Clients, End, FAREWELL, Outcome, Script, Step, Told, Version, check};
use tokio_rustls::rustls::{AlertDescription, Error, HandshakeKind};

const VERSIONS: [Version; 2] = [Version::Tls13, Version::Tls12];
/// What a session that is allowed to takes: data, new keys between and right behind it, and an end in order.
const STEPS: [Step; 7] = [
    Step::Data(5),
    Step::KeyUpdate,
    Step::Data(3),
    Step::Wait,
    Step::KeyUpdate,
    Step::Data(1),
    Step::Close,
];

fn script(version: Version, clients: Clients) -> Script {
    Script {
        version,
        clients,
        again: false,
        room: 1 << 20,
        up: Borders::none(),
        down: Borders::none(),
        damage: None,
        steps: STEPS.to_vec(),
    }
}

/// Plays a script of one session, and expects it to go well.
fn well(script: &Script) -> Outcome {
    let outcome = check(script).pop().unwrap();
    assert_eq!(outcome.end, End::Clean, "{script:?}");
    assert_eq!(outcome.told, Told::Close, "{script:?}");
    assert_eq!(outcome.heard.len(), 9, "{script:?}");
    assert_eq!(outcome.echoed, [&outcome.heard, FAREWELL].concat(), "{script:?}");
    outcome
}

#[test]
fn the_clients_stream_may_be_cut_at_every_border() {
    for version in VERSIONS {
        for clients in [Clients::Anybody, Clients::Known] {
            let plain = script(version, clients);
            let (up, _) = well(&plain).moved;
            assert!(up > 300, "{up}");
            for border in 1..up {
                well(&Script {
                    up: Borders::once(border),
                    ..plain.clone()
                });
            }
        }
    }
}

#[test]
fn the_servers_stream_may_be_cut_at_every_border() {
    for version in VERSIONS {
        let plain = script(version, Clients::Known);
        let (_, down) = well(&plain).moved;
        assert!(down > 700, "{down}");
        for border in 1..down {
            well(&Script {
                down: Borders::once(border),
                ..plain.clone()
            });
        }
    }
}

#[test]
fn both_streams_may_come_in_pieces_of_any_size() {
    for version in VERSIONS {
        for size in [1, 2, 3, 4, 5, 6, 7, 20, 21, 22, 23, 64, 255] {
            for room in [1, 4, 1 << 20] {
                well(&Script {
                    up: Borders::every([size]),
                    down: Borders::every([size]),
                    room,
                    ..script(version, Clients::Known)
                });
            }
        }
    }
}

#[test]
fn all_that_may_leave_together_may_arrive_together() {
    for version in VERSIONS {
        for clients in [Clients::Anybody, Clients::Known] {
            // Without waiting, the whole session arrives with the last of the handshake. Any of its steps may wait instead.
            let hurried: Vec<Step> = STEPS
                .iter()
                .filter(|step| **step != Step::Wait)
                .cloned()
                .collect();
            for waits in 0..1_u32 << hurried.len() {
                let steps = hurried.iter().enumerate().flat_map(|(at, step)| {
                    let wait = (waits >> at & 1 == 1).then_some(Step::Wait);
                    [Some(step.clone()), wait]
                });
                well(&Script {
                    steps: steps.flatten().collect(),
                    ..script(version, clients)
                });
            }
        }
    }
}

#[test]
fn large_messages_pass_in_records_of_any_size() {
    for version in VERSIONS {
        for len in [16_383, 16_384, 16_385, 100_000, 300_000] {
            for up in [
                Borders::none(),
                Borders::every([16_401]),
                Borders::every([4096, 1]),
            ] {
                let outcome = check(&Script {
                    up,
                    down: Borders::every([10_000]),
                    steps: vec![
                        Step::Data(len),
                        Step::KeyUpdate,
                        Step::Data(len),
                        Step::Wait,
                        Step::Close,
                    ],
                    ..script(version, Clients::Anybody)
                });
                assert_eq!(outcome[0].heard.len(), 2 * len);
                assert_eq!(outcome[0].end, End::Clean);
            }
        }
    }
}

#[test]
fn sessions_are_resumed() {
    for version in VERSIONS {
        for clients in [Clients::Anybody, Clients::Known] {
            for size in [1, 1000] {
                let outcomes = check(&Script {
                    again: true,
                    up: Borders::every([size]),
                    ..script(version, clients)
                });
                let kinds: Vec<_> = outcomes.iter().map(|outcome| outcome.handshake).collect();
                assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
                assert!(outcomes.iter().all(|outcome| outcome.end == End::Clean));
            }
        }
    }
}

#[test]
fn who_may_not_enter_is_told_by_an_alert() {
    for version in VERSIONS {
        let plain = script(version, Clients::Nameless);
        let (up, _) = check(&plain)[0].moved;
        for border in 1..up {
            let outcome = &check(&Script {
                up: Borders::once(border),
                ..plain.clone()
            })[0];
            assert_eq!(outcome.end, End::Error(ErrorKind::InvalidData));
            let required = Error::AlertReceived(AlertDescription::CertificateRequired);
            assert_eq!(outcome.told, Told::Failed(required));
            assert_eq!(outcome.heard, b"");
        }
        // The client's own alert ends the handshake as well.
        let outcome = &check(&script(version, Clients::Distrustful))[0];
        assert_eq!(outcome.end, End::Error(ErrorKind::InvalidData));
    }
}

#[test]
fn a_stream_that_ends_early_did_not_end_in_order() {
    for version in VERSIONS {
        for last in [None, Some(Step::End)] {
            let mut steps = STEPS.to_vec();
            steps.pop();
            steps.extend(last);
            let outcome = &check(&Script {
                steps,
                ..script(version, Clients::Anybody)
            })[0];
            // All that came is heard before.
            assert_eq!(outcome.heard.len(), 9);
            assert_eq!(outcome.end, End::Error(ErrorKind::UnexpectedEof));
            assert_eq!(outcome.told, Told::End);
        }
        // Inside a record, and inside the handshake.
        for raw in [
            &b"\x17\x03\x03\x00\x20half a record"[..],
            b"\x17",
            b"\x17\x03\x03\x00",
        ] {
            let outcome = &check(&Script {
                steps: vec![Step::Data(5), Step::Wait, Step::Raw(raw.to_vec())],
                ..script(version, Clients::Anybody)
            })[0];
            assert_eq!(outcome.heard.len(), 5);
            assert_eq!(outcome.end, End::Error(ErrorKind::UnexpectedEof));
        }
    }
}

#[test]
fn behind_a_close_notify_nothing_has_a_meaning() {
    for version in VERSIONS {
        for raw in [&b"x"[..], &[0; 300], b"\x17\x03\x03\x00\x02no", &[0x16; 20_000]] {
            for wait in [None, Some(Step::Wait)] {
                let mut steps = STEPS.to_vec();
                steps.extend(wait);
                steps.push(Step::Raw(raw.to_vec()));
                for up in [Borders::none(), Borders::every([7])] {
                    well(&Script {
                        steps: steps.clone(),
                        up,
                        ..script(version, Clients::Anybody)
                    });
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_is_noticed_wherever_it_is() {
    for version in VERSIONS {
        let mut noticed = 0;
        // Behind the last record, no damage is done.
        for record in 0.. {
            let mut done = false;
            for at in 0..80 {
                let damaged = Script {
                    damage: Some((record, at)),
                    ..script(version, Clients::Known)
                };
                let outcome = &check(&damaged)[0];
                let same = outcome.end == End::Clean && outcome.told == Told::Close;
                noticed += usize::from(!same);
                done |= !same;
            }
            if !done {
                assert!(record > 6, "record {record}");
                break;
            }
        }
        assert!(noticed > 300, "{noticed}");
    }
}

#[test]
fn what_is_no_tls_gets_an_alert() {
    for version in VERSIONS {
        for (raw, alert) in [
            (
                &b"\x17\x03\x03\x00\x20 a record that nobody sealed here.."[..],
                AlertDescription::BadRecordMac,
            ),
            (b"this is no record of TLS", AlertDescription::DecodeError),
            (b"\x17\x03\x03\xFF\xFF", AlertDescription::DecodeError),
        ] {
            let outcome = &check(&Script {
                steps: vec![Step::Data(5), Step::Wait, Step::Raw(raw.to_vec()), Step::Data(5)],
                ..script(version, Clients::Anybody)
            })[0];
            assert_eq!(outcome.heard.len(), 5);
            assert_eq!(outcome.end, End::Error(ErrorKind::InvalidData), "{raw:?}");
            assert_eq!(outcome.told, Told::Failed(Error::AlertReceived(alert)), "{raw:?}");
        }
    }
}
