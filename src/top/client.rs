//! Asks the admin listener: one request a connection, as it answers.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::http::uri::Scheme;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::model::Look;
use crate::escape::Printable;

/// The longest that a whole look may take. A listener cuts a connection that takes as long.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest answer: that about a thousand sessions has half a megabyte.
const MAX_ANSWER: usize = 16 << 20;
const MAX_HEAD: usize = 16 << 10;
/// Sessions in one answer, and answers in one look: more cannot be overlooked at a glance anyway.
const PAGE: usize = 1000;
const PAGES: usize = 10;

/// A token, and where it was found.
pub(super) struct Token {
    pub(super) token: String,
    pub(super) source: String,
}

/// See the module's documentation.
pub(super) struct Client {
    host: String,
    port: u16,
    authority: HeaderValue,
    token: Option<(HeaderValue, String)>,
    route: Option<String>,
}

impl Client {
    /// For the listener at a URL; of sessions, only those of `route` are asked for, if one is named.
    pub(super) fn new(url: &str, token: Option<Token>, route: Option<String>) -> Result<Self, String> {
        let shown = Printable(url).to_string();
        let help = "write it such as http://127.0.0.1:9901";
        let whole = match url.contains("://") {
            true => url.to_owned(),
            false => format!("http://{url}"),
        };
        let uri: Uri = whole
            .parse()
            .map_err(|error| format!("{shown}: {error}\n  help: {help}"))?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            let why = "the admin listener speaks plain HTTP";
            return Err(format!(
                "{shown}: {why}\n  help: {help}; where it is far away, through a tunnel"
            ));
        }
        let (Some(authority), "" | "/", None) = (uri.authority(), uri.path(), uri.query()) else {
            return Err(format!("{shown}: an address has no path\n  help: {help}"));
        };
        let host = authority.host();
        // Whoever writes `user@` means something else, and a port that is too large is none to hyper.
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => Some(80),
            port => port.and_then(|port| port.strip_prefix(':')?.parse().ok()),
        };
        let (Some(port), Ok(header), false) =
            (port, HeaderValue::try_from(authority.as_str()), host.is_empty())
        else {
            return Err(format!("{shown}: this is no address\n  help: {help}"));
        };
        let token = token.map(|Token { token, source }| {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| format!("{source} holds no token"))?;
            value.set_sensitive(true);
            Ok::<_, String>((value, source))
        });
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            authority: header,
            token: token.transpose()?,
            route,
        })
    }

    /// Where it asks.
    pub(super) fn url(&self) -> String {
        format!("http://{}", String::from_utf8_lossy(self.authority.as_bytes()))
    }

    /// Looks once.
    pub(super) async fn look(&self) -> Result<Look, String> {
        let looked = timeout(DEADLINE, self.ask()).await;
        let looked = looked.unwrap_or_else(|_| Err(format!("no answer within {DEADLINE:?}")));
        looked.map_err(|problem| format!("{}: {problem}", self.url()))
    }

    async fn ask(&self) -> Result<Look, String> {
        let status = self.get("/api/v1/status").await?;
        if !(status["version"].is_string() && status["state"].is_string()) {
            return Err(is_another("it does not tell its version and state"));
        }
        let routes = elements(self.get("/api/v1/routes").await?, "routes");
        let known = |name: &str| routes.iter().any(|route| route["name"] == name);
        if let Some(route) = self.route.as_deref().filter(|route| !known(route)) {
            let names = routes.iter().filter_map(|route| route["name"].as_str());
            let names: Vec<String> = names.map(|name| Printable(name).to_string()).collect();
            return Err(format!(
                "there is no route {route:?}\n  help: there is {}",
                names.join(", ")
            ));
        }
        let mut look = Look {
            status,
            routes,
            ..Look::default()
        };
        let route = self
            .route
            .as_deref()
            .map(|route| format!("&route={}", encode(route)));
        for _ in 0..PAGES {
            let last = look.sessions.last().and_then(|session| session["id"].as_u64());
            let path = format!(
                "/api/v1/sessions?limit={PAGE}&after={}{}",
                last.unwrap_or(0),
                route.as_deref().unwrap_or_default()
            );
            let answer = self.get(&path).await?;
            if look.sessions.is_empty() {
                look.found = answer["found"].as_u64().unwrap_or(0);
            }
            let page = elements(answer, "sessions");
            let is_last = page.len() < PAGE;
            look.sessions.extend(page);
            if is_last {
                // All are here. Some of those that were found at first may have ended meanwhile.
                look.found = look.sessions.len() as u64;
                break;
            }
        }
        Ok(look)
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        let (status, body) = self.exchange(path).await?;
        let answer: Option<Value> = serde_json::from_slice(&body).ok();
        let said = answer.as_ref().and_then(|answer| answer["error"].as_str());
        match (status, answer.as_ref()) {
            (StatusCode::UNAUTHORIZED, _) => Err(match &self.token {
                None => "it asks for a token\n  help: --token-file FILE, or SEALOCK_ADMIN_TOKEN in the environment; \
                         --config FILE finds it by itself"
                    .to_owned(),
                Some((_, source)) => format!("it takes another token than the one of {source}"),
            }),
            (StatusCode::MISDIRECTED_REQUEST, _) => Err(
                "it does not answer to this name\n  help: use its address, or add the name to `hosts` of [admin]".into(),
            ),
            (StatusCode::OK, Some(_)) => answer.ok_or_else(String::new),
            (StatusCode::OK, None) => Err(is_another("its answer is not JSON")),
            (status, _) => Err(match said {
                Some(said) => format!("it says {}: {}", status.as_u16(), Printable(said)),
                None => is_another(&format!("it answers {}", status.as_u16())),
            }),
        }
    }

    /// One request, and the whole answer.
    async fn exchange(&self, path: &str) -> Result<(StatusCode, Bytes), String> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await;
        let tcp = tcp.map_err(|error| {
            format!("{error}\n  help: is sealock running there, with [admin] in its configuration?")
        })?;
        let broken = |error: hyper::Error| match error.is_parse() {
            true => is_another(&error.to_string()),
            false => format!("the connection broke: {error}"),
        };
        let mut request = Request::get(path)
            .header(header::HOST, &self.authority)
            .header(header::CONNECTION, "close");
        if let Some((token, _)) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(tcp))
            .await
            .map_err(broken)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            match body {
                Ok(body) => Ok((status, body.to_bytes())),
                Err(error) => Err(format!("the answer cannot be read: {error}")),
            }
        };
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // What it has read for the exchange is there still, or why it ended.
            _ = connection => exchange.await,
        }
    }
}

fn is_another(why: &str) -> String {
    format!("this is not the admin listener of a sealock: {why}\n  help: its address is `bind` of [admin]")
}

fn elements(mut answer: Value, name: &str) -> Vec<Value> {
    match answer[name].take() {
        Value::Array(elements) => elements,
        _ => Vec::new(),
    }
}

/// A value of a query.
fn encode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_others_refused_in_words() {
        for (url, host, port, shown) in [
            (
                "http://127.0.0.1:9901",
                "127.0.0.1",
                9901,
                "http://127.0.0.1:9901",
            ),
            (
                "http://localhost:9901/",
                "localhost",
                9901,
                "http://localhost:9901",
            ),
            ("[::1]:9901", "::1", 9901, "http://[::1]:9901"),
            (
                "sealock.internal:1",
                "sealock.internal",
                1,
                "http://sealock.internal:1",
            ),
            ("http://a", "a", 80, "http://a"),
        ] {
            let client = Client::new(url, None, None)
                .map_err(|error| panic!("{url}: {error}"))
                .unwrap();
            assert_eq!(
                (client.host.as_str(), client.port, client.url().as_str()),
                (host, port, shown)
            );
        }
        for (url, says) in [
            ("https://localhost:9901", "plain HTTP"),
            ("ftp://localhost", "plain HTTP"),
            ("http://localhost:9901/console", "has no path"),
            ("http://localhost:9901/?x", "has no path"),
            ("http://user@localhost:9901", "no address"),
            ("http://", "help:"),
            ("", "help:"),
            ("a b", "help:"),
            ("http://localhost:99999", "help:"),
            ("http://\u{1b}[31m", "\\u{1b}"),
        ] {
            let error = Client::new(url, None, None)
                .err()
                .unwrap_or_else(|| panic!("{url} is taken"));
            assert!(error.contains(says), "{url}: {error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_answers_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = Client::new(&url, None, None).map_err(|error| panic!("{error}"));
        let problem = client.unwrap().look().await.unwrap_err();
        assert_eq!(problem, format!("{url}: no answer within 10s"));
    }

    #[test]
    fn names_of_routes_are_encoded() {
        assert_eq!(encode("irc-1.x"), "irc-1.x");
        assert_eq!(encode("a b&c=é"), "a%20b%26c%3D%C3%A9");
    }
}
