//! A real browser: Debian's Chromium without a window, driven over its DevTools protocol.

use std::process::{Command as StdCommand, Stdio};
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::service::{missing, program};
use super::soon;

/// More browsers at once only make each of them slow.
static PLACES: Semaphore = Semaphore::const_new(2);

/// How long a page may take for what it is waited for, in milliseconds: less than the test's own patience, so that the page gets to say
/// what it shows instead.
const PAGE_PATIENCE: u32 = 20_000;

/// A running browser with a profile of its own. Killed when dropped, with all its processes.
pub struct Chromium {
    devtools: Arc<Mutex<DevTools>>,
    child: Child,
    _profile: tempfile::TempDir,
    _place: SemaphorePermit<'static>,
}

/// One tab.
pub struct Tab {
    devtools: Arc<Mutex<DevTools>>,
    session: String,
}

struct DevTools {
    socket: WebSocketStream<TcpStream>,
    calls: u64,
}

impl Chromium {
    /// Starts the browser. It trusts every certificate, and reaches nothing but loopback.
    pub async fn start() -> Self {
        let place = PLACES.acquire().await.unwrap();
        let profile = tempfile::tempdir().unwrap();
        let mut command = program("chromium");
        command
            .args([
                "--headless",
                "--remote-debugging-port=0",
                "--ignore-certificate-errors",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                // In a container, and for root, the sandbox cannot be had. All pages are ours.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                // A tab that is not in front must not be slowed down.
                "--disable-background-timer-throttling",
                "--disable-backgrounding-occluded-windows",
                "--disable-renderer-backgrounding",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("TMPDIR", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| missing(&command, &error));
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut all = String::new();
        let url = loop {
            let Some(line) = soon("Chromium to start", said.next_line()).await.unwrap() else {
                panic!("Chromium did not start:\n{all}");
            };
            if let Some(url) = line.strip_prefix("DevTools listening on ") {
                break url.to_owned();
            }
            all += &format!("{line}\n");
        };
        // It goes on talking, and must not be stopped by a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        let (address, _) = url["ws://".len()..].split_once('/').unwrap();
        let tcp = TcpStream::connect(address).await.unwrap();
        let (socket, _) = soon("Chromium's DevTools", client_async(&url, tcp))
            .await
            .unwrap();
        Self {
            devtools: Arc::new(Mutex::new(DevTools { socket, calls: 0 })),
            child,
            _profile: profile,
            _place: place,
        }
    }

    /// Opens a tab and goes to a page in it.
    pub async fn tab(&self, url: &str) -> Tab {
        let mut devtools = self.devtools.lock().await;
        let target = devtools
            .call("", "Target.createTarget", json!({ "url": "about:blank" }))
            .await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = devtools.call("", "Target.attachToTarget", attach).await;
        drop(devtools);
        let tab = Tab {
            devtools: Arc::clone(&self.devtools),
            session: attached["sessionId"].as_str().unwrap().to_owned(),
        };
        // Every tab believes to have the keyboard.
        tab.call("Emulation.setFocusEmulationEnabled", json!({ "enabled": true }))
            .await;
        tab.call("Page.enable", json!({})).await;
        tab.before_scripts(include_str!("page.js")).await;
        tab.go(url).await;
        tab
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The browser's helpers are in its process group.
        if let Some(pid) = self.child.id() {
            let group = format!("-{pid}");
            drop(StdCommand::new("kill").args(["-KILL", "--", &group]).status());
        }
    }
}

impl DevTools {
    /// Calls a method and gives its result. Events are passed over.
    async fn call(&mut self, session: &str, method: &str, params: Value) -> Value {
        let result = self.try_call(session, method, params).await;
        result.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    async fn try_call(&mut self, session: &str, method: &str, params: Value) -> Result<Value, Value> {
        self.calls += 1;
        let id = self.calls;
        let mut call = json!({ "id": id, "method": method, "params": params });
        if !session.is_empty() {
            call["sessionId"] = session.into();
        }
        let call = call.to_string();
        self.socket.send(Message::text(call.as_str())).await.unwrap();
        loop {
            let message = soon(&call, self.socket.next())
                .await
                .expect("Chromium runs")
                .unwrap();
            let Message::Text(text) = message else { continue };
            let mut answer: Value = serde_json::from_str(&text).unwrap();
            if answer["id"] == id {
                return match answer["error"].take() {
                    Value::Null => Ok(answer["result"].take()),
                    error => Err(error),
                };
            }
        }
    }
}

impl Tab {
    async fn call(&self, method: &str, params: Value) -> Value {
        self.devtools
            .lock()
            .await
            .call(&self.session, method, params)
            .await
    }

    /// Runs a script in each page from now on, before its own.
    pub async fn before_scripts(&self, script: &str) {
        self.call(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({ "source": script }),
        )
        .await;
    }

    /// Goes to a page and waits until it is loaded.
    pub async fn go(&self, url: &str) {
        let gone = self.call("Page.navigate", json!({ "url": url })).await;
        assert!(gone["errorText"].is_null(), "{url}: {gone}");
        self.until("document.readyState === 'complete'").await;
    }

    /// Closes the tab.
    pub async fn close(self) {
        self.call("Page.close", json!({})).await;
    }

    /// The value of an expression, which may await.
    pub async fn evaluate(&self, expression: &str) -> Value {
        let result = self.try_evaluate(expression).await;
        result.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    async fn try_evaluate(&self, expression: &str) -> Result<Value, Value> {
        let params = json!({
            "expression": format!("(async () => ({expression}))()"),
            "awaitPromise": true,
            "returnByValue": true,
        });
        let mut devtools = self.devtools.lock().await;
        let mut result = devtools
            .try_call(&self.session, "Runtime.evaluate", params)
            .await?;
        let thrown = &result["exceptionDetails"]["exception"]["description"];
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}\n{}",
            thrown.as_str().unwrap_or_default()
        );
        Ok(result["result"]["value"].take())
    }

    /// Waits, inside the page, until an expression is true, and gives its value. If the page goes meanwhile, the next one is asked.
    pub async fn until(&self, condition: &str) -> Value {
        let wait = format!(
            "await new Promise((resolve, reject) => {{
                const end = performance.now() + {PAGE_PATIENCE};
                const look = () => {{
                    const found = ({condition});
                    if (found) resolve(found);
                    else if (performance.now() < end) setTimeout(look, 5);
                    else reject(new Error('waited in vain. The page shows:\\n' + document.body.innerText));
                }};
                look();
            }})"
        );
        let found = async {
            loop {
                match self.try_evaluate(&wait).await {
                    Ok(found) => return found,
                    Err(error) if error["message"] == "Inspected target navigated or closed" => {}
                    Err(error) => panic!("{condition}: {error}"),
                }
            }
        };
        soon(condition, found).await
    }

    /// What those of a role are called to people who do not see them.
    pub async fn names(&self, role: &str) -> Vec<String> {
        let mut tree = self.call("Accessibility.getFullAXTree", json!({})).await;
        let nodes = tree["nodes"].take();
        let nodes = nodes.as_array().unwrap().iter();
        let named = nodes.filter(|node| node["role"]["value"] == role);
        named
            .map(|node| node["name"]["value"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Presses a key, given by its name in `KeyboardEvent.key`; `Shift+` may stand in front.
    pub async fn press(&self, key: &str) {
        let (shift, key) = key.strip_prefix("Shift+").map_or((false, key), |key| (true, key));
        let (code, number, text) = match key {
            "Tab" => ("Tab", 9, ""),
            "Enter" => ("Enter", 13, "\r"),
            "Escape" => ("Escape", 27, ""),
            " " => ("Space", 32, " "),
            "ArrowUp" => ("ArrowUp", 38, ""),
            "ArrowDown" => ("ArrowDown", 40, ""),
            letter => ("", 0, letter),
        };
        let modifiers = if shift { 8 } else { 0 };
        let mut params = json!({
            "type": "keyDown", "key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers,
        });
        if !text.is_empty() {
            params["text"] = text.into();
        }
        self.call("Input.dispatchKeyEvent", params.clone()).await;
        params["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", params).await;
    }

    /// Types a text, key by key.
    pub async fn write(&self, text: &str) {
        for letter in text.chars() {
            self.press(letter.encode_utf8(&mut [0; 4])).await;
        }
    }

    /// Clicks in the middle of the element that a selector finds.
    pub async fn click(&self, selector: &str) {
        let place = self.place(selector).await;
        for kind in ["mousePressed", "mouseReleased"] {
            let params =
                json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", params).await;
        }
    }

    /// Moves the pointer to an element.
    pub async fn point(&self, selector: &str) {
        let place = self.place(selector).await;
        let params = json!({ "type": "mouseMoved", "x": place[0], "y": place[1] });
        self.call("Input.dispatchMouseEvent", params).await;
    }

    /// Scrolls to an element, and gives its middle.
    async fn place(&self, selector: &str) -> Value {
        self.evaluate(&format!(
            "(() => {{
                    const element = document.querySelector({selector:?});
                    element.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                    const box = element.getBoundingClientRect();
                    return [box.x + box.width / 2, box.y + box.height / 2];
                }})()"
        ))
        .await
    }

    /// Shows the page in light or dark colours, in a window of this size in CSS pixels.
    pub async fn show(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        self.call("Emulation.setScrollbarsHidden", json!({ "hidden": true }))
            .await;
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", scheme).await;
    }

    /// The page in light colours as a PNG, of this size in CSS pixels, which are those of the picture.
    pub async fn screenshot(&self, width: u32, height: u32) -> Vec<u8> {
        self.show(width, height, "light").await;
        self.picture().await
    }

    /// The page as a PNG, as it is shown.
    pub async fn picture(&self) -> Vec<u8> {
        let shot = self
            .call("Page.captureScreenshot", json!({ "format": "png" }))
            .await;
        from_base64(shot["data"].as_str().unwrap())
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> = text
        .trim_end_matches('=')
        .bytes()
        .map(|byte| ALPHABET.iter().position(|known| *known == byte).unwrap() as u32)
        .collect();
    let group = |four: &[u32]| {
        let bits = four
            .iter()
            .enumerate()
            .fold(0, |bits, (at, digit)| bits | digit << (26 - 6 * at));
        bits.to_be_bytes()
            .into_iter()
            .take(four.len() * 6 / 8)
            .collect::<Vec<u8>>()
    };
    digits.chunks(4).flat_map(group).collect()
}

/// Serves an empty page, on an origin that is not sealock's; the origin.
pub async fn empty_page() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 15\r\nconnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).await?;
                stream.write_all(b"<!doctype html>").await?;
                stream.shutdown().await
            });
        }
    });
    origin
}
