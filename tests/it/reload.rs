//! Another configuration while sealock runs: by a signal, by what is in the files, and what becomes of sessions, of bad files, and of
//! certificates.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use sealock::tls::{DevelopmentCa, Identity, server_config};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, UnixDatagram};
use tokio::process::{Child, Command};
use tokio_rustls::TlsAcceptor;

use crate::admin;
use crate::support::{Backend, Client, Program, Request, TEXT, certificate, connect, missing, sealock, soon};

/// A file with a listener in the clear and one with TLS, whose certificate lies beside it.
fn file(top: &str, routes: &str) -> String {
    format!(
        "{top}\n[[listener]]\nbind = \"127.0.0.1:0\"\nplaintext = \"loopback\"\n\
         [[listener]]\nbind = \"127.0.0.1:0\"\ncert_file = \"tls.crt\"\nkey_file = \"tls.key\"\n{routes}"
    )
}

fn route(name: &str, backend: SocketAddr, settings: &str) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nbackend = \"tcp://{backend}\"\nframing = \"lines\"\n{settings}\n"
    )
}

const QUIET: &str = "reload_interval = \"off\"";
const QUICK: &str = "reload_interval = \"10ms\"";

/// A certificate for these names, as files in a folder.
fn certify(folder: &Path, names: &[&str]) -> DevelopmentCa {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let made = DevelopmentCa::make(&names).unwrap();
    std::fs::write(folder.join("tls.crt"), &made.cert_pem).unwrap();
    std::fs::write(folder.join("tls.key"), &made.key_pem).unwrap();
    made
}

/// The run's certificate, which clients trust, as files in a folder.
fn trusted(folder: &Path) -> String {
    for (from, to) in [("dev.pem", "tls.crt"), ("dev.key", "tls.key")] {
        std::fs::copy(certificate(from), folder.join(to)).unwrap();
    }
    std::fs::read_to_string(folder.join("tls.crt")).unwrap()
}

/// A folder with the file and a certificate.
fn folder(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    trusted(dir.path());
    std::fs::write(dir.path().join("sealock.toml"), text).unwrap();
    dir
}

async fn exchange(client: &mut Client, text: &str) {
    client.send(TEXT, text.as_bytes()).await;
    assert_eq!(client.message().await, (TEXT, text.as_bytes().to_vec()));
}

async fn status(address: SocketAddr, request: Request) -> u16 {
    match request.plain(address).await {
        Ok(_) => 101,
        Err(refusal) => refusal.status,
    }
}

/// The certificate that a client is shown who asks for this name, or for none, as the text that stands in its file.
async fn shown(address: SocketAddr, name: Option<&str>) -> String {
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-connect", &address.to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    match name {
        Some(name) => command.args(["-servername", name]),
        None => command.arg("-noservername"),
    };
    let output = soon("openssl", command.output()).await;
    let output = output.unwrap_or_else(|error| missing(&command, &error));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let begin = text.find("-----BEGIN").unwrap_or_else(|| panic!("{output:?}"));
    let end = text.find("-----END").unwrap();
    bare(&text[begin..end])
}

/// A certificate as [`shown`] gives it.
fn bare(pem: &str) -> String {
    let end = pem.find("-----END").unwrap_or(pem.len());
    pem[..end].split_whitespace().collect()
}

/// The messages of the log that hold this, as they were before they became JSON.
fn messages(log: &str, what: &str) -> Vec<String> {
    let records = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    records
        .filter_map(|record| Some(record["message"].as_str()?.to_owned()))
        .filter(|message| message.contains(what))
        .collect()
}

#[tokio::test]
async fn a_signal_puts_the_whole_file_in_force_and_sessions_keep_what_they_had() {
    let echo = Backend::echo().await;
    let dir = folder(&file(
        QUIET,
        &[route("kept", echo, ""), route("gone", echo, "")].concat(),
    ));
    let mut program = Program::start_in(dir, &[]).await;
    let mut kept = Client::plain(program.plain, "/kept").await;
    let mut gone = Client::tls(program.tls, "/gone").await;
    let app = || Request::get("/kept").set("Origin", "https://app.example.com");
    assert_eq!(status(program.plain, app()).await, 403);
    assert_eq!(status(program.plain, Request::get("/new")).await, 404);

    let strict = "max_message = \"5 B\"\norigins = [\"https://app.example.com\"]";
    let routes = [route("kept", echo, strict), route("new", echo, "")].concat();
    let another = "[[listener]]\nbind = \"127.0.0.1:1\"\nplaintext = \"loopback\"\n";
    let text = file(
        "reload_interval = \"off\"\n[limits]\nmax_sessions = 4",
        &format!("{another}{routes}"),
    );
    std::fs::write(program.path("sealock.toml"), text).unwrap();
    program.signal("HUP").await;
    let log = program.logged("waits for a restart").await;
    assert!(log.contains("\"generation\":1,\"cause\":\"signal\""), "{log}");
    assert!(
        log.contains("\"what\":\"the listener 127.0.0.1:1 is new\""),
        "{log}"
    );

    // Sessions go on as they began.
    exchange(&mut kept, "longer than five bytes").await;
    exchange(&mut gone, "on a route that is no more").await;
    // What comes now finds the new routes, origins and limits.
    assert_eq!(status(program.plain, Request::get("/gone")).await, 404);
    let mut strict = app()
        .plain(program.plain)
        .await
        .unwrap_or_else(|_| panic!("refused"));
    exchange(&mut strict, "five!").await;
    let mut new = Client::tls(program.tls, "/new").await;
    exchange(&mut new, "new").await;
    assert_eq!(status(program.plain, Request::get("/new")).await, 503);
    strict.send(TEXT, b"six...").await;
    strict.expect_close(1009, "message over the limit of 5 B").await;
}

#[tokio::test]
async fn a_bad_file_is_told_as_by_check_and_the_old_one_stays() {
    let echo = Backend::echo().await;
    let good = file(QUIET, &route("echo", echo, ""));
    let twice_bad = good.replace("framing =", "farming =").replace("\"off\"", "10");
    let other = DevelopmentCa::make(&["localhost".into()]).unwrap();
    for format in ["json", "human"] {
        let mut program = Program::start_in(folder(&good), &[("SEALOCK_LOG_FORMAT", format)]).await;
        let mut session = Client::plain(program.plain, "/echo").await;
        let path = program.path("sealock.toml");
        let own_key = std::fs::read(program.path("tls.key")).unwrap();
        for (at, (text, key, says)) in [
            (
                &twice_bad,
                None,
                vec!["reload_interval", "did you mean `framing`?", "2 errors"],
            ),
            (
                &good,
                Some(&other.key_pem),
                vec!["does not belong to the certificate"],
            ),
        ]
        .into_iter()
        .enumerate()
        {
            std::fs::write(&path, text).unwrap();
            std::fs::write(
                program.path("tls.key"),
                key.map_or(&*own_key, |key| key.as_bytes()),
            )
            .unwrap();
            let checked = sealock(["check", "-c", path.to_str().unwrap()], "").await;
            assert_eq!(checked.code, Some(78));
            program.signal("HUP").await;
            program.logged_times("not reloaded", at + 1).await;
            // A line that people can read is many lines.
            program.logged(says[says.len() - 1]).await;
            let log = program.log();
            let told = match format {
                "json" => messages(&log, "not reloaded").pop().unwrap(),
                _ => log,
            };
            assert!(
                told.contains(checked.stderr.trim_end()),
                "{told}\n{}",
                checked.stderr
            );
            assert!(says.iter().all(|word| told.contains(word)), "{told}");
            exchange(&mut session, "here").await;
            exchange(&mut Client::tls(program.tls, "/echo").await, "and new").await;
        }
        // The right one is taken afterwards.
        std::fs::write(program.path("tls.key"), own_key).unwrap();
        program.signal("HUP").await;
        program.logged("reloaded: this").await;
    }
}

#[tokio::test]
async fn a_change_of_the_file_or_of_a_certificate_needs_no_signal() {
    let echo = Backend::echo().await;
    let dir = folder(&file(QUICK, &route("one", echo, "")));
    let mut program = Program::start_in(dir, &[]).await;
    assert_eq!(status(program.plain, Request::get("/two")).await, 404);
    let text = file(QUICK, &route("two", echo, ""));
    std::fs::write(program.path("sealock.toml"), text).unwrap();
    let log = program.logged("reloaded: this").await;
    assert!(log.contains("\"cause\":\"change\""), "{log}");
    assert_eq!(status(program.plain, Request::get("/two")).await, 101);

    // The certificate before its key, as if somebody copied them by hand.
    let made = DevelopmentCa::make(&["localhost".into()]).unwrap();
    std::fs::write(program.path("tls.crt"), &made.cert_pem).unwrap();
    program.logged("does not belong to the certificate").await;
    assert_ne!(shown(program.tls, None).await, bare(&made.cert_pem));
    std::fs::write(program.path("tls.key"), &made.key_pem).unwrap();
    program.logged_times("reloaded: this", 2).await;
    assert_eq!(shown(program.tls, None).await, bare(&made.cert_pem));
}

/// A folder as Kubernetes mounts it: the files are links into `..data`, itself a link that is renamed over.
#[tokio::test]
async fn a_swap_of_links_is_a_change() {
    let echo = Backend::echo().await;
    let dir = tempfile::tempdir().unwrap();
    let fill = |folder: &str, route_name: &str| {
        let folder = dir.path().join(folder);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(
            folder.join("sealock.toml"),
            file(QUICK, &route(route_name, echo, "")),
        )
        .unwrap();
        folder
    };
    let first = trusted(&fill("..2026_01", "one"));
    let second = certify(&fill("..2026_02", "two"), &["localhost"]).cert_pem;
    symlink("..2026_01", dir.path().join("..data")).unwrap();
    for name in ["sealock.toml", "tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), dir.path().join(name)).unwrap();
    }
    let mut program = Program::start_in(dir, &[]).await;
    assert_eq!(shown(program.tls, None).await, bare(&first));
    let mut session = Client::tls(program.tls, "/one").await;

    symlink("..2026_02", program.path("..data_tmp")).unwrap();
    std::fs::rename(program.path("..data_tmp"), program.path("..data")).unwrap();
    std::fs::remove_dir_all(program.path("..2026_01")).unwrap();
    program.logged("reloaded: this").await;
    assert_eq!(shown(program.tls, None).await, bare(&second));
    assert_eq!(status(program.plain, Request::get("/two")).await, 101);
    exchange(&mut session, "with the old certificate").await;
}

#[tokio::test]
async fn a_client_is_shown_the_certificate_of_the_name_it_asks_for() {
    let echo = Backend::echo().await;
    let dir = folder("");
    let mut made = Vec::new();
    let mut tables = String::new();
    for (name, names, table) in [
        ("wildcard", vec!["*.example.com"], ""),
        ("exact", vec!["chat.example.com"], ""),
        (
            "listed",
            vec!["a.example.org", "b.example.org"],
            "names = [\"B.example.org\"]\n",
        ),
    ] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
        made.push(certify(&dir.path().join(name), &names));
        tables += &format!(
            "[[listener.certificate]]\ncert_file = \"{name}/tls.crt\"\nkey_file = \"{name}/tls.key\"\n{table}"
        );
    }
    let first = std::fs::read_to_string(dir.path().join("tls.crt")).unwrap();
    let text = file(QUICK, &format!("{tables}{}", route("echo", echo, "")));
    std::fs::write(dir.path().join("sealock.toml"), text).unwrap();
    let mut program = Program::start_in(dir, &[]).await;
    let [wildcard, exact, listed] = [0, 1, 2].map(|at: usize| made[at].cert_pem.clone());
    for (name, pem) in [
        (None, &first),
        (Some("localhost"), &first),
        (Some("elsewhere.example.net"), &first),
        (Some("chat.example.com"), &exact),
        (Some("CHAT.example.com"), &exact),
        (Some("other.example.com"), &wildcard),
        (Some("example.com"), &first),
        (Some("a.b.example.com"), &first),
        (Some("b.example.org"), &listed),
        (Some("a.example.org"), &first),
    ] {
        assert_eq!(shown(program.tls, name).await, bare(pem), "{name:?}");
    }
    // One of them is renewed.
    let renewed = certify(&program.path("exact"), &["chat.example.com"]);
    program.logged("reloaded: this").await;
    assert_eq!(
        shown(program.tls, Some("chat.example.com")).await,
        bare(&renewed.cert_pem)
    );
    // And one is for another name now than the one it is listed for.
    certify(&program.path("listed"), &["c.example.org"]);
    program
        .logged("this certificate is not for b.example.org, but for c.example.org")
        .await;
    assert_eq!(shown(program.tls, Some("b.example.org")).await, bare(&listed));
}

/// Keeps a file from being opened, as a file system that hangs does: by a lease, until it is dropped.
struct Held {
    _holder: Child,
}

impl Held {
    async fn hold(file: &Path) -> Self {
        let mut command = Command::new("python3");
        let script = "import fcntl, os, signal, sys\n\
            signal.signal(signal.SIGIO, signal.SIG_IGN)\n\
            file = os.open(sys.argv[1], os.O_WRONLY)\n\
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
            print('held', flush=True)\n\
            sys.stdin.read()\n";
        command.args(["-c", script]).arg(file);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut holder = command.spawn().unwrap_or_else(|error| missing(&command, &error));
        let mut said = BufReader::new(holder.stdout.take().unwrap()).lines();
        let line = soon("the lease", said.next_line()).await.unwrap();
        assert_eq!(line.as_deref(), Some("held"));
        Self { _holder: holder }
    }
}

#[tokio::test]
async fn files_that_do_not_answer_hold_up_nobody() {
    let echo = Backend::echo().await;
    let top = format!("{QUIET}\n[admin]\nbind = \"127.0.0.1:0\"\n");
    let mut program = Program::start_in(folder(&file(&top, &route("echo", echo, ""))), &[]).await;
    let held = Held::hold(&program.path("tls.key")).await;
    // Who asks is told in time that it takes long, and where to look.
    let told = admin::json(&program, "POST /-/reload", 504).await;
    assert!(
        told["error"].as_str().unwrap().contains("/api/v1/status"),
        "{told}"
    );
    exchange(&mut Client::tls(program.tls, "/echo").await, "meanwhile").await;
    drop(held);
    program.logged("reloaded: this").await;
    let now = admin::json(&program, "GET /api/v1/status", 200).await;
    assert_eq!(now["generation"]["number"], 1);
}

#[tokio::test]
async fn what_is_no_file_is_refused_before_it_is_opened() {
    let echo = Backend::echo().await;
    let top = format!("{QUIET}\n[admin]\nbind = \"127.0.0.1:0\"\ntoken_file = \"token\"\n");
    let dir = folder(&file(&top, &route("echo", echo, "")));
    std::fs::write(dir.path().join("token"), admin::TOKEN).unwrap();
    let mut program = Program::start_in(dir, &[]).await;
    let config = program.path("sealock.toml");
    for (at, name) in ["tls.crt", "tls.key", "token", "sealock.toml"]
        .into_iter()
        .enumerate()
    {
        let (path, aside) = (program.path(name), program.path("aside"));
        std::fs::rename(&path, &aside).unwrap();
        let done = Command::new("mkfifo").arg(&path).status().await.unwrap();
        assert!(done.success());
        let says = format!("{}: this is no regular file", path.display());
        if name != "sealock.toml" {
            // Both in place of waiting for a writer.
            for command in ["check", "run"] {
                let told = soon(name, sealock([command, "-c", config.to_str().unwrap()], "")).await;
                assert_eq!(told.code, Some(78));
                assert!(told.stderr.contains(&says), "{}", told.stderr);
            }
        }
        program.signal("HUP").await;
        program.logged_times("not reloaded", at + 1).await;
        assert!(program.log().contains(&says), "{}", program.log());
        std::fs::rename(&aside, &path).unwrap();
    }
    exchange(&mut Client::tls(program.tls, "/echo").await, "all the same").await;
    program.signal("HUP").await;
    program.logged("reloaded: this").await;
}

#[tokio::test]
async fn a_configuration_out_of_a_pipe_is_read_once() {
    let echo = Backend::echo().await;
    let admin = "[admin]\nbind = \"127.0.0.1:0\"\n";
    let dir = folder(&file(&format!("{QUICK}\n{admin}"), &route("echo", echo, "")));
    // A pipe has no folder of its own: what it names is looked for in the working directory.
    let text = std::fs::read_to_string(dir.path().join("sealock.toml")).unwrap();
    assert!(text.contains("\"tls.crt\""), "{text}");
    for name in ["/dev/stdin", "/dev/fd/0"] {
        let mut program = Program::start_from(
            &format!("exec \"$0\" run -c {name} < <(cat sealock.toml)"),
            dir.path(),
        )
        .await;
        exchange(&mut Client::plain(program.plain, "/echo").await, "here").await;
        program.logged("it is read once").await;
        let told = admin::json(&program, "POST /-/reload", 503).await;
        assert!(
            told["error"].as_str().unwrap().contains("was read once"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_listener_that_waits_for_a_restart_does_without_its_files() {
    let echo = Backend::echo().await;
    let top = format!("{QUIET}\n[admin]\nbind = \"127.0.0.1:0\"\ntoken_file = \"token\"\n");
    let dir = folder(&file(&top, &route("a", echo, "")));
    std::fs::write(dir.path().join("token"), admin::TOKEN).unwrap();
    let mut program = Program::start_in(dir, &[]).await;
    let pem = std::fs::read_to_string(program.path("tls.crt")).unwrap();
    // The listener with TLS and the admin listener are taken out of the file; later their files are deleted.
    let rest = format!(
        "{QUIET}\n[[listener]]\nbind = \"127.0.0.1:0\"\nplaintext = \"loopback\"\n{}",
        route("b", echo, "")
    );
    std::fs::write(program.path("sealock.toml"), &rest).unwrap();
    for name in ["tls.crt", "tls.key", "token"] {
        std::fs::remove_file(program.path(name)).unwrap();
    }
    program.signal("HUP").await;
    let log = program
        .logged("the admin listener is no longer in the file")
        .await;
    assert!(
        log.contains("the listener 127.0.0.1:0 is no longer in the file"),
        "{log}"
    );
    // And again: what waits goes on waiting, now for another reason.
    let plain = "[[listener]]\nbind = \"127.0.0.1:0\"\nplaintext = \"loopback\"\n";
    std::fs::write(program.path("sealock.toml"), rest + plain).unwrap();
    program.signal("HUP").await;
    let log = program.logged("the listener 127.0.0.1:0 has TLS no longer").await;
    assert!(log.contains("\"generation\":2"), "{log}");
    assert!(!log.contains("is new"), "{log}");
    assert_eq!(status(program.plain, Request::get("/b")).await, 101);
    exchange(&mut Client::tls(program.tls, "/b").await, "with what it has").await;
    assert_eq!(shown(program.tls, None).await, bare(&pem));
    // Nor is it open to everybody.
    for (token, status) in [(admin::TOKEN, 200), ("another-token-than-that", 401)] {
        let headers = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\n");
        let answer = admin::ask(&program, "GET /api/v1/status", &headers).await;
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn certificates_that_clients_will_not_like_are_told_but_taken() {
    let echo = Backend::echo().await;
    let dir = folder(&file(QUIET, &route("echo", echo, "")));
    let now = std::time::SystemTime::now();
    let day = std::time::Duration::from_hours(24);
    let key = rcgen::KeyPair::generate().unwrap();
    let make = |name: &str, valid: [std::time::SystemTime; 2]| {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        [params.not_before, params.not_after] = valid.map(Into::into);
        params.self_signed(&key).unwrap().pem()
    };
    let good = make("good", [now - day, now + 30 * day]);
    std::fs::write(dir.path().join("tls.key"), key.serialize_pem()).unwrap();
    let rows = [
        (good.clone(), None),
        (
            make("old", [now - 2 * day, now - day]),
            Some("the certificate has expired: it was valid until"),
        ),
        (
            make("new", [now + day, now + 2 * day]),
            Some("the certificate is valid from"),
        ),
        (
            make("short", [now - day, now + 6 * day]),
            Some("the certificate expires soon: it is valid until"),
        ),
        (
            good.clone() + &make("another", [now - day, now + 30 * day]),
            Some("certificate 2 of the chain is not that of the issuer of the one before it"),
        ),
    ];
    std::fs::write(dir.path().join("tls.crt"), &rows[1].0).unwrap();
    let mut program = Program::start_in(dir, &[]).await;
    program.logged("the certificate has expired").await;
    for (at, (pem, says)) in rows.into_iter().enumerate() {
        std::fs::write(program.path("tls.crt"), pem).unwrap();
        let config = program.path("sealock.toml");
        let checked = sealock(["check", "-c", config.to_str().unwrap()], "").await;
        assert_eq!(checked.code, Some(0), "{}", checked.stderr);
        program.signal("HUP").await;
        program.logged_times("reloaded: this", at + 1).await;
        let Some(says) = says else {
            assert_eq!(checked.stderr, "");
            continue;
        };
        let says = format!("{}: {says}", program.path("tls.crt").display());
        assert!(
            checked.stderr.contains(&format!("warning: {says}")),
            "{}",
            checked.stderr
        );
        // With the same words as at the start, which told of the second.
        let message = format!("\"level\":\"WARN\",\"message\":\"{says}");
        let times = if at == 1 { 2 } else { 1 };
        program.logged_times(&message, times).await;
    }
}

#[tokio::test]
async fn of_the_admin_listener_only_the_address_waits() {
    let echo = Backend::echo().await;
    let with = |admin: &str| file(&format!("{QUIET}\n[admin]\n{admin}\n"), &route("a", echo, ""));
    let old = "bind = \"127.0.0.1:0\"\ntoken = \"the-old-one-of-the-two\"";
    let mut program = Program::start_in(folder(&with(old)), &[]).await;
    let new = format!(
        "bind = \"127.0.0.1:1\"\ntoken = \"{}\"\nhosts = [\"here.example\"]",
        admin::TOKEN
    );
    std::fs::write(program.path("sealock.toml"), with(&new)).unwrap();
    program.signal("HUP").await;
    let log = program.logged("waits for a restart").await;
    assert!(
        log.contains("the address of the admin listener is another"),
        "{log}"
    );
    for (host, token, status) in [
        ("here.example", admin::TOKEN, 200),
        ("localhost", admin::TOKEN, 200),
        ("localhost", "the-old-one-of-the-two", 401),
        ("there.example", admin::TOKEN, 421),
    ] {
        let headers = format!("Host: {host}\r\nAuthorization: Bearer {token}\r\n");
        let answer = admin::ask(&program, "GET /api/v1/status", &headers).await;
        assert_eq!(answer.status, status, "{host} {token}");
    }
    // Off loopback it keeps its token, though the address that waits would not need one.
    let far = format!("bind = \"0.0.0.0:0\"\ntoken = \"{}\"", admin::TOKEN);
    let mut program = Program::start_in(folder(&with(&far)), &[]).await;
    std::fs::write(program.path("sealock.toml"), with("bind = \"127.0.0.1:1\"")).unwrap();
    program.signal("HUP").await;
    program.logged("the admin listener has no token any more").await;
    let answer = admin::ask(&program, "GET /api/v1/status", "Host: localhost\r\n").await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn a_backend_that_is_as_it_was_keeps_its_count_of_sessions() {
    let echo = Backend::echo().await;
    let with = |places: usize, top: &str| {
        let backend = format!("backend = {{ targets = [\"tcp://{echo}\"], max_sessions = {places} }}");
        file(
            top,
            &format!("[[route]]\nname = \"a\"\npath = \"/a\"\n{backend}\nframing = \"lines\"\n"),
        )
    };
    let mut program = Program::start_in(folder(&with(1, QUIET)), &[]).await;
    let _first = Client::plain(program.plain, "/a").await;
    let rows = [(1, "drain_window = \"1s\"", 503), (2, "", 101)];
    for (at, (places, top, status_then)) in rows.into_iter().enumerate() {
        std::fs::write(
            program.path("sealock.toml"),
            with(places, &format!("{QUIET}\n{top}")),
        )
        .unwrap();
        program.signal("HUP").await;
        program.logged_times("reloaded: this", at + 1).await;
        assert_eq!(status(program.plain, Request::get("/a")).await, status_then);
    }
}

#[tokio::test]
async fn a_backend_with_tls_is_as_it_was_while_its_files_are() {
    let authority = std::fs::read(certificate("ca.pem")).unwrap();
    let identity = Identity::load(&certificate("dev.pem"), &certificate("dev.key")).unwrap();
    let acceptor = TlsAcceptor::from(server_config(&identity, None).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut sessions = Vec::new();
        while let Ok((tcp, _)) = listener.accept().await {
            sessions.push(acceptor.accept(tcp).await);
        }
    });
    let backend = format!(
        "backend = {{ targets = [\"tls://{address}\"], max_sessions = 1, tls = {{ ca_file = \"ca.pem\" }} }}"
    );
    let with = |top: &str| {
        let route = format!("[[route]]\nname = \"a\"\npath = \"/a\"\n{backend}\nframing = \"lines\"\n");
        file(&format!("{QUIET}\n{top}"), &route)
    };
    let folder = folder(&with(""));
    std::fs::write(folder.path().join("ca.pem"), &authority).unwrap();
    let mut program = Program::start_in(folder, &[]).await;
    let _first = Client::plain(program.plain, "/a").await;
    // Another authority is in the file as well, as while one takes the other's place.
    let other = rcgen::CertificateParams::new(vec![]).unwrap();
    let other = other
        .self_signed(&rcgen::KeyPair::generate().unwrap())
        .unwrap()
        .pem();
    let both = [&authority, other.as_bytes()].concat();
    for (at, (ca, status_then)) in [(&authority, 503), (&both, 101)].into_iter().enumerate() {
        std::fs::write(program.path("ca.pem"), ca).unwrap();
        std::fs::write(
            program.path("sealock.toml"),
            with(&format!("drain_window = \"{}s\"", at + 1)),
        )
        .unwrap();
        program.signal("HUP").await;
        program.logged_times("reloaded: this", at + 1).await;
        assert_eq!(status(program.plain, Request::get("/a")).await, status_then);
    }
}

#[tokio::test]
async fn the_log_level_of_the_file_is_followed_unless_the_command_line_has_one() {
    let echo = Backend::echo().await;
    let with = |level: &str| {
        file(
            &format!("{QUIET}\nlog_level = \"{level}\""),
            &route("echo", echo, ""),
        )
    };
    for (environment, fixed) in [(&[][..], false), (&[("SEALOCK_LOG", "info")], true)] {
        let mut program = Program::start_in(folder(&with("info")), environment).await;
        let mut session = Client::plain(program.plain, "/echo").await;
        exchange(&mut session, "quiet").await;
        std::fs::write(program.path("sealock.toml"), with("info,sealock::session=debug")).unwrap();
        program.signal("HUP").await;
        let quiet = program.logged("reloaded: this").await;
        assert!(!quiet.contains("session begins"), "{quiet}");
        let mut session = Client::plain(program.plain, "/echo").await;
        exchange(&mut session, "loud").await;
        session.close(1000, "").await;
        program.logged("\"cause\":\"client_closed\"").await;
        assert_eq!(program.log().contains("session begins"), !fixed);
    }
}

#[tokio::test]
async fn there_is_more_room_with_the_next_configuration() {
    const MORE: usize = 40;
    let echo = Backend::echo().await;
    let text = |room: usize| {
        let top = format!("{QUIET}\n[admin]\nbind = \"127.0.0.1:0\"\n[limits]\nmax_handshakes = {room}\n");
        let patient = "plaintext = \"loopback\"\nrequest_timeout = \"1h\"";
        file(&top, &route("echo", echo, "")).replace("plaintext = \"loopback\"", patient)
    };
    let program = Program::start_in(folder(&text(2)), &[]).await;
    std::fs::write(program.path("sealock.toml"), text(MORE + 2)).unwrap();
    let told = admin::json(&program, "POST /-/reload", 200).await;
    assert_eq!(told, json!({ "generation": 1, "waits_for_restart": [] }));
    let mut opening = Vec::new();
    for _ in 0..MORE {
        opening.push(connect(program.plain).await);
    }
    let all = format!("sealock_connections_opening {MORE}.0\n");
    let all_are_in = async {
        let ask = || admin::ask(&program, "GET /metrics", "Host: localhost\r\n");
        while !ask().await.body.contains(&all) {}
    };
    soon("all of them", all_are_in).await;
}

#[tokio::test]
async fn who_asks_over_the_admin_listener_is_told_how_it_went() {
    let echo = Backend::echo().await;
    let top = format!("{QUIET}\n[admin]\nbind = \"127.0.0.1:0\"\n");
    let both = [route("a", echo, ""), route("b", echo, "")].concat();
    let program = Program::start_in(folder(&file(&top, &both)), &[]).await;
    let path = program.path("sealock.toml");
    admin::json(&program, "POST /-/drain?route=a", 202).await;

    std::fs::write(&path, file(&format!("log_file = \"log\"\n{top}"), &both)).unwrap();
    let told = admin::json(&program, "POST /-/reload", 200).await;
    assert_eq!(
        told,
        json!({ "generation": 1, "waits_for_restart": ["log_file is another"] })
    );
    // What was drained stays so.
    assert_eq!(status(program.plain, Request::get("/a")).await, 503);
    assert_eq!(status(program.plain, Request::get("/b")).await, 101);

    std::fs::write(&path, file(&top, &route("a", echo, "framign = 1"))).unwrap();
    let told = admin::json(&program, "POST /-/reload", 422).await;
    assert!(
        told["error"]
            .as_str()
            .unwrap()
            .contains("did you mean `framing`?"),
        "{told}"
    );
    assert_eq!(status(program.plain, Request::get("/b")).await, 101);
    let now = admin::json(&program, "GET /api/v1/status", 200).await;
    assert_eq!(now["generation"]["number"], 1);
    assert_eq!([&now["reloads"]["succeeded"], &now["reloads"]["failed"]], [1, 1]);
    assert_eq!(now["reloads"]["last"]["problem"], told["error"]);
    let metrics = admin::ask(&program, "GET /metrics", "Host: localhost\r\n")
        .await
        .body;
    for line in [
        "sealock_reload_failed 1.0",
        "sealock_reload_waiting 1.0",
        "sealock_reloads_total{outcome=\"success\"} 1",
        "sealock_reloads_total{outcome=\"failure\"} 1",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line} in:\n{metrics}");
    }

    admin::json(&program, "POST /-/undrain?route=a", 202).await;
    assert_eq!(status(program.plain, Request::get("/a")).await, 101);
}

#[tokio::test]
async fn a_removed_route_is_seen_and_drained_while_it_has_sessions_and_then_counted_with_others() {
    let echo = Backend::echo().await;
    let top = format!("{QUIET}\n[admin]\nbind = \"127.0.0.1:0\"\n");
    let mut program = Program::start_in(folder(&file(&top, &route("r0", echo, ""))), &[]).await;
    let sum = |metrics: &str, name: &str| -> f64 {
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    };
    let scrape = async |program: &Program| {
        admin::ask(program, "GET /metrics", "Host: localhost\r\n")
            .await
            .body
    };
    for at in 0..5 {
        let mut session = Client::plain(program.plain, &format!("/r{at}")).await;
        exchange(&mut session, "counted").await;
        let next = file(&top, &route(&format!("r{}", at + 1), echo, ""));
        std::fs::write(program.path("sealock.toml"), next).unwrap();
        admin::json(&program, "POST /-/reload", 200).await;
        let routes = admin::json(&program, "GET /api/v1/routes", 200).await;
        let listed: Vec<_> = routes["routes"].as_array().unwrap().iter().collect();
        let named = |at: usize| {
            (
                listed[at]["name"].as_str().unwrap(),
                &listed[at]["removed"],
                &listed[at]["sessions"],
            )
        };
        assert_eq!(listed.len(), 2, "{routes}");
        assert_eq!(named(0), (&*format!("r{}", at + 1), &json!(false), &json!(0)));
        assert_eq!(named(1), (&*format!("r{at}"), &json!(true), &json!(1)));
        assert_eq!(listed[1]["targets"], json!([]));
        let looked = format!("top --once --interval 100ms http://{}", program.admin.unwrap());
        let looked = sealock(looked.split(' '), "").await.stdout;
        let row = looked.lines().find(|line| line.starts_with(&format!("r{at} ")));
        assert!(row.is_some_and(|row| row.contains(" removed ")), "{looked}");
        let metrics = scrape(&program).await;
        assert!(
            metrics.contains(&format!("sealock_sessions{{route=\"r{at}\"}} 1")),
            "{metrics}"
        );

        let drained = admin::json(&program, &format!("POST /-/drain?route=r{at}"), 202).await;
        assert_eq!(drained["sessions"], 1);
        session
            .expect_close(1012, "service restarts: connect again")
            .await;
        program.logged_times("\"cause\":\"drain\"", at + 1).await;
        admin::json(&program, &format!("POST /-/drain?route=r{at}"), 404).await;
        let metrics = scrape(&program).await;
        assert!(!metrics.contains(&format!("\"r{at}\"")), "{metrics}");
        // Nothing of it is lost.
        let total = [
            "sealock_message_bytes_total{",
            "sealock_session_ends_total{",
            "sealock_dial_seconds_count{",
        ]
        .map(|name| sum(&metrics, name));
        let told = admin::json(&program, "GET /api/v1/ends", 200).await;
        assert_eq!(told["ended"], json!({ "drain": at + 1 }));
        let ended = (at + 1) as f64;
        assert_eq!(total, [14.0 * ended, ended, ended], "{metrics}");
    }
    let metrics = scrape(&program).await;
    assert!(
        metrics.contains("sealock_session_ends_total{route=\"\",cause=\"drain\"} 5"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_secret_is_not_shown_by_what_is_wrong_beside_it() {
    let echo = Backend::echo().await;
    let with = |token: &str| {
        let top = format!("{QUIET}\n[admin]\nbind = \"127.0.0.1:0\"\n{token}\n");
        file(&top, &route("a", echo, ""))
    };
    let mut program = Program::start_in(folder(&with("")), &[]).await;
    for line in [
        "token = \"hush-hush-hush-hush",
        "token = \"abc\"hush-hush-hush",
        "token = hush-hush-hush",
        "token = \"\"\"\nhush",
        "token \"hush-hush-hush\"",
        "token = [\"hush\"]",
        "token = \"hush\"\ntoken = \"hush\"",
    ] {
        std::fs::write(program.path("sealock.toml"), with(line)).unwrap();
        let told = admin::json(&program, "POST /-/reload", 422).await.to_string();
        assert!(!told.contains("hush") && told.contains("error:"), "{told}");
    }
    program.signal("TERM").await;
    assert_eq!(program.exit().await, Some(0));
    let log = program.log();
    assert!(log.contains("not reloaded") && !log.contains("hush"), "{log}");
}

#[tokio::test]
async fn the_service_manager_is_told_of_a_reload() {
    let top = format!("{QUIET}\n[admin]\nbind = \"127.0.0.1:0\"\n");
    let dir = folder(&file(&top, &route("echo", Backend::echo().await, "")));
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let program = Program::start_in(dir, &[("NOTIFY_SOCKET", path.to_str().unwrap())]).await;
    let told = async || {
        let mut bytes = [0; 256];
        let got = soon("a notification", manager.recv(&mut bytes)).await.unwrap();
        String::from_utf8(bytes[..got].to_vec()).unwrap()
    };
    assert!(told().await.lines().any(|line| line == "READY=1"));
    // A bad file is not the manager's affair: what runs goes on.
    for text in ["", &file(&top, &route("echo", program.plain, ""))] {
        std::fs::write(program.path("sealock.toml"), text).unwrap();
        program.signal("HUP").await;
        let reloading = told().await;
        assert!(reloading.lines().any(|line| line == "RELOADING=1"), "{reloading}");
        let when = reloading
            .lines()
            .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        assert!(when.unwrap().parse::<u64>().unwrap() > 0, "{reloading}");
        let ready = told().await;
        assert!(ready.lines().any(|line| line == "READY=1"), "{ready}");
        assert!(ready.lines().any(|line| line == "STATUS=serving"), "{ready}");
    }
    // Nor does a reload say that it serves while it does not.
    admin::json(&program, "POST /-/drain", 202).await;
    assert_eq!(told().await.trim_end(), "STATUS=draining");
    program.signal("HUP").await;
    told().await;
    let ready = told().await;
    assert!(ready.lines().any(|line| line == "STATUS=draining"), "{ready}");
    admin::json(&program, "POST /-/undrain", 202).await;
    assert_eq!(told().await.trim_end(), "STATUS=serving");
}
