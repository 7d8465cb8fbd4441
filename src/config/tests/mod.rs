//! Tests of the reader. Here: what is wrong with a file, and how it is told.

mod admin;
mod documents;
mod good;
mod properties;
mod texts;
mod variables;

use std::fmt::Write as _;

use super::keys::{KEYS, Place};
use super::*;
use crate::backend::Target;
use crate::bridge::{Accept, Both, Deliver, HalfClose, InvalidText, Settings};
use crate::charset::{Charset, Unmappable};
use crate::framing::{
    Block, ContentLength, Embedded, Empty, Fixed, Framing, Groups, Header, Outside, Oversized, Partial,
    Varint, preset, preset_names,
};
use crate::upgrade::{AbsentOrigin, OnDialFailure, Origins};

const EXAMPLE: &str = include_str!("../../../config.example.toml");
const DOCS: &str = include_str!("../../../docs/CONFIG.md");

const LISTENER: &str = "[[listener]]\nbind = \"127.0.0.1:0\"\nplaintext = \"loopback\"\n";
const ROUTE: &str = "[[route]]\nname = \"a\"\npath = \"/a\"\nbackend = \"tcp://127.0.0.1:1\"\n";

fn variables(name: &str) -> Option<String> {
    match name {
        "HOST" => Some("127.0.0.1".to_owned()),
        "PORT" => Some("6667".to_owned()),
        "EMPTY" => Some(String::new()),
        "NESTED" => Some("${HOST}".to_owned()),
        "SECRET" => Some("s3cret value".to_owned()),
        _ => None,
    }
}

fn read_text(source: &str) -> Result<Loaded, Diagnostics> {
    parse(source, "sealock.toml", Path::new("/etc/sealock"), &variables)
}

fn good(source: &str) -> Config {
    let loaded = read_text(source).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    loaded.config
}

fn bad(source: &str) -> Diagnostics {
    match read_text(source) {
        Ok(_) => panic!("this should have been refused:\n{source}"),
        Err(problems) => problems,
    }
}

/// A whole file around some lines of one route.
fn route_with(lines: &str) -> String {
    format!("{LISTENER}{ROUTE}{lines}\n")
}

fn settings(lines: &str) -> Settings {
    let config = good(&route_with(lines));
    Settings::clone(&config.routes[0].settings)
}

/// The only problem of a file, as its marked text and what is said.
#[track_caller]
fn only(source: &str) -> (String, Diagnostic) {
    let problems = bad(source);
    assert_eq!(problems.iter().count(), 1, "{problems}");
    let one = problems.iter().next().unwrap().clone();
    let marked = one.span().map(|span| source[span.clone()].to_owned());
    (marked.unwrap_or_default(), one)
}

#[track_caller]
fn route_problem(lines: &str, marked: &str, title: &str, help: &str) {
    problem(&route_with(lines), marked, title, help);
}

#[track_caller]
fn problem(source: &str, marked: &str, title: &str, help: &str) {
    let (place, one) = only(source);
    let said = one.help.join("\n");
    assert_eq!(place, marked, "{one:?}");
    assert!(one.title.contains(title), "{title:?} is not in {:?}", one.title);
    assert!(said.contains(help), "{help:?} is not in {said:?}");
}

#[test]
fn what_is_missing_is_named_at_the_header() {
    let (marked, one) = only(&format!("{LISTENER}[[route]]\nframing = \"raw\""));
    assert_eq!(marked, "[[route]]");
    assert_eq!(one.title, "a route needs `name`, `path` and `backend`");
    assert!(one.help[0].contains("path = \"/irc\"\nbackend = "), "{one:?}");
    problem(
        ROUTE
            .replace("[[route]]", "[[route]]\nframing = \"raw\"")
            .as_str(),
        "",
        "there is no listener",
        "[[listener]]",
    );
    problem(LISTENER, "", "there is no route", "[[route]]");
    route_problem("", "[[route]]", "a route needs `framing`", "framing = \"lines\"");
    route_problem(
        "framing = { width = 2 }",
        "{",
        "a framing needs `kind`",
        "\"length-prefix\"",
    );
    route_problem(
        "framing = { kind = \"delimiter\" }",
        "{",
        "needs `delimiter`",
        "delimiter = ",
    );
    route_problem(
        "framing = { kind = \"length-prefix\" }",
        "{",
        "needs `width`",
        "width = 2",
    );
    route_problem(
        "framing = { start = \"<\", end = \">\" }",
        "{",
        "a framing needs `kind`",
        "\"block\"",
    );
    route_problem(
        "framing = { kind = \"block\", end = \">\" }",
        "{",
        "needs `start`",
        "start = ",
    );
    route_problem(
        "framing = { to_client = \"raw\" }",
        "{",
        "needs `to_backend`",
        "to_backend",
    );
    // A misspelt key is not missing as well.
    problem(
        &format!("{LISTENER}{ROUTE}framing = \"raw\"").replace("path", "pth"),
        "pth",
        "`pth` is not a key of [[route]]",
        "did you mean `path`?",
    );
    problem(
        &format!(
            "{}{ROUTE}framing = \"raw\"",
            LISTENER.replace("[[listener]]", "[[listenr]]")
        ),
        "listenr",
        "not a key",
        "did you mean `listener`?",
    );
}

/// Runs the cases of a file, each behind some lines that are good.
fn cases(good: &str, file: &str) {
    let mut count = 0;
    for case in file.split("\n\n").skip(1) {
        let rest_of = |mark: &str| {
            case.lines()
                .find_map(|line| line.strip_prefix(mark))
                .unwrap_or_default()
        };
        let is_source = |line: &&str| !line.starts_with(['^', '!', '=']);
        let lines: Vec<&str> = case.lines().filter(is_source).collect();
        problem(
            &format!("{good}{}", lines.join("\n")),
            rest_of("^ "),
            rest_of("! "),
            rest_of("= "),
        );
        count += 1;
    }
    assert!(count > 10, "the cases are not found");
}

#[test]
fn each_mistake_is_told_with_its_place_and_remedy() {
    let whole = route_with("framing = \"raw\"");
    cases(&whole, include_str!("../testdata/unknown.txt"));
    cases(&whole, include_str!("../testdata/listeners.txt"));
    cases(LISTENER, include_str!("../testdata/routes.txt"));
    let no_backend = "[[route]]\nname = \"a\"\npath = \"/a\"\nframing = \"lines\"\n";
    cases(
        &format!("{LISTENER}{no_backend}"),
        include_str!("../testdata/backends.txt"),
    );
    cases(&route_with(""), include_str!("../testdata/settings.txt"));
}

#[test]
fn listeners_of_every_kind_are_taken() {
    let with = |lines: &str| format!("{}\n[[listener]]\n{lines}", route_with("framing = \"raw\""));
    for fine in [
        "bind = \"[::1]:1\"\nplaintext = \"loopback\"",
        "bind = \"[::ffff:127.0.0.1]:1\"\nplaintext = \"loopback\"",
        "bind = \"0.0.0.0:1\"\nplaintext = \"anywhere\"",
        "bind = \"127.0.0.1:0\"\nplaintext = \"loopback\"",
        "bind = \"127.0.0.1:1\"\nplaintext = \"loopback\"\nreuse_port = true",
        "bind = \"systemd:public 1\"\nplaintext = \"loopback\"\nreuse_port = false",
    ] {
        assert_eq!(good(&with(fine)).listeners.len(), 2, "{fine}");
    }
}

#[test]
fn listeners_are_compared() {
    let two = |first: &str, second: &str| {
        let clear = "plaintext = \"anywhere\"\n";
        format!(
            "{ROUTE}framing = \"raw\"\n[[listener]]\nbind = \"{first}\"\n{clear}[[listener]]\nbind = \"{second}\"\n{clear}"
        )
    };
    let (marked, one) = only(&two("127.0.0.1:1", "127.0.0.1:1"));
    assert_eq!((marked.as_str(), one.labels.len()), ("\"127.0.0.1:1\"", 2));
    let (marked, one) = only(&two("systemd:a", "systemd:a"));
    assert_eq!((marked.as_str(), one.labels.len()), ("\"systemd:a\"", 2));
    for (first, second, warnings) in [
        ("systemd:a", "systemd:b", 0),
        ("systemd:a", "127.0.0.1:1", 0),
        ("127.0.0.1:0", "127.0.0.1:0", 0),
        ("127.0.0.1:1", "127.0.0.1:2", 0),
        ("127.0.0.1:1", "[::1]:1", 0),
        ("0.0.0.0:1", "127.0.0.1:1", 1),
        ("[::1]:1", "[::]:1", 1),
    ] {
        let loaded = read_text(&two(first, second)).unwrap();
        assert_eq!(
            loaded.warnings.count(Severity::Warning),
            warnings,
            "{first} {second}"
        );
    }
}

#[test]
fn warnings_leave_the_configuration_usable() {
    for (source, title) in [
        (
            route_with("framing = \"raw\"")
                .replace("\"loopback\"", "\"loopback\"\nhandshake_timeout = \"1s\""),
            "no effect",
        ),
        (
            route_with("framing = { kind = \"delimiter\", delimiter = '\\n' }"),
            "in single quotes",
        ),
        (
            format!(
                "limits = {{ max_sessions = 9 }}\n{}",
                route_with("framing = \"raw\"\nmax_sessions = 10")
            ),
            "never reached",
        ),
        (
            format!(
                "limits = {{ max_sessions = 9, max_sessions_per_client = 10 }}\n{}",
                route_with("framing = \"raw\"")
            ),
            "never reached",
        ),
        (
            format!(
                "limits = {{ max_sessions = 9 }}\n{}",
                route_with("framing = \"raw\"").replace("\"loopback\"", "\"loopback\"\nmax_sessions = 10")
            ),
            "never reached",
        ),
        (
            format!(
                "limits = {{ gather_budget = \"1 MiB\" }}\n{}",
                route_with("framing = \"raw\"\nmax_message = \"2 MiB\"")
            ),
            "may not fit",
        ),
        (
            route_with("framing = \"raw\"").replace(
                "\"tcp://127.0.0.1:1\"",
                "{ targets = [\"tcp://a:1\"], health = { interval = \"500ms\" } }",
            ),
            "longer than the time between",
        ),
    ] {
        let loaded = read_text(&source).unwrap_or_else(|problems| panic!("{problems}"));
        let one = loaded.warnings.iter().next().unwrap();
        assert!(one.title.contains(title), "{one:?}");
        assert_eq!(loaded.warnings.count(Severity::Error), 0);
        assert!(loaded.warnings.to_string().ends_with("sealock.toml: 1 warning\n"));
    }
}

#[test]
fn routes_are_compared() {
    let two = |first: &str, second: &str| {
        let route = |name: &str, lines: &str| {
            format!(
                "[[route]]\nname = \"{name}\"\nbackend = \"tcp://127.0.0.1:1\"\nframing = \"raw\"\n{lines}\n"
            )
        };
        format!("{LISTENER}{}{}", route("a", first), route("b", second))
    };
    for (first, second, marked) in [
        ("path = \"/a\"", "path = \"/a\"", "\"/a\""),
        ("path = \"/a\"", "path = \"/a\"\nhosts = [\"*\"]", "\"*\""),
        (
            "path = \"/a/*\"\nhosts = [\"x.y\", \"z\"]",
            "path = \"/a/*\"\nhosts = [\"q\", \"Z\"]",
            "\"Z\"",
        ),
    ] {
        let (place, one) = only(&two(first, second));
        assert_eq!((place.as_str(), one.labels.len()), (marked, 2), "{one:?}");
        assert_eq!(one.title, "two routes have the same host and path");
    }
    for (first, second) in [
        ("path = \"/a\"", "path = \"/a/*\""),
        ("path = \"/a\"", "path = \"/a\"\nhosts = [\"x\"]"),
        (
            "path = \"/a\"\nhosts = [\"*.x\"]",
            "path = \"/a\"\nhosts = [\"y.x\"]",
        ),
    ] {
        assert_eq!(good(&two(first, second)).routes.len(), 2);
    }
    let same = two("path = \"/a\"", "path = \"/b\"").replace("\"b\"", "\"a\"");
    problem(&same, "\"a\"", "two routes have the same name", "change one");
}

#[test]
fn subprotocols_have_their_own_mistakes() {
    let table = |lines: &str| format!("framing = \"lines\"\n[[route.subprotocol]]\n{lines}");
    for (lines, marked, title, help) in [
        (
            table("framing = \"raw\""),
            "[[route.subprotocol]]",
            "a subprotocol needs `name`",
            "name = \"text.ircv3.net\"",
        ),
        (table("name = \"a b\""), "\"a b\"", "no spaces", "letters"),
        (
            table("name = \"a\"\nframing = \"x\""),
            "\"x\"",
            "no such preset",
            "",
        ),
        (
            table("name = \"a\"\norigins = \"*\""),
            "origins",
            "is not a key of [[route.subprotocol]]",
            "[[route]] or [defaults]",
        ),
        (
            table("name = \"a\"\nframing = \"u8\"\nembedded_delimiter = \"split\""),
            "\"split\"",
            "has no meaning here",
            "remove this line",
        ),
        (
            table("name = \"a\"\n[[route.subprotocol]]\nname = \"a\""),
            "\"a\"",
            "two subprotocols of a route have the same name",
            "remove one",
        ),
        (
            format!("subprotocols = [\"a\"]\n{}", table("name = \"a\"")),
            "\"a\"",
            "with a table of its own is not listed",
            "remove it from `subprotocols`",
        ),
        (
            "framing = \"lines\"\nsubprotocol = \"a\"".to_owned(),
            "\"a\"",
            "there may be several of `subprotocol`",
            "[[route.subprotocol]]",
        ),
    ] {
        route_problem(&lines, marked, title, help);
    }
    // What a subprotocol has from its route is told once.
    route_problem(
        "framing = \"lsp\"\nembedded_delimiter = \"reject\"\n[[route.subprotocol]]\nname = \"a\"",
        "\"reject\"",
        "no meaning",
        "remove this line",
    );
    route_problem(
        &format!(
            "empty = \"skip\"\nhalf_close = \"empty-message\"\n{}",
            table("name = \"a\"")
        ),
        "\"empty-message\"",
        "cannot both",
        "",
    );
}

#[test]
fn a_mistake_in_the_defaults_is_told_once() {
    let route = |name: &str| {
        format!("[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nbackend = \"tcp://127.0.0.1:1\"\n")
    };
    let routes = format!("{LISTENER}{}{}", route("a"), route("b"));
    for (lines, marked, title) in [
        (
            "framing = \"x\"\nembedded_delimiter = \"split\"",
            "\"x\"",
            "no such preset",
        ),
        (
            "framing = \"lines\"\nembedded_delimiter = { replace = \"\\n\" }",
            "{ replace = \"\\n\" }",
            "share a byte",
        ),
        (
            "framing = \"lines\"\nempty = \"skip\"\nhalf_close = \"empty-message\"",
            "\"empty-message\"",
            "cannot both",
        ),
        (
            "framing = { kind = \"fixed\", size = \"2 KiB\" }\nmax_message = \"1 KiB\"",
            "{ kind = \"fixed\", size = \"2 KiB\" }",
            "over `max_message`",
        ),
    ] {
        problem(&format!("{routes}[defaults]\n{lines}"), marked, title, "");
    }
}

#[test]
fn tables_have_the_right_brackets() {
    let listener = LISTENER.replace("[[listener]]", "[listener]");
    let rest = format!("{ROUTE}framing = \"raw\"\n");
    problem(
        &format!("{listener}{rest}"),
        "[listener]",
        "several of `listener`",
        "[[listener]], in double",
    );
    problem(
        &format!("{LISTENER}[route.irc]\npath = \"/a\""),
        "route",
        "several of `route`",
        "name = ",
    );
    problem(
        &format!("route = 3\n{LISTENER}"),
        "3",
        "several of `route`",
        "[[route]]",
    );
    problem(
        &format!("limits = 3\n{LISTENER}{rest}"),
        "3",
        "`limits` is a table",
        "[limits]",
    );
    // Written twice is the parser's to find.
    let (marked, one) = only(&format!("{listener}{LISTENER}{rest}"));
    assert_eq!((marked.as_str(), one.labels.len()), ("listener", 2));
    assert!(
        one.help[0].contains("[[listener]], in double brackets"),
        "{one:?}"
    );
}

#[test]
fn syntax_errors_are_all_told_and_mislead_to_no_others() {
    let source = format!(
        "shutdown_timeout = 30s\n{LISTENER}max_head = 9\nport = 1\n[limits]\nx = 1 2\n[[route]\npath = 1\n"
    );
    let problems = bad(&source);
    let titles: Vec<&str> = problems.iter().map(|one| one.title.as_str()).collect();
    assert_eq!(
        titles,
        [
            "a string stands in quotes",
            "`max_head` needs a unit",
            "a string stands in quotes",
            "not valid TOML: unclosed array table",
        ]
    );
    assert!(
        problems
            .to_string()
            .ends_with("there may be more to say once the syntax is right\n")
    );
    problem("a = True", "True", "cannot be read", "write true");
    let (marked, one) = only("[a]\nb = 1\nb  = 2\n");
    assert_eq!((marked.as_str(), &one.labels[1].0), ("b", &(4..5)));
}

#[test]
fn problems_point_into_files_of_every_shape() {
    let source = route_with("framing = \"raw\" # ümläut 表表\n\tlinger = 5").replace('\n', "\r\n");
    let said = bad(&source).to_string();
    assert!(said.contains("linger = 5\n"), "{said}");
    let bom = format!("\u{feff}{}", route_with("framing = \"raw\"\nlinger = 5"));
    assert!(bad(&bom).to_string().contains("needs a unit"));
    let long = route_with(&format!("framing = \"{}\"", "x".repeat(10_000)));
    assert!(bad(&long).to_string().contains("no such preset"));
    let deep = format!("x = {}", "[".repeat(100_000));
    assert!(bad(&deep).count(Severity::Error) > 0);
    let dotted = format!("{}x = 1", "a.".repeat(100_000));
    assert!(bad(&dotted).count(Severity::Error) > 0);
    let escape = route_with("framing = \"raw\"\n\"\\u001b[31mred\" = 1");
    assert!(!bad(&escape).to_string().contains('\u{1b}'));
    let many: String = (0..300).fold(String::new(), |mut text, at| {
        writeln!(text, "key{at} = 1").unwrap();
        text
    });
    assert!(
        bad(&many)
            .to_string()
            .ends_with("302 errors, the first 100 shown\n")
    );
}

#[test]
fn colours_are_only_for_terminals() {
    let problems = bad("x = 1");
    assert!(!problems.render(false).contains('\u{1b}'));
    assert!(problems.render(true).contains('\u{1b}'));
}

#[test]
fn files_are_read_with_their_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sealock.toml");
    let said = |path: &Path| load(path).unwrap_err().to_string();
    assert!(said(&path).starts_with("error: the file cannot be read: "));
    assert!(said(folder.path()).starts_with("error: the file cannot be read: "));

    let listener = "[[listener]]\nbind = \"127.0.0.1:0\"\ncert_file = \"c.pem\"\nkey_file = \"k.pem\"\n";
    std::fs::write(&path, format!("{listener}{ROUTE}framing = \"raw\"")).unwrap();
    let loaded = load(&path).unwrap();
    let Tls::On(certificate) = &loaded.config.listeners[0].tls else {
        panic!("TLS should be on");
    };
    assert_eq!(certificate.cert_file, folder.path().join("c.pem"));

    std::fs::write(&path, b"a = 1\nb = \"\xff\"\n").unwrap();
    assert!(said(&path).contains("sealock.toml:2:6"), "{}", said(&path));
    std::fs::write(&path, vec![b'#'; 5 << 20]).unwrap();
    assert!(said(&path).contains("more than 4 MiB"));
}
