//! A route with several targets: who gets which, who waits, and what happens to those that fail.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::{
    Backend, Client, Program, Request, Scene, TEXT, answer, connect_from, nobody, read, soon, write,
};

/// Sessions that end leave no time to a backend that does not.
const ROUTE: &str = "framing = \"lines\"\nlinger = \"0s\"\n";

/// A route's line for these targets, with other settings of `backend` behind them.
fn targets(backends: &[SocketAddr], settings: &str) -> String {
    let targets: Vec<String> = backends
        .iter()
        .map(|address| format!("tcp://{address}"))
        .collect();
    format!("{ROUTE}backend = {{ targets = {targets:?}{settings} }}")
}

/// A session on the route, and the index of the backend that it has got.
async fn open(program: &Program, backends: &[&Backend]) -> (Client, TcpStream, usize) {
    let client = Client::plain(program.plain, "/test").await;
    let accepting = backends.iter().map(|backend| Box::pin(backend.accept()));
    let (stream, index, _) = soon("a backend", futures_util::future::select_all(accepting)).await;
    (client, stream, index)
}

/// Ends a session from its client.
async fn leave(scene: &mut Scene, mut client: Client) {
    client.close(1000, "").await;
    client.expect_close(1000, "").await;
    scene.ended("client_closed", json!({})).await;
}

#[tokio::test]
async fn sessions_go_round() {
    let [a, b, c] = [
        Backend::start().await,
        Backend::start().await,
        Backend::start().await,
    ];
    let all = [&a, &b, &c];
    // The plainest way to write it.
    let list: Vec<String> = all.iter().map(|one| format!("tcp://{}", one.address)).collect();
    let scene = Scene::start(&format!("backend = {list:?}\nframing = \"lines\"")).await;
    let mut sessions = Vec::new();
    for turn in 0..6 {
        let (client, stream, index) = open(&scene.program, &all).await;
        assert_eq!(index, turn % 3);
        sessions.push((client, stream));
    }
    for (client, stream) in &mut sessions {
        client.send(TEXT, b"hello").await;
        assert_eq!(read(stream, 6).await, b"hello\n");
    }
}

#[tokio::test]
async fn the_target_with_the_fewest_sessions_is_taken() {
    let [a, b] = [Backend::start().await, Backend::start().await];
    let settings = targets(&[a.address, b.address], ", balance = \"least-sessions\"");
    let mut scene = Scene::start(&settings).await;
    let first = open(&scene.program, &[&a, &b]).await;
    let second = open(&scene.program, &[&a, &b]).await;
    let third = open(&scene.program, &[&a, &b]).await;
    assert_eq!((first.2, second.2, third.2), (0, 1, 0));
    leave(&mut scene, first.0).await;
    leave(&mut scene, third.0).await;
    for _ in 0..2 {
        let (client, _stream, index) = open(&scene.program, &[&a, &b]).await;
        assert_eq!(index, 0);
        leave(&mut scene, client).await;
    }
}

#[tokio::test]
async fn a_client_comes_back_to_its_target() {
    let [a, b, c] = [
        Backend::start().await,
        Backend::start().await,
        Backend::start().await,
    ];
    let settings = targets(
        &[a.address, b.address, c.address],
        ", balance = \"client-address\"",
    );
    let scene = Scene::start(&settings).await;
    let turned = targets(
        &[c.address, a.address, b.address],
        ", balance = \"client-address\"",
    );
    let other = Scene::start(&turned).await;
    let mut homes = Vec::new();
    for last in 1..=40 {
        let mut home = None;
        // Twice to one gateway, and once to one that lists the same targets in another order.
        for program in [&scene.program, &scene.program, &other.program] {
            let stream = connect_from(last, program.plain).await;
            let client = Request::get("/test").over(Box::new(stream), &[]).await;
            let accepting = [&a, &b, &c].map(|backend| Box::pin(backend.accept()));
            let (_, index, _) = soon("a backend", futures_util::future::select_all(accepting)).await;
            assert_eq!(*home.get_or_insert(index), index, "127.0.0.{last}");
            drop(client);
        }
        homes.extend(home);
    }
    // A third of the clients at each; that one of them has none of forty is as good as impossible.
    assert!((0..3).all(|index| homes.contains(&index)), "{homes:?}");
}

#[tokio::test]
async fn a_target_that_fails_costs_no_session() {
    let good = Backend::start().await;
    // One that refuses, one that does not answer: each gets its share of the deadline.
    let (full, _queued) = silent().await;
    let silent = full.local_addr().unwrap();
    let settings = targets(
        &[nobody(), silent, good.address],
        ", fall = 1, retry_after = \"1h\"",
    );
    let mut scene = Scene::start(&format!("{settings}\ndial_timeout = \"9s\"")).await;
    for _ in 0..3 {
        let (client, _stream, _) = open(&scene.program, &[&good]).await;
        leave(&mut scene, client).await;
    }
    let log = scene.program.log();
    assert_eq!(log.matches("\"backend is down\"").count(), 2, "{log}");
    assert!(
        log.contains("Connection refused") && log.contains("no answer within"),
        "{log}"
    );
    scene.done().await;
}

/// A listener whose queue is full: who dials it hears nothing. With what stands in the queue.
async fn silent() -> (TcpListener, Vec<TcpStream>) {
    let full = TcpSocket::new_v4().unwrap();
    full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = full.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        queued.push(stream.unwrap());
        assert!(queued.len() < 64, "the queue never filled");
    }
    (full, queued)
}

#[tokio::test]
async fn a_trial_costs_no_session_its_time_while_another_target_is_up() {
    let good = Backend::start().await;
    let (silent, queued) = silent().await;
    let address = silent.local_addr().unwrap();
    let settings = targets(&[address, good.address], ", fall = 1, retry_after = \"16ms\"");
    let mut scene = Scene::start(&format!("{settings}\ndial_timeout = \"8s\"")).await;
    let began = Instant::now();
    drop(open(&scene.program, &[&good]).await);
    // Its share of the deadline, once.
    assert!(began.elapsed() >= Duration::from_secs(4));
    scene.program.logged("\"backend is down\"").await;
    // The pause is over long since: this session makes the trial.
    let began = Instant::now();
    drop(open(&scene.program, &[&good]).await);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    // It was not given up: the target answers late, and is back.
    drop(queued);
    let accepting = async { while silent.accept().await.is_ok() {} };
    // Each session makes a trial, until one gets through: the system asks again for a place in the queue in seconds only.
    let address = scene.program.plain;
    let visiting = async {
        loop {
            drop(Request::get("/test").plain(address).await);
        }
    };
    tokio::select! {
        () = accepting => {}
        () = visiting => {}
        _ = scene.program.logged("\"backend is up again\"") => {}
    }
}

#[tokio::test]
async fn what_is_down_is_refused_at_once_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let backend = format!("backend = {{ targets = [\"unix:{}\"], fall = 2", socket.display());

    // Down for good, as far as this test is concerned.
    let mut scene = Scene::start(&format!(
        "framing = \"lines\"\n{backend}, retry_after = \"24h\" }}"
    ))
    .await;
    for (status, cause, text) in [
        (502, "dial_failed", "backend unreachable\n"),
        (502, "dial_failed", "backend unreachable\n"),
        (503, "backend_down", "backend is down, try again later\n"),
        (503, "backend_down", "backend is down, try again later\n"),
    ] {
        let refusal = Request::get("/test")
            .plain(scene.program.plain)
            .await
            .err()
            .unwrap();
        assert_eq!((refusal.status, refusal.body.as_str()), (status, text));
        assert_eq!(refusal.header("retry-after"), (status == 503).then_some("1"));
        let record = scene.ended(cause, json!({"state": "SC", "status": status})).await;
        let detail = record["detail"].as_str().unwrap();
        assert!(detail.contains("socket: No such file"), "{record}");
    }
    scene.done().await;

    // And one that is tried again soon.
    let settings = format!("framing = \"lines\"\n{backend}, retry_after = \"100ms\" }}");
    let mut scene = Scene::start(&settings).await;
    for _ in 0..2 {
        assert_eq!(
            Request::get("/test")
                .plain(scene.program.plain)
                .await
                .err()
                .unwrap()
                .status,
            502
        );
    }
    scene.program.logged("\"backend is down\"").await;
    let listener = UnixListener::bind(&socket).unwrap();
    let client = soon("the backend's return", async {
        loop {
            match Request::get("/test").plain(scene.program.plain).await {
                Ok(client) => return client,
                Err(refusal) => assert_eq!(refusal.status, 503),
            }
        }
    });
    drop(client.await);
    drop(listener);
    scene.program.logged("\"backend is up again\"").await;
}

#[tokio::test]
async fn a_close_frame_tells_what_is_down_or_busy() {
    let settings = targets(&[nobody()], ", fall = 1, retry_after = \"24h\"");
    let mut scene = Scene::start(&format!("{settings}\non_dial_failure = \"close\"")).await;
    for (cause, text) in [
        ("dial_failed", "backend unreachable"),
        ("backend_down", "backend is down, try again later"),
    ] {
        let mut client = Client::plain(scene.program.plain, "/test").await;
        client.expect_close(1014, text).await;
        scene.ended(cause, json!({"code": 1014, "backend": null})).await;
    }
    scene.done().await;

    let backend = Backend::start().await;
    let settings = targets(&[backend.address], ", max_sessions = 1");
    let mut scene = Scene::start(&format!("{settings}\non_dial_failure = \"close\"")).await;
    let (first, _stream, _) = open(&scene.program, &[&backend]).await;
    let mut client = Client::plain(scene.program.plain, "/test").await;
    client
        .expect_close(1013, "backend is busy, try again later")
        .await;
    scene
        .ended("backend_full", json!({"code": 1013, "state": "PC"}))
        .await;
    leave(&mut scene, first).await;
    scene.done().await;
}

/// Sends a request that will have to wait, and comes back when it does; `before` wait already.
async fn enqueue(program: &mut Program, before: usize) -> TcpStream {
    let mut stream = TcpStream::connect(program.plain).await.unwrap();
    stream.write_all(&Request::get("/test").bytes()).await.unwrap();
    program
        .logged_times("a session waits for a place", before + 1)
        .await;
    stream
}

#[tokio::test]
async fn who_finds_no_place_waits_for_one_in_order() {
    let backend = Backend::start().await;
    let settings = targets(
        &[backend.address],
        ", max_sessions = 1, queue = 2, queue_timeout = \"20s\"",
    );
    let mut scene = Scene::start(&settings).await;
    let (first, _stream, _) = open(&scene.program, &[&backend]).await;
    let gone = enqueue(&mut scene.program, 0).await;
    let second = enqueue(&mut scene.program, 1).await;
    let refusal = Request::get("/test")
        .plain(scene.program.plain)
        .await
        .err()
        .unwrap();
    assert_eq!((refusal.status, refusal.header("retry-after")), (503, Some("1")));
    assert_eq!(refusal.body, "backend is busy, try again later\n");
    scene
        .ended("backend_full", json!({"state": "PC", "status": 503}))
        .await;
    // Whoever leaves makes room, in the middle of the queue too.
    drop(gone);
    scene.ended("client_left", json!({})).await;
    let third = enqueue(&mut scene.program, 2).await;
    leave(&mut scene, first).await;
    let second = answer(Box::new(second)).await.unwrap();
    let mut at_backend = backend.accept().await;
    drop(second);
    scene.ended("client_gone", json!({})).await;
    let mut third = answer(Box::new(third)).await.unwrap();
    drop(std::mem::replace(&mut at_backend, backend.accept().await));
    write(&mut at_backend, b"hello\n").await;
    assert_eq!(third.message().await.1, b"hello");
    leave(&mut scene, third).await;
    scene.done().await;
}

#[tokio::test]
async fn a_target_that_is_down_throws_nobody_out_of_the_queue() {
    let backend = Backend::start().await;
    for settings in [
        // Each of them finds out for itself, or one makes a trial for all, again and again.
        ", fall = 9, retry_after = \"1h\"",
        ", fall = 1, retry_after = \"16ms\"",
    ] {
        let settings = format!("{settings}, max_sessions = 1, queue = 9, queue_timeout = \"20s\"");
        let settings = targets(&[backend.address, nobody()], &settings);
        let mut scene = Scene::start(&settings).await;
        let (mut last, mut _stream, _) = open(&scene.program, &[&backend]).await;
        let mut waiting = Vec::new();
        for before in 0..3 {
            waiting.push(enqueue(&mut scene.program, before).await);
        }
        if settings.contains("16ms") {
            // One for each of those who wait.
            scene.program.logged_times("a dial has failed", 3).await;
        }
        for next in waiting {
            leave(&mut scene, last).await;
            last = answer(Box::new(next)).await.unwrap();
            _stream = backend.accept().await;
        }
        leave(&mut scene, last).await;
        scene.done().await;
    }
}

#[tokio::test]
async fn who_waits_for_one_service_keeps_nobody_from_another() {
    let backend = Backend::start().await;
    let settings = targets(
        &[backend.address],
        ", max_sessions = 1, queue = 9, queue_timeout = \"1h\"",
    );
    let mut scene = Scene::start_with("[limits]\nmax_handshakes = 2", &settings).await;
    let (first, _stream, _) = open(&scene.program, &[&backend]).await;
    let mut waiting = Vec::new();
    for before in 0..6 {
        waiting.push(enqueue(&mut scene.program, before).await);
    }
    drop(
        soon(
            "another service",
            Client::plain(scene.program.plain, "/neighbour"),
        )
        .await,
    );
    drop(first);
    drop(answer(Box::new(waiting.remove(0))).await.unwrap());
    scene.neighbour().await;
}

#[tokio::test]
async fn who_leaves_the_queue_is_noticed_whatever_stands_behind_the_request() {
    let backend = Backend::start().await;
    let settings = targets(
        &[backend.address],
        ", max_sessions = 1, queue = 9, queue_timeout = \"1h\"",
    );
    let mut scene = Scene::start(&settings).await;
    let (first, _stream, _) = open(&scene.program, &[&backend]).await;
    // A byte, and more than is read of what comes early.
    for (before, behind) in [(0, 1), (1, 32 << 10)] {
        let mut gone = enqueue(&mut scene.program, before).await;
        write(&mut gone, &vec![b'x'; behind]).await;
        drop(gone);
        let detail = "after it had begun to wait for a place at its backend";
        scene.ended("client_left", json!({"detail": detail})).await;
    }
    leave(&mut scene, first).await;
    scene.done().await;
}

#[tokio::test]
async fn a_unix_socket_whose_queue_is_full_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(1).unwrap();
    socket.set_nonblocking(true).unwrap();
    let listener = UnixListener::from_std(std::os::fd::OwnedFd::from(socket).into()).unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = tokio::net::UnixStream::connect(&path).await {
        queued.push(stream);
        assert!(queued.len() < 64, "the queue never filled");
    }
    let settings = format!(
        "framing = \"lines\"\ndial_timeout = \"20s\"\nbackend = {{ targets = [\"unix:{}\"], fall = 1 }}",
        path.display()
    );
    let mut scene = Scene::start(&settings).await;
    let mut client = TcpStream::connect(scene.program.plain).await.unwrap();
    client.write_all(&Request::get("/test").bytes()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(300), client.readable()).await;
    assert!(early.is_err(), "it was refused");
    let accepting = async { while listener.accept().await.is_ok() {} };
    tokio::select! {
        () = accepting => {}
        answered = answer(Box::new(client)) => drop(answered.unwrap()),
    }
    scene.neighbour().await;
}

#[tokio::test]
async fn waiting_has_an_end() {
    let backend = Backend::start().await;
    let settings = targets(
        &[backend.address],
        ", max_sessions = 1, queue = 9, queue_timeout = \"50ms\"",
    );
    let mut scene = Scene::start(&settings).await;
    let (first, _stream, _) = open(&scene.program, &[&backend]).await;
    let refusal = Request::get("/test")
        .plain(scene.program.plain)
        .await
        .err()
        .unwrap();
    assert_eq!(refusal.status, 503);
    assert_eq!(refusal.body, "backend was busy for too long, try again later\n");
    let record = scene
        .ended("queue_timeout", json!({"state": "PC", "status": 503}))
        .await;
    assert_eq!(record["detail"], "no place within 50ms");
    leave(&mut scene, first).await;
    scene.done().await;
}

/// A service by lines that answers each of them as it is told to.
async fn service(says: watch::Receiver<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let says = says.clone();
            tokio::spawn(async move {
                let (read, mut write) = stream.split();
                let mut lines = BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    assert_eq!(line, "PING");
                    let answer = *says.borrow();
                    // Whoever asks may have left.
                    drop(write.write_all(answer.as_bytes()).await);
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn checks_find_out_before_a_session_does() {
    let (say, says) = watch::channel("hello\nI am fine\n");
    let address = service(says).await;
    let health = ", fall = 2, health = { interval = \"20ms\", timeout = \"2s\", rise = 2, send = \"PING\", expect = \"fine\" }";
    let mut scene = Scene::start(&targets(&[address], health)).await;
    scene.program.logged("\"backend is up\"").await;
    // It can be dialled, and is not well.
    say.send_replace("I am not\n");
    scene.program.logged("\"backend is down\"").await;
    let refusal = Request::get("/test")
        .plain(scene.program.plain)
        .await
        .err()
        .unwrap();
    assert_eq!(refusal.status, 503);
    let record = scene.ended("backend_down", json!({"state": "SC"})).await;
    assert!(
        record["detail"]
            .as_str()
            .unwrap()
            .ends_with("no answer within 2s"),
        "{record}"
    );
    say.send_replace("I am fine\n");
    scene.program.logged("\"backend is up again\"").await;
    leave_at_once(&mut scene).await;
    scene.done().await;
}

/// A session that opens and ends in peace.
async fn leave_at_once(scene: &mut Scene) {
    let client = Client::plain(scene.program.plain, "/test").await;
    leave(scene, client).await;
}

#[tokio::test]
async fn a_target_that_can_be_dialled_is_well_unless_more_is_asked() {
    let backend = Backend::start().await;
    let dead = nobody();
    let health = ", fall = 1, health = { interval = \"20ms\" }";
    let mut scene = Scene::start(&targets(&[dead, backend.address], health)).await;
    // Checks come without anybody's session, and end politely.
    for _ in 0..3 {
        let mut check = backend.accept().await;
        assert_eq!(crate::support::read_to_end(&mut check).await.unwrap(), b"");
    }
    let log = scene.program.logged("\"backend is down\"").await;
    assert!(log.contains(&format!("\"backend\":\"tcp://{dead}\"")), "{log}");
    leave_at_once(&mut scene).await;
    scene.done().await;
}

#[tokio::test]
async fn nobody_is_asked_who_did_not_ask_for_it() {
    let backend = Backend::start().await;
    let mut scene = Scene::start(&targets(&[backend.address], "")).await;
    let (client, _stream, _) = open(&scene.program, &[&backend]).await;
    leave(&mut scene, client).await;
    scene.done().await;
    // All that was ever dialled lies in the listener's queue by now.
    use futures_util::FutureExt;
    assert!(backend.accept().now_or_never().is_none());
}
