//! The configuration: routes with every framing that matters, to services that do right and wrong.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

use crate::accounts::Books;
use crate::backends::{CHECK, Does, Service};
use crate::stage::NAMES;
use crate::words::Framing;

/// What normal sessions talk to. The names are those of the routes, too.
pub const SERVICES: [Service; 7] = [
    service("lines", Framing::Lines, Does::Echo),
    service("u32", Framing::U32, Does::Echo),
    service("raw", Framing::Raw, Does::Echo),
    service("accents", Framing::Crlf, Does::Accents),
    service("sealed", Framing::Lines, Does::Echo),
    service("feed", Framing::U32, Does::Feed),
    service("aging-feed", Framing::Lines, Does::Feed),
];

/// Those that do wrong, by the framings of their routes.
const WRONG: [Service; 4] = [
    service("wrong-lines", Framing::Lines, Does::Wrong),
    service("wrong-u32", Framing::U32, Does::Wrong),
    service("wrong-netstring", Framing::Netstring, Does::Wrong),
    service("slow-netstring", Framing::Netstring, Does::Wrong),
];

/// What the admin listener is shown.
pub const TOKEN: &str = "soak-soak-soak-soak";

const fn service(name: &'static str, framing: Framing, does: Does) -> Service {
    Service { name, framing, does }
}

/// Starts the backends, one of them behind TLS; the routes to them.
pub async fn routes(books: &Arc<Books>, tls: &TlsAcceptor) -> String {
    let mut text = String::new();
    // Where no deadline is what is tried, none may pass, however slow the machine is.
    let patient =
        "record_timeout = \"60s\"\nclose_timeout = \"30s\"\nlinger = \"30s\"\ndial_timeout = \"60s\"";
    for service in SERVICES {
        let sealed = (service.name == "sealed").then_some(tls);
        let (mut targets, own) = (
            vec![service.start(books, sealed).await],
            match service.name {
                "accents" => "charset = \"windows-1252\"\nmessage = \"text\"",
                "aging-feed" => "max_session_age = \"3s\"",
                _ => "",
            },
        );
        let mut backend = "proxy_protocol = \"v1\"".to_owned();
        if service.name == "u32" {
            targets.push(service.start(books, None).await);
            backend += &format!(
                ", balance = \"least-sessions\", health = {{ interval = \"300ms\", timeout = \"30s\", send = {CHECK:?}, expect = {CHECK:?} }}"
            );
        }
        if sealed.is_some() {
            backend += &format!(
                ", tls = {{ ca_file = \"backend-ca.pem\", server_name = {:?} }}",
                NAMES[1]
            );
        }
        let own = format!("{patient}\n{own}");
        text += &route(service.name, service.framing.preset(), &targets, &backend, &own);
    }
    let hasty = "record_timeout = \"2s\"\nwrite_timeout = \"1s\"\nclose_timeout = \"500ms\"\nlinger = \"500ms\"\n\
                 max_message = \"64 KiB\"";
    let mut wrong = Vec::new();
    for service in WRONG {
        let target = service.start(books, None).await;
        wrong.push(target.clone());
        text += &route(
            service.name,
            service.framing.preset(),
            &[target],
            "proxy_protocol = \"v1\"",
            &match service.name {
                "slow-netstring" => patient.to_owned(),
                _ => format!("{hasty}\nping_interval = \"off\""),
            },
        );
    }
    let wrong = &wrong[0];
    let hangs_up = service("hangs-up", Framing::Lines, Does::HangUp)
        .start(books, None)
        .await;
    let flaps = service("flappy", Framing::Lines, Does::Wrong).flap(books).await;
    let nobody = &"tcp://127.200.0.2:9".to_owned();
    for (name, target, backend, own) in [
        (
            "silent",
            wrong,
            "",
            "ping_interval = \"300ms\"\npong_timeout = \"700ms\"",
        ),
        ("idle", wrong, "", "idle_timeout = \"700ms\""),
        (
            "rated",
            wrong,
            "",
            "message_rate = \"5/s\"\nrate_policy = \"close\"",
        ),
        ("delayed", wrong, "", "message_rate = \"60/s\""),
        ("limited", wrong, "", "max_sessions = 4"),
        (
            "full",
            wrong,
            ", max_sessions = 2, queue = 2, queue_timeout = \"300ms\"",
            "",
        ),
        ("hangs-up", &hangs_up, "", ""),
        ("flappy", &flaps, ", health = { interval = \"200ms\" }", ""),
        ("nobody", nobody, ", retry_after = \"200ms\"", ""),
        (
            "nobody-in-words",
            nobody,
            ", retry_after = \"200ms\"",
            "on_dial_failure = \"close\"",
        ),
        ("sometimes", wrong, "", ""),
    ] {
        let backend = format!("proxy_protocol = \"v1\"{backend}");
        text += &route(
            name,
            "lines",
            std::slice::from_ref(target),
            &backend,
            &format!("{hasty}\n{own}"),
        );
    }
    text
}

fn route(name: &str, framing: &str, targets: &[String], backend: &str, own: &str) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nframing = \"{framing}\"\n\
         backend = {{ targets = {targets:?}, {backend} }}\n{own}\n\n"
    )
}

/// The whole file. `other` has one route less, says less in its log, and has another limit.
pub fn text(dir: &Path, routes: &str, other: bool) -> String {
    let (level, most, routes) = match other {
        false => ("info", 5000, routes),
        true => (
            "warn",
            4000,
            routes
                .split("[[route]]\nname = \"sometimes\"")
                .next()
                .unwrap_or_default(),
        ),
    };
    let log = dir.join("sealock.log");
    let listener = "[[listener]]\nbind = \"127.0.0.1:0\"\n";
    let plain = "plaintext = \"loopback\"\n";
    let tls = "cert_file = \"certs/tls.crt\"\nkey_file = \"certs/tls.key\"\n";
    let further = "[[listener.certificate]]\ncert_file = \"chat/tls.crt\"\nkey_file = \"chat/tls.key\"\n";
    let patient = "request_timeout = \"60s\"\nmax_head = \"8 KiB\"\n";
    let proxied = "proxy_protocol_from = [\"127.0.0.0/8\"]\n";
    let hasty = "request_timeout = \"2s\"\n";
    let (patient_tls, hasty_tls) = ("handshake_timeout = \"60s\"\n", "handshake_timeout = \"2s\"\n");
    format!(
        "drain_window = \"1s\"\nshutdown_timeout = \"8s\"\nreload_interval = \"500ms\"\nlog_file = {log:?}\n\
         log_level = \"{level},sealock::session=debug\"\n\n\
         [limits]\nmax_sessions = {most}\nmax_sessions_per_client = 8\n\n\
         [admin]\nbind = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n\n\
         {listener}{plain}{patient}\n{listener}{tls}{patient_tls}{patient}{further}\n\
         {listener}{plain}{hasty}\n{listener}{tls}{patient_tls}{hasty}{further}\n{listener}{tls}{hasty_tls}{further}\n\
         {listener}{tls}{patient_tls}{patient}{proxied}\n{listener}{tls}{hasty_tls}{proxied}\n{routes}"
    )
}
