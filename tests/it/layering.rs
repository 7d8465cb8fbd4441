//! Reads the sources: who may know whom, how large a room is, and what must not be written anywhere.
//!
//! Only what runs in the program counts: tests and comments are taken out first. The reader is small, not a parser of Rust; it relies
//! on the shape that rustfmt gives.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Modules that know no runtime, clock, log or I/O.
const PURE: &[&str] = &[
    "admin::history",
    "advice",
    "backend::balance",
    "backend::exchange",
    "backend::health",
    "backend::places",
    "bridge::counters",
    "bridge::delivery",
    "bridge::downlink",
    "bridge::lifecycle",
    "bridge::settings",
    "bridge::uplink",
    "charset",
    "close",
    "escape",
    "framing",
    "message",
    "outbox",
    "rate",
    "reload::watch",
    "route",
    "top::head",
    "top::keys",
    "top::line",
    "top::model",
    "top::screen",
    "top::table",
    "top::text",
    "top::view",
    "units",
    "utf8",
    "websocket",
];

/// What a pure module may use of the rest besides other pure modules: `bridge` gives its pure parts under its own name.
const PURE_TOO: &[&str] = &["addr::normalize_host", "bridge"];
/// The parts of `bridge` that are not.
const NOT_PURE: &[&str] = &["bridge::pump", "bridge::run", "bridge::refuse", "bridge::Ended"];
/// The crates that a pure module may use: they compute.
const PURE_CRATES: &[&str] = &[
    "bytes",
    "encoding_rs",
    "fastrand",
    "jiff",
    "memchr",
    "serde_json",
    "simdutf8",
    "thiserror",
    "unicode_width",
];
/// The parts of `std` that it may not.
const OUTSIDE: &[&str] = &["env", "fs", "io", "net", "os", "process", "thread"];

/// The path of a connection. None of these knows another, nor those who know them.
const STAGES: &[&str] = &["accept", "tls", "upgrade", "route", "backend", "bridge"];
const ABOVE: &[&str] = &[
    "app", "cli", "config", "decode", "demo", "probe", "session", "top",
];

/// Crates, and the only modules that use them.
const HOMES: &[(&[&str], &[&str])] = &[
    (&["rustls", "rustls_native_certs", "tokio_rustls"], &["tls"]),
    (
        &["http_body_util", "hyper", "hyper_util"],
        &["admin", "top::client", "upgrade"],
    ),
    (&["proxy_header"], &["accept::proxy", "backend::proxy"]),
    (&["tokio_tungstenite", "tungstenite"], &["probe", "upgrade"]),
];

const MOST_LINES: usize = 500;

/// What only a defect reaches.
const PANICS: &[&str] = &["dbg!(", "todo!(", "unimplemented!(", ".unwrap()", ".expect("];

/// What tells of a machine that nobody else has, in two parts so that this file does not hold it.
const MACHINE: &[[&str; 2]] = &[
    ["/wo", "rk/"],
    ["/ro", "ot/"],
    ["/tmp/", "wt"],
    ["sparse", "+http"],
    ["index", "-url"],
    ["artif", "actory"],
];

/// A module of the program.
struct Source {
    /// As in `bridge::pump`; empty for the root.
    module: String,
    /// How many lines it has without its tests.
    lines: usize,
    /// Without tests and comments.
    code: String,
    /// Every path that stands in it, `use` and `super` resolved.
    paths: Vec<String>,
}

impl Source {
    fn read(file: &str, text: &str) -> Self {
        let (text, _) = split_tests(text);
        let code = uncommented(&text);
        let module = module_of(file);
        let own: Vec<&str> = code.lines().filter_map(own_module).collect();
        let paths = paths(&code)
            .into_iter()
            .map(|path| match own.contains(&first(&path)) {
                true => resolve(&module, &format!("self::{path}")),
                false => resolve(&module, &path),
            })
            .collect();
        Self {
            module,
            lines: text.lines().count(),
            code,
            paths,
        }
    }

    fn is_in(&self, modules: &[&str]) -> bool {
        modules.iter().any(|module| is_under(&self.module, module))
    }

    fn stage(&self) -> &str {
        first(&self.module)
    }
}

fn first(path: &str) -> &str {
    path.split("::").next().unwrap_or_default()
}

/// The module that a line declares: its name means this one, whatever the root has.
fn own_module(line: &str) -> Option<&str> {
    line.strip_prefix("mod ")?.strip_suffix(';')
}

fn is_under(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn module_of(file: &str) -> String {
    let bare = file
        .trim_end_matches(".rs")
        .trim_end_matches("mod")
        .trim_end_matches('/');
    if matches!(bare, "lib" | "main") {
        String::new()
    } else {
        bare.replace('/', "::")
    }
}

/// Takes the test modules out of a file; the second result names those that are files of their own.
fn split_tests(text: &str) -> (String, Vec<String>) {
    let (mut kept, mut files) = (String::new(), Vec::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let next = lines.peek().copied().unwrap_or_default();
        let module = next.strip_prefix("mod ").filter(|_| line == "#[cfg(test)]");
        match module {
            Some(module) if module.ends_with('{') => while lines.next().is_some_and(|line| line != "}") {},
            Some(module) => {
                files.push(module.trim_end_matches(';').to_owned());
                lines.next();
            }
            None => {
                kept += line;
                kept.push('\n');
            }
        }
    }
    (kept, files)
}

fn uncommented(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines
        .map(|line| line.split(" // ").next().unwrap_or_default().to_owned() + "\n")
        .collect()
}

/// Every path in the code: those of `use`, one for each leaf, and those written out where they are used.
fn paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for statement in code.split_inclusive(';') {
        let start = statement.lines().position(|line| {
            let line = line.trim_start();
            line.starts_with("use ")
                || line.starts_with("pub use ")
                || (line.starts_with("pub(") && line.contains(") use "))
        });
        let Some(start) = start else {
            paths.extend(written_out(statement));
            continue;
        };
        let before: Vec<&str> = statement.lines().take(start).collect();
        paths.extend(written_out(&before.join("\n")));
        let whole: Vec<&str> = statement.lines().skip(start).collect();
        let whole = whole.join(" ");
        let tree = whole
            .split_once("use ")
            .map_or("", |(_, tree)| tree)
            .trim_end_matches(';');
        leaves("", tree, &mut paths);
    }
    paths
}

fn written_out(code: &str) -> Vec<String> {
    let in_path = |c: char| c == ':' || c == '_' || c.is_ascii_alphanumeric();
    code.split(|c| !in_path(c))
        .map(|word| word.trim_matches(':'))
        .filter(|word| word.contains("::"))
        .map(str::to_owned)
        .collect()
}

/// The leaves of a `use` tree.
fn leaves(prefix: &str, tree: &str, into: &mut Vec<String>) {
    let tree = tree.trim();
    if let Some((before, inside)) = tree.split_once('{') {
        let inside = inside.trim_end().trim_end_matches('}');
        let (mut depth, mut start) = (0, 0);
        for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    leaves(&format!("{prefix}{before}"), &closed(&inside[start..at]), into);
                    start = at + 1;
                }
                _ => {}
            }
        }
    } else if !tree.is_empty() {
        let name = tree.split(" as ").next().unwrap_or_default();
        into.push(format!("{prefix}{name}").trim_end_matches("::self").to_owned());
    }
}

/// Gives a piece of a tree the braces back that were trimmed off its end.
fn closed(piece: &str) -> String {
    let missing = piece
        .matches('{')
        .count()
        .saturating_sub(piece.matches('}').count());
    piece.to_owned() + &"}".repeat(missing)
}

/// What a path of a module means from the root; `crate::` itself is left out.
fn resolve(module: &str, path: &str) -> String {
    if let Some(path) = path.strip_prefix("crate::") {
        return path.to_owned();
    }
    let mut here: Vec<&str> = module.split("::").collect();
    let mut rest = path.strip_prefix("self::").unwrap_or(path);
    let relative = rest != path || rest.starts_with("super::");
    while let Some(behind) = rest.strip_prefix("super::") {
        here.pop();
        rest = behind;
    }
    if !relative {
        return path.to_owned();
    }
    here.push(rest);
    here.join("::").trim_start_matches(':').to_owned()
}

type Rule = fn(&Source) -> Vec<String>;

const RULES: &[Rule] = &[
    pure_modules_compute,
    stages_do_not_know_each_other,
    crates_have_homes,
    rooms_are_small,
    nothing_panics,
];

fn pure_modules_compute(source: &Source) -> Vec<String> {
    if !source.is_in(PURE) {
        return Vec::new();
    }
    let crates = dependencies();
    let ours = program_modules();
    let breaks = |path: &&String| {
        let top = first(path);
        let clock = path.ends_with("Instant::now") || path.contains("SystemTime");
        let outside = OUTSIDE.iter().any(|part| is_under(path, &format!("std::{part}")));
        let foreign = crates.iter().any(|known| known == top) && !PURE_CRATES.contains(&top);
        let pure = PURE.iter().chain(PURE_TOO).any(|module| is_under(path, module))
            && !NOT_PURE.iter().any(|module| is_under(path, module));
        clock || outside || foreign || (ours.contains(&top.to_owned()) && !pure)
    };
    let found = source.paths.iter().filter(breaks);
    found.map(|path| format!("is pure, and uses {path}")).collect()
}

fn stages_do_not_know_each_other(source: &Source) -> Vec<String> {
    let stage = source.stage();
    if !STAGES.contains(&stage) {
        return Vec::new();
    }
    let other = |path: &&String| {
        let top = first(path);
        top != stage && (STAGES.contains(&top) || ABOVE.contains(&top))
    };
    source
        .paths
        .iter()
        .filter(other)
        .map(|path| format!("is a stage, and uses {path}"))
        .collect()
}

fn crates_have_homes(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (crates, homes) in HOMES {
        let used = source.paths.iter().filter(|path| crates.contains(&first(path)));
        found.extend(
            used.filter(|_| !source.is_in(homes))
                .map(|path| format!("uses {path}, as only {homes:?} may")),
        );
    }
    found
}

fn rooms_are_small(source: &Source) -> Vec<String> {
    let too_large = source.lines > MOST_LINES;
    too_large
        .then(|| format!("has {} lines without its tests", source.lines))
        .into_iter()
        .collect()
}

fn nothing_panics(source: &Source) -> Vec<String> {
    let used = PANICS.iter().filter(|panic| source.code.contains(*panic));
    used.map(|panic| format!("holds {panic}")).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names in `[dependencies]`, as code writes them.
fn dependencies() -> Vec<String> {
    let manifest = include_str!("../../Cargo.toml");
    let section = manifest
        .split("\n[")
        .find(|section| section.starts_with("dependencies]"))
        .unwrap();
    let names = section.lines().filter_map(|line| line.split_once(" = "));
    names.map(|(name, _)| name.replace('-', "_")).collect()
}

/// The modules at the root of the library.
fn program_modules() -> Vec<String> {
    let library = include_str!("../../src/lib.rs");
    let names = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    names.map(str::to_owned).collect()
}

fn files(folder: &Path, into: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path
                .strip_prefix(root().join("src"))
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            into.insert(name, std::fs::read_to_string(path).unwrap());
        }
    }
}

/// The modules of the program: without files that are tests.
fn program(files: &BTreeMap<String, String>) -> Vec<Source> {
    let tests: Vec<String> = files
        .iter()
        .flat_map(|(file, text)| {
            let module = module_of(file);
            split_tests(text)
                .1
                .into_iter()
                .map(move |test| format!("{module}::{test}").trim_matches(':').to_owned())
        })
        .collect();
    let sources = files.iter().map(|(file, text)| Source::read(file, text));
    sources
        .filter(|source| !tests.iter().any(|test| is_under(&source.module, test)))
        .collect()
}

fn findings(sources: &[Source]) -> Vec<String> {
    let of = |source: &Source| -> Vec<String> {
        let found = RULES.iter().flat_map(|rule| rule(source));
        found
            .map(|finding| format!("{} {finding}", source.module))
            .collect()
    };
    sources.iter().flat_map(of).collect()
}

fn tells_of_a_machine(text: &str) -> Option<String> {
    MACHINE
        .iter()
        .map(|parts| parts.concat())
        .find(|word| text.contains(word))
}

#[test]
fn the_sources_keep_the_rules() {
    let mut all = BTreeMap::new();
    files(&root().join("src"), &mut all);
    let sources = program(&all);
    // Everything was found and read: else nothing would be proved.
    for module in PURE.iter().chain(STAGES) {
        assert!(
            sources.iter().any(|source| is_under(&source.module, module)),
            "there is no {module}"
        );
    }
    assert!(
        sources
            .iter()
            .all(|source| !source.module.contains("tests") && !source.module.contains("simulation"))
    );
    assert!(sources.iter().map(|source| source.paths.len()).sum::<usize>() > 1000);
    let findings = findings(&sources);
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn no_file_tells_of_the_machine_it_was_written_on() {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output();
    // A source archive has no history; what is in it was in one.
    let Some(listed) = listed.ok().filter(|output| output.status.success()) else {
        return;
    };
    let listed = String::from_utf8(listed.stdout).unwrap();
    let mut read = 0;
    for name in listed
        .split_terminator('\0')
        .filter(|name| !name.ends_with("Cargo.lock"))
    {
        // Removed, and not yet committed.
        let Ok(bytes) = std::fs::read(root().join(name)) else {
            continue;
        };
        read += 1;
        assert_eq!(
            tells_of_a_machine(&String::from_utf8_lossy(&bytes)),
            None,
            "{name}"
        );
    }
    assert!(read > 50);
}

/// The findings for one made-up file.
fn check(file: &str, text: &str) -> Vec<String> {
    findings(&program(&BTreeMap::from([(file.to_owned(), text.to_owned())])))
}

#[test]
fn each_rule_can_be_broken() {
    let long = "let x = 1;\n".repeat(MOST_LINES + 1);
    for (file, text, finding) in [
        (
            "outbox.rs",
            "use tokio::io::AsyncRead;\n",
            "outbox is pure, and uses tokio::io::AsyncRead",
        ),
        (
            "framing/raw.rs",
            "fn f() { tracing::info!(\"x\") }\n",
            "framing::raw is pure, and uses tracing::info",
        ),
        (
            "framing/raw.rs",
            "use std::{fmt, fs};\n",
            "framing::raw is pure, and uses std::fs",
        ),
        (
            "close.rs",
            "use crate::{\n    units,\n    websocket::{self, CloseCode},\n    telemetry::log_session,\n};\n",
            "close is pure, and uses telemetry::log_session",
        ),
        (
            "bridge/uplink.rs",
            "use super::pump::run;\n",
            "bridge::uplink is pure, and uses bridge::pump::run",
        ),
        (
            "bridge/lifecycle.rs",
            "let now = Instant::now();\n",
            "bridge::lifecycle is pure, and uses Instant::now",
        ),
        (
            "bridge/lifecycle.rs",
            "use std::time::{Duration, SystemTime};\n",
            "bridge::lifecycle is pure, and uses std::time::SystemTime",
        ),
        (
            "route/mod.rs",
            "use crate::addr::tune;\n",
            "route is pure, and uses addr::tune",
        ),
        (
            "websocket/decode.rs",
            "let x: std::net::SocketAddr;\n",
            "websocket::decode is pure, and uses std::net::SocketAddr",
        ),
        (
            "accept/mod.rs",
            "use crate::tls;\n",
            "accept is a stage, and uses tls",
        ),
        (
            "tls/mod.rs",
            "use super::upgrade::Page;\n",
            "tls is a stage, and uses upgrade::Page",
        ),
        (
            "tls/client.rs",
            "use super::super::backend::Stream;\n",
            "tls::client is a stage, and uses backend::Stream",
        ),
        (
            "upgrade/serve.rs",
            "use crate::config::Route;\n",
            "upgrade::serve is a stage, and uses config::Route",
        ),
        (
            "backend/dial.rs",
            "fn f() -> crate::session::Port {}\n",
            "backend::dial is a stage, and uses session::Port",
        ),
        (
            "bridge/pump.rs",
            "use crate::upgrade::Upgraded;\n",
            "bridge::pump is a stage, and uses upgrade::Upgraded",
        ),
        (
            "cli.rs",
            "pub(crate) use rustls::ServerConfig;\n",
            "cli uses rustls::ServerConfig, as only [\"tls\"] may",
        ),
        (
            "app.rs",
            "fn f(x: tokio_rustls::Accept) {}\n",
            "app uses tokio_rustls::Accept, as only [\"tls\"] may",
        ),
        (
            "session.rs",
            "use hyper::{Method};\n",
            "session uses hyper::Method, as only [\"admin\", \"top::client\", \"upgrade\"] may",
        ),
        (
            "demo/mod.rs",
            "use tokio_tungstenite::tungstenite;\n",
            "demo uses tokio_tungstenite::tungstenite, as only [\"probe\", \"upgrade\"] may",
        ),
        ("app.rs", &long, "app has 501 lines without its tests"),
        ("app.rs", "let x = y.unwrap();\n", "app holds .unwrap()"),
        (
            "app.rs",
            "let x = y\n    .expect(\"there\");\n",
            "app holds .expect(",
        ),
        ("app.rs", "fn f() { todo!() }\n", "app holds todo!("),
        (
            "app.rs",
            "fn f() { unimplemented!(\"later\") }\n",
            "app holds unimplemented!(",
        ),
        (
            "app.rs",
            "#[cfg(test)]\nmod tests {\n    use x;\n}\n\nfn f() { dbg!(1) }\n",
            "app holds dbg!(",
        ),
    ] {
        assert_eq!(check(file, text), [finding]);
    }
    for parts in MACHINE {
        assert!(tells_of_a_machine(&format!("see {}here", parts.concat())).is_some());
    }
}

#[test]
fn what_is_allowed_is_not_found() {
    for (file, text) in [
        (
            "tls/mod.rs",
            "use rustls::ServerConfig;\nuse crate::close::CloseReason;\n",
        ),
        (
            "upgrade/serve.rs",
            "use hyper::{Method, Version};\nuse super::handshake;\n",
        ),
        ("probe.rs", "use tokio_tungstenite::tungstenite::Message;\n"),
        (
            "websocket/mod.rs",
            "mod session;\n\npub use session::Violation;\n",
        ),
        (
            "route/pattern.rs",
            "use crate::addr::normalize_host;\nuse std::time::{Duration, Instant};\n",
        ),
        (
            "bridge/downlink.rs",
            "use super::{Counters, Settings};\nuse crate::framing::Framing;\n",
        ),
        ("bridge/pump.rs", "let now = tokio::time::Instant::now();\n"),
        (
            "framing/mod.rs",
            "// tokio::io would be wrong here, as would .unwrap()\nlet x = 1; // std::fs\n",
        ),
        (
            "framing/mod.rs",
            "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use tokio::time;\n    fn g() { x.unwrap() }\n}\n",
        ),
        ("app.rs", "let x = y.unwrap_or_default();\n"),
    ] {
        assert_eq!(check(file, text), Vec::<String>::new(), "{file}: {text}");
    }
    let with_tests = BTreeMap::from([
        (
            "framing/mod.rs".to_owned(),
            "mod raw;\n#[cfg(test)]\nmod tests;\n\nuse crate::message::Part;\n".to_owned(),
        ),
        ("framing/tests.rs".to_owned(), "use tokio::time;\n".to_owned()),
        (
            "framing/tests/deep.rs".to_owned(),
            "fn f() { todo!() }\n".to_owned(),
        ),
    ]);
    assert_eq!(findings(&program(&with_tests)), Vec::<String>::new());
}
