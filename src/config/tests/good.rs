//! Files that are good, and what becomes of them.

use super::*;
use crate::addr::Networks;
use crate::backend::{Balance, Check, Exchange, Plan};
use crate::bridge::RatePolicy;
use crate::upgrade::ForwardedHeader;

#[test]
fn a_small_file_gets_the_defaults() {
    let config = good(&route_with("framing = \"lines\""));
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.shutdown_timeout, Duration::from_secs(30));
    let listener = &config.listeners[0];
    assert_eq!(listener.max_head, 16_384);
    assert_eq!(listener.handshake_timeout, Duration::from_secs(10));
    assert!(matches!(listener.tls, Tls::Off));
    let route = &config.routes[0];
    assert_eq!(route.backend.dial_timeout, Duration::from_secs(5));
    assert!(route.hosts.is_empty());
    assert_eq!(
        route.backend.targets,
        ["tcp://127.0.0.1:1".parse::<Target>().unwrap()]
    );
    assert_eq!(route.policy.origins, Origins::Same);
    assert_eq!(route.policy.absent_origin, AbsentOrigin::Allow);
    assert_eq!(route.policy.on_dial_failure, OnDialFailure::Status);
    let settings = &route.settings;
    assert_eq!(settings.max_message, 1 << 20);
    assert_eq!(settings.embedded, Embedded::Reject);
    assert_eq!(
        (settings.oversized, settings.empty),
        (Both::of(Oversized::Close), Both::of(Empty::Deliver))
    );
    assert_eq!(settings.half_close, HalfClose::Never);
    assert_eq!(settings.timeouts, crate::bridge::Timeouts::default());
}

#[test]
fn paths_start_at_the_folder_of_the_file() {
    let config = good(&format!(
        "[[listener]]\nbind = \"[::]:8443\"\ncert_file = \"certs/a.pem\"\nkey_file = \"/run/a.key\"\n{ROUTE}framing = \"raw\""
    ));
    let Tls::On(certificate) = &config.listeners[0].tls else {
        panic!("TLS should be on");
    };
    assert_eq!(certificate.cert_file, Path::new("/etc/sealock/certs/a.pem"));
    assert_eq!(certificate.key_file, Path::new("/run/a.key"));
}

#[test]
fn a_route_stands_over_the_defaults() {
    let defaults = "[defaults]\nmax_message = \"2 KiB\"\nframing = \"u16be\"\nidle_timeout = \"1m\"\nempty = \"skip\"\n\
                    subprotocols = [\"a\"]\nembedded_delimiter = \"split\"\nmessage = { to_backend = \"text\", to_client = \"auto\" }\n";
    let source = format!(
        "{LISTENER}{defaults}{ROUTE}\n[[route]]\nname = \"b\"\npath = \"/b\"\nbackend = \"unix:/run/b\"\nframing = \"lines\"\n\
         idle_timeout = \"off\"\nsubprotocols = []\nmessage = {{ to_client = \"binary\" }}"
    );
    let config = good(&source);
    let [a, b] = config.routes.as_slice() else {
        panic!("two routes");
    };
    assert_eq!(a.settings.to_client, preset("u16be").unwrap().to_client);
    assert_eq!(a.settings.timeouts.idle, Some(Duration::from_secs(60)));
    assert_eq!(a.policy.subprotocols, ["a"]);
    assert_eq!(
        (a.settings.accept, a.settings.deliver),
        (Accept::Text, Deliver::Auto)
    );
    assert_eq!(
        a.settings.embedded,
        Embedded::Reject,
        "nothing to embed in a counted record"
    );
    assert_eq!(b.settings.to_client, preset("lines").unwrap().to_client);
    assert_eq!(b.settings.timeouts.idle, None);
    assert!(b.policy.subprotocols.is_empty());
    assert_eq!(
        (b.settings.accept, b.settings.deliver),
        (Accept::Text, Deliver::Binary)
    );
    assert_eq!(b.settings.embedded, Embedded::Split);
    assert_eq!(
        (b.settings.max_message, b.settings.empty),
        (2048, Both::of(Empty::Skip))
    );
}

#[test]
fn messages_follow_the_preset_unless_the_route_says() {
    for (lines, accept, deliver) in [
        ("framing = \"lines\"", Accept::Any, Deliver::Text),
        ("framing = { preset = \"lines\" }", Accept::Any, Deliver::Text),
        ("framing = \"kafka\"", Accept::Any, Deliver::Binary),
        (
            "framing = { kind = \"delimiter\", delimiter = \"\\n\" }",
            Accept::Any,
            Deliver::Binary,
        ),
        (
            "framing = { to_backend = \"raw\", to_client = \"irc\" }",
            Accept::Any,
            Deliver::Text,
        ),
        (
            "framing = \"raw\"\nmessage = \"text\"",
            Accept::Text,
            Deliver::Text,
        ),
        (
            "framing = \"irc\"\nmessage = \"binary\"",
            Accept::Binary,
            Deliver::Binary,
        ),
        (
            "framing = \"irc\"\nmessage = \"auto\"",
            Accept::Any,
            Deliver::Auto,
        ),
        (
            "framing = \"irc\"\nmessage = { to_backend = \"binary\" }",
            Accept::Binary,
            Deliver::Text,
        ),
    ] {
        let settings = settings(lines);
        assert_eq!((settings.accept, settings.deliver), (accept, deliver), "{lines}");
    }
}

#[test]
fn framings_can_be_written_out() {
    for (custom, name) in [
        ("{ kind = \"raw\" }", "raw"),
        ("{ kind = \"delimiter\", delimiter = \"\\n\" }", "lines"),
        ("{ kind = \"delimiter\", delimiter = { hex = \"00\" } }", "nul"),
        (
            "{ kind = \"delimiter\", delimiter = [\"\\r\\n\", { hex = \"0A\" }, '''\r''' ] }",
            "irc",
        ),
        (
            "{ kind = \"length-prefix\", width = 4, endian = \"little\" }",
            "u32le",
        ),
        (
            "{ kind = \"length-prefix\", width = 2, offset = 2, includes_header = true, template = { hex = \"03 00\" } }",
            "tpkt",
        ),
        (
            "{ kind = \"length-prefix\", width = 3, endian = \"little\", adjustment = 1, header = \"keep\" }",
            "mysql",
        ),
        (
            "{ kind = \"varint\", offset = 1, max_width = 4, header = \"keep\" }",
            "mqtt",
        ),
        (
            "{ kind = \"varint\", encoding = \"leb128\", max_width = 5 }",
            "protobuf",
        ),
        ("{ kind = \"netstring\" }", "netstring"),
        ("{ kind = \"octet-counting\" }", "syslog"),
        ("{ kind = \"content-length\", header = \"strip\" }", "lsp"),
        ("{ kind = \"content-length\" }", "dap"),
        (
            "{ kind = \"block\", start = { hex = \"0b\" }, end = { hex = \"1c 0d\" }, outside = \"close\" }",
            "mllp",
        ),
        ("{ kind = \"slip\" }", "slip"),
        ("{ kind = \"cobs\" }", "cobs"),
        ("{ kind = \"json-seq\" }", "json-seq"),
    ] {
        // A raw CR is no TOML; it only makes the row above readable.
        let custom = custom.replace("'''\r'''", "\"\\r\"");
        let preset = preset(name).unwrap().to_client;
        assert_eq!(
            settings(&format!("framing = {custom}")).to_backend,
            preset,
            "{custom}"
        );
        // The same as a table of its own.
        let inside = custom.trim_start_matches('{').trim_end_matches('}');
        if !inside.contains(['[', '{']) {
            let table = format!("[route.framing]\n{}", inside.replace(", ", "\n"));
            assert_eq!(settings(&table).to_client, preset, "{table}");
        }
    }
}

#[test]
fn framings_without_a_preset_can_be_written() {
    for (custom, expected) in [
        (
            "{ kind = \"varint\" }",
            Framing::Varint(Varint::plain(Groups::Leb128)),
        ),
        (
            "{ kind = \"varint\", encoding = \"big-endian\", offset = 2, template = { hex = \"03 00\" }, max_width = 10 }",
            Framing::Varint(Varint {
                offset: 2,
                template: Box::new([3, 0]),
                ..Varint::plain(Groups::BigEndian)
            }),
        ),
        (
            "{ kind = \"fixed\", size = \"1 MiB\" }",
            Framing::Fixed(Fixed::new(1 << 20, None).unwrap()),
        ),
        (
            "{ kind = \"fixed\", size = \"1 KiB\", pad = { hex = \"00\" } }",
            Framing::Fixed(Fixed::new(1024, Some(0)).unwrap()),
        ),
        (
            "{ kind = \"content-length\", header = \"keep\" }",
            Framing::ContentLength(ContentLength { header: Header::Keep }),
        ),
    ] {
        let settings = settings(&format!("framing = {custom}"));
        assert_eq!(settings.to_backend, expected, "{custom}");
        assert_eq!(
            (settings.partial, settings.deliver),
            (Partial::Error, Deliver::Binary)
        );
    }
}

#[test]
fn edges_have_their_policies() {
    let all = settings(
        "framing = \"lines\"\nembedded_delimiter = { replace = { hex = \"20\" } }\noversized = \"discard\"\npartial = \"drop\"\n\
         empty = \"deliver\"\nhalf_close = \"empty-message\"\nlinger = \"0s\"\nping_interval = \"off\"\nmax_message = \"1 GiB\"",
    );
    assert_eq!(all.embedded, Embedded::Replace((*b" ").into()));
    assert_eq!(
        (all.oversized, all.partial),
        (Both::of(Oversized::Discard), Partial::Drop)
    );
    assert_eq!(all.half_close, HalfClose::EmptyMessage);
    assert_eq!((all.timeouts.linger, all.timeouts.ping), (Duration::ZERO, None));
    assert_eq!(all.max_message, 1 << 30);
    assert_eq!(settings("framing = \"lines\"").partial, Partial::Deliver);
    assert_eq!(settings("framing = \"u8\"").partial, Partial::Error);
}

#[test]
fn a_subprotocol_says_what_differs_from_its_route() {
    let config = good(&route_with(
        "framing = \"irc\"\nmax_message = \"5 B\"\nsubprotocols = [\"c\"]\n\
         [[route.subprotocol]]\nname = \"a\"\nmessage = \"binary\"\n\
         [[route.subprotocol]]\nname = \"b\"\nframing = \"u16be\"\nmax_message = \"9 B\"",
    ));
    let route = &config.routes[0];
    assert_eq!(route.policy.subprotocols, ["a", "b", "c"]);
    let of = |name| Settings::clone(route.settings_for(name));
    let own = of(None);
    assert_eq!(of(Some("c")), own);
    let a = Settings {
        accept: Accept::Binary,
        deliver: Deliver::Binary,
        ..own.clone()
    };
    assert_eq!(of(Some("a")), a);
    let b = of(Some("b"));
    assert_eq!(b.to_backend, preset("u16be").unwrap().to_backend);
    assert_eq!((b.max_message, b.deliver), (9, Deliver::Binary));
    assert_eq!(b.partial, Partial::Error, "of its own framing");
}

/// An escape is used unless the route itself refuses; its subprotocols have the same framing.
#[test]
fn a_subprotocol_escapes_as_its_route_does() {
    let dle = "framing = { kind = \"block\", start = \"<\", end = \">\", escape = \"/\" }";
    for (own, sub, expected) in [
        ("", "", Embedded::Escape),
        ("embedded_delimiter = \"reject\"", "", Embedded::Reject),
        (
            "embedded_delimiter = \"reject\"",
            "framing = \"slip\"",
            Embedded::Escape,
        ),
        (
            "embedded_delimiter = \"reject\"",
            "embedded_delimiter = \"escape\"",
            Embedded::Escape,
        ),
    ] {
        let lines = format!("{dle}\n{own}\n[[route.subprotocol]]\nname = \"a\"\n{sub}");
        let config = good(&route_with(&lines));
        assert_eq!(
            config.routes[0].settings_for(Some("a")).embedded,
            expected,
            "{lines}"
        );
    }
}

#[test]
fn policies_may_differ_by_direction() {
    fn pair<T>(to_backend: T, to_client: T) -> Both<T> {
        Both {
            to_backend,
            to_client,
        }
    }
    let defaults =
        "[defaults]\nframing = \"lines\"\noversized = { to_backend = \"discard\" }\nempty = \"skip\"\n";
    let lines = "oversized = { to_client = \"discard\" }\nempty = { to_backend = \"deliver\" }\nhalf_close = \"empty-message\"";
    let config = good(&format!("{LISTENER}{defaults}{ROUTE}{lines}"));
    let settings = &config.routes[0].settings;
    assert_eq!(settings.oversized, Both::of(Oversized::Discard));
    assert_eq!(settings.empty, pair(Empty::Deliver, Empty::Skip));
    let one = self::settings("framing = \"raw\"\noversized = { to_backend = \"discard\" }");
    assert_eq!(one.oversized, pair(Oversized::Discard, Oversized::Close));
}

#[test]
fn text_has_its_charset_and_its_policies() {
    let gbk = Some(Charset::named("gbk").unwrap());
    let lines = |lines: &str| {
        let settings = settings(&format!("framing = \"lines\"\n{lines}"));
        (settings.charset, settings.invalid_text, settings.unmappable)
    };
    use InvalidText::{Binary, Close, Replace};
    let reject = Unmappable::Reject;
    for (written, expected) in [
        ("", (None, Close, reject)),
        ("charset = \"UTF-8\"", (None, Close, reject)),
        ("charset = \"GBK\"", (gbk, Close, reject)),
        ("message = \"auto\"", (None, Binary, reject)),
        (
            "message = \"auto\"\ninvalid_text = \"replace\"",
            (None, Replace, reject),
        ),
        ("invalid_text = \"binary\"", (None, Binary, reject)),
        (
            "charset = \"gb2312\"\nunmappable = \"escape\"",
            (gbk, Close, Unmappable::Escape),
        ),
        (
            "charset = \"gbk\"\nunmappable = \"replace\"",
            (gbk, Close, Unmappable::Replace),
        ),
    ] {
        assert_eq!(lines(written), expected, "{written}");
    }
    // A charset is one of text, whatever the preset says; and a route without one may stand beside others in the defaults.
    assert_eq!(
        settings("framing = \"u16be\"\ncharset = \"gbk\"").deliver,
        Deliver::Text
    );
    let defaults = "[defaults]\ncharset = \"gbk\"\nunmappable = \"escape\"\ninvalid_text = \"replace\"\nframing = \"lines\"\n";
    for route in ["message = \"binary\"", "charset = \"utf-8\""] {
        good(&format!("{LISTENER}{defaults}{ROUTE}{route}"));
    }
}

#[test]
fn a_framing_with_an_escape_escapes_unless_the_route_says() {
    let dle = "framing = { kind = \"block\", start = { hex = \"10 02\" }, end = { hex = \"10 03\" }, escape = { hex = \"10\" } }";
    let plain = "framing = { kind = \"block\", start = \"<\", end = \">\", outside = \"skip\" }";
    for (lines, embedded) in [
        (dle.to_owned(), Embedded::Escape),
        (
            format!("{dle}\nembedded_delimiter = \"escape\""),
            Embedded::Escape,
        ),
        (
            format!("{dle}\nembedded_delimiter = \"reject\""),
            Embedded::Reject,
        ),
        ("framing = \"slip\"".to_owned(), Embedded::Escape),
        (
            "framing = \"cobs\"\nembedded_delimiter = \"escape\"".to_owned(),
            Embedded::Escape,
        ),
        (plain.to_owned(), Embedded::Reject),
        (
            format!("{plain}\nembedded_delimiter = \"split\""),
            Embedded::Split,
        ),
        (
            format!("{plain}\nembedded_delimiter = {{ replace = \"?\" }}"),
            Embedded::Replace((*b"?").into()),
        ),
        ("framing = \"json-seq\"".to_owned(), Embedded::Reject),
    ] {
        let made = settings(&lines);
        assert_eq!(made.embedded, embedded, "{lines}");
        assert_eq!(made.partial, Partial::Error, "{lines}");
    }
    let expected = Block::new(b"\x10\x02", b"\x10\x03", Some(0x10), Outside::Close).unwrap();
    assert_eq!(settings(dle).to_backend, Framing::Block(expected));
    let expected = Block::new(b"<", b">", None, Outside::Skip).unwrap();
    assert_eq!(settings(plain).to_backend, Framing::Block(expected));
    // From the defaults: used where it has a meaning.
    for (default, framing, embedded) in [
        ("\"split\"", "\"slip\"", Embedded::Escape),
        (
            "\"reject\"",
            "{ kind = \"block\", start = \"<\", end = \">\", escape = \"/\" }",
            Embedded::Escape,
        ),
        ("\"escape\"", "\"lines\"", Embedded::Reject),
        ("\"split\"", "\"mllp\"", Embedded::Split),
    ] {
        let config = good(&format!(
            "{LISTENER}[defaults]\nembedded_delimiter = {default}\n{ROUTE}framing = {framing}\n"
        ));
        assert_eq!(
            config.routes[0].settings.embedded, embedded,
            "{default} {framing}"
        );
    }
}

#[test]
fn a_backend_is_a_target_some_targets_or_a_table() {
    let backend = |written: &str| {
        let route = "[[route]]\nname = \"a\"\npath = \"/a\"\nframing = \"crlf\"\ndial_timeout = \"7s\"\n";
        let config = good(&format!("{LISTENER}{route}{written}\n"));
        let route = config.routes.into_iter().next().unwrap();
        (route.backend, route.backend_tls)
    };
    let (one, tls) = backend("backend = \"tcp://a:1\"");
    assert_eq!(tls, None);
    assert_eq!(one.dial_timeout, Duration::from_secs(7));
    for same in [
        "backend = [\"tcp://a:1\"]",
        "[route.backend]\ntargets = [\"tcp://a:1\"]",
    ] {
        assert_eq!(backend(same).0, one, "{same}");
    }
    let (all, tls) = backend(
        "[route.backend]\ntargets = [\"tcp://a:1\", \"tls://b:2\"]\nbalance = \"least-sessions\"\nmax_sessions = 5\n\
         queue = 6\nqueue_timeout = \"7s\"\nfall = 8\nhealth = { interval = \"10s\", timeout = \"9s\", rise = 11, \
         send = \"PING\", expect = { hex = \"2b\" } }\ntls = { ca_file = \"ca.pem\" }",
    );
    let exchange = Exchange {
        send: b"PING\r\n".to_vec(),
        expect: b"+".to_vec(),
        framing: preset("crlf").unwrap().to_client,
    };
    let check = Check {
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(9),
        rise: 11,
        exchange: Some(exchange),
    };
    let plan = Plan {
        targets: vec!["tcp://a:1".parse().unwrap(), "tls://b:2".parse().unwrap()],
        balance: Balance::LeastSessions,
        max_sessions: Some(5),
        queue: 6,
        queue_timeout: Duration::from_secs(7),
        fall: 8,
        check: Some(check),
        ..one
    };
    assert_eq!(all, plan);
    assert_eq!(tls.unwrap().ca_file, Some("/etc/sealock/ca.pem".into()));
    let (_, tls) = backend("backend = \"tls://a:1\"");
    assert_eq!(tls, Some(BackendTls::default()));
}

#[test]
fn trusted_proxies_are_networks_or_addresses() {
    let listener = |lines: &str| {
        let listener = format!("{LISTENER}{lines}\n{ROUTE}framing = \"raw\"\n");
        good(&listener).listeners.into_iter().next().unwrap()
    };
    let plain = listener("");
    assert_eq!((plain.proxies, plain.forwarding), (Networks::default(), None));
    let trusting = listener(
        "proxy_protocol_from = [\"10.0.0.0/8\", \"2001:db8::/32\"]\nforwarded_from = [\"192.0.2.7\", \"::1\"]",
    );
    for (address, proxy, forwards) in [
        ("10.255.0.1", true, false),
        ("::ffff:10.255.0.1", true, false),
        ("11.0.0.1", false, false),
        ("2001:db8:1::1", true, false),
        ("192.0.2.7", false, true),
        ("192.0.2.8", false, false),
        ("::1", false, true),
    ] {
        let address = address.parse().unwrap();
        assert_eq!(trusting.proxies.contains(address), proxy, "{address}");
        let forwarding = trusting.forwarding.as_ref().unwrap();
        assert_eq!(forwarding.header, ForwardedHeader::XForwardedFor);
        assert_eq!(forwarding.from.contains(address), forwards, "{address}");
    }
}

#[test]
fn every_file_is_named_once() {
    let config = good(
        r#"
[[listener]]
bind = "0.0.0.0:1"
cert_file = "a.pem"
key_file = "a.key"
client_ca_file = "clients.pem"
[[listener.certificate]]
cert_file = "b.pem"
key_file = "b.key"
names = ["*.Example.com"]
[[listener]]
bind = "0.0.0.0:2"
cert_file = "a.pem"
key_file = "a.key"
[[route]]
name = "a"
path = "/a"
framing = "raw"
backend = { targets = ["tls://localhost:1"], tls = { ca_file = "ca.pem", cert_file = "c.pem", key_file = "c.key" } }
[[route]]
name = "b"
path = "/b"
framing = "raw"
backend = "tcp://127.0.0.1:1"
"#,
    );
    let names = config
        .files()
        .into_iter()
        .map(|file| file.file_name().unwrap().to_str().unwrap());
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            "a.key",
            "a.pem",
            "b.key",
            "b.pem",
            "c.key",
            "c.pem",
            "ca.pem",
            "clients.pem"
        ]
    );
    let Tls::On(certificate) = &config.listeners[0].tls else {
        panic!("it has TLS")
    };
    assert_eq!(
        certificate.others[0].names.as_deref(),
        Some(&["*.example.com".to_owned()][..])
    );
}

#[test]
fn a_level_of_the_log_is_one() {
    let file = |level: &str| format!("log_level = \"{level}\"\n{}", route_with("framing = \"raw\""));
    for level in ["warn", "off", "info,sealock::backend=debug"] {
        assert_eq!(good(&file(level)).log_level.as_deref(), Some(level));
    }
    assert_eq!(good(&route_with("framing = \"raw\"")).log_level, None);
    for level in [
        "",
        "inof",
        "sealock",
        "sealock=loud",
        "sealock=5",
        "info,debg",
        "debug,hyper=off",
    ] {
        let (marked, one) = only(&file(level));
        assert_eq!(marked, format!("\"{level}\""));
        assert!(one.title.contains("not a log level"), "{one:?}");
    }
}

#[test]
fn files_are_looked_at_now_and_then_or_never() {
    let read = |top: &str| good(&format!("{top}\n{}", route_with("framing = \"raw\""))).reload_interval;
    for (top, interval) in [
        ("", Some(Duration::from_secs(10))),
        ("reload_interval = \"1m\"", Some(Duration::from_secs(60))),
        ("reload_interval = \"off\"", None),
    ] {
        assert_eq!(read(top), interval, "{top}");
    }
}

#[test]
fn rates_are_a_routes_own_or_the_defaults() {
    let route = |name: &str, lines: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nbackend = \"tcp://a:1\"\nframing = \"raw\"\n{lines}\n"
        )
    };
    let config = good(&format!(
        "{LISTENER}[limits]\nmax_sessions_per_client = 100\nclient_prefix_v6 = 48\nhandshakes_per_second = 50\ngather_budget = \"1 GiB\"\n\
         [defaults]\nmessage_rate = \"100/s\"\nmax_session_age = \"48h\"\n{}{}",
        route("a", "byte_rate = \"64 KiB/s\"\nrate_policy = \"close\""),
        route(
            "b",
            "message_rate = \"off\"\nmax_session_age = \"off\"\nmax_sessions = 7"
        ),
    ));
    let rate = std::num::NonZeroU64::new;
    let rates = |messages, bytes, policy| crate::bridge::Rates {
        messages,
        bytes,
        policy,
    };
    let [a, b] = [&config.routes[0], &config.routes[1]];
    assert_eq!(
        a.settings.rates,
        rates(rate(100), rate(65_536), RatePolicy::Close)
    );
    assert_eq!(b.settings.rates, rates(None, None, RatePolicy::Delay));
    let ages = [a, b].map(|route| route.settings.timeouts.age);
    assert_eq!(ages, [Some(Duration::from_hours(48)), None]);
    assert_eq!([a, b].map(|route| route.max_sessions), [None, Some(7)]);
    let limits = config.limits;
    assert_eq!(
        (limits.max_sessions_per_client, limits.client_prefix.v6),
        (Some(100), 48)
    );
    assert_eq!(
        (limits.handshakes_per_second, limits.gather_budget),
        (Some(50), 1 << 30)
    );
}
