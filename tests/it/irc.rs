//! A real IRC server, Debian's ngircd, behind `framing = "irc"`.

use serde_json::json;

use crate::support::{BINARY, Chromium, Client, Program, Request, Service, TEXT, Tab, empty_page, program};

const SUBPROTOCOL: &str = "text.ircv3.net";

async fn ngircd() -> Service {
    Service::start("Now listening on", |port, dir| {
        use std::os::unix::fs::PermissionsExt;
        // Where root starts it, it goes on as nobody, who must be able to read its configuration.
        std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).unwrap();
        let file = dir.join("ngircd.conf");
        let config = format!(
            "[Global]\nName = irc.example.test\nInfo = a test\nAdminInfo1 = a test\nListen = 127.0.0.1\nPorts = {port}\n\
             [Limits]\nMaxConnectionsIP = 0\n\
             [Options]\nDNS = no\nIdent = no\nPAM = no\n"
        );
        std::fs::write(&file, config).unwrap();
        let mut command = program("ngircd");
        command.arg("-n").arg("-f").arg(file);
        command
    })
    .await
}

/// sealock in front of an IRC server, for pages of this origin.
async fn gateway(server: &Service, origin: &str) -> Program {
    Program::start(&format!(
        "[[route]]\nname = \"irc\"\npath = \"/irc\"\nbackend = \"tcp://{}\"\nframing = \"irc\"\nmessage = \"text\"\n\
         subprotocols = [\"{SUBPROTOCOL}\"]\norigins = [\"{origin}\"]\n",
        server.address
    ))
    .await
}

/// Reads on to a line that holds this, answering pings; the line.
async fn until(client: &mut Client, part: &str) -> String {
    loop {
        let (kind, line) = client.message().await;
        assert_eq!(kind, TEXT);
        let line = String::from_utf8(line).unwrap();
        assert!(!line.contains(['\r', '\n']), "{line:?} is one line");
        if let Some(token) = line.strip_prefix("PING ") {
            client.send(TEXT, format!("PONG {token}").as_bytes()).await;
        }
        if line.contains(part) {
            return line;
        }
    }
}

/// Registers and joins the channel.
async fn join(client: &mut Client, nick: &str) {
    for line in [&format!("NICK {nick}"), &format!("USER {nick} 0 * :{nick}")] {
        client.send(TEXT, line.as_bytes()).await;
    }
    until(client, &format!(" 001 {nick} ")).await;
    client.send(TEXT, b"JOIN #lock").await;
    until(client, " 366 ").await;
}

/// The same for a page: `alice` and the like become variables of it.
async fn join_in_page(tab: &Tab, wss: &str, nick: &str) {
    let script = format!(
        "await (async () => {{
            const client = globalThis.{nick} = await openSocket('{wss}', '{SUBPROTOCOL}');
            client.until = async (part) => {{
                for (;;) {{
                    const line = await client.next();
                    if (line.startsWith('PING ')) client.send('PONG ' + line.slice(5));
                    if (line.includes(part)) return line;
                }}
            }};
            client.send('NICK {nick}');
            client.send('USER {nick} 0 * :{nick}');
            await client.until(' 001 {nick} ');
            client.send('JOIN #lock');
            await client.until(' 366 ');
            return client.socket.protocol;
        }})()"
    );
    assert_eq!(tab.evaluate(&script).await, SUBPROTOCOL);
}

#[tokio::test]
async fn a_program_and_a_page_meet_in_a_channel() {
    let server = ngircd().await;
    let origin = empty_page().await;
    let mut sealock = gateway(&server, &origin).await;
    let mut alice = Request::get("/irc")
        .add("Sec-WebSocket-Protocol", &format!("unknown, {SUBPROTOCOL}"))
        .tls(sealock.tls)
        .await
        .unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!(alice.header("Sec-WebSocket-Protocol"), Some(SUBPROTOCOL));
    join(&mut alice, "alice").await;

    let browser = Chromium::start().await;
    let tab = browser.tab(&origin).await;
    join_in_page(&tab, &format!("wss://{}/irc", sealock.tls), "bob").await;
    until(&mut alice, "JOIN").await;

    alice.send(TEXT, "PRIVMSG #lock :grüße, bob".as_bytes()).await;
    let read = tab.evaluate("await bob.until('PRIVMSG')").await;
    assert!(
        read.as_str().unwrap().ends_with(" PRIVMSG #lock :grüße, bob"),
        "{read}"
    );
    tab.evaluate("bob.send('PRIVMSG #lock :and grüße back ⚓')").await;
    let read = until(&mut alice, "PRIVMSG").await;
    assert!(read.ends_with(" PRIVMSG #lock :and grüße back ⚓"), "{read}");

    // A newline inside a message would be a second command.
    alice
        .send(TEXT, b"PRIVMSG #lock :one\r\nPRIVMSG #lock :two")
        .await;
    alice.expect_close(1007, "delimiter inside a message").await;
    let record = sealock.ended("delimiter_in_text").await;
    assert_eq!(record["subprotocol"], SUBPROTOCOL);
    // The next that bob hears of alice is that she is gone.
    let read = tab.evaluate("await bob.until(':alice!')").await;
    assert!(read.as_str().unwrap().contains(" QUIT "), "{read}");

    tab.evaluate("bob.send('QUIT :done')").await;
    let expected = json!({ "code": 1000, "reason": "backend closed", "wasClean": true });
    assert_eq!(tab.evaluate("await bob.closed").await, expected);
    sealock.ended("backend_closed").await;
}

#[tokio::test]
async fn two_tabs_meet_in_a_channel() {
    let server = ngircd().await;
    let origin = empty_page().await;
    let sealock = gateway(&server, &origin).await;
    let wss = format!("wss://{}/irc", sealock.tls);
    let browser = Chromium::start().await;
    let (left, right) = (browser.tab(&origin).await, browser.tab(&origin).await);
    join_in_page(&left, &wss, "alice").await;
    join_in_page(&right, &wss, "bob").await;

    let talks = [(&left, "alice", &right, "bob"), (&right, "bob", &left, "alice")];
    for (from, speaker, to, listener) in talks {
        // As many as the server lets pass without slowing the client down.
        from.evaluate(&format!(
            "[1, 2, 3].forEach((n) => {speaker}.send(`PRIVMSG #lock :number ${{n}}`))"
        ))
        .await;
        for n in 1..=3 {
            let read = to.evaluate(&format!("await {listener}.until('PRIVMSG')")).await;
            let expected = format!(" PRIVMSG #lock :number {n}");
            assert!(read.as_str().unwrap().ends_with(&expected), "{read}");
        }
    }
    // A tab that is closed goes away as any client does.
    left.close().await;
    let read = right.evaluate("await bob.until(' QUIT ')").await;
    assert!(read.as_str().unwrap().starts_with(":alice!"), "{read}");
}

/// A client of one dialect: what kind of message a line is, and what ends it there.
struct Dialect {
    client: Client,
    kind: u8,
    end: &'static str,
    /// What came and was not looked for.
    heard: String,
}

impl Dialect {
    async fn open(sealock: &Program, name: &str, kind: u8, end: &'static str) -> Self {
        let request = Request::get("/irc").add("Sec-WebSocket-Protocol", name);
        let client = request
            .tls(sealock.tls)
            .await
            .unwrap_or_else(|refusal| panic!("{refusal:?}"));
        assert_eq!(client.header("Sec-WebSocket-Protocol"), Some(name));
        Self {
            client,
            kind,
            end,
            heard: String::new(),
        }
    }

    async fn say(&mut self, line: &str) {
        let message = format!("{line}{}", self.end);
        self.client.send(self.kind, message.as_bytes()).await;
    }

    /// Listens up to a message that holds this.
    async fn until(&mut self, part: &str) {
        while !self.heard.contains(part) {
            let (kind, bytes) = self.client.message().await;
            assert_eq!(kind, self.kind);
            let text = String::from_utf8(bytes).unwrap();
            assert_eq!(text.contains("\r\n"), !self.end.is_empty(), "{text:?}");
            if let Some(token) = text.strip_prefix("PING ") {
                self.say(&format!("PONG {}", token.trim_end())).await;
            }
            self.heard.push_str(&text);
        }
        self.heard.clear();
    }

    async fn join(&mut self, nick: &str) {
        self.say(&format!("NICK {nick}")).await;
        self.say(&format!("USER {nick} 0 * :{nick}")).await;
        self.until(&format!(" 001 {nick} ")).await;
        self.say("JOIN #lock").await;
        self.until(" 366 ").await;
    }
}

#[tokio::test]
async fn one_route_serves_every_dialect() {
    let server = ngircd().await;
    let sealock = Program::start(&format!(
        "[[route]]\nname = \"irc\"\npath = \"/irc\"\nbackend = \"tcp://{}\"\nframing = \"irc\"\n\
         [[route.subprotocol]]\nname = \"text.ircv3.net\"\nmessage = \"text\"\n\
         [[route.subprotocol]]\nname = \"binary.ircv3.net\"\nmessage = \"binary\"\n\
         [[route.subprotocol]]\nname = \"raw\"\nframing = \"raw\"\nmessage = \"binary\"\n",
        server.address
    ))
    .await;
    let mut clients = [
        Dialect::open(&sealock, "text.ircv3.net", TEXT, "").await,
        Dialect::open(&sealock, "binary.ircv3.net", BINARY, "").await,
        Dialect::open(&sealock, "raw", BINARY, "\r\n").await,
    ];
    for (client, nick) in clients.iter_mut().zip(["text", "bytes", "stream"]) {
        client.join(nick).await;
    }
    for speaker in 0..clients.len() {
        clients[speaker]
            .say(&format!("PRIVMSG #lock :hello from {speaker}"))
            .await;
        for listener in (0..clients.len()).filter(|at| *at != speaker) {
            clients[listener].until(&format!("hello from {speaker}")).await;
        }
    }
}
