//! Patterns for hosts and paths. They order from the most specific to the least.

use std::cmp::Reverse;
use std::str::FromStr;

use crate::addr::normalize_host;

/// Which hosts a route serves. Compared without case and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// `*.example.com`: every host below it, not the domain itself. Kept as `.example.com`.
    Suffix(String),
    /// Every host.
    Any,
}

/// Which paths a route serves. Compared byte by byte, without the query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// This path.
    Exact(String),
    /// `/irc/*`: every path that starts with `/irc/`. Kept as `/irc/`.
    Prefix(String),
}

/// Why a pattern cannot be used, said to the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(&'static str);

impl HostPattern {
    pub(super) fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == host,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            Self::Any => true,
        }
    }
}

impl FromStr for HostPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let host = text.strip_prefix("*.").unwrap_or(text);
        if host.contains('*') {
            return Err(PatternError("a host is exact, or starts with \"*.\""));
        }
        if !host.starts_with('[') && host.contains(':') {
            return Err(PatternError("a host is written without a port"));
        }
        let host = normalize_host(host).ok_or(PatternError("this is not a host name or an address"))?;
        Ok(if text.starts_with("*.") {
            Self::Suffix(format!(".{host}"))
        } else {
            Self::Exact(host)
        })
    }
}

impl Ord for HostPattern {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |pattern: &Self| match pattern {
            Self::Exact(host) => (0, Reverse(0), host.clone()),
            Self::Suffix(host) => (1, Reverse(host.len()), host.clone()),
            Self::Any => (2, Reverse(0), String::new()),
        };
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for HostPattern {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl PathPattern {
    pub(super) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Prefix(prefix) => path.starts_with(prefix),
        }
    }
}

impl FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if !text.starts_with('/') {
            return Err(PatternError("a path starts with \"/\""));
        }
        if text.contains(['?', '#']) {
            return Err(PatternError("a path has no query and no fragment"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(PatternError(
                "a path has only visible ASCII characters; others are percent-encoded",
            ));
        }
        match text.strip_suffix("/*") {
            Some(prefix) if prefix.contains('*') => Err(PatternError(
                "\"*\" stands only at the end of a path, behind \"/\"",
            )),
            Some(prefix) => Ok(Self::Prefix(format!("{prefix}/"))),
            None if text.contains('*') => Err(PatternError(
                "\"*\" stands only at the end of a path, behind \"/\"",
            )),
            None => Ok(Self::Exact(text.to_owned())),
        }
    }
}

impl Ord for PathPattern {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |pattern: &Self| match pattern {
            Self::Exact(path) => (0, Reverse(0), path.clone()),
            Self::Prefix(path) => (1, Reverse(path.len()), path.clone()),
        };
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for PathPattern {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_cannot_be_meant_are_refused() {
        for text in ["", "a.*", "*.*.com", "*a.com", "a.com:443", "a b", "*."] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
        for text in ["", "irc", "/irc*", "/*/irc", "/a?b", "/a#b", "/a b", "/ü", "/*/*"] {
            assert!(text.parse::<PathPattern>().is_err(), "{text}");
        }
        for text in ["/", "/*", "/irc", "/irc/*", "/a/b-c/d.e"] {
            assert_eq!(text.parse::<PathPattern>().unwrap().to_string(), text);
        }
    }
}
