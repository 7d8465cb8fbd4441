//! The process: signals, exit codes, what it tells the service manager, and what may stand in its log.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixDatagram};
use tokio::process::Command;

use crate::admin;
use crate::support::{
    Backend, Client, Frame, Program, Request, TEXT, answer, certificate, connect, read_to_end, sealock, soon,
};

const LINES: &str = "framing = \"lines\"";

/// A route to an echo.
async fn echo_route() -> String {
    let echo = Backend::echo().await;
    format!("[[route]]\nname = \"echo\"\npath = \"/echo\"\nbackend = \"tcp://{echo}\"\n{LINES}\n")
}

async fn expect_shutdown(client: &mut Client) {
    let told = Frame::close(1001, "server is shutting down");
    assert_eq!(client.frame().await, Some(told));
}

#[tokio::test]
async fn signals_that_come_while_it_starts_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("sealock.toml");
    let made = Command::new("mkfifo").arg(&pipe).status().await;
    assert!(made.unwrap().success());
    let mut child = Command::new(env!("CARGO_BIN_EXE_sealock"))
        .args(["run", "--log-format", "json", "-c"])
        .arg(&pipe)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // The first that it does is to read the file; opening the pipe here waits until it does.
    let path = pipe.clone();
    let opening = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(path));
    let mut writer = soon("its start", opening).await.unwrap().unwrap();
    let pid = child.id().unwrap().to_string();
    for signal in ["-USR1", "-HUP"] {
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .await
                .unwrap()
                .success()
        );
    }
    // It goes on with both of them taken.
    let file = Program::file("", &echo_route().await);
    std::io::Write::write_all(&mut writer, file.as_bytes()).unwrap();
    drop(writer);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let answered = async {
        // A pipe can be read once, which is the answer to SIGHUP.
        while !lines
            .next_line()
            .await
            .unwrap()
            .expect("sealock runs")
            .contains("not reloaded: ")
        {}
    };
    soon("an answer to SIGHUP", answered).await;
}

#[tokio::test]
async fn who_was_let_in_becomes_a_session_whatever_the_window_for_those_that_are() {
    let top = "drain_window = \"0s\"\n[admin]\nbind = \"127.0.0.1:0\"";
    let mut program = Program::start_with(top, &echo_route().await).await;
    let mut stream = connect(program.plain).await;
    let request = Request::get("/echo").bytes();
    let (begin, rest) = request.split_at(20);
    stream.write_all(begin).await.unwrap();
    let let_in = async { while admin::json(&program, "GET /api/v1/status", 200).await["opening"] != 1 {} };
    soon("a connection that is opening", let_in).await;
    program.signal("TERM").await;
    program.logged("shutting down").await;
    let ready = admin::ask(&program, "GET /readyz", "Host: localhost\r\n").await;
    assert_eq!(ready.status, 503);
    stream.write_all(rest).await.unwrap();
    let mut client = answer(Box::new(stream)).await.unwrap();
    expect_shutdown(&mut client).await;
    client.close(1001, "").await;
    assert_eq!(program.exit().await, Some(0));
    assert!(program.log().contains("all sessions have ended"));
}

/// Waits until nobody listens here any more. A connection that the kernel had taken already ends without an answer.
async fn until_refused(address: std::net::SocketAddr) {
    let tried = async { while TcpStream::connect(address).await.is_ok() {} };
    soon("refused connections", tried).await;
}

#[tokio::test]
async fn a_signal_ends_sessions_in_order() {
    for signal in ["TERM", "INT"] {
        let mut program = Program::start(&echo_route().await).await;
        let mut clients = [
            Client::plain(program.plain, "/echo").await,
            Client::tls(program.tls, "/echo").await,
        ];
        for client in &mut clients {
            client.send(TEXT, b"hello").await;
            assert_eq!(client.message().await, (TEXT, b"hello".to_vec()));
        }
        // One that has not asked for anything yet.
        let mut silent = connect(program.plain).await;
        program.signal(signal).await;
        for client in &mut clients {
            expect_shutdown(client).await;
        }
        until_refused(program.plain).await;
        until_refused(program.tls).await;
        assert_eq!(read_to_end(&mut silent).await.unwrap_or_default(), b"");
        for client in &mut clients {
            client.close(1001, "").await;
            client.expect_end().await;
        }
        assert_eq!(program.exit().await, Some(0));
        let log = program.log();
        assert!(log.contains("all sessions have ended"), "{log}");
        let ends: Vec<Value> = records(&log)
            .filter(|record| record["backend"].is_string())
            .collect();
        assert_eq!(
            ends.iter().filter(|end| end["cause"] == "shutdown").count(),
            2,
            "{log}"
        );
        for end in ends.iter().filter(|end| end["cause"].is_string()) {
            assert_eq!((&end["state"], &end["code"]), (&json!("P-"), &json!(1001)));
            assert_eq!(
                (&end["messages_up"], &end["messages_down"]),
                (&json!(1), &json!(1))
            );
        }
    }
}

#[tokio::test]
async fn what_crosses_with_the_end_still_reaches_the_backend() {
    let backend = Backend::start().await;
    let address = backend.address;
    let route =
        format!("[[route]]\nname = \"lines\"\npath = \"/lines\"\nbackend = \"tcp://{address}\"\n{LINES}\n");
    let mut program = Program::start(&route).await;
    let mut client = Client::plain(program.plain, "/lines").await;
    let mut service = backend.accept().await;
    program.signal("TERM").await;
    expect_shutdown(&mut client).await;
    client.send(TEXT, b"on its way").await;
    client.close(1001, "").await;
    assert_eq!(read_to_end(&mut service).await.unwrap(), b"on its way\n");
    drop(service);
    let record = program.ended("shutdown").await;
    assert_eq!(record["messages_up"], 1, "{record}");
}

#[tokio::test]
async fn sessions_that_do_not_end_are_cut_at_the_deadline_or_by_a_second_signal() {
    let stubborn = "close_timeout = \"1h\"\nlinger = \"1h\"";
    for (timeout, again) in [("300ms", false), ("1h", true)] {
        let top = format!("shutdown_timeout = \"{timeout}\"");
        let route = format!("{}{stubborn}", echo_route().await);
        let mut program = Program::start_with(&top, &route).await;
        let mut client = Client::plain(program.plain, "/echo").await;
        program.signal("TERM").await;
        // Told, and no answer.
        expect_shutdown(&mut client).await;
        if again {
            program.signal("TERM").await;
        }
        assert_eq!(program.exit().await, Some(0));
        // It has a record all the same.
        let record = program.ended("shutdown").await;
        assert_eq!(
            (&record["route"], &record["code"]),
            (&"echo".into(), &1001.into())
        );
        program.logged("sessions were cut").await;
        assert_eq!(client.frame().await, None);
    }
}

#[tokio::test]
async fn a_log_that_nobody_takes_harms_no_session() {
    let mut program = Program::start(&echo_route().await).await;
    let mut before = Client::plain(program.plain, "/echo").await;
    program.close_log().await;
    for _ in 0..3 {
        let mut client = Client::tls(program.tls, "/echo").await;
        client.send(TEXT, b"hello").await;
        assert_eq!(client.message().await, (TEXT, b"hello".to_vec()));
        client.close(1000, "").await;
        client.expect_refusal(1000, "").await;
    }
    before.send(TEXT, b"still here").await;
    assert_eq!(before.message().await, (TEXT, b"still here".to_vec()));
    program.signal("TERM").await;
    expect_shutdown(&mut before).await;
    before.close(1001, "").await;
    before.expect_end().await;
    assert_eq!(program.exit().await, Some(0));
}

#[tokio::test]
async fn exit_codes_tell_a_bad_configuration_from_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = format!("\"{}\"", held.local_addr().unwrap());
    let free = "\"127.0.0.1:0\"".to_owned();
    let file = |bind: &str, cert: &Path, key: &Path| {
        format!(
            "[[listener]]\nbind = {bind}\ncert_file = {cert:?}\nkey_file = {key:?}\n[[route]]\nname = \"a\"\npath = \"/\"\nbackend = \"tcp://127.0.0.1:1\"\nframing = \"raw\"\n"
        )
    };
    let (cert, key) = (certificate("dev.pem"), certificate("dev.key"));
    let other = sealock::tls::DevelopmentCa::make(&["localhost".into()]).unwrap();
    let other_key = dir.path().join("other.key");
    std::fs::write(&other_key, other.key_pem).unwrap();
    let missing = dir.path().join("missing.pem");
    let guarded = |ca: &Path| {
        file(&free, &cert, &key).replace("[[route]]", &format!("client_ca_file = {ca:?}\n[[route]]"))
    };
    // The file, what `check` says to it, what `run` says, and a word of the reason.
    let rows = [
        (file(&taken, &cert, &key), 0, 1, "cannot listen on 127.0.0.1"),
        (file(&free, &missing, &key), 78, 78, "missing.pem"),
        (file(&free, &cert, &missing), 78, 78, "missing.pem"),
        // Not only the first of two.
        (
            file(&free, &missing, &dir.path().join("no.key")),
            78,
            78,
            "no.key",
        ),
        (
            file(&free, &cert, &other_key),
            78,
            78,
            "does not belong to the certificate",
        ),
        (file(&free, &key, &key), 78, 78, "no certificate in this file"),
        (guarded(&missing), 78, 78, "missing.pem"),
        (guarded(&key), 78, 78, "no certificate in this file"),
        ("this is not TOML".into(), 78, 78, "error"),
        (String::new(), 78, 78, "there is no listener"),
        (
            file(&free, &cert, &key).replace("path =", "paht ="),
            78,
            78,
            "path",
        ),
    ];
    for (text, check, run, says) in rows {
        let path = dir.path().join("sealock.toml");
        std::fs::write(&path, &text).unwrap();
        let path = path.to_str().unwrap();
        for (command, code) in [("check", check), ("run", run)] {
            let output = sealock([command, "-c", path], "").await;
            let told = output.stderr;
            assert_eq!(output.code, Some(code), "{command}: {told}\n{text}");
            assert!(code == 0 || told.contains(says), "{command}: {told}\n{text}");
        }
    }
    drop(held);
    let missing = missing.to_str().unwrap();
    assert_eq!(sealock(["check", "-c", missing], "").await.code, Some(78));
    assert_eq!(sealock(["run", "-c", missing], "").await.code, Some(78));
    assert_eq!(sealock(["run", "--no-such-option"], "").await.code, Some(2));
}

#[tokio::test]
async fn the_service_manager_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let file = Program::file("", &echo_route().await);
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap())];
    let mut program = Program::launch(&file, "json", &environment).await;
    let told = async || {
        let mut bytes = [0; 256];
        let got = soon("a notification", manager.recv(&mut bytes)).await.unwrap();
        String::from_utf8(bytes[..got].to_vec()).unwrap()
    };
    let ready = told().await;
    assert!(ready.lines().any(|line| line == "READY=1"), "{ready}");
    // It is true: the listeners are up.
    drop(Client::tls(program.tls, "/echo").await);
    program.ended("client_gone").await;
    program.signal("TERM").await;
    let stopping = told().await;
    assert!(stopping.lines().any(|line| line == "STOPPING=1"), "{stopping}");
    assert_eq!(program.exit().await, Some(0));
}

/// Requests whose bytes a terminal or a log reader would obey, each with something to find it by.
const HOSTILE: &[(&str, &[u8])] = &[
    (
        "marker-1",
        b"GET /marker-1%1B%5B31m%0D%0A%7B%22 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    (
        "marker-2",
        b"GET /marker-2\xC2\x9B31m\xC2\x85{\"level\":\"ERROR\"} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    (
        "marker-3",
        b"GET /marker-3\xE2\x80\xAEtxt\xE2\x80\xA8\xEF\xBB\xBF HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    (
        "marker-4",
        b"GET /x HTTP/1.1\r\nHost: marker-4\xC2\x9B31m\t\xFF\"\\\r\n\r\n",
    ),
    (
        "marker-5",
        b"BREW-marker-5 /x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    // hyper refuses these by itself; nothing of them is logged.
    (
        "invalid URI",
        b"GET /\x1B[2J\x07 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    (
        "invalid HTTP header",
        b"GET /x HTTP/1.1\r\nHost: local\x1Bhost\r\n\r\n",
    ),
];

#[tokio::test]
async fn nothing_hostile_reaches_the_log_unescaped() {
    let file = Program::file("", &echo_route().await);
    for format in ["json", "human"] {
        let mut program = Program::launch(&file, format, &[]).await;
        for (marker, bytes) in HOSTILE {
            let mut tcp = connect(program.plain).await;
            tcp.write_all(bytes).await.unwrap();
            let answer = read_to_end(&mut tcp).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 4"), "{marker}");
            drop(tcp);
            program.logged(marker).await;
        }
        let mut long = connect(program.plain).await;
        let path = "x".repeat(8000);
        long.write_all(format!("GET /marker-6{path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
            .await
            .unwrap();
        read_to_end(&mut long).await.unwrap();
        drop(long);
        let log = program.logged("marker-6").await;

        // One line for each, however many line breaks were sent.
        assert_eq!(
            log.lines().filter(|line| line.contains("refused: ")).count(),
            HOSTILE.len() + 1
        );
        let obeyed = |c: char| (c.is_control() && c != '\n') || "\u{202E}\u{2028}\u{FEFF}".contains(c);
        assert!(!log.contains(obeyed), "{}", log.escape_debug());
        assert!(log.lines().all(|line| line.len() < 1000), "a line is too long");
        if format == "json" {
            assert_eq!(records(&log).count(), log.lines().count());
            assert!(records(&log).all(|record| record["level"] != "ERROR"), "{log}");
            let second = records(&log).find(|record| record["detail"].to_string().contains("marker-2"));
            let detail = second.unwrap()["detail"].as_str().unwrap().to_owned();
            assert_eq!(
                detail,
                "GET localhost/marker-2\\u{9b}31m\\u{85}{\"level\":\"ERROR\"}"
            );
        }
    }
}

/// The lines of a log, each of which must be JSON.
fn records(log: &str) -> impl Iterator<Item = Value> {
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
}
