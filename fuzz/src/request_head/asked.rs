//! A second reader of requests, written for being plain: what an opening handshake must be (RFC 6455 §4.1, RFC 9112).

use super::PATH;

/// A right opening handshake.
pub(super) struct Asked<'a> {
    /// With the empty line behind it.
    pub(super) head_len: usize,
    pub(super) key: &'a str,
    pub(super) subprotocols: Vec<&'a str>,
}

impl<'a> Asked<'a> {
    /// Reads what a client sent; `None` where it is not a right request for [`PATH`].
    pub(super) fn read(data: &'a [u8]) -> Option<Self> {
        // A line may end in LF alone, and empty lines may lead (RFC 9112 §2.2).
        let leading = data.iter().take_while(|byte| b"\r\n".contains(byte)).count();
        let mut lines = Vec::new();
        let mut at = leading;
        loop {
            let len = data[at..].iter().position(|byte| *byte == b'\n')?;
            let line = &data[at..at + len];
            at += len + 1;
            match line.strip_suffix(b"\r").unwrap_or(line) {
                b"" => break,
                line => lines.push(line),
            }
        }
        let (request, headers) = lines.split_first()?;
        let target = request.strip_prefix(b"GET ")?.strip_suffix(b" HTTP/1.1")?;
        let headers = headers
            .iter()
            .map(|line| header(line))
            .collect::<Option<Vec<_>>>()?;
        let lines = |name: &str| -> Vec<&'a [u8]> {
            headers
                .iter()
                .filter(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| *value)
                .collect()
        };
        let texts = |name: &str| -> Option<Vec<&'a str>> {
            lines(name)
                .into_iter()
                .map(|value| std::str::from_utf8(value).ok())
                .collect()
        };
        let only = |name: &str| -> Option<&'a str> {
            match texts(name)?[..] {
                [value] => Some(value),
                _ => None,
            }
        };
        let has = |name: &str, token: &str| {
            let named = |line: &[u8]| {
                line.split(|byte| *byte == b',')
                    .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
            };
            lines(name).into_iter().any(named)
        };
        let host = only("host")?;
        let key = only("sec-websocket-key")?;
        let right = leads_to_path(target)
            && !host.is_empty()
            && !host.contains([' ', '/', '@'])
            && has("upgrade", "websocket")
            && has("connection", "upgrade")
            && only("sec-websocket-version")? == "13"
            && decoded_len(key)? == 16
            && lines("transfer-encoding").is_empty()
            && lines("content-length").iter().all(|value| *value == b"0")
            && lines("origin").len() <= 1
            && texts("origin")?
                .iter()
                .all(|origin| is_same(origin, target, host));
        let subprotocols: Vec<&str> = texts("sec-websocket-protocol")?
            .into_iter()
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .collect();
        right.then_some(Self {
            head_len: at,
            key,
            subprotocols,
        })
    }
}

/// Name and value. A name is a token, so nothing stands before the colon; a line that starts with a space is none.
fn header(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (std::str::from_utf8(&line[..colon]).ok()?, &line[colon + 1..]);
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (!name.is_empty() && name.bytes().all(token)).then_some((name, value.trim_ascii()))
}

/// The target is the path, perhaps behind a scheme and an authority, perhaps with a query.
fn leads_to_path(target: &[u8]) -> bool {
    let path = match find(target, b"://") {
        Some(at) if !target.starts_with(b"/") => {
            let rest = &target[at + 3..];
            &rest[rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len())..]
        }
        _ => target,
    };
    path.strip_prefix(PATH.as_bytes())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"?") || rest.starts_with(b"#"))
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// The origin names the host of the request, in whatever case.
fn is_same(origin: &str, target: &[u8], host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let bare = |text: &str| {
        let text = text.to_ascii_lowercase();
        let colon = text
            .rfind(':')
            .filter(|at| text[*at..].bytes().skip(1).all(|byte| byte.is_ascii_digit()));
        text[..colon.unwrap_or(text.len())]
            .trim_end_matches('.')
            .to_owned()
    };
    let asked = String::from_utf8_lossy(target).to_ascii_lowercase();
    let host = match asked.split_once("://") {
        Some((_, rest)) if !asked.starts_with('/') => rest.split('/').next().unwrap_or_default().to_owned(),
        _ => host.to_owned(),
    };
    matches!(scheme, "http" | "https") && bare(authority) == bare(&host)
}

/// How many bytes a text in base64 stands for; `None` where it is not in its one right form.
fn decoded_len(text: &str) -> Option<usize> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let values = digits
        .chars()
        .map(|digit| DIGITS.find(digit))
        .collect::<Option<Vec<_>>>()?;
    let spare = match padding {
        0 => 0,
        1 => 2,
        2 => 4,
        _ => return None,
    };
    let clean = values.last().is_none_or(|value| value % (1 << spare) == 0);
    (text.len().is_multiple_of(4) && clean).then_some(digits.len() * 6 / 8)
}
