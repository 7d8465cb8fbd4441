//! The console: what it asks for, over plain sockets; and the page itself, in a browser, as an operator uses it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::{
    BINARY, Backend, Chromium, Client, Program, Refusal, Request, Scene, TEXT, Tab, answer, connect,
    free_address, soon, write,
};

/// A browser takes its time on a busy machine, and these clients answer no ping while they wait for it.
const ADMIN: &str = "[defaults]\nping_interval = \"1h\"\n[admin]\nbind = \"127.0.0.1:0\"\n";
const TOKEN: &str = "correct-horse-battery-staple";
const ROUTE: &str = "framing = \"u32be\"\nlinger = \"10ms\"";

/// Sends a request with these header lines to the admin listener, and gives the answer.
async fn ask(scene: &Scene, line: &str, headers: &str) -> Refusal {
    let mut stream = connect(scene.program.admin.unwrap()).await;
    let request = format!("{line} HTTP/1.1\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    match answer(Box::new(stream)).await {
        Ok(_) => panic!("nothing is upgraded here"),
        Err(answer) => answer,
    }
}

async fn get(scene: &Scene, path: &str, status: u16) -> Value {
    let answer = ask(scene, &format!("GET {path}"), "Host: localhost\r\n").await;
    assert_eq!(answer.status, status, "{path}: {answer:?}");
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.body))
}

#[tokio::test]
async fn its_files_are_served_to_everybody_under_a_strict_policy_and_figures_are_not() {
    let scene = Scene::start_with(&format!("{ADMIN}token = \"{TOKEN}\"\n"), ROUTE).await;
    let files = [
        ("/console/", "text/html; charset=utf-8", "<!doctype html>"),
        ("/console/console.css", "text/css; charset=utf-8", "/*"),
        ("/console/console.js", "text/javascript; charset=utf-8", "//"),
        ("/console/icon.svg", "image/svg+xml", "<svg"),
    ];
    for (path, kind, begins) in files {
        let file = ask(&scene, &format!("GET {path}"), "Host: localhost\r\n").await;
        assert_eq!(
            (file.status, file.header("content-type")),
            (200, Some(kind)),
            "{path}"
        );
        assert!(file.body.starts_with(begins), "{path}");
        let policy = file.header("content-security-policy").unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self';",
            "style-src 'self';",
            "connect-src 'self';",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(file.header(name), Some(value), "{path}");
        }
        let head = ask(&scene, &format!("HEAD {path}"), "Host: localhost\r\n").await;
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        let post = ask(&scene, &format!("POST {path}"), "Host: localhost\r\n").await;
        assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
        let other = ask(&scene, &format!("GET {path}"), "Host: rebound.example\r\n").await;
        assert_eq!(other.status, 421);
    }
    for path in ["/", "/console"] {
        let front = ask(&scene, &format!("GET {path}"), "Host: localhost\r\n").await;
        assert_eq!((front.status, front.header("location")), (303, Some("/console/")));
        assert_eq!(
            ask(&scene, &format!("GET {path}"), "Host: x.example\r\n")
                .await
                .status,
            421
        );
    }
    let token = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n");
    for path in [
        "/api/v1/history",
        "/api/v1/ends",
        "/api/v1/config",
        "/console/nothing",
    ] {
        let denied = ask(&scene, &format!("GET {path}"), "Host: localhost\r\n").await;
        assert_eq!(
            (denied.status, denied.header("www-authenticate")),
            (401, Some("Bearer")),
            "{path}"
        );
        let known = ask(&scene, &format!("GET {path}"), &token).await;
        assert_eq!(
            known.status,
            if path.ends_with("nothing") { 404 } else { 200 },
            "{path}"
        );
        let policy = known.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; frame-ancestors 'none'"),
            "{policy}"
        );
        let other = ask(
            &scene,
            &format!("GET {path}"),
            &token.replace("localhost", "x.example"),
        )
        .await;
        assert_eq!(other.status, 421, "{path}");
        let post = ask(&scene, &format!("POST {path}"), &token).await;
        assert_eq!(
            post.status,
            known.status.max(405 * u16::from(known.status == 200)),
            "{path}"
        );
    }
    for path in [
        "/api/v1/history?x=1",
        "/api/v1/config?x=1",
        "/api/v1/ends?after=1",
        "/api/v1/ends?refusals_after=x",
    ] {
        assert_eq!(
            ask(&scene, &format!("GET {path}"), &token).await.status,
            400,
            "{path}"
        );
    }
    scene.done().await;
}

#[tokio::test]
async fn the_last_ends_are_told_with_what_to_do_about_them() {
    let mut scene = Scene::start_with(ADMIN, ROUTE).await;
    let empty = get(&scene, "/api/v1/ends", 200).await;
    assert_eq!((&empty["sessions"], &empty["refusals"]), (&json!([]), &json!([])));
    let (mut client, mut service) = scene.open().await;
    client.send(BINARY, b"abc").await;
    assert_eq!(crate::support::read(&mut service, 7).await, b"\0\0\0\x03abc");
    client.close(1000, "").await;
    client.expect_close(1000, "").await;
    let record = scene.ended("client_closed", json!({})).await;
    let refused = Request::get("/nowhere").plain(scene.program.plain).await;
    assert_eq!(refused.err().unwrap().status, 404);
    scene.ended("not_found", json!({})).await;

    let told = get(&scene, "/api/v1/ends", 200).await;
    let (end, refusal) = (&told["sessions"][0], &told["refusals"][0]);
    for (name, value) in [
        ("number", json!(1)),
        ("id", record["span"]["id"].clone()),
        ("client", record["client"].clone()),
        ("route", json!("test")),
        ("backend", json!(scene.backend.address.to_string())),
        ("cause", json!("client_closed")),
        ("text", json!("closed by client")),
        ("code", json!(1000)),
        ("status", Value::Null),
        ("bytes_up", json!(3)),
        ("bytes_down", json!(0)),
    ] {
        assert_eq!(end[name], value, "{name} in {end}");
    }
    assert!(
        end["seconds"].as_f64().unwrap() > 0.0 && end["time"].is_string(),
        "{end}"
    );
    assert_eq!(
        (&refusal["cause"], &refusal["status"]),
        (&"not_found".into(), &404.into()),
        "{refusal}"
    );
    assert_eq!((&refusal["id"], &refusal["route"]), (&Value::Null, &Value::Null));
    for (cause, orderly) in [
        ("client_closed", true),
        ("operator", true),
        ("client_gone", false),
        ("not_found", false),
    ] {
        assert_eq!(told["causes"][cause]["orderly"], orderly, "{cause}");
    }
    assert_eq!(told["causes"]["not_found"]["level"], "info");
    let advice = told["causes"]["not_found"]["advice"].as_str().unwrap();
    assert!(advice.contains("`path` of the routes"), "{advice}");
    let news = get(&scene, "/api/v1/ends?sessions_after=1&refusals_after=0", 200).await;
    assert_eq!((&news["sessions"], &news["refusals"][0]), (&json!([]), refusal));
    scene.done().await;
}

#[tokio::test]
async fn the_history_grows_and_names_the_routes() {
    let scene = Scene::start_with(ADMIN, ROUTE).await;
    let first = get(&scene, "/api/v1/history", 200).await;
    assert_eq!(first["interval_seconds"], 10);
    let (_client, _service) = scene.open().await;
    let history = soon("a second sample", async {
        loop {
            let history = get(&scene, "/api/v1/history", 200).await;
            if history["at"].as_array().unwrap().len() > 1 {
                return history;
            }
            // It is ten seconds away.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert_eq!(
        history["sessions"].as_array().unwrap().last(),
        Some(&json!(2)),
        "{history}"
    );
    // The neighbour has exchanged a message when its scene began.
    let sum = |name: &str| {
        let column = history[name].as_array().unwrap();
        column.iter().map(|one| one.as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((sum("messages_up"), sum("messages_down")), (1, 1), "{history}");
    assert_eq!(sum("bytes_up"), sum("bytes_down"));
    let names = [0, 1].map(|at| history["routes"][at]["name"].clone());
    assert_eq!(names, [json!("neighbour"), json!("test")]);
    assert_eq!(history["routes"][1]["sessions"][1], 1);
    for column in [
        "at",
        "passed_seconds",
        "buffer_bytes",
        "orderly_ends",
        "other_ends",
        "refusals",
    ] {
        assert_eq!(history[column].as_array().unwrap().len(), 2, "{column}");
    }
}

#[tokio::test]
async fn the_configuration_is_told_without_its_secrets() {
    let top = format!("# token = \"commented-out-secret\"\n{ADMIN}token = \"{TOKEN}\" # not {TOKEN}\n");
    let scene = Scene::start_with(&top, ROUTE).await;
    let headers = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n");
    let answer = ask(&scene, "GET /api/v1/config", &headers).await;
    let told: Value = serde_json::from_str(&answer.body).unwrap();
    let text = told["text"].as_str().unwrap();
    assert!(text.contains("token = \"<masked>\" # not <masked>\n"), "{text}");
    assert!(text.contains("[[route]]\nname = \"test\""), "{text}");
    assert!(
        !answer.body.contains("secret\\\"") && !answer.body.contains(TOKEN),
        "{text}"
    );
    assert_eq!(told["generation"], 0);
    assert!(told["name"].as_str().unwrap().ends_with("sealock.toml"));
}

/// The console of a scene, in a window of its own.
struct Console {
    tab: Tab,
    _browser: Chromium,
}

impl Console {
    /// Takes a browser that runs already: a scene must not wait for one, and be quiet for too long.
    async fn open(browser: Chromium, scene: &Scene) -> Self {
        let url = format!("http://{}/", scene.program.admin.unwrap());
        let tab = browser.tab(&url).await;
        Self {
            tab,
            _browser: browser,
        }
    }

    async fn live(&self) {
        self.tab.until("document.body.dataset.state === 'live'").await;
    }

    /// Waits for a row that holds these words.
    async fn row(&self, table: &str, words: &str) {
        self.tab.until(&row(table, words)).await;
    }

    async fn focus(&self, selector: &str) {
        self.tab
            .evaluate(&format!("document.querySelector({selector:?}).focus()"))
            .await;
    }

    /// Nothing was wrong so far, and the page is as people need it who do not see it or have no mouse.
    async fn sound(&self) {
        assert_eq!(self.tab.evaluate("problems").await, json!([]));
        assert_eq!(self.tab.evaluate(CHECK).await, json!([]));
    }
}

fn row(table: &str, words: &str) -> String {
    format!(
        "[...document.querySelectorAll('#{table} tbody tr')].some((one) => one.innerText.includes({words:?}))"
    )
}

/// What is missing on a page for those who do not see it.
const CHECK: &str = r##"(() => {
    const missing = [];
    const seen = (node) => node.checkVisibility();
    const all = (selector) => [...document.querySelectorAll(selector)];
    const text = (ids) => (ids ?? "").split(/\s+/).map((id) => document.getElementById(id)?.textContent ?? "").join("");
    const name = (node) => node.getAttribute("aria-label") || text(node.getAttribute("aria-labelledby")) ||
      [...(node.labels ?? [])].map((label) => label.textContent).join("") || node.textContent || node.alt;
    for (const node of all("button, input, select, a, dialog, [role=region], [role=img], [role=search], section").filter(seen)) {
      if (!name(node)?.trim()) missing.push(`no name: ${node.outerHTML.slice(0, 120)}`);
    }
    for (const node of all("button")) if (!node.type) missing.push(`no type: ${node.outerHTML}`);
    if (all("h1").length !== 1) missing.push("not one h1");
    let level = 1;
    for (const node of all("h1, h2, h3, h4").filter(seen)) {
      const own = Number(node.tagName[1]);
      if (own > level + 1) missing.push(`a level is left out before ${node.textContent}`);
      level = own;
    }
    for (const node of all("table")) {
      if (!node.caption?.textContent.trim()) missing.push(`no caption: ${node.id}`);
      for (const head of node.querySelectorAll("th")) if (!head.scope) missing.push(`no scope: ${node.id} ${head.textContent}`);
    }
    for (const node of all("img")) if (!node.hasAttribute("alt")) missing.push("an image without alt");
    for (const landmark of ["header", "nav", "main"]) if (all(landmark).length !== 1) missing.push(`not one ${landmark}`);
    const ids = all("[id]").map((node) => node.id);
    for (const id of new Set(ids.filter((one, at) => ids.indexOf(one) !== at))) missing.push(`twice: #${id}`);
    for (const one of ["aria-labelledby", "aria-describedby", "for"]) {
      for (const node of all(`[${one}]`)) {
        for (const id of node.getAttribute(one).split(/\s+/)) if (!ids.includes(id)) missing.push(`nowhere: #${id}`);
      }
    }
    if (document.documentElement.scrollWidth > innerWidth) missing.push(`as wide as ${document.documentElement.scrollWidth}`);
    return missing;
})()"##;

/// Where a text does not stand out from its ground by 4.5:1.
const CONTRAST: &str = r##"(() => {
    const parse = (color) => { const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number); return { rgb: [r, g, b], a }; };
    const light = (rgb) => {
      const [r, g, b] = rgb.map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (node) => {
      for (let at = node; at; at = at.parentElement) {
        const { rgb, a } = parse(getComputedStyle(at).backgroundColor);
        if (a === 1) return rgb;
      }
      return [255, 255, 255];
    };
    const weak = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let count = 0;
    for (let text; (text = walker.nextNode());) {
      const node = text.parentElement;
      if (!text.data.trim() || !node.checkVisibility() || node.closest("svg, noscript, script")) continue;
      count += 1;
      const [a, b] = [light(parse(getComputedStyle(node).color).rgb), light(ground(node))].sort((a, b) => b - a);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < 4.5) weak.add(`${ratio.toFixed(2)}: ${text.data.trim().slice(0, 40)}`);
    }
    return count > 50 ? [...weak] : [`only ${count} texts`];
})()"##;

#[tokio::test]
async fn an_operator_finds_a_session_closes_it_and_reads_what_became_of_it() {
    let browser = Chromium::start().await;
    let mut scene = Scene::start_with(ADMIN, ROUTE).await;
    let (mut client, _service) = scene.open().await;
    let console = Console::open(browser, &scene).await;
    console.live().await;
    let tab = &console.tab;
    assert_eq!(tab.evaluate("location.pathname").await, "/console/");
    assert_eq!(
        tab.evaluate("document.querySelector('#state').textContent").await,
        "ready"
    );
    console.row("sessions-table", "neighbour").await;
    console
        .row("routes-table", &scene.backend.address.to_string())
        .await;
    console.row("listeners-table", "days left").await;
    console.sound().await;

    // The search leaves the one that was opened; a press on its button asks first.
    console.focus("#search").await;
    tab.write("test").await;
    tab.until("document.querySelectorAll('#sessions-table tbody tr').length === 1")
        .await;
    console.row("sessions-table", "test").await;
    assert_eq!(
        tab.evaluate("document.querySelector('#found').textContent").await,
        "1 of 2 listed"
    );
    console.focus("#sessions-table tbody button").await;
    tab.press("Enter").await;
    tab.until("document.querySelector('#confirm').open").await;
    console.sound().await;
    // The safe answer has the focus. Escape leaves all as it is, and gives the focus back.
    assert_eq!(tab.evaluate("document.activeElement.id").await, "confirm-no");
    tab.press("Escape").await;
    tab.until("!document.querySelector('#confirm').open && document.activeElement.matches('#sessions-table button')")
        .await;
    tab.press("Enter").await;
    tab.until("document.querySelector('#confirm').open").await;
    tab.press("Tab").await;
    assert_eq!(tab.evaluate("document.activeElement.id").await, "confirm-yes");
    tab.press("Enter").await;
    client.expect_close(1001, "ended by an operator").await;
    scene.ended("operator", json!({ "route": "test" })).await;
    tab.until("document.querySelector('#notice-text').textContent.includes('was told to end')")
        .await;
    console.row("ends-table", "ended by an operator").await;
    console.row("causes-table", "somebody ended it by hand").await;
    // The row went with its button; the focus is not lost.
    tab.until("document.querySelector('#no-sessions').checkVisibility()")
        .await;
    assert_eq!(
        tab.evaluate("document.activeElement !== document.body").await,
        true
    );
    console.sound().await;
    scene.done().await;
}

#[tokio::test]
async fn rows_stay_the_same_elements_and_sort_by_what_is_pressed() {
    let browser = Chromium::start().await;
    let scene = Scene::start_with(ADMIN, ROUTE).await;
    let (mut first, mut service) = scene.open().await;
    let console = Console::open(browser, &scene).await;
    console.live().await;
    let tab = &console.tab;
    console.focus("#sessions-table tbody tr:last-child button").await;
    tab.evaluate("(() => { const button = document.activeElement; globalThis.kept = button; })()")
        .await;
    let (_second, _service) = scene.open().await;
    tab.until("document.querySelectorAll('#sessions-table tbody tr').length === 3")
        .await;
    assert_eq!(
        tab.evaluate("document.activeElement === kept && kept.isConnected")
            .await,
        true
    );
    // Figures change in place.
    let record = [b"\0\0\x10\0".as_slice(), &[7; 4096]].concat();
    write(&mut service, &record).await;
    first.expect(BINARY, &[7; 4096]).await;
    console.row("sessions-table", "4 KiB").await;
    assert_eq!(tab.evaluate("document.activeElement === kept").await, true);
    for direction in ["descending", "ascending"] {
        tab.click("#sessions-table thead th:nth-child(6) button").await;
        let sorted = format!(
            "document.querySelector('#sessions-table thead th:nth-child(6)').ariaSort === '{direction}'"
        );
        tab.until(&sorted).await;
        assert_eq!(
            tab.evaluate("document.querySelectorAll('[id=sessions-table] [aria-sort]').length")
                .await,
            1
        );
        // The arrow is for the eye only.
        let names = tab.names("button").await;
        for name in ["Client", "Down"] {
            assert!(names.iter().any(|one| one == name), "{name}: {names:?}");
        }
    }
    console.sound().await;
}

#[tokio::test]
async fn what_has_ended_keeps_its_place_under_a_pointer() {
    let browser = Chromium::start().await;
    let scene = Scene::start_with(ADMIN, ROUTE).await;
    let (mut first, _service) = scene.open().await;
    let (_second, _service) = scene.open().await;
    let console = Console::open(browser, &scene).await;
    console.live().await;
    let tab = &console.tab;
    let count = "document.querySelectorAll('#sessions-table tbody tr').length";
    tab.until(&format!("{count} === 3")).await;
    tab.point("#sessions-table tbody tr:last-child button").await;
    tab.until("document.querySelector('#sessions-table tbody tr:last-child button:hover')")
        .await;
    first.close(1000, "").await;
    first.expect_close(1000, "").await;
    tab.until("document.querySelector('#sessions-table tbody tr:nth-child(2).gone button:disabled')")
        .await;
    let there =
        "document.querySelector('#sessions-table tbody tr:nth-child(3) button:enabled:hover') !== null";
    assert_eq!(tab.evaluate(there).await, true);
    console.sound().await;
    // It goes with the pointer, or with a search.
    tab.point("h1").await;
    tab.until(&format!("{count} === 2")).await;
    tab.point("#sessions-table tbody tr:last-child").await;
    console.focus("#search").await;
    tab.write("neighbour").await;
    tab.until(&format!("{count} === 1")).await;
    assert_eq!(tab.evaluate("document.querySelectorAll('.gone').length").await, 0);
}

/// As if sealock were started anew between two looks.
const RESTARTS: &str = r##"(() => {
    const real = globalThis.fetch;
    globalThis.looks = 0;
    globalThis.fetch = async (url, options) => {
      const answer = await real(url, options);
      if (!url.startsWith("/api/v1/status")) return answer;
      globalThis.looks += 1;
      const body = { ...(await answer.json()), started: new Date(1e12 + 1e6 * looks).toISOString() };
      return new Response(JSON.stringify(body));
    };
})()"##;

#[tokio::test]
async fn another_process_has_no_rates_yet() {
    let browser = Chromium::start().await;
    let scene = Scene::start_with(ADMIN, ROUTE).await;
    let tab = browser.tab("about:blank").await;
    tab.before_scripts(RESTARTS).await;
    tab.go(&format!("http://{}/console/", scene.program.admin.unwrap()))
        .await;
    tab.until("looks > 2 && document.querySelector('#routes-table tbody tr')")
        .await;
    for cells in [
        "#sessions-table td:nth-child(5) .first",
        "#routes-table td:nth-child(6) .first",
    ] {
        let rates = format!(
            "[...document.querySelectorAll({cells:?})].map((one) => one.textContent.at(-1)).join('')"
        );
        let rates = tab.evaluate(&rates).await;
        let rates = rates.as_str().unwrap();
        assert_eq!(rates.trim_matches('–'), "", "{cells}");
        assert_ne!(rates, "", "{cells}");
    }
}

/// As if sealock were started anew now.
const RESTART: &str = r##"(() => {
    const real = globalThis.fetch;
    globalThis.looks = 0;
    globalThis.fetch = async (url, options) => {
      if (url.startsWith("/api/v1/status")) globalThis.looks += 1;
      const answer = await real(url, options);
      if (!url.startsWith("/api/v1/status")) return answer;
      return new Response(JSON.stringify({ ...(await answer.json()), started: "2026-01-01T00:00:00Z" }));
    };
})()"##;

#[tokio::test]
async fn what_is_asked_about_a_session_ends_with_its_process() {
    let browser = Chromium::start().await;
    let scene = Scene::start_with(ADMIN, ROUTE).await;
    let console = Console::open(browser, &scene).await;
    console.live().await;
    let tab = &console.tab;
    console.row("sessions-table", "neighbour").await;
    let ask_to_close = async || {
        console.focus("#sessions-table tbody button").await;
        tab.press("Enter").await;
        tab.until("document.querySelector('#confirm').open").await;
    };
    let says = async |text: &str| {
        let says = format!("document.querySelector('#notice-text').textContent.includes({text:?})");
        tab.until(&says).await;
    };
    ask_to_close().await;
    tab.evaluate(RESTART).await;
    tab.until("!document.querySelector('#confirm').open").await;
    says("nothing was done").await;
    // Whoever is faster than the page's next look closes nothing either: the page says which process it means.
    tab.until("looks > 1").await;
    ask_to_close().await;
    tab.click("#confirm-yes").await;
    says("not that of the same session").await;
    let listed = get(&scene, "/api/v1/sessions", 200).await;
    assert_eq!(listed["sessions"][0]["ending"], false);
    // The answer to that, 409, is no defect of the page.
    assert_eq!(tab.evaluate(CHECK).await, json!([]));
    scene.done().await;
}

#[tokio::test]
async fn routes_are_drained_and_a_reload_is_answered() {
    let browser = Chromium::start().await;
    let mut scene = Scene::start_with(&format!("reload_interval = \"off\"\n{ADMIN}"), ROUTE).await;
    let console = Console::open(browser, &scene).await;
    console.live().await;
    let tab = &console.tab;
    let agree = async |button: &str, says: &str| {
        console.focus(button).await;
        tab.press("Enter").await;
        tab.until("document.querySelector('#confirm').open").await;
        tab.press("Tab").await;
        tab.press("Enter").await;
        tab.until(&format!(
            "/{says}/.test(document.querySelector('#notice-text').textContent)"
        ))
        .await;
    };
    agree("[aria-label='Drain route test']", "Draining route test").await;
    console.row("routes-table", "draining").await;
    let refused = Request::get("/test").plain(scene.program.plain).await;
    assert_eq!(refused.err().unwrap().status, 503);
    scene.ended("drain", json!({ "status": 503 })).await;
    console.row("ends-table", "service restarts").await;
    agree("[aria-label='Undrain route test']", "taken again: route test").await;
    tab.until("document.querySelector('[aria-label=\"Drain route test\"]')")
        .await;
    agree("#reload", "Reloaded: configuration 1 is in force").await;
    let file = scene.program.path("sealock.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("max_sesions = 5\n{good}")).unwrap();
    agree("#reload", "`max_sesions` is not a key of the top level").await;
    tab.until("document.querySelector('#warnings').innerText.includes('reload failed')")
        .await;
    tab.until("document.querySelector('#config-problem').innerText.includes('max_sesions')")
        .await;
    std::fs::write(&file, format!("# once more\n{good}")).unwrap();
    agree("#reload", "Reloaded: configuration 2 is in force").await;
    tab.until("!document.querySelector('#warnings').checkVisibility() && !document.querySelector('#config-problem').checkVisibility()")
        .await;
    tab.until("document.querySelector('#config-text').textContent.startsWith('# once more')")
        .await;
    // What is taken back of a route does not take effect while the process is drained.
    let drained = ask(&scene, "POST /-/drain", "Host: localhost\r\n").await;
    assert_eq!(drained.status, 202, "{drained:?}");
    tab.until("document.querySelector('[aria-label=\"Undrain route test\"]')")
        .await;
    agree(
        "[aria-label='Undrain route test']",
        "taken again once the whole process is undrained: route test",
    )
    .await;
    tab.click("#dismiss").await;
    assert_eq!(
        tab.evaluate("document.querySelector('#notice-text').textContent")
            .await,
        ""
    );
    console.sound().await;
}

#[tokio::test]
async fn a_removed_route_is_shown_as_such_and_can_be_drained_and_its_ends_stay() {
    let browser = Chromium::start().await;
    let mut scene = Scene::start_with(&format!("reload_interval = \"off\"\n{ADMIN}"), ROUTE).await;
    let (mut client, _service) = scene.open().await;
    let console = Console::open(browser, &scene).await;
    console.live().await;
    let tab = &console.tab;
    let file = scene.program.path("sealock.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let removed = text.replace("name = \"test\"", "name = \"renamed\"");
    assert_ne!(text, removed);
    std::fs::write(&file, removed).unwrap();
    let done = ask(&scene, "POST /-/reload", "Host: localhost\r\n").await;
    assert_eq!(done.status, 200, "{done:?}");
    console.row("routes-table", "renamed").await;
    tab.until("document.querySelector('[aria-label=\"Drain route test\"]') && document.querySelector('#routes-table').innerText.includes('removed')")
        .await;
    let shown = "[...document.querySelectorAll('#routes-table tbody tr')].find((one) => one.querySelector('[aria-label$=\"route test\"]')).innerText";
    let shown = tab.evaluate(shown).await;
    let shown = shown.as_str().unwrap();
    assert!(
        !shown.contains("null") && !shown.contains("draining") && !shown.contains("Undrain"),
        "{shown}"
    );
    console.sound().await;
    console.focus("[aria-label='Drain route test']").await;
    tab.press("Enter").await;
    tab.until("document.querySelector('#confirm').open && document.querySelector('#confirm-text').textContent.includes('has removed this route')")
        .await;
    tab.press("Tab").await;
    tab.press("Enter").await;
    client.expect_close(1012, "service restarts: connect again").await;
    scene.program.logged("\"cause\":\"drain\"").await;
    // Its row is gone, and how it ended is counted still.
    tab.until("!document.querySelector('#routes-table [aria-label$=\"route test\"]')")
        .await;
    console.row("causes-table", "drain").await;
}

#[tokio::test]
async fn the_token_is_asked_for_and_kept_only_where_that_is_wanted() {
    let browser = Chromium::start().await;
    let scene = Scene::start_with(&format!("{ADMIN}token = \"{TOKEN}\"\n"), ROUTE).await;
    let console = Console::open(browser, &scene).await;
    let tab = &console.tab;
    tab.until("document.body.dataset.state === 'locked' && document.activeElement.id === 'token'")
        .await;
    console.sound().await;
    assert_eq!(
        tab.evaluate("document.querySelector('#figures').checkVisibility()")
            .await,
        false
    );
    tab.write("wrong").await;
    tab.press("Enter").await;
    tab.until("document.querySelector('#token-problem').textContent === 'This is not the token.'")
        .await;
    tab.write(TOKEN).await;
    tab.press("Enter").await;
    console.live().await;
    console.row("sessions-table", "neighbour").await;
    assert_eq!(tab.evaluate("sessionStorage.length").await, 0);
    console.sound().await;
    let url = format!("http://{}/console/", scene.program.admin.unwrap());
    tab.go(&url).await;
    tab.until("document.body.dataset.state === 'locked' && document.activeElement.id === 'token'")
        .await;
    tab.write(TOKEN).await;
    tab.press("Tab").await;
    tab.press(" ").await;
    tab.press("Tab").await;
    tab.press("Enter").await;
    console.live().await;
    tab.go(&url).await;
    console.live().await;
    console.row("sessions-table", "neighbour").await;
    tab.evaluate(
        "(() => { document.querySelector('#search').value = 'typed'; document.title = 'before'; })()",
    )
    .await;
    tab.click("#sign-out").await;
    tab.until("document.title !== 'before' && document.body?.dataset.state === 'locked'")
        .await;
    assert_eq!(tab.evaluate("sessionStorage.length").await, 0);
    // What it was good for went with it.
    assert_eq!(
        tab.evaluate("['#sessions-table tbody', '#routes-table tbody', '#tiles', '#config-text', '#by-route'].map((one) => /neighbour|tcp:|listener|Sessions/.test(document.querySelector(one)?.textContent ?? ''))").await,
        json!([false, false, false, false, false])
    );
    assert_eq!(tab.evaluate("document.querySelector('#search').value").await, "");
}

#[tokio::test]
async fn it_fits_narrow_screens_and_reads_well_in_light_and_dark() {
    let browser = Chromium::start().await;
    let mut scene = Scene::start_with(ADMIN, ROUTE).await;
    let (mut client, _service) = scene.open().await;
    client.close(1000, "").await;
    client.expect_close(1000, "").await;
    scene.ended("client_closed", json!({})).await;
    let tab = browser.tab("about:blank").await;
    tab.before_scripts(HOUR).await;
    tab.go(&format!("http://{}/console/", scene.program.admin.unwrap()))
        .await;
    let console = Console {
        tab,
        _browser: browser,
    };
    console.live().await;
    console.tab.click("#hour-figures summary").await;
    console
        .tab
        .until("document.querySelectorAll('#hour-table tr').length === 12")
        .await;
    let charts = "[...document.querySelectorAll('.chart')].every((one) => one.querySelector('.line, .block') && /now .* highest .* lowest /.test(one.querySelector('desc').textContent))";
    assert_eq!(console.tab.evaluate(charts).await, true);
    for (width, scheme) in [
        (360, "light"),
        (360, "dark"),
        (800, "light"),
        (1280, "dark"),
        (1280, "light"),
    ] {
        console.tab.show(width, 800, scheme).await;
        console.live().await;
        console.row("ends-table", "closed by client").await;
        console.sound().await;
        assert_eq!(
            console.tab.evaluate(CONTRAST).await,
            json!([]),
            "{width} {scheme}"
        );
        let dark = "getComputedStyle(document.body).backgroundColor !== 'rgb(241, 244, 244)'";
        assert_eq!(console.tab.evaluate(dark).await, scheme == "dark");
    }
    scene.done().await;
}

/// Answers that no sealock of a test gives: certificates near their end, and texts that would be markup elsewhere.
const ODD: &str = r##"(() => {
    const real = globalThis.fetch;
    const change = {
      status: (body) => {
        const days = [-1, 3, 20, 90];
        body.listeners = days.map((n) => ({ address: `10.0.0.1:${2000 + n}`, tls: true, certificate_expires: new Date(Date.parse(body.now) + n * 864e5 + 6e4).toISOString() }));
        body.sessions = 9000;
        body.accept_errors = 2;
        body.reloads.cannot_look = "no answer within 20s\nmore";
      },
      routes: (body) => {
        const target = { target: "tcp://<b>x</b>:1", condition: "down", sessions: 0, last_failure: { error: "<img src=x onerror=problems.push(1)>", seconds_ago: 5 } };
        body.routes.push({ ...body.routes[0], name: "<script>problems.push(2)</script>", hosts: ["<i>"], targets: [target], queued: 4 });
      },
      sessions: (body) => {
        const [one] = body.sessions;
        body.found = 4321;
        const odd = [{ client_blocked: true }, { backend_blocked: true }, { client_blocked: true, backend_blocked: true }, { ending: true }];
        body.sessions.push(...odd.map((state, n) => ({ ...one, id: 1000 + n, client: `[2001:db8::${n}]:5`, subprotocol: "<u>", ...state })));
      },
    };
    globalThis.fetch = async (url, options) => {
      const answer = await real(url, options);
      const body = await answer.json();
      if (answer.ok) change[url.split("/").at(-1).split("?")[0]]?.(body);
      return new Response(JSON.stringify(body), { status: answer.status });
    };
})()"##;

#[tokio::test]
async fn what_it_is_told_stays_text_and_what_is_near_its_end_stands_out() {
    let browser = Chromium::start().await;
    let scene = Scene::start_with(ADMIN, ROUTE).await;
    let tab = browser.tab("about:blank").await;
    tab.before_scripts(ODD).await;
    tab.go(&format!("http://{}/console/", scene.program.admin.unwrap()))
        .await;
    let console = Console {
        tab,
        _browser: browser,
    };
    console.live().await;
    for text in [
        "<script>problems.push(2)</script>",
        "<img src=x onerror=problems.push(1)>, 5 s ago",
        "tcp://<b>x</b>:1",
        "4 wait",
    ] {
        console.row("routes-table", text).await;
    }
    for text in [
        "client blocked",
        "backend blocked",
        "both blocked",
        "ending",
        "<u>",
    ] {
        console.row("sessions-table", text).await;
    }
    let tones = "[...document.querySelectorAll('#listeners-table .badge')].map((one) => [one.dataset.tone, one.textContent])";
    let expected = json!([
        ["bad", "has ended"],
        ["bad", "3 days left"],
        ["warn", "20 days left"],
        ["good", "90 days left"]
    ]);
    assert_eq!(console.tab.evaluate(tones).await, expected);
    let found = console
        .tab
        .evaluate("document.querySelector('#found').textContent")
        .await;
    assert_eq!(found, "5 sessions of 4,321, the oldest");
    let warned = "[...document.querySelectorAll('.tile[data-tone=warn] dt')].map((one) => one.textContent)";
    assert_eq!(console.tab.evaluate(warned).await, json!(["Sessions"]));
    let attention = console
        .tab
        .evaluate("document.querySelector('#warnings').innerText")
        .await;
    for text in [
        "10.0.0.1:1999: has ended",
        "10.0.0.1:2020: 20 days left",
        "<script>problems.push(2)</script>: 1 of 1",
        "2 since the start",
        "is not known: no answer within 20s",
    ] {
        assert!(attention.as_str().unwrap().contains(text), "{attention}");
    }
    console.sound().await;
    // It could not be otherwise.
    let markup = "(() => { try { document.body.innerHTML = '<b>'; return 'taken'; } catch (error) { return error.name; } })()";
    assert_eq!(console.tab.evaluate(markup).await, "TypeError");
    assert_eq!(
        console.tab.evaluate("problems.splice(0).length").await,
        1,
        "the policy tells of it"
    );
    // An address that is none is said beside its field, and the rest goes on.
    console.focus("#by-client").await;
    console.tab.write("host").await;
    console.tab.press("Tab").await;
    console
        .tab
        .until("document.querySelector('#client-problem').textContent.includes('is an IP address')")
        .await;
    console.live().await;
    console.sound().await;
}

/// Counts what the page asks, and keeps what it does next: it has one timer. Only an answer that is still to come takes time.
const WATCHED: &str = r"(() => {
    const [ask, start, stop] = [fetch, setTimeout, clearTimeout];
    globalThis.asked = 0;
    globalThis.asking = 0;
    globalThis.fetch = async (...what) => {
      asked += 1;
      asking += 1;
      try {
        const answer = await ask(...what);
        const text = await answer.text();
        return { status: answer.status, json: async () => JSON.parse(text) };
      } finally {
        asking -= 1;
      }
    };
    globalThis.next = () => {};
    globalThis.setTimeout = (what, time) => {
      next = what;
      return start(what, time);
    };
    globalThis.clearTimeout = (timer) => {
      next = () => {};
      stop(timer);
    };
})()";

#[tokio::test]
async fn it_says_when_sealock_is_away() {
    let browser = Chromium::start().await;
    let mut scene = Scene::start_with(ADMIN, ROUTE).await;
    let tab = browser.tab("about:blank").await;
    tab.before_scripts(WATCHED).await;
    tab.go(&format!("http://{}/console/", scene.program.admin.unwrap()))
        .await;
    let console = Console {
        tab,
        _browser: browser,
    };
    console.live().await;
    console.tab.click("#pause").await;
    // A look that is under way goes on.
    console.tab.until("asking === 0").await;
    let asked = console.tab.evaluate("asked").await;
    assert_eq!(
        console
            .tab
            .evaluate("document.querySelector('#pause').ariaPressed")
            .await,
        "true"
    );
    scene.program.signal("KILL").await;
    scene.program.exit().await;
    // Nobody asks meanwhile, also when the time has come.
    console.tab.evaluate("next()").await;
    console.tab.until("asking === 0").await;
    assert_eq!(console.tab.evaluate("asked").await, asked);
    assert_eq!(console.tab.evaluate("document.body.dataset.state").await, "live");
    console.tab.click("#pause").await;
    console
        .tab
        .until("document.body.dataset.state === 'away' && document.querySelector('#away').textContent.includes('not reachable since')")
        .await;
    assert_eq!(console.tab.evaluate(CHECK).await, json!([]));
}

/// A made-up hour: what a page shows that nobody wants to wait for.
const HOUR: &str = r##"(() => {
    const real = globalThis.fetch;
    const wave = (at, ...parts) => parts.reduce((sum, [size, length, shift]) => sum + size * (1 + Math.sin((at + shift) / length)), 0);
    globalThis.fetch = async (url, options) => {
      const answer = await real(url, options);
      if (!url.startsWith("/api/v1/history")) return answer;
      const body = await answer.json();
      const last = body.at.at(-1);
      const all = Array.from({ length: 360 }, (_, n) => n);
      const noise = (n, k) => Math.abs(Math.sin(n * 12.9898 + k) * 43758.5453) % 1;
      const column = (make) => all.map((n) => Math.round(make(n)));
      body.at = column((n) => last - 10 * (359 - n));
      body.passed_seconds = all.map(() => 10);
      const size = (n) => wave(n, [1, 60, 0], [0.4, 17, 9]) + noise(n, 3) * 0.2;
      body.sessions = column((n) => 9 + 8 * wave(n, [1, 90, 40]) + noise(n, 1) * 2);
      body.messages_up = column((n) => 90 * size(n));
      body.messages_down = column((n) => 340 * size(n + 4));
      body.bytes_up = column((n) => 9000 * size(n));
      body.bytes_down = column((n) => 160000 * size(n + 4));
      body.orderly_ends = column((n) => 2.2 * size(n) + noise(n, 5));
      body.other_ends = column((n) => (n > 200 && n < 214 ? 6 * noise(n, 2) : noise(n, 7) > 0.96 ? 1 : 0));
      body.refusals = column((n) => (n > 198 && n < 216 ? 9 * noise(n, 8) : noise(n, 9) > 0.93 ? 1 : 0));
      for (const [at, route] of body.routes.entries()) {
        route.bytes_up = column((n) => 4000 * size(n + 31 * at));
        route.bytes_down = column((n) => 90000 * size(3 * n + 50 * at));
        route.sessions = column(() => 3);
      }
      return new Response(JSON.stringify(body));
    };
})()"##;

/// Makes the pictures of the documentation anew: `cargo test --test it screenshots_of_the_console -- --ignored`. The sessions are
/// real, the hour in the charts is made up.
#[tokio::test]
#[ignore = "writes docs/images/console-*.png"]
async fn screenshots_of_the_console() {
    let gone = free_address();
    let (irc, ticker) = (Backend::echo().await, Backend::echo().await);
    let route = |name: &str, host: &str, backend: &str, rest: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\nhosts = [\"{host}\"]\npath = \"/{name}\"\nbackend = {backend}\n{rest}\n\n"
        )
    };
    let one = |address| format!("\"tcp://{address}\"");
    let two = format!("{{ targets = [\"tcp://{}\", \"tcp://{gone}\"], fall = 1 }}", irc);
    let routes = [
        route(
            "irc",
            "localhost",
            &two,
            "framing = \"irc\"\nmessage = \"text\"\nlinger = \"10ms\"",
        ),
        route("ticker", "localhost", &one(ticker), "framing = \"u32be\""),
        route("print", "localhost", &one(gone), "framing = \"raw\""),
    ]
    .concat();
    let admin = "# Behind a tunnel, so loopback will do.\n[admin]\nbind = \"127.0.0.1:0\"\ntoken = \"0123456789abcdef\"\n";
    let program = Program::start_with(admin, &routes).await;

    let mut clients = Vec::new();
    for at in 0..9 {
        let path = if at % 3 == 0 { "/ticker" } else { "/irc" };
        clients.push(Client::plain(program.plain, path).await);
    }
    for _ in 0..5 {
        let mut client = Client::plain(program.plain, "/ticker").await;
        client.close(1000, "").await;
        client.expect_close(1000, "").await;
    }
    let mut client = Client::plain(program.plain, "/irc").await;
    client.send(BINARY, b"no text").await;
    client
        .expect_close(1003, "this route does not take this kind of message")
        .await;
    drop(client);
    let mut client = Client::plain(program.plain, "/irc").await;
    client.send(TEXT, b"PRIVMSG #a :b\r\nQUIT").await;
    client.expect_close(1007, "delimiter inside a message").await;
    drop(client);
    for path in ["/print", "/print", "/irk", "/print"] {
        drop(Request::get(path).plain(program.plain).await);
    }

    let talking = tokio::spawn(async move {
        let mut beat = tokio::time::interval(Duration::from_millis(40));
        loop {
            beat.tick().await;
            for (at, client) in clients.iter_mut().enumerate() {
                let kind = if at % 3 == 0 { BINARY } else { TEXT };
                client.send(kind, &vec![b'a'; 60 + 35 * at]).await;
            }
        }
    });

    let browser = Chromium::start().await;
    let tab = browser.tab("about:blank").await;
    tab.before_scripts(HOUR).await;
    tab.show(1280, 1000, "light").await;
    tab.go(&format!("http://{}/console/", program.admin.unwrap()))
        .await;
    tab.until("document.body.dataset.state === 'locked' && document.activeElement.id === 'token'")
        .await;
    tab.write("0123456789abcdef").await;
    tab.press("Enter").await;
    // The rates of a second look.
    tab.until("document.querySelector('#sessions-table tbody tr') && !document.querySelector('#sessions-table').innerText.includes('–')")
        .await;
    tab.evaluate("document.activeElement.blur()").await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/images");
    std::fs::create_dir_all(folder).unwrap();
    for (name, width, height, scheme, part) in [
        ("light", 1280, 1000, "light", "header"),
        ("dark", 1280, 1000, "dark", "#sessions"),
        ("narrow", 360, 1000, "light", "header"),
    ] {
        tab.show(width, height, scheme).await;
        tab.evaluate(&format!(
            "document.querySelector({part:?}).scrollIntoView({{ behavior: 'instant' }})"
        ))
        .await;
        tab.until(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))",
        )
        .await;
        let png = tab.picture().await;
        assert!(
            png.starts_with(b"\x89PNG") && png.len() < 200 << 10,
            "{} bytes",
            png.len()
        );
        std::fs::write(format!("{folder}/console-{name}.png"), png).unwrap();
    }
    talking.abort();
}
