//! `sealock top`, over real sockets and in a real terminal.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{
    BINARY, Backend, Client, Output, Program, Scene, Terminal, free_address, nobody, sealock,
};

const ADMIN: &str = "[admin]\nbind = \"127.0.0.1:0\"\n";
const TOKEN: &str = "correct-horse-battery-staple";

/// The pictures of tests come as fast as they may.
async fn once(arguments: &[&str]) -> Output {
    let common = ["top", "--once", "--interval", "100ms"];
    sealock(common.iter().chain(arguments), "").await
}

fn url(sealock: &Program) -> String {
    format!("http://{}", sealock.admin.unwrap())
}

/// A sealock with an IRC server of sorts and a DNS server of sorts.
async fn two_routes(top: &str) -> Program {
    let (irc, dns) = (Backend::echo().await, Backend::echo().await);
    let routes = format!(
        "[[route]]\nname = \"irc\"\npath = \"/irc\"\nbackend = \"tcp://{irc}\"\nframing = \"u32be\"\n\
         [[route]]\nname = \"dns\"\npath = \"/dns\"\nbackend = \"tcp://{dns}\"\nframing = \"dns\"\n"
    );
    Program::start_with(top, &routes).await
}

/// A session on a route, which has exchanged one message.
async fn session(sealock: &Program, path: &str) -> Client {
    let mut client = Client::plain(sealock.plain, path).await;
    client.send(BINARY, b"twelve bytes").await;
    assert_eq!(client.message().await, (BINARY, b"twelve bytes".to_vec()));
    client
}

/// The words of a text, line by line; for what has a digit in it, and for what is not known, `#`. Units are a matter of size.
fn shape(text: &str) -> Vec<String> {
    let word = |word: &str| match word {
        "B" | "B/s" | "KiB" | "KiB/s" | "MiB" | "MiB/s" => None,
        "-" => Some("#".to_owned()),
        word if word.contains(|c: char| c.is_ascii_digit()) => Some("#".to_owned()),
        word => Some(word.to_owned()),
    };
    let line = |line: &str| {
        line.split_whitespace()
            .filter_map(word)
            .collect::<Vec<_>>()
            .join(" ")
    };
    text.lines().map(line).collect()
}

#[tokio::test]
async fn one_picture_is_plain_text_and_as_the_page_shows_it() {
    let sealock = two_routes(ADMIN).await;
    let _irc = session(&sealock, "/irc").await;
    let _dns = session(&sealock, "/dns").await;
    let output = once(&[&url(&sealock)]).await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert!(!output.stdout.contains('\x1b'), "{output:?}");
    let page = include_str!("../../docs/OPERATIONS.md");
    let transcript = page.split("$ sealock top --once\n").nth(1).unwrap();
    let transcript = transcript.split("```").next().unwrap();
    assert_eq!(shape(&output.stdout), shape(transcript), "{}", output.stdout);
    // Without a terminal, it need not be said.
    let implied = crate::support::sealock(["top", "--interval", "100ms", &url(&sealock)], "").await;
    assert_eq!(shape(&implied.stdout), shape(&output.stdout));
}

#[tokio::test]
async fn one_route_and_an_order_can_be_asked_for() {
    let sealock = two_routes(ADMIN).await;
    let mut clients = Vec::new();
    for path in ["/irc", "/dns", "/irc"] {
        clients.push(session(&sealock, path).await);
    }
    let ids = |output: &Output| -> Vec<String> {
        let rows = output
            .stdout
            .lines()
            .skip_while(|line| !line.starts_with("Sessions"));
        let ids = rows
            .skip(2)
            .map(|line| line.split_whitespace().next().unwrap().to_owned());
        ids.collect()
    };
    let all = ids(&once(&[&url(&sealock), "--sort", "id"]).await);
    assert_eq!(all.len(), 3);
    let by_age = ids(&once(&[&url(&sealock), "--sort", "age"]).await);
    assert_eq!(by_age, all.iter().rev().cloned().collect::<Vec<_>>());
    let irc = ids(&once(&[&url(&sealock), "--route", "irc", "--sort", "age"]).await);
    assert_eq!(irc, [all[2].as_str(), all[0].as_str()]);
    let wrong = once(&[&url(&sealock), "--route", "icr"]).await;
    assert_eq!(wrong.code, Some(1));
    assert_eq!(
        wrong.stderr,
        format!(
            "error: {}: there is no route \"icr\"\n  help: there is irc, dns\n",
            url(&sealock)
        )
    );
    let wrong = once(&[&url(&sealock), "--sort", "size"]).await;
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("traffic"), "{}", wrong.stderr);
}

#[tokio::test]
async fn the_token_is_found_where_it_may_stand() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let address = free_address();
    let right = file("token", &format!("{TOKEN}\n"));
    let top = format!("[admin]\nbind = \"{address}\"\ntoken_file = {right:?}\n");
    let sealock = two_routes(&top).await;
    let url = format!("http://{address}");
    let config = file(
        "sealock.toml",
        &Program::file(
            &top,
            "[[route]]\nname = \"x\"\npath = \"/\"\nbackend = \"tcp://127.0.0.1:9\"\nframing = \"raw\"\n",
        ),
    );
    for arguments in [
        &[url.as_str(), "--token-file", &right][..],
        &["--config", &config],
    ] {
        let output = once(arguments).await;
        assert_eq!(
            (output.code, output.stderr.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
        assert!(output.stdout.contains("Routes 2"), "{output:?}");
    }
    let other = file("other", "wrong-horse-battery-staple");
    let short = file("short", "short");
    for (arguments, says) in [
        (
            &[url.as_str()][..],
            "it asks for a token\n  help: --token-file FILE",
        ),
        (
            &[url.as_str(), "--token-file", &other],
            "it takes another token than the one of ",
        ),
        (&[url.as_str(), "--token-file", &short], "16 to 512 characters"),
        (
            &[url.as_str(), "--token-file", "/nowhere"],
            "/nowhere: No such file",
        ),
    ] {
        let output = once(arguments).await;
        assert_eq!(
            (output.code, output.stdout.as_str()),
            (Some(1), ""),
            "{arguments:?}"
        );
        assert!(output.stderr.contains(says), "{arguments:?}: {}", output.stderr);
        assert!(!output.stderr.contains("horse"), "{}", output.stderr);
    }
    for (token, code) in [(TOKEN, 0), ("wrong-horse-battery-staple", 1), ("short", 1)] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_sealock"));
        command.args(["top", "--once", "--interval", "100ms", &url]);
        let output = command.env("SEALOCK_ADMIN_TOKEN", token).output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(
            code == 0 || (said.contains("SEALOCK_ADMIN_TOKEN") && !said.contains(token)),
            "{said}"
        );
    }
    drop(sealock);
}

#[tokio::test]
async fn a_file_without_an_admin_listener_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("sealock.toml");
    let route = "[[route]]\nname = \"x\"\npath = \"/\"\nbackend = \"tcp://127.0.0.1:9\"\nframing = \"raw\"\n";
    for (top, code, says) in [
        ("", 1, "has no [admin]"),
        (ADMIN, 1, "the system chooses the port"),
        ("[admin]\nbind = 7\n", 78, "bind"),
    ] {
        std::fs::write(&config, Program::file(top, route)).unwrap();
        let output = once(&["--config", config.to_str().unwrap()]).await;
        assert_eq!(output.code, Some(code), "{output:?}");
        assert!(output.stderr.contains(says), "{output:?}");
    }
    let both = once(&["http://127.0.0.1:1", "--config", config.to_str().unwrap()]).await;
    assert_eq!(both.code, Some(2));
}

#[tokio::test]
async fn variables_elsewhere_in_the_file_are_no_concern_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let sealock = two_routes(&format!("[admin]\nbind = \"{address}\"\n")).await;
    let config = dir.path().join("sealock.toml");
    let routes = "[[listener]]\nbind = \"0.0.0.0:443\"\ncert_file = \"${CREDENTIALS_OF_NOBODY}/tls.crt\"\n\
                  key_file = \"${CREDENTIALS_OF_NOBODY}/tls.key\"\n";
    let look = async |admin: &str| {
        std::fs::write(&config, format!("{admin}\n{routes}")).unwrap();
        once(&["--config", config.to_str().unwrap()]).await
    };
    let output = look(&format!("[admin]\nbind = \"{address}\"")).await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    assert!(output.stdout.contains("Routes 2"), "{output:?}");
    let own = look("[admin]\nbind = \"127.0.0.1:9\"\ntoken_file = \"${TOKENS_OF_NOBODY}/token\"").await;
    assert_eq!(own.code, Some(78), "{own:?}");
    assert!(own.stderr.contains("TOKENS_OF_NOBODY is not set"), "{own:?}");
    assert!(!own.stderr.contains("CREDENTIALS_OF_NOBODY"), "{own:?}");
    drop(sealock);
}

#[tokio::test]
async fn a_terminal_that_cannot_be_drawn_on_gets_one_picture() {
    let sealock = two_routes(ADMIN).await;
    for kind in ["dumb", ""] {
        let line = format!("top {} --interval 100ms", url(&sealock));
        let mut terminal = Terminal::sealock(&line, &[("TERM", kind)]);
        terminal.shows("after ").await;
        let output = terminal.output();
        assert!(output.contains("Routes 2, by route"), "{output}");
        assert!(!output.contains('\x1b'), "{output:?}");
        assert_eq!(terminal.end().await, "0");
    }
}

/// Something that answers each request, by its line.
async fn impostor(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut head = [0; 4096];
            // What the client makes of it is the test.
            let got = tcp.read(&mut head).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..got]);
            let answer = answer(head.lines().next().unwrap_or_default());
            drop(tcp.write_all(answer.as_bytes()).await);
        }
    });
    address.to_string()
}

#[tokio::test]
async fn very_many_sessions_come_in_pages_and_not_without_end() {
    const SESSIONS: u64 = 10_500;
    let sealock = impostor(|line| {
        let body = if line.starts_with("GET /api/v1/status ") {
            r#"{"version":"1","state":"ready"}"#.into()
        } else if let Some(query) = line.strip_prefix("GET /api/v1/sessions?limit=1000&after=") {
            let after: u64 = query.split(' ').next().unwrap().parse().unwrap();
            let ids = (after + 1..=SESSIONS)
                .take(1000)
                .map(|id| format!("{{\"id\":{id}}}"));
            let ids: Vec<String> = ids.collect();
            format!(
                "{{\"found\":{},\"sessions\":[{}]}}",
                SESSIONS - after,
                ids.join(",")
            )
        } else {
            "{}".into()
        };
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    let output = once(&[&sealock.await, "--sort", "id"]).await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    let (head, rows) = output.stdout.split_once("\nSessions ").unwrap();
    assert!(
        head.ends_with(
            "Routes 0, by route\nroute state sessions queued targets     up/s   down/s  ended path\n"
        ),
        "{head}"
    );
    assert!(rows.starts_with("10500, the oldest 10000 of them here, by id\n"));
    let ids = rows
        .lines()
        .skip(2)
        .map(|row| row.split_whitespace().next().unwrap().parse::<u64>().unwrap());
    assert!(ids.eq((1..=10_000).rev()));
}

#[tokio::test]
async fn sessions_that_end_between_two_pages_are_not_left_out() {
    // 1500 at first, of which the second page has none any more.
    let sealock = impostor(|line| {
        let body = if line.starts_with("GET /api/v1/status ") {
            r#"{"version":"1","state":"ready"}"#.into()
        } else if line.starts_with("GET /api/v1/sessions?limit=1000&after=0 ") {
            let ids: Vec<String> = (1..=1000).map(|id| format!("{{\"id\":{id}}}")).collect();
            format!("{{\"found\":1500,\"sessions\":[{}]}}", ids.join(","))
        } else {
            r#"{"found":0,"sessions":[]}"#.into()
        };
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    let output = once(&[&sealock.await, "--sort", "id"]).await;
    assert!(
        output.stdout.contains("\nSessions 1000, by id\n"),
        "{}",
        output.stdout
    );
}

#[tokio::test]
async fn what_is_no_sealock_is_told_apart() {
    let nobody = nobody().to_string();
    let output = once(&[&nobody]).await;
    assert_eq!(output.code, Some(1));
    let says = format!("error: http://{nobody}: Connection refused");
    assert!(output.stderr.starts_with(&says), "{}", output.stderr);
    for (answer, says) in [
        (
            "HTTP/1.1 200 OK\r\n\r\n<html>",
            "is not the admin listener of a sealock: its answer is not JSON",
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\n{\"status\": \"green\"}",
            "it does not tell its version and state",
        ),
        ("HTTP/1.1 404 Not Found\r\n\r\n", "it answers 404"),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
            "it answers 302",
        ),
        (
            "HTTP/1.1 421 Misdirected Request\r\n\r\n{}",
            "does not answer to this name\n  help: use its address",
        ),
        (
            "HTTP/1.1 503 No\r\n\r\n{\"error\": \"\\u001b[2J\"}",
            "it says 503: \\u{1b}[2J",
        ),
        ("220 smtp.example.com ESMTP\r\n", "is not the admin listener"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "cannot be read"),
        ("", "broke"),
    ] {
        let output = once(&[&impostor(move |_| answer.to_owned()).await]).await;
        assert_eq!(output.code, Some(1), "{answer}");
        assert!(output.stderr.contains(says), "{answer}: {}", output.stderr);
    }
}

#[tokio::test]
async fn a_terminal_shows_the_sessions_and_obeys_keys() {
    let scene = Scene::start_with(ADMIN, "framing = \"u32be\"\nlinger = \"10ms\"").await;
    let (mut client, _service) = scene.open().await;
    let mut terminal = Terminal::sealock(&format!("top {} --interval 100ms", url(&scene.program)), &[]);
    let screen = terminal.shows("[Sessions] 2").await;
    let lines = screen.lines();
    assert_eq!(lines.len(), 24, "{}", screen.text());
    assert!(
        lines[0].starts_with("sealock ") && lines[0].ends_with("every 100ms"),
        "{}",
        lines[0]
    );
    assert!(lines[23].starts_with("q quit"), "{}", lines[23]);
    screen.line(" neighbour");
    // Traffic is seen.
    client.send(BINARY, &[0; 100_000]).await;
    terminal.has_shown("KiB/s").await;
    // By id, from the lowest; the chosen row stays chosen.
    terminal.types("s").await;
    terminal.shows("by id").await;
    terminal.types("j").await;
    let first = terminal
        .until("a chosen row", |screen| screen.line(">").contains("neighbour"))
        .await;
    terminal.types("r").await;
    let turned = terminal.shows("by id, reversed").await;
    let chosen = |line: String| line.split_whitespace().nth(1).unwrap().to_owned();
    assert_eq!(chosen(first.line(">")), chosen(turned.line(">")));
    // A search, and what it leaves.
    terminal.types("/tes").await;
    terminal.shows("/tes_").await;
    let found = terminal.shows("1 with \"tes\"").await;
    assert!(found.line(">").contains(" test "), "{}", found.text());
    terminal.types("\r\r").await;
    terminal.shows("moved.bytes_up       100000").await;
    terminal.types("G").await;
    terminal.shows("subprotocol").await;
    // It ends while it is looked at.
    client.close(1000, "").await;
    client.expect_refusal(1000, "").await;
    terminal.shows("gone: this is what was seen last").await;
    terminal.types("\x1b").await;
    terminal.shows("0 with \"tes\"").await;
    terminal.types("\x1b").await;
    terminal.shows("[Sessions] 1, by id, reversed").await;
    // The other table.
    terminal.types("\t\x1b[B").await;
    terminal.shows("[Routes] 2").await;
    terminal
        .until("the second route", |screen| screen.text().contains(">test"))
        .await;
    // A pause: who comes meanwhile is not seen.
    terminal.types("p").await;
    terminal.shows("PAUSED").await;
    let (_late, _service) = scene.open().await;
    terminal.types("p").await;
    terminal.shows("Sessions 2").await;
    // Another size.
    terminal.resize(40, 10).await;
    terminal
        .until("a small screen", |screen| {
            let lines = screen.lines();
            lines.len() == 10 && lines.iter().all(|line| line.chars().count() <= 40)
        })
        .await;
    terminal.types("q").await;
    assert_eq!(terminal.end().await, "0");
}

#[tokio::test]
async fn the_terminal_is_put_back_however_it_ends() {
    let sealock = two_routes(ADMIN).await;
    for end in ["q", "\x03", "TERM", "INT", "HUP", "QUIT"] {
        let mut terminal = Terminal::sealock(&format!("top {}", url(&sealock)), &[]);
        terminal.shows("[Sessions] 0").await;
        match end {
            "q" | "\x03" => terminal.types(end).await,
            signal => terminal.signal(signal).await,
        }
        assert_eq!(terminal.end().await, "0", "{end:?}");
    }
    // Stopped and woken up, it draws again; a shell without job control does not stop it for long.
    let mut terminal = Terminal::sealock(&format!("top {}", url(&sealock)), &[]);
    terminal.shows("[Sessions] 0").await;
    terminal.types("\x1a/").await;
    terminal.shows("/_").await;
    assert_eq!(terminal.output().matches("\x1b[?1049h").count(), 2);
    assert_eq!(terminal.output().matches("\x1b[?1049l").count(), 1);
    terminal.types("\x03").await;
    assert_eq!(terminal.end().await, "0");
    // What is wrong at first is told on the usual screen.
    let terminal = Terminal::sealock(&format!("top {}", nobody()), &[]);
    assert_eq!(terminal.end().await, "1");
}

#[tokio::test]
async fn colours_can_be_refused() {
    let sealock = two_routes(ADMIN).await;
    for (value, coloured) in [("1", false), ("", true)] {
        let mut terminal = Terminal::sealock(&format!("top {}", url(&sealock)), &[("NO_COLOR", value)]);
        terminal.shows("[Sessions] 0").await;
        assert_eq!(terminal.output().contains("\x1b[32m"), coloured);
        terminal.types("q").await;
        assert_eq!(terminal.end().await, "0");
    }
}

#[tokio::test]
async fn a_sealock_that_goes_is_waited_for() {
    let address = free_address();
    let top = format!("[admin]\nbind = \"{address}\"\n");
    let sealock = two_routes(&top).await;
    let _client = session(&sealock, "/irc").await;
    let mut terminal = Terminal::sealock(&format!("top {address} --interval 100ms"), &[]);
    terminal.shows("[Sessions] 1").await;
    drop(sealock);
    let screen = terminal.shows("NO ANSWER for").await;
    // The last picture is still there.
    screen.line("[Sessions] 1");
    terminal.shows("Connection refused").await;
    let _sealock = two_routes(&top).await;
    terminal.hides("NO ANSWER").await.line("[Sessions] 0");
    terminal.types("q").await;
    assert_eq!(terminal.end().await, "0");
}
