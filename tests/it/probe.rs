//! The other commands of sealock: `probe`, `cert`, and what `--help` says.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Backend, Output, Program, certificate, sealock};

async fn echo() -> Program {
    let backend = Backend::echo().await;
    Program::start(&format!(
        "[defaults]\nsubprotocols = [\"one.example\"]\n\
         [[route]]\nname = \"lines\"\npath = \"/lines\"\nbackend = \"tcp://{backend}\"\nframing = \"lines\"\n\
         [[route]]\nname = \"bytes\"\npath = \"/bytes\"\nbackend = \"tcp://{backend}\"\nframing = \"u16be\"\nmessage = \"binary\"\n"
    ))
    .await
}

/// Runs a probe that trusts the run's authority.
async fn probe(program: &Program, path: &str, options: &[&str], input: &str) -> Output {
    let ca = certificate("ca.pem");
    let url = format!("wss://localhost:{}{path}", program.tls.port());
    let mut args = vec!["probe", "--ca", ca.to_str().unwrap(), &url];
    args.extend(options);
    sealock(args, input).await
}

/// The lines of a transcript without the times, which differ.
fn transcript(output: &Output) -> Vec<String> {
    let words = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [step @ ("TCP" | "TLS" | "HTTP"), _, "ms", ..] => format!("{step} {}", words[3..].join(" ")),
            _ => words.join(" "),
        }
    };
    output.stdout.lines().map(words).collect()
}

#[tokio::test]
async fn a_probe_shows_each_step_and_what_comes_back() {
    let mut program = echo().await;
    let options = [
        "--send",
        "ahoy",
        "--send",
        "one\u{1b}[31mtwo",
        "--expect",
        "2",
        "--subprotocol",
        "one.example",
    ];
    let output = probe(&program, "/lines", &options, "").await;
    let shown = transcript(&output);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(shown[0], format!("TCP {}", program.tls));
    assert!(shown[1].starts_with("TLS TLSv1_3 TLS13_"), "{shown:?}");
    assert_eq!(
        shown[2..],
        [
            "HTTP 101 Switching Protocols, subprotocol one.example",
            "< text 4 B ahoy",
            // What a terminal would obey is not printed.
            "< text 11 B one\\u{1b}[31mtwo",
            "closed 1000",
        ]
    );
    assert_eq!(output.stderr, "");
    let record = program.ended("client_closed").await;
    assert_eq!(record["messages_up"], 2);
}

#[tokio::test]
async fn a_probe_sends_what_is_typed() {
    let program = echo().await;
    let output = probe(&program, "/lines", &["--expect", "2"], "one\ntwo\n").await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(
        transcript(&output)[3..],
        ["< text 3 B one", "< text 3 B two", "closed 1000"]
    );

    let output = probe(
        &program,
        "/bytes",
        &["--hex", "--expect", "2"],
        "00 ff 0a\nnot hex\nDEADBEEF\n",
    )
    .await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.stdout.contains("not sent: 'n' is not a hex digit"),
        "{output:?}"
    );
    let came: Vec<String> = transcript(&output)
        .into_iter()
        .filter(|line| line.starts_with('<'))
        .collect();
    assert_eq!(came, ["< binary 3 B 00 ff 0a", "< binary 4 B de ad be ef"]);

    // Without a count, the end of the input is the end.
    let output = probe(&program, "/lines", &[], "").await;
    assert_eq!(
        (output.code, &transcript(&output)[3..]),
        (Some(0), &["closed 1000".to_owned()][..])
    );
}

#[tokio::test]
async fn a_probe_tells_why_it_failed() {
    let mut program = echo().await;
    let output = probe(&program, "/nowhere", &[], "").await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(
        transcript(&output)[2..],
        ["HTTP 404 Not Found", "no route for this host and path"]
    );
    program.ended("not_found").await;

    let output = probe(&program, "/lines", &["--origin", "https://evil.example"], "").await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(
        transcript(&output)[2..],
        ["HTTP 403 Forbidden", "origin not allowed"]
    );
    program.ended("origin_refused").await;

    // Refused later, over the open WebSocket.
    let output = probe(&program, "/bytes", &["--send", "text", "--expect", "1"], "").await;
    assert_eq!(output.code, Some(1), "{output:?}");
    let closed = "closed 1003 this route does not take this kind of message";
    assert_eq!(transcript(&output)[3..], [closed]);
    program.ended("wrong_kind").await;

    // An authority that did not sign for sealock.
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    assert_eq!(sealock(["cert", "--out", out], "").await.code, Some(0));
    let url = format!("wss://localhost:{}/lines", program.tls.port());
    let output = sealock(["probe", "--ca", &format!("{out}/ca.pem"), &url], "").await;
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.starts_with("error: TLS: "), "{output:?}");
    assert!(
        output.stderr.contains("help: --ca FILE trusts an authority"),
        "{output:?}"
    );
    program.ended("tls_failed").await;
    let output = sealock(["probe", "--insecure", "--send", "x", "--expect", "1", &url], "").await;
    assert_eq!(output.code, Some(0), "{output:?}");

    let output = sealock(["probe", "https://localhost/"], "").await;
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("wss:// or ws://"), "{output:?}");
}

#[tokio::test]
async fn a_certificate_that_was_made_is_one_that_works() {
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("new/certs");
    let make = ["cert", "--out", certs.to_str().unwrap(), "localhost", "192.0.2.1"];
    let output = sealock(make, "").await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let file = |name: &str| certs.join(name);
    let mode = |name: &str| std::fs::metadata(file(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("dev.key"), 0o600);
    assert!(
        output.stdout.contains(file("ca.pem").to_str().unwrap()),
        "{output:?}"
    );

    let backend = Backend::echo().await;
    let (cert, key) = (file("dev.pem"), file("dev.key"));
    let listener =
        format!("[[listener]]\nbind = \"127.0.0.1:0\"\ncert_file = {cert:?}\nkey_file = {key:?}\n");
    let route = format!(
        "[[route]]\nname = \"lines\"\npath = \"/lines\"\nbackend = \"tcp://{backend}\"\nframing = \"lines\"\n"
    );
    let program = Program::start_file(&format!("{listener}{listener}{route}")).await;
    let url = format!("wss://localhost:{}/lines", program.tls.port());
    let ca = file("ca.pem");
    let output = sealock(
        [
            "probe",
            "--ca",
            ca.to_str().unwrap(),
            "--send",
            "x",
            "--expect",
            "1",
            &url,
        ],
        "",
    )
    .await;
    assert_eq!(output.code, Some(0), "{output:?}");

    // Nothing is replaced, and nothing is left that does not belong together.
    let key = std::fs::read(file("dev.key")).unwrap();
    let again = sealock(make, "").await;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(
        again.stderr.contains("dev.key") && again.stderr.contains("help: "),
        "{again:?}"
    );
    assert_eq!(std::fs::read(file("dev.key")).unwrap(), key);
    std::fs::remove_file(file("dev.key")).unwrap();
    assert_eq!(sealock(make, "").await.code, Some(1));
    assert!(!file("dev.key").exists(), "a key for the old certificate");
}

#[tokio::test]
async fn help_fits_a_terminal_and_names_every_option() {
    let mut commands = vec![];
    let all = sealock(["--help"], "").await;
    let listed = all.stdout.split("Commands:\n").nth(1).unwrap();
    for line in listed.lines().take_while(|line| !line.is_empty()) {
        // Deeper lines go on with the text of the one above.
        if let Some(name) = line.strip_prefix("  ").filter(|name| !name.starts_with(' ')) {
            commands.push(name.split(' ').next().unwrap().to_owned());
        }
    }
    assert_eq!(
        commands,
        ["demo", "run", "check", "cert", "probe", "decode", "top", "help"]
    );
    for command in &commands[..6] {
        let help = sealock([command.as_str(), "--help"], "").await;
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
        assert!(
            help.stdout.contains(&format!("Usage: sealock {command}")),
            "{}",
            help.stdout
        );
        for line in help.stdout.lines().chain(all.stdout.lines()) {
            assert!(line.chars().count() <= 80, "{command}: {line}");
        }
        // A placeholder that only repeats the option's name tells nothing.
        for line in help
            .stdout
            .lines()
            .filter(|line| line.trim_start().starts_with("--"))
        {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [option, value, ..] = words[..]
                && value.starts_with('<')
            {
                let repeated = option.trim_start_matches('-').replace('-', "_").to_uppercase();
                assert_ne!(value, format!("<{repeated}>"), "{command}");
            }
        }
    }
    assert_eq!(sealock(["demo", "--nonsense"], "").await.code, Some(2));
}
