//! TLS clients of other people: OpenSSL, curl, Chromium.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::support::{
    Authority, Backend, CLOSE, Chromium, Gate, Program, Request, Scene, TEXT, Typist, certificate,
    empty_page, frame, missing, program, read, soon, write,
};

const ROUTE: &str = "framing = \"lines\"";
/// A version's option, and its name in what OpenSSL prints.
const VERSIONS: [(&str, &str); 2] = [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")];

/// How `s_client` prints an alert that has come.
const CLOSE_NOTIFY: &str = "Alert [length 0002], warning close_notify";

fn args(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn with_file(mut args: Vec<OsString>, option: &str, file: &Path) -> Vec<OsString> {
    args.extend([option.into(), file.into()]);
    args
}

fn with_certificate(args: Vec<OsString>, authority: &Authority, name: &str) -> Vec<OsString> {
    let args = with_file(args, "-cert", &authority.file(&format!("{name}.pem")));
    with_file(args, "-key", &authority.file(&format!("{name}.key")))
}

/// Types an upgrade, and gives the connection at the backend.
async fn upgrade(typist: &mut Typist, backend: &Backend) -> TcpStream {
    typist.write(&Request::get("/test").bytes()).await;
    typist.shows("HTTP/1.1 101 Switching Protocols", 1).await;
    backend.accept().await
}

/// A message there and one back.
async fn exchange(typist: &mut Typist, service: &mut TcpStream, text: &str) {
    let line = format!("{text}\n").into_bytes();
    typist.write(&frame(true, TEXT, text.as_bytes())).await;
    assert_eq!(read(service, line.len()).await, line);
    write(service, &line).await;
    let back = [&[0x81, text.len() as u8], text.as_bytes()].concat();
    typist.shows(back, 1).await;
}

/// The backend ends, and the close handshake is typed; then sealock's close_notify comes.
async fn end(mut typist: Typist, service: TcpStream) -> String {
    drop(service);
    typist.shows("backend closed", 1).await;
    typist.write(&frame(true, CLOSE, &1000u16.to_be_bytes())).await;
    typist.shows(CLOSE_NOTIFY, 1).await;
    typist.leave().await
}

#[tokio::test]
async fn openssl_speaks_both_versions_and_resumes_them() {
    let mut scene = Scene::start(ROUTE).await;
    let dir = tempfile::tempdir().unwrap();
    for (option, version) in VERSIONS {
        let session = dir.path().join(version);
        for kind in ["New", "Reused"] {
            let words = args(&[option, "-alpn", "h2,http/1.1"]);
            let given = if kind == "New" { "-sess_out" } else { "-sess_in" };
            let words = with_file(words, given, &session);
            let mut typist = Typist::connect(scene.program.tls, words);
            typist.shows(format!("{kind}, {version}, Cipher is "), 1).await;
            typist.shows("ALPN protocol: http/1.1", 1).await;
            let mut service = upgrade(&mut typist, &scene.backend).await;
            exchange(&mut typist, &mut service, "over and back").await;
            let screen = end(typist, service).await;
            // No alert but the close_notify of each side.
            assert!(
                screen.contains(&format!("<<< {}, {CLOSE_NOTIFY}", name(version))),
                "{screen}"
            );
            assert!(
                screen.contains(&format!(">>> {}, {CLOSE_NOTIFY}", name(version))),
                "{screen}"
            );
            assert_eq!(screen.matches("Alert [length").count(), 2, "{screen}");
            scene
                .ended("backend_closed", json!({"messages_up": 1, "messages_down": 1}))
                .await;
        }
    }
    scene.done().await;
}

/// "TLSv1.3" as it is printed in front of messages.
fn name(version: &str) -> String {
    version.replace("TLSv", "TLS ")
}

#[tokio::test]
async fn openssl_may_leave_with_a_close_notify() {
    let mut scene = Scene::start(ROUTE).await;
    for (option, _) in VERSIONS {
        let mut typist = Typist::connect(scene.program.tls, [option]);
        let mut service = upgrade(&mut typist, &scene.backend).await;
        exchange(&mut typist, &mut service, "over and back").await;
        let screen = typist.leave().await;
        assert!(screen.contains(CLOSE_NOTIFY), "{screen}");
        scene
            .ended("client_gone", json!({"messages_up": 1, "messages_down": 1}))
            .await;
    }
    scene.done().await;
}

#[tokio::test]
async fn openssl_changes_keys_between_messages() {
    let mut scene = Scene::start(ROUTE).await;
    let mut typist = Typist::connect(scene.program.tls, ["-tls1_3"]);
    let mut service = upgrade(&mut typist, &scene.backend).await;
    exchange(&mut typist, &mut service, "with the first keys").await;
    // K asks for sealock's new keys as well, k does not.
    for (round, command) in ["K", "k", "k", "K", "K"].into_iter().enumerate() {
        typist.write(format!("{command}\n").as_bytes()).await;
        typist.shows("KEYUPDATE", round + 1).await;
        exchange(
            &mut typist,
            &mut service,
            &format!("with the keys of round {round}"),
        )
        .await;
    }
    // An answer to each K, and to nothing else, came before what was sealed with the new keys.
    let screen = end(typist, service).await;
    for (direction, times) in [(">>>", 5), ("<<<", 3)] {
        let update = format!("{direction} TLS 1.3, Handshake [length 0005], KeyUpdate");
        assert_eq!(screen.matches(&update).count(), times, "{screen}");
    }
    scene
        .ended("backend_closed", json!({"messages_up": 6, "messages_down": 6}))
        .await;
    scene.done().await;
}

#[tokio::test]
async fn openssl_sends_a_message_in_small_records() {
    let mut scene = Scene::start(ROUTE).await;
    for (option, _) in VERSIONS {
        let words = [option, "-max_send_frag", "512", "-split_send_frag", "512"];
        let mut typist = Typist::connect(scene.program.tls, words);
        let mut service = upgrade(&mut typist, &scene.backend).await;
        // A payload that never looks like a command of s_client, however its input is cut.
        let payload = [b'x'; 50_000];
        typist.write(&frame(true, TEXT, &payload)).await;
        assert_eq!(read(&mut service, 50_001).await, [&payload[..], b"\n"].concat());
        exchange(&mut typist, &mut service, "and a short one").await;
        end(typist, service).await;
        scene.ended("backend_closed", json!({"messages_up": 2})).await;
    }
    scene.done().await;
}

#[tokio::test]
async fn openssl_is_told_why_by_an_alert() {
    let mut scene = Scene::start(ROUTE).await;
    for (words, alert, detail) in [
        (&["-tls1_3", "-alpn", "h2"][..], 120, "known protocol"),
        (&["-tls1_2", "-alpn", "h2"], 120, "known protocol"),
        (
            &["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"],
            40,
            "peer is incompatible",
        ),
        (&["-tls1_2", "-cipher", "AES128-SHA"], 40, "peer is incompatible"),
        // A hello of TLS 1.1 has no signature algorithms, which is noticed before its version is. With them: see bad_tls.
        (
            &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
            40,
            "peer is incompatible",
        ),
    ] {
        let mut typist = Typist::connect(scene.program.tls, words);
        typist.shows(format!("SSL alert number {alert}\n"), 1).await;
        typist.leave().await;
        let record = scene.ended("tls_failed", json!({"state": "CT"})).await;
        let told = record["detail"].as_str().unwrap();
        assert!(told.contains(detail), "{words:?}: {told}");
    }
    scene.done().await;
}

#[tokio::test]
async fn a_client_certificate_lets_in_and_nothing_else_does() {
    let mut gate = Gate::start(ROUTE).await;
    let stranger = Authority::make("a stranger");
    let impostor = Authority::make(Gate::AUTHORITY);
    for (option, version) in VERSIONS {
        for round in 0..2 {
            let words = with_certificate(args(&[option]), &gate.authority, "client");
            let mut typist = Typist::connect(gate.guarded, words);
            let mut service = upgrade(&mut typist, &gate.backend).await;
            exchange(&mut typist, &mut service, &format!("known in round {round}")).await;
            end(typist, service).await;
            gate.program.ended("backend_closed").await;
        }
        // The descriptions of alerts: RFC 8446 §6.2.
        for (presented, alert, detail) in [
            (None, 116, "peer sent no certificates"),
            (Some((&stranger, "client")), 48, "UnknownIssuer"),
            (Some((&impostor, "client")), 51, "BadSignature"),
            (Some((&gate.authority, "expired")), 45, "certificate expired"),
            (
                Some((&gate.authority, "server")),
                43,
                "certificate does not allow extended key usage",
            ),
        ] {
            let words = args(&[option]);
            let words = match presented {
                Some((authority, name)) => with_certificate(words, authority, name),
                None => words,
            };
            let mut typist = Typist::connect(gate.guarded, words);
            typist.shows(format!("SSL alert number {alert}\n"), 1).await;
            typist.leave().await;
            let record = gate.program.ended("tls_failed").await;
            let told = record["detail"].as_str().unwrap();
            assert!(told.contains(detail), "{version}: {told}");
            assert_eq!(record["state"], "CT", "{record}");
        }
    }
}

#[tokio::test]
async fn a_ticket_is_good_at_the_listener_that_gave_it() {
    let mut gate = Gate::start(ROUTE).await;
    let dir = tempfile::tempdir().unwrap();
    for (option, version) in VERSIONS {
        let [open, guarded] = ["open", "guarded"].map(|name| dir.path().join(format!("{version}-{name}")));
        // Whoever was let in has shown a certificate, and shows the ticket the next time.
        for (address, file, shown) in [(gate.open, &open, None), (gate.guarded, &guarded, Some("client"))] {
            for kind in ["New", "Reused"] {
                let words = args(&[option]);
                let words = match (kind, shown) {
                    ("New", Some(name)) => with_certificate(words, &gate.authority, name),
                    _ => words,
                };
                let given = if kind == "New" { "-sess_out" } else { "-sess_in" };
                let mut typist = Typist::connect(address, with_file(words, given, file));
                typist.shows(format!("{kind}, {version}, Cipher is "), 1).await;
                let mut service = upgrade(&mut typist, &gate.backend).await;
                exchange(&mut typist, &mut service, "over and back").await;
                end(typist, service).await;
                gate.program.ended("backend_closed").await;
            }
        }
        // The other listener does not know it: a full handshake, in which the certificate is asked for.
        let words = with_file(args(&[option]), "-sess_in", &open);
        let mut typist = Typist::connect(gate.guarded, words);
        typist.shows("SSL alert number 116\n", 1).await;
        let screen = typist.leave().await;
        assert!(!screen.contains("Reused, "), "{screen}");
        let record = gate.program.ended("tls_failed").await;
        assert_eq!(record["detail"], "peer sent no certificates", "{record}");

        let words = with_file(args(&[option]), "-sess_in", &guarded);
        let mut typist = Typist::connect(gate.open, words);
        typist.shows(format!("New, {version}, Cipher is "), 1).await;
        typist.leave().await;
        gate.program.ended("client_left").await;
    }
}

/// A session of TLS 1.2 whose client takes no tickets would have to be remembered by the listener, without end.
#[tokio::test]
async fn who_takes_no_ticket_shows_the_certificate_each_time() {
    let mut gate = Gate::start(ROUTE).await;
    let dir = tempfile::tempdir().unwrap();
    for (address, remembers) in [(gate.open, true), (gate.guarded, false)] {
        let session = dir.path().join(address.to_string());
        let words = with_certificate(args(&["-tls1_2", "-no_ticket"]), &gate.authority, "client");
        let mut typist = Typist::connect(address, with_file(words, "-sess_out", &session));
        typist.shows("New, TLSv1.2, Cipher is ", 1).await;
        typist.leave().await;
        gate.program.ended("client_left").await;
        // OpenSSL keeps no session that was given no name to be resumed by.
        assert_eq!(session.exists(), remembers);
    }
}

/// What curl printed: the answer, and what it has to say about the connection.
struct Curl {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn curl(args: Vec<OsString>) -> Curl {
    let mut command = program("curl");
    command
        .args([
            "--silent",
            "--show-error",
            "--verbose",
            "--include",
            "--http1.1",
            "--max-time",
            "20",
        ])
        .arg("--cacert")
        .arg(certificate("ca.pem"))
        .args(args)
        .env("OPENSSL_CONF", "/dev/null")
        .kill_on_drop(true);
    let output = soon("curl", command.output()).await;
    let output = output.unwrap_or_else(|error| missing(&command, &error));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Curl {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

fn https(address: SocketAddr, path: &str) -> OsString {
    format!("https://localhost:{}{path}", address.port()).into()
}

#[tokio::test]
async fn curl_is_answered_in_both_versions_and_resumes_them() {
    let mut scene = Scene::start(ROUTE).await;
    for (most, version) in [("1.2", "TLSv1.2"), ("1.3", "TLSv1.3")] {
        let mut words = args(&["--tls-max", most]);
        words.extend(["/", "/test"].map(|path| https(scene.program.tls, path)));
        let told = curl(words).await;
        assert_eq!(told.code, Some(0), "{}", told.stderr);
        for part in ["HTTP/1.1 404 Not Found", "HTTP/1.1 426 Upgrade Required"] {
            assert!(told.stdout.contains(part), "{}", told.stdout);
        }
        // Two connections, each ended in order; the second needed no certificate of ours. (curl does not wait for our close_notify.)
        for (part, times) in [
            (format!("SSL connection using {version} "), 2),
            (format!("{version} (IN), TLS handshake, Certificate (11)"), 1),
            ("(OUT), TLS alert, close notify (256)".to_owned(), 2),
        ] {
            assert_eq!(
                told.stderr.matches(&part).count(),
                times,
                "{part}: {}",
                told.stderr
            );
        }
        scene.ended("not_found", json!({"status": 404})).await;
        scene.ended("not_an_upgrade", json!({"status": 426})).await;
    }
    let mut words = args(&["--tlsv1.0", "--tls-max", "1.1", "--ciphers", "ALL:@SECLEVEL=0"]);
    words.push(https(scene.program.tls, "/"));
    let told = curl(words).await;
    assert_eq!(told.code, Some(35), "{}", told.stderr);
    scene.ended("tls_failed", json!({})).await;
    scene.done().await;
}

/// curl knows what a 101 is, but not what comes behind it, and waits for the end.
#[tokio::test]
async fn curl_is_upgraded() {
    let mut scene = Scene::start(&format!("{ROUTE}\nclose_timeout = \"100ms\"")).await;
    let mut words = Vec::new();
    for (name, value) in &Request::get("/test").headers {
        words.extend(["--header".into(), format!("{name}: {value}").into()]);
    }
    words.push(https(scene.program.tls, "/test"));
    let serve = async { drop(scene.backend.accept().await) };
    let (told, ()) = tokio::join!(curl(words), serve);
    let (head, _) = told.stdout.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    // RFC 6455 §1.3, for its own example of a key.
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    scene.ended("backend_closed", json!({})).await;
    scene.done().await;
}

#[tokio::test]
async fn curl_presents_its_certificate() {
    let mut gate = Gate::start(ROUTE).await;
    let stranger = Authority::make("a stranger");
    for most in ["1.2", "1.3"] {
        for (presented, refusal) in [
            (Some(&gate.authority), None),
            (Some(&stranger), Some("unknown ca")),
            (None, Some("certificate required")),
        ] {
            let words = args(&["--tls-max", most]);
            let mut words = match presented {
                Some(authority) => with_file(
                    with_file(words, "--cert", &authority.file("client.pem")),
                    "--key",
                    &authority.file("client.key"),
                ),
                None => words,
            };
            words.push(https(gate.guarded, "/"));
            let told = curl(words).await;
            match refusal {
                None => {
                    assert!(
                        told.stdout.starts_with("HTTP/1.1 404 Not Found\r\n"),
                        "{}",
                        told.stderr
                    );
                    gate.program.ended("not_found").await;
                }
                Some(alert) => {
                    assert_ne!(told.code, Some(0));
                    assert!(told.stderr.contains(&format!("alert {alert}")), "{}", told.stderr);
                    gate.program.ended("tls_failed").await;
                }
            }
        }
    }
}

/// Passes connections on, and tells of each whether the server took up an earlier session: its hello says so in the clear.
async fn watched(server: SocketAddr) -> (SocketAddr, mpsc::UnboundedReceiver<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, resumed) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(server).await.unwrap();
                let (mut from_client, mut to_client) = client.split();
                let (mut from_server, mut to_server) = server.split();
                let down = async {
                    let mut hello = [0; 5];
                    // A connection that the browser opens for later, and does not use, has none.
                    if from_server.read_exact(&mut hello).await.is_ok() {
                        let mut record = vec![0; usize::from(u16::from_be_bytes([hello[3], hello[4]]))];
                        from_server.read_exact(&mut record).await.unwrap();
                        // The test may be over.
                        sender.send(takes_up_a_session(&record)).unwrap_or_default();
                        drop(to_client.write_all(&[&hello[..], &record].concat()).await);
                        drop(tokio::io::copy(&mut from_server, &mut to_client).await);
                    }
                    drop(to_client.shutdown().await);
                };
                let up = async {
                    drop(tokio::io::copy(&mut from_client, &mut to_server).await);
                    drop(to_server.shutdown().await);
                };
                tokio::join!(down, up);
            });
        }
    });
    (address, resumed)
}

/// Looks for `pre_shared_key` (41) among the extensions of a ServerHello of TLS 1.3 (RFC 8446 §4.1.3).
fn takes_up_a_session(hello: &[u8]) -> bool {
    assert_eq!(hello[0], 2, "a ServerHello");
    let session = usize::from(hello[38]);
    let mut rest = &hello[39 + session + 2 + 1 + 2..];
    let mut extensions = Vec::new();
    while let [high, low, len_high, len_low, tail @ ..] = rest {
        extensions.push(u16::from_be_bytes([*high, *low]));
        rest = &tail[usize::from(u16::from_be_bytes([*len_high, *len_low]))..];
    }
    assert!(extensions.contains(&43), "TLS 1.3: {extensions:?}");
    extensions.contains(&41)
}

#[tokio::test]
async fn chromium_takes_up_its_session_again() {
    let echo = Backend::echo().await;
    let origin = empty_page().await;
    let program = Program::start(&format!(
        "[[route]]\nname = \"echo\"\npath = \"/echo\"\nbackend = \"tcp://{echo}\"\nframing = \"u32be\"\norigins = [\"{origin}\"]\n"
    ))
    .await;
    let (address, mut resumed) = watched(program.tls).await;
    let browser = Chromium::start().await;
    let tab = browser.tab(&origin).await;
    for round in 0..4 {
        let back = tab
            .evaluate(&format!(
                "await (async () => {{
                    const client = await openSocket('wss://{address}/echo');
                    client.send(new Uint8Array([1, 2, {round}]));
                    const back = same(await client.next(), [1, 2, {round}]);
                    client.socket.close(1000);
                    return back && (await client.closed).wasClean;
                }})()"
            ))
            .await;
        assert_eq!(back, true, "round {round}");
        let resumed = soon("a handshake", resumed.recv()).await;
        assert_eq!(resumed, Some(round > 0), "round {round}");
    }
}
