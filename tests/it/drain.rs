//! Sessions that are asked to end: told between records, one after another, and nothing of theirs is lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admin;
use crate::support::{BINARY, Backend, CLOSE, Client, Frame, Program, Scene, flood, frame, soon, write};

/// Records that the backend has read, by session.
type Books = Arc<Mutex<HashMap<u32, u32>>>;

/// A backend that echoes `(session, number)`, and keeps books. `ended` counts the connections that are over.
async fn accountant(books: Books, ended: watch::Sender<u32>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (books, ended) = (Arc::clone(&books), ended.clone());
            tokio::spawn(async move {
                let mut record = [0; 12];
                while stream.read_exact(&mut record).await.is_ok() {
                    let number = |at: usize| u32::from_be_bytes(record[at..at + 4].try_into().unwrap());
                    assert_eq!(number(0), 8);
                    let before = books.lock().unwrap().insert(number(4), number(8) + 1);
                    assert_eq!(before.unwrap_or(0), number(8), "in order, and each once");
                    // A client that has left needs no answer.
                    drop(stream.write_all(&record).await);
                }
                ended.send_modify(|ended| *ended += 1);
            });
        }
    });
    address
}

/// Asks and waits for the answer, again and again, until it is told to go. How often it asked, how often it was answered, and the code.
async fn chat(mut client: Client, session: u32) -> (u32, u32, Frame) {
    let (mut asked, mut answered) = (0, 0);
    loop {
        let message = [session.to_be_bytes(), asked_bytes(asked)].concat();
        client.send(BINARY, &message).await;
        asked += 1;
        let frame = client.frame().await.unwrap();
        if frame.opcode == CLOSE {
            client
                .raw(&crate::support::frame(true, CLOSE, &frame.payload))
                .await;
            client.expect_end().await;
            return (asked, answered, frame);
        }
        assert_eq!(frame.payload, message);
        answered += 1;
        if session.is_multiple_of(2) && answered > 3 {
            // Half of them fall silent.
            let frame = client.frame().await.unwrap();
            client
                .raw(&crate::support::frame(true, CLOSE, &frame.payload))
                .await;
            client.expect_end().await;
            return (asked, answered, frame);
        }
    }
}

fn asked_bytes(asked: u32) -> [u8; 4] {
    asked.to_be_bytes()
}

#[tokio::test]
async fn nothing_is_lost_when_a_thousand_sessions_are_drained() {
    const SESSIONS: u32 = 1000;
    let books = Books::default();
    let (sender, mut over) = watch::channel(0);
    let backend = accountant(Arc::clone(&books), sender).await;
    let mut sealock = Program::start_with(
        "drain_window = \"2s\"",
        &format!("[[route]]\nname = \"chat\"\npath = \"/chat\"\nbackend = \"tcp://{backend}\"\nframing = \"u32be\"\nping_interval = \"off\"\n"),
    )
    .await;
    let mut clients = Vec::new();
    for _ in 0..SESSIONS {
        clients.push(Client::plain(sealock.plain, "/chat").await);
    }
    let mut chats = JoinSet::new();
    for (session, client) in (0..).zip(clients) {
        chats.spawn(async move { (session, chat(client, session).await) });
    }
    sealock.signal("TERM").await;
    let (mut cut_off, mut all) = (0, Vec::new());
    while let Some(ended) = chats.join_next().await {
        let (session, (asked, answered, close)) = ended.unwrap();
        assert_eq!(close, Frame::close(1001, "server is shutting down"));
        all.push((session, asked, answered));
        assert!(asked - answered <= 1, "{asked} {answered}");
        cut_off += asked - answered;
    }
    assert_eq!(sealock.exit().await, Some(0));
    let waited = over.wait_for(|over| *over == SESSIONS);
    soon("the end of the backend's connections", waited)
        .await
        .unwrap();
    // A question that was sent while the Close frame was on its way is not carried out; nobody else goes without an answer.
    for (session, asked, answered) in all {
        let read = books.lock().unwrap()[&session];
        assert_eq!(
            read, answered,
            "session {session}: an answer to all that arrived, of {asked}"
        );
    }
    let sums = |name: &str| -> u64 {
        let log = sealock.log();
        let records = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        records.filter_map(|record| record[name].as_u64()).sum()
    };
    let read: u64 = books
        .lock()
        .unwrap()
        .values()
        .map(|count| u64::from(*count))
        .sum();
    assert_eq!(sums("messages_up"), read);
    assert_eq!(sums("messages_down"), read);
    assert_eq!(sums("lost_up"), u64::from(cut_off) * 8);
    assert_eq!(sums("lost_down"), 0);
    println!("{cut_off} of {SESSIONS} sessions asked something that was not carried out any more");
}

#[tokio::test]
async fn a_record_that_has_begun_is_finished_first() {
    let mut scene = Scene::start("framing = \"u32be\"").await;
    let (mut client, mut service) = scene.open().await;
    write(
        &mut service,
        &[&50_000_u32.to_be_bytes()[..], &[b'x'; 30_000]].concat(),
    )
    .await;
    let first = client.frame().await.unwrap();
    assert!(!first.fin);
    scene.program.signal("TERM").await;
    scene.program.logged("shutting down").await;
    write(&mut service, &[b'x'; 20_000]).await;
    let mut got = first.payload.len();
    let last = loop {
        let frame = client.frame().await.unwrap();
        got += frame.payload.len();
        if frame.fin {
            break frame;
        }
    };
    assert_ne!(last.opcode, CLOSE);
    assert_eq!(got, 50_000);
    client.expect_refusal(1001, "server is shutting down").await;
    let record = scene.program.ended("shutdown").await;
    assert_eq!(
        (&record["messages_down"], &record["lost_down"]),
        (&1.into(), &0.into())
    );
}

const ADMIN: &str = "[admin]\nbind = \"127.0.0.1:0\"\n";

/// The session of the route under test, once this is true of it.
async fn listed_with(scene: &Scene, state: &str) -> Value {
    let listed = async {
        loop {
            let listed = admin::json(&scene.program, "GET /api/v1/sessions?route=test", 200).await;
            if listed["sessions"][0][state] == true {
                return listed;
            }
        }
    };
    soon(state, listed).await
}

/// A client that takes nothing cannot be told anything.
#[tokio::test]
async fn who_does_not_read_is_cut_all_the_same() {
    let mut scene = Scene::start_with(
        ADMIN,
        "framing = \"raw\"\nclose_timeout = \"300ms\"\nping_interval = \"off\"",
    )
    .await;
    let (client, mut service) = scene.open().await;
    let flood = tokio::spawn(async move { while service.write_all(&[b'x'; 64 << 10]).await.is_ok() {} });
    let listed = listed_with(&scene, "client_blocked").await;
    let close = format!("POST /api/v1/sessions/{}/close", listed["sessions"][0]["id"]);
    admin::json(&scene.program, &close, 202).await;
    scene
        .ended("operator", json!({"route": "test", "code": 1001}))
        .await;
    soon("the end of the flood", flood).await.unwrap();
    drop(client);
    scene.done().await;
}

/// It looks for a good moment, but not for ever.
#[tokio::test]
async fn an_old_session_ends_inside_a_message_too() {
    let settings =
        "framing = \"u32be\"\nmax_session_age = \"1s\"\nclose_timeout = \"100ms\"\nping_interval = \"off\"";
    let mut scene = Scene::start_with("shutdown_timeout = \"500ms\"", settings).await;
    let (mut client, _service) = scene.open().await;
    client.raw(&frame(true, BINARY, b"hello")[..8]).await;
    client
        .read_to_close(1012, "session is old enough: connect again")
        .await;
    scene
        .ended(
            "max_age",
            json!({"route": "test", "code": 1012, "messages_up": 0}),
        )
        .await;
}

#[tokio::test]
async fn who_was_not_told_yet_stays_when_the_drain_is_called_off() {
    for _ in 0..10 {
        if let Some(stay) = stay_when_a_drain_is_called_off().await {
            assert!(stay > 0, "all of them were told");
            return;
        }
    }
    panic!("this machine is too slow to call a drain off");
}

/// How many of them stay; nothing if the drain may have been over.
async fn stay_when_a_drain_is_called_off() -> Option<usize> {
    const SESSIONS: usize = 200;
    let echo = Backend::echo().await;
    let route = |name: &str, ping: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nbackend = \"tcp://{echo}\"\nframing = \"lines\"\nping_interval = \"{ping}\"\n"
        )
    };
    let routes = [route("echo", "off"), route("clock", "100ms")].concat();
    let sealock = Program::start_with(ADMIN, &routes).await;
    let mut clients = Vec::new();
    for _ in 0..SESSIONS {
        clients.push(Client::plain(sealock.plain, "/echo").await);
    }
    let mut clock = Client::plain(sealock.plain, "/clock").await;
    admin::sessions(&sealock, "?route=echo", SESSIONS).await;
    // They are told one after another, within two seconds.
    let began = Instant::now();
    let drained = admin::json(&sealock, "POST /-/drain?route=echo", 202).await;
    assert_eq!(drained["sessions"], SESSIONS);
    admin::json(&sealock, "POST /-/undrain?route=echo", 202).await;
    if began.elapsed() > Duration::from_secs(1) {
        return None;
    }
    clock.pings(30).await;
    let listed = admin::json(&sealock, "GET /api/v1/sessions?route=echo&limit=1000", 200).await;
    let listed = listed["sessions"].as_array().unwrap();
    Some(listed.iter().filter(|one| one["ending"] == false).count())
}

/// What was read of a client is its backend's, also where its rate makes it wait.
#[tokio::test]
async fn what_waits_for_its_rate_is_delivered_before_the_end() {
    let echo = Backend::echo().await;
    let route = format!(
        "[[route]]\nname = \"echo\"\npath = \"/echo\"\nbackend = \"tcp://{echo}\"\nframing = \"lines\"\nmessage_rate = \"10/s\"\n"
    );
    let top = "drain_window = \"0s\"\nshutdown_timeout = \"9s\"";
    let mut sealock = Program::start_with(top, &route).await;
    let mut client = Client::plain(sealock.plain, "/echo").await;
    let messages = b"one line".repeat(30);
    let frames: Vec<u8> = messages
        .chunks(8)
        .flat_map(|message| frame(true, BINARY, message))
        .collect();
    client.raw(&frames).await;
    client.message().await;
    sealock.signal("TERM").await;
    for _ in 1..30 {
        assert_eq!(client.message().await.1, b"one line");
    }
    client.expect_close(1001, "server is shutting down").await;
    let record = sealock.ended("shutdown").await;
    assert_eq!(
        (&record["messages_up"], &record["lost_up"]),
        (&30.into(), &0.into())
    );
}

/// Who takes nothing is given up while its session looks for a good moment, and its backend is let go.
#[tokio::test]
async fn who_does_not_read_is_given_up_during_a_drain_too() {
    const RECORD: usize = 32 << 20;
    let route = "framing = \"u32be\"\nmax_message = \"32 MiB\"\nwrite_timeout = \"1s\"\nlinger = \"100ms\"\nping_interval = \"off\"";
    let top = format!("drain_window = \"0s\"\n{ADMIN}");
    let mut scene = Scene::start_with(&top, route).await;
    let (mut client, mut service) = scene.open().await;
    // There is no good moment inside a record.
    let begin = [&(RECORD as u32).to_be_bytes()[..], &[b'x'; 30_000]].concat();
    write(&mut service, &begin).await;
    assert!(!client.frame().await.unwrap().fin);
    admin::json(&scene.program, "POST /-/drain?route=test", 202).await;
    listed_with(&scene, "ending").await;
    let flood = tokio::spawn(async move { flood(service, &[b'x'; 64 << 10]).await });
    scene.ended("client_not_reading", json!({"route": "test"})).await;
    soon("the end of the flood", flood).await.unwrap();
    drop(client);
}
