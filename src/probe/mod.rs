//! `sealock probe`: a WebSocket client that shows what happens.

mod tap;

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Request};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use tap::Tap;

use crate::escape::Printable;
use crate::tls::client::{self, Trust};
use crate::units::parse_duration;

/// Lines of hex that are shown of a binary message.
const SHOWN: usize = 256;

/// What to connect to, and how.
#[derive(Debug, Args)]
pub struct Probe {
    /// The endpoint: wss://host:port/path or ws://…
    url: String,
    /// Send this text message first; may be repeated
    #[arg(long, value_name = "TEXT")]
    send: Vec<String>,
    /// Read lines of hex from standard input and send them as binary messages
    #[arg(long)]
    hex: bool,
    /// End after this many messages have come back, instead of at the end of standard input
    #[arg(long, value_name = "N")]
    expect: Option<usize>,
    /// The Origin header, such as `https://app.example.com`
    #[arg(long, value_name = "URL")]
    origin: Option<String>,
    /// Subprotocols to offer, in order
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    subprotocol: Vec<String>,
    /// Trust the authorities in this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Do not check the certificate
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
    /// Longest time for each step of connecting, and for the answer to our Close frame
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = |text: &str| parse_duration(text))]
    timeout: Duration,
}

/// Runs a probe. 0 when the session was opened and ended as asked, 1 otherwise.
pub async fn run(args: Probe) -> ExitCode {
    match probe(&args).await {
        Ok(code) => code,
        Err(problem) => {
            // A reader that has gone is no reason to stop.
            drop(writeln!(std::io::stderr(), "error: {problem}"));
            ExitCode::FAILURE
        }
    }
}

async fn probe(args: &Probe) -> Result<ExitCode, String> {
    let request = request(args)?;
    let uri = request.uri().clone();
    let tls = match uri.scheme_str() {
        Some("wss") => true,
        Some("ws") => false,
        _ => return Err("the URL starts with wss:// or ws://".into()),
    };
    let host = uri
        .host()
        .ok_or("the URL has no host")?
        .trim_matches(['[', ']'])
        .to_owned();
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });

    let step = |what: &'static str| move |_| format!("{what}: no answer within the timeout");
    let start = Instant::now();
    let tcp = timeout(args.timeout, TcpStream::connect((host.as_str(), port)))
        .await
        .map_err(step("TCP"))?;
    let tcp = tcp.map_err(|error| format!("TCP: {error}"))?;
    let peer = tcp
        .peer_addr()
        .map_or_else(|_| "?".into(), |peer| peer.to_string());
    show(&format!("TCP   {:>8}  {peer}", took(start)));
    if !tls {
        return upgrade(args, request, tcp).await;
    }
    let start = Instant::now();
    let trust = match &args.ca {
        Some(file) => Trust::File(file.clone()),
        None if args.insecure => Trust::Anybody,
        None => Trust::System,
    };
    let stream = timeout(args.timeout, client::connect(tcp, &host, &trust))
        .await
        .map_err(step("TLS"))?;
    let stream = stream.map_err(|error| {
        let hint = if error.contains("UnknownIssuer") || error.contains("certificate") {
            "\n  help: --ca FILE trusts an authority, --insecure looks without checking"
        } else {
            ""
        };
        format!("TLS: {error}{hint}")
    })?;
    show(&format!(
        "TLS   {:>8}  {}",
        took(start),
        client::describe(&stream)
    ));
    upgrade(args, request, stream).await
}

fn request(args: &Probe) -> Result<Request<()>, String> {
    let mut request = args
        .url
        .as_str()
        .into_client_request()
        .map_err(|error| format!("{}: {error}", args.url))?;
    let mut set = |name: &'static str, value: &str| {
        let value =
            HeaderValue::try_from(value).map_err(|_| format!("{value:?} cannot stand in a header"))?;
        request.headers_mut().insert(HeaderName::from_static(name), value);
        Ok::<_, String>(())
    };
    if let Some(origin) = &args.origin {
        set("origin", origin)?;
    }
    if !args.subprotocol.is_empty() {
        set("sec-websocket-protocol", &args.subprotocol.join(", "))?;
    }
    Ok(request)
}

async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    args: &Probe,
    request: Request<()>,
    stream: S,
) -> Result<ExitCode, String> {
    let start = Instant::now();
    let config = WebSocketConfig::default()
        .max_message_size(None)
        .max_frame_size(None);
    let opened = timeout(
        args.timeout,
        client_async_with_config(request, Tap::new(stream), Some(config)),
    )
    .await;
    match opened.map_err(|_| "HTTP: no answer within the timeout".to_owned())? {
        Ok((socket, response)) => {
            show(&format!("HTTP  {:>8}  {}", took(start), describe(&response)));
            talk(args, socket).await
        }
        Err(Error::Http(response)) => {
            show(&format!("HTTP  {:>8}  {}", took(start), response.status()));
            if let Some(body) = response.body() {
                show(&format!(
                    "      {}",
                    Printable(String::from_utf8_lossy(body).trim_end())
                ));
            }
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(format!("HTTP: {error}")),
    }
}

fn describe(response: &Response) -> String {
    let mut line = response.status().to_string();
    if let Some(name) = response.headers().get("sec-websocket-protocol") {
        let _infallible = write!(
            line,
            ", subprotocol {}",
            Printable(&String::from_utf8_lossy(name.as_bytes()))
        );
    }
    line
}

/// Sends what was asked for and what is typed, shows what comes, until either side closes.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    args: &Probe,
    mut socket: WebSocketStream<Tap<S>>,
) -> Result<ExitCode, String> {
    if std::io::stdin().is_terminal() && args.expect.is_none() {
        let what = if args.hex { "hex" } else { "text" };
        show(&format!("Each line is a message ({what}). End with Ctrl-D."));
    }
    let failed = |error: Error| format!("the connection broke: {error}");
    for text in &args.send {
        socket.send(Message::text(text)).await.map_err(failed)?;
    }
    let mut typed = BufReader::new(tokio::io::stdin()).lines();
    let mut typing = true;
    let mut left = args.expect;
    let mut closing = left == Some(0);
    if closing {
        socket.close(Some(normal())).await.map_err(failed)?;
    }
    loop {
        let came = tokio::select! {
            came = next(&mut socket, closing.then_some(args.timeout)) => came?,
            line = typed.next_line(), if typing && !closing => {
                match line.map_err(|error| format!("standard input: {error}"))? {
                    Some(line) if args.hex => match from_hex(&line) {
                        Ok(bytes) => socket.send(Message::binary(bytes)).await.map_err(failed)?,
                        Err(problem) => show(&format!("not sent: {problem}")),
                    },
                    Some(line) => socket.send(Message::text(line)).await.map_err(failed)?,
                    // What was asked for may be on its way still.
                    None if args.expect.is_some() => typing = false,
                    None => {
                        closing = true;
                        socket.close(Some(normal())).await.map_err(failed)?;
                    }
                }
                continue;
            }
        };
        match came {
            Some(Message::Text(text)) => {
                show(&format!("<  text    {:>7} B  {}", text.len(), Printable(&text)))
            }
            Some(Message::Binary(bytes)) => {
                show(&format!("<  binary  {:>7} B  {}", bytes.len(), hex(&bytes)))
            }
            Some(Message::Close(_)) => return Ok(closed(socket.get_ref().close(), closing)),
            Some(_) => continue,
            None => return Err("the connection ended without a Close frame (1006)".into()),
        }
        left = left.map(|left| left.saturating_sub(1));
        if left == Some(0) && !closing {
            closing = true;
            socket.close(Some(normal())).await.map_err(failed)?;
        }
    }
}

async fn next<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<Tap<S>>,
    limit: Option<Duration>,
) -> Result<Option<Message>, String> {
    let came = match limit {
        Some(limit) => timeout(limit, socket.next())
            .await
            .map_err(|_| "no answer to our Close frame")?,
        None => socket.next().await,
    };
    came.transpose()
        .map_err(|error| format!("the connection broke: {error}"))
}

fn normal() -> CloseFrame {
    CloseFrame {
        code: 1000.into(),
        reason: "".into(),
    }
}

fn closed(frame: Option<(u16, &str)>, asked: bool) -> ExitCode {
    let line = match frame {
        Some((code, reason)) => format!("closed {code} {}", Printable(reason)),
        None => "closed 1005 (no code)".into(),
    };
    show(line.trim_end());
    let good = asked || frame.is_some_and(|(code, _)| code == 1000);
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn took(start: Instant) -> String {
    format!("{:.1} ms", start.elapsed().as_secs_f64() * 1000.0)
}

fn show(line: &str) {
    // A reader that has gone is no reason to stop.
    drop(writeln!(std::io::stdout(), "{line}"));
}

fn hex(bytes: &[u8]) -> String {
    let shown: Vec<String> = bytes
        .iter()
        .take(SHOWN)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let more = if bytes.len() > SHOWN { " …" } else { "" };
    format!("{}{more}", shown.join(" "))
}

fn from_hex(line: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u32> = line
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).ok_or_else(|| format!("{c:?} is not a hex digit")))
        .collect::<Result<_, _>>()?;
    if !digits.len().is_multiple_of(2) {
        return Err("an odd number of hex digits".into());
    }
    // Two digits of four bits fit a byte.
    Ok(digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_as_it_is_shown() {
        assert_eq!(from_hex("de ad BE ef"), Ok(vec![0xDE, 0xAD, 0xBE, 0xEF]));
        assert_eq!(from_hex(""), Ok(vec![]));
        assert_eq!(hex(&[0, 255]), "00 ff");
        assert!(from_hex("abc").is_err() && from_hex("zz").is_err());
    }
}
