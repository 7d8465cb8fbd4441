//! Pages in a real browser: the demo's own, and pages of another origin that see how sessions end.

use serde_json::{Value, json};

use crate::support::{Backend, Chromium, Program, Tab, empty_page, nobody, read, write};

/// The demo's page, with which most is done as a user does it.
struct Demo {
    tab: Tab,
    browser: Chromium,
    program: Program,
}

impl Demo {
    async fn open() -> Self {
        let program = Program::demo().await;
        let browser = Chromium::start().await;
        let tab = browser.tab(&format!("https://{}/", program.tls)).await;
        Self {
            tab,
            browser,
            program,
        }
    }

    /// Chooses a route and connects.
    async fn connect(&self, route: &str) {
        self.tab.click(&format!("#route [value='{route}']")).await;
        self.tab.click("#connect").await;
        self.tab.until("document.body.dataset.state === 'open'").await;
    }

    /// Types a message and sends it with Enter.
    async fn say(&self, text: &str) {
        self.tab
            .evaluate("document.querySelector('#message').focus()")
            .await;
        self.tab.write(text).await;
        self.tab.press("Enter").await;
    }

    /// Presses one of the buttons under "Try this".
    async fn attempt(&self, label: &str) {
        self.tab
            .evaluate(&format!(
                "[...document.querySelectorAll('#tries button')].find((one) => one.textContent === {label:?}).click()"
            ))
            .await;
    }

    /// Waits for an entry of the log.
    async fn shows(&self, dir: &str, kind: &str, text: &str) {
        self.tab.until(&entry(dir, kind, text)).await;
    }

    /// Waits for the close code and reason that the page shows to its user. Whether it was clean is looked at below, with messages that
    /// are short: Chromium also calls it not clean when the end came before all of a message had left the page.
    async fn shows_close(&self, code: u16, reason: &str) {
        self.tab.until("document.body.dataset.state === 'closed'").await;
        let shown = self
            .tab
            .evaluate(
                "['#verdict-code', '#verdict-reason'].map((id) => document.querySelector(id).innerText)",
            )
            .await;
        let first = shown[0].as_str().unwrap();
        let second = shown[1].as_str().unwrap();
        assert!(first.starts_with(&code.to_string()), "{shown}");
        assert!(second.starts_with(&format!("“{reason}” · ")), "{shown}");
    }
}

fn entry(dir: &str, kind: &str, text: &str) -> String {
    let kind = if kind.is_empty() {
        String::new()
    } else {
        format!("[data-kind={kind}]")
    };
    format!(
        "[...document.querySelectorAll('#log [data-dir={dir}]{kind} .content')].some((one) => one.textContent.includes({text:?}))"
    )
}

#[tokio::test]
async fn the_demo_page_chats_and_shows_how_it_ended() {
    let demo = Demo::open().await;
    demo.connect("/chat").await;
    demo.shows("in", "text", "* Ahoy").await;
    demo.say("hello from a browser").await;
    demo.shows("in", "text", ": hello from a browser").await;
    demo.say("/quit").await;
    demo.shows("in", "text", "* Fair winds").await;
    demo.shows_close(1000, "backend closed").await;

    demo.connect("/chat").await;
    demo.attempt("A newline inside").await;
    demo.shows_close(1007, "delimiter inside a message").await;

    demo.connect("/chat").await;
    demo.attempt("A binary message").await;
    demo.shows_close(1003, "this route does not take this kind of message")
        .await;

    demo.connect("/chat").await;
    demo.say("/break").await;
    demo.shows_close(1014, "backend connection lost").await;
}

#[tokio::test]
async fn the_demo_page_echoes_records_and_bytes() {
    let demo = Demo::open().await;
    demo.connect("/echo").await;
    demo.say("grüß dich").await;
    demo.shows("in", "text", "grüß dich").await;
    demo.tab
        .evaluate("(() => { const format = document.querySelector('#format'); format.value = 'hex'; format.dispatchEvent(new Event('change')); })()")
        .await;
    demo.say("de ad BE ef").await;
    demo.shows("in", "binary", "de ad be ef").await;
    demo.tab.click("#send-mib").await;
    demo.shows("note", "", "The echo is identical.").await;
    demo.attempt("17 MiB").await;
    demo.shows_close(1009, "message over the limit of 16 MiB").await;

    demo.connect("/raw").await;
    demo.say("bytes").await;
    demo.shows("in", "binary", "62 79 74 65 73").await;
    demo.tab
        .evaluate("document.querySelector('#clear').click()")
        .await;
    demo.tab.click("#send-mib").await;
    demo.shows("note", "", "The echo is identical.").await;
    demo.attempt("A text message").await;
    demo.shows_close(1003, "this route does not take this kind of message")
        .await;
}

#[tokio::test]
async fn the_demo_page_can_be_used_with_the_keyboard_alone() {
    let demo = Demo::open().await;
    let tab = &demo.tab;
    let focused = || {
        tab.evaluate(
            "document.activeElement.id || document.activeElement.value || document.activeElement.textContent",
        )
    };

    // Every stop of the tabulator, until it leaves the page.
    let mut stops = Vec::new();
    loop {
        tab.press("Tab").await;
        if tab.evaluate("document.activeElement === document.body").await == true {
            break;
        }
        let stop = focused().await.as_str().unwrap().to_owned();
        // Some browsers go round instead of leaving.
        if stops.first() == Some(&stop) {
            break;
        }
        stops.push(stop);
        assert!(stops.len() < 50, "{stops:?}");
    }
    let expected = [
        "Skip to the message",
        "/chat",
        "connect",
        "message",
        "format",
        "/help",
        "/quit",
        "toml",
        "clear",
        "log",
        "What the close codes mean here",
    ];
    for stop in expected {
        assert!(
            stops.iter().any(|one| one == stop),
            "{stop:?} is not among {stops:?}"
        );
    }

    // From the top: choose /echo, connect, talk, look back, close.
    tab.evaluate("document.activeElement.blur()").await;
    tab.go("about:blank").await;
    tab.go(&format!("https://{}/", demo.program.tls)).await;
    reach(tab, "/chat").await;
    tab.press("ArrowDown").await;
    assert_eq!(focused().await, "/echo");
    reach(tab, "connect").await;
    tab.press("Enter").await;
    tab.until("document.body.dataset.state === 'open'").await;
    assert_eq!(focused().await, "message");
    tab.write("one").await;
    tab.press("Shift+Enter").await;
    tab.write("two").await;
    tab.press("Enter").await;
    demo.shows("in", "text", "one\ntwo").await;
    tab.press("ArrowUp").await;
    assert_eq!(
        tab.evaluate("document.querySelector('#message').value").await,
        "one\ntwo"
    );
    tab.press("Enter").await;
    tab.until("document.querySelectorAll('#log [data-dir=in]').length === 2")
        .await;
    for _ in 0..20 {
        if focused().await == "close" {
            break;
        }
        tab.press("Shift+Tab").await;
    }
    tab.press(" ").await;
    tab.until("document.body.dataset.state === 'closed'").await;
    assert_eq!(
        tab.evaluate("document.querySelector('#state').dataset.closeCode")
            .await,
        "1000"
    );
    assert_eq!(focused().await, "connect", "where the user goes on");
}

/// Presses the tabulator until an element has the focus.
async fn reach(tab: &Tab, name: &str) {
    for _ in 0..20 {
        tab.press("Tab").await;
        if tab
            .evaluate("document.activeElement.id || document.activeElement.value")
            .await
            == name
        {
            return;
        }
    }
    panic!("{name} was not reached");
}

#[tokio::test]
async fn a_page_connects_where_its_origin_may() {
    let backend = Backend::echo().await;
    let origin = empty_page().await;
    let route = |name: &str, origins: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nbackend = \"tcp://{backend}\"\nframing = \"u16be\"\n{origins}\n"
        )
    };
    let mut program = Program::start(
        &[
            route(
                "listed",
                &format!("origins = [\"https://app.example.com\", \"{origin}\"]"),
            ),
            route("others", "origins = [\"https://app.example.com\"]"),
            route("same", ""),
            route("any", "origins = \"*\""),
        ]
        .concat(),
    )
    .await;
    let browser = Chromium::start().await;
    let tab = browser.tab(&origin).await;
    let wss = format!("wss://{}", program.tls);
    let allowed = async |tab: &Tab, path: &str| {
        tab.evaluate(&format!(
            "(globalThis.client = await openSocket('{wss}/{path}'), client.open && (client.send(new Uint8Array([1, 2])), same(await client.next(), [1, 2])))"
        ))
        .await
    };
    for path in ["listed", "any"] {
        assert_eq!(allowed(&tab, path).await, true, "{path}");
        tab.evaluate("client.socket.close(1000)").await;
        program.ended("client_closed").await;
    }
    for path in ["others", "same"] {
        assert_eq!(allowed(&tab, path).await, false, "{path}");
        // All that a browser tells a page.
        let expected = json!({ "code": 1006, "reason": "", "wasClean": false });
        assert_eq!(tab.evaluate("await client.closed").await, expected);
        assert_eq!(program.ended("origin_refused").await["route"], path);
    }
    // A page from sealock's own address; that it is a 404 does not matter to the browser.
    tab.go(&format!("https://{}/nowhere", program.tls)).await;
    program.ended("not_found").await;
    assert_eq!(allowed(&tab, "same").await, true);
    assert_eq!(allowed(&tab, "others").await, false);
}

#[tokio::test]
async fn messages_of_every_size_pass_both_ways() {
    let echo = Backend::echo().await;
    let backend = Backend::start().await;
    let origin = empty_page().await;
    let program = Program::start(&format!(
        "[defaults]\norigins = [\"{origin}\"]\nframing = \"u32be\"\nmax_message = \"8 MiB\"\n\
         [[route]]\nname = \"text\"\npath = \"/text\"\nbackend = \"tcp://{echo}\"\nmessage = \"text\"\n\
         [[route]]\nname = \"binary\"\npath = \"/binary\"\nbackend = \"tcp://{echo}\"\nmessage = \"binary\"\n\
         [[route]]\nname = \"slow\"\npath = \"/slow\"\nbackend = \"tcp://{}\"\nmessage = \"binary\"\n",
        backend.address
    ))
    .await;
    let browser = Chromium::start().await;
    let tab = browser.tab(&origin).await;
    let wss = format!("wss://{}", program.tls);

    tab.evaluate(&format!(
        "(globalThis.client = await openSocket('{wss}/text')).open"
    ))
    .await;
    for text in ["hello", "", "grüße, 世界 ⚓", "line\nline\r\n\0"] {
        let sent = Value::from(text);
        assert_eq!(
            tab.evaluate(&format!("(client.send({sent}), await client.next())"))
                .await,
            sent
        );
    }
    // Characters of three bytes, so that no buffer ends where a character does.
    for size in ["1 << 20", "8 << 20"] {
        let back = format!(
            "await (async () => {{ const text = '世'.repeat({size} / 3); client.send(text); return (await client.next()) === text; }})()"
        );
        assert_eq!(tab.evaluate(&back).await, true, "{size} of text");
    }
    let in_order = "await (async () => {
        for (let n = 0; n < 10_000; n += 1) client.send(`message ${n}`);
        for (let n = 0; n < 10_000; n += 1) {
            const got = await client.next();
            if (got !== `message ${n}`) return `${got} instead of ${n}`;
        }
        return 'in order';
    })()";
    assert_eq!(tab.evaluate(in_order).await, "in order");

    tab.evaluate(&format!(
        "(globalThis.client = await openSocket('{wss}/binary')).open"
    ))
    .await;
    for size in ["0", "1", "125", "126", "65535", "65536", "1 << 20", "8 << 20"] {
        let back = format!(
            "await (async () => {{
                const bytes = new Uint8Array({size}).map((_, at) => at % 251);
                client.send(bytes);
                return same(await client.next(), bytes);
            }})()"
        );
        assert_eq!(tab.evaluate(&back).await, true, "{size} bytes");
    }

    // A record that comes in pieces arrives as one message, though it leaves as fragments.
    tab.evaluate(&format!(
        "(globalThis.client = await openSocket('{wss}/slow')).open"
    ))
    .await;
    let mut service = backend.accept().await;
    write(&mut service, &3u32.to_be_bytes()).await;
    for byte in b"abc" {
        // What the page sends comes through while the record is under way.
        tab.evaluate("client.send(new Uint8Array([7]))").await;
        assert_eq!(read(&mut service, 5).await, [0, 0, 0, 1, 7]);
        write(&mut service, &[*byte]).await;
    }
    assert_eq!(
        tab.evaluate("String.fromCharCode(...await client.next())").await,
        "abc"
    );
    assert_eq!(tab.evaluate("client.left()").await, 0);
}

/// How a session is brought to its end.
enum Act {
    /// The page does this with its `client`.
    Page(&'static str),
    /// The backend sends this.
    Sends(&'static [u8]),
    /// The backend sends this and ends its stream.
    Ends(&'static [u8]),
    /// The backend resets its connection.
    Resets,
    /// Nobody does anything.
    Nothing,
}

#[tokio::test]
async fn a_page_sees_the_code_and_the_reason_of_every_end() {
    use Act::{Ends, Nothing, Page, Resets, Sends};
    let backend = Backend::start().await;
    let nobody = nobody();
    let origin = empty_page().await;
    let route = |name: &str, settings: &str| {
        let to = backend.address;
        format!("[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nbackend = \"tcp://{to}\"\n{settings}\n")
    };
    let config = [
        format!("[defaults]\norigins = [\"{origin}\"]\nmax_message = \"1 KiB\"\n"),
        route("lines", "framing = \"lines\"\nmessage = \"text\""),
        route("lines-binary", "framing = \"lines\"\nmessage = \"binary\""),
        route(
            "kept",
            "framing = { kind = \"delimiter\", delimiter = \"\\n\", keep = true }\nmessage = \"text\"",
        ),
        route("u8", "framing = \"u8\""),
        route("u32", "framing = \"u32be\""),
        route("tpkt", "framing = \"tpkt\""),
        route("modbus", "framing = \"modbus\""),
        route("half", "framing = \"u32be\"\nhalf_close = \"empty-message\""),
        route("idle", "framing = \"u32be\"\nidle_timeout = \"100ms\""),
        route("stalls", "framing = \"u32be\"\nrecord_timeout = \"100ms\""),
        format!(
            "[[route]]\nname = \"dead\"\npath = \"/dead\"\nbackend = \"tcp://{nobody}\"\nframing = \"lines\"\non_dial_failure = \"close\"\n"
        ),
    ];
    let mut program = Program::start(&config.concat()).await;
    let browser = Chromium::start().await;
    let tab = browser.tab(&origin).await;

    #[rustfmt::skip]
    let ends = [
        ("lines", Ends(b"last\n"), 1000, "backend closed", "backend_closed"),
        ("lines", Page("client.socket.close(1000, 'bye')"), 1000, "", "client_closed"),
        ("lines", Page("client.socket.close(4321)"), 4321, "", "client_closed"),
        ("lines", Page("client.socket.close()"), 1005, "", "client_closed"),
        ("idle", Nothing, 1001, "idle for too long", "idle"),
        ("modbus", Page("client.send(new Uint8Array([0, 1, 0, 0, 0, 9, 1]))"), 1002, "message does not match its length header", "header_mismatch"),
        ("lines", Page("client.send(new Uint8Array([1]))"), 1003, "this route does not take this kind of message", "wrong_kind"),
        ("lines", Page("client.send('one\\ntwo')"), 1007, "delimiter inside a message", "delimiter_in_text"),
        ("lines", Sends(b"caf\xE9\n"), 1007, "backend sent bytes that are not text", "backend_text"),
        ("lines-binary", Page("client.send(new Uint8Array([65, 10, 66]))"), 1008, "delimiter inside a message", "delimiter_in_binary"),
        ("kept", Page("client.send('no end')"), 1008, "message does not end with the delimiter", "delimiter_missing"),
        ("half", Page("(client.send(new Uint8Array()), client.send(new Uint8Array([1])))"), 1008, "message after the end of the client's direction", "after_half_close"),
        ("lines", Page("client.send('x'.repeat(1025))"), 1009, "message over the limit of 1 KiB", "client_too_big"),
        ("u32", Sends(b"\0\0\x04\x01"), 1009, "record over the limit of 1 KiB", "backend_too_big"),
        ("u8", Page("client.send(new Uint8Array(256))"), 1009, "message too long for the length field", "length_does_not_fit"),
        ("u32", Ends(b"\0\0\0\x09half"), 1011, "backend ended inside a record", "backend_cut"),
        ("tpkt", Sends(&[3, 0, 0, 0]), 1011, "backend sent a bad record header", "backend_garbage"),
        ("stalls", Sends(b"\0\0\0\x09half"), 1011, "backend stalled inside a record", "backend_stalled"),
        ("u32", Resets, 1014, "backend connection lost", "backend_reset"),
        ("dead", Nothing, 1014, "backend unreachable", "dial_failed"),
    ];
    for (route, act, code, reason, cause) in ends {
        let connect = format!(
            "(globalThis.client = await openSocket('wss://{}/{route}')).open",
            program.tls
        );
        assert_eq!(tab.evaluate(&connect).await, true, "{cause}");
        let mut service = if route == "dead" {
            None
        } else {
            Some(backend.accept().await)
        };
        match (act, &mut service) {
            (Page(script), _) => drop(tab.evaluate(script).await),
            (Sends(bytes), Some(service)) => write(service, bytes).await,
            (Ends(bytes), Some(stream)) => {
                write(stream, bytes).await;
                service = None;
            }
            (Resets, Some(stream)) => {
                stream.set_zero_linger().unwrap();
                service = None;
            }
            (Nothing, _) => {}
            _ => panic!("{cause} needs a backend"),
        }
        let expected = json!({ "code": code, "reason": reason, "wasClean": true });
        assert_eq!(tab.evaluate("await client.closed").await, expected, "{cause}");
        drop(service);
        program.ended(cause).await;
    }

    // Last, as sealock does not survive it.
    let connect = format!(
        "(globalThis.client = await openSocket('wss://{}/lines')).open",
        program.tls
    );
    assert_eq!(tab.evaluate(&connect).await, true);
    let service = backend.accept().await;
    program.signal("TERM").await;
    let expected = json!({ "code": 1001, "reason": "server is shutting down", "wasClean": true });
    assert_eq!(tab.evaluate("await client.closed").await, expected);
    drop(service);
    program.ended("shutdown").await;
    assert_eq!(program.exit().await, Some(0));
}

/// Makes the picture of the documentation anew: `cargo test --test it screenshot_of_the_demo -- --ignored`.
#[tokio::test]
#[ignore = "writes docs/demo.png"]
async fn screenshot_of_the_demo() {
    let demo = Demo::open().await;
    let tab = &demo.tab;
    // Somebody to talk to, in a tab of her own.
    let other = demo
        .browser
        .tab(&format!("https://{}/nowhere", demo.program.tls))
        .await;
    let wss = format!("wss://{}/chat", demo.program.tls);
    other
        .evaluate(&format!(
            "(globalThis.client = await openSocket('{wss}'), client.send('/nick Grace'), client.open)"
        ))
        .await;
    demo.connect("/chat").await;
    demo.say("/nick Ada").await;
    demo.shows("in", "text", "Ada").await;
    demo.say("Ahoy! This went through as a line of text.").await;
    demo.shows("in", "text", "Ada: Ahoy!").await;
    other
        .evaluate("client.send('And came out here as one message. ⚓')")
        .await;
    demo.shows("in", "text", "Grace: And").await;
    demo.say("/who").await;
    demo.shows("in", "text", "* Here: ").await;
    tab.evaluate("document.querySelector('#message').focus()").await;
    tab.write("Lock gates open").await;
    tab.evaluate("(scrollTo(0, 0), document.querySelector('#log').scrollTop = 1e9)")
        .await;
    let png = tab.screenshot(1280, 800).await;
    assert!(
        png.starts_with(b"\x89PNG") && png.len() < 200 << 10,
        "{} bytes",
        png.len()
    );
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/demo.png"), png).unwrap();
}
