//! Finds the route of a request: host and path, the most specific pattern first. Built once, immutable.

mod pattern;

pub use pattern::{HostPattern, PathPattern, PatternError};

/// A table from host and path to a value, ordered so that the first match is the most specific one: an exact host before a suffix
/// (the longest first) before any host; then an exact path before a prefix (the longest first).
#[derive(Clone, Debug)]
pub struct RouteTable<T> {
    entries: Vec<Entry<T>>,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    host: HostPattern,
    path: PathPattern,
    value: T,
}

impl<T: Clone> RouteTable<T> {
    /// Builds the table. Where two entries have the same patterns, the earlier one wins; the configuration reports the later one.
    pub fn new(routes: impl IntoIterator<Item = (Vec<HostPattern>, PathPattern, T)>) -> Self {
        let mut entries = Vec::new();
        for (hosts, path, value) in routes {
            let hosts = if hosts.is_empty() {
                vec![HostPattern::Any]
            } else {
                hosts
            };
            for host in hosts {
                entries.push(Entry {
                    host,
                    path: path.clone(),
                    value: value.clone(),
                });
            }
        }
        // Stable: the order of the file decides between equals.
        entries.sort_by(|a, b| (&a.host, &a.path).cmp(&(&b.host, &b.path)));
        Self { entries }
    }

    /// All values, the most specific route first. One of a route for several hosts comes as often.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|entry| &entry.value)
    }

    /// The most specific route for a host (as [`crate::addr::normalize_host`] gives it) and a path.
    pub fn find(&self, host: &str, path: &str) -> Option<&T> {
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.host.matches(host) && entry.path.matches(path))?;
        Some(&entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &[(&[&str], &str, &'static str)]) -> RouteTable<&'static str> {
        RouteTable::new(routes.iter().map(|(hosts, path, name)| {
            let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
            (hosts, path.parse().unwrap(), *name)
        }))
    }

    #[test]
    fn the_most_specific_route_wins_whatever_the_order_of_the_file() {
        let table = table(&[
            (&[], "/*", "all"),
            (&["*.example.com"], "/*", "suffix"),
            (&["*.chat.example.com"], "/*", "longer suffix"),
            (&["a.example.com"], "/irc/*", "prefix"),
            (&["a.example.com"], "/irc/deep/*", "longer prefix"),
            (&["a.example.com"], "/irc/deep/er", "exact"),
        ]);
        for (host, path, name) in [
            ("other.org", "/x", "all"),
            ("b.example.com", "/x", "suffix"),
            ("example.com", "/x", "all"),
            ("b.chat.example.com", "/", "longer suffix"),
            ("a.example.com", "/irc/", "prefix"),
            ("a.example.com", "/irc/deep/x", "longer prefix"),
            ("a.example.com", "/irc/deep/er", "exact"),
            // The host's own routes do not match: the next pattern that does is taken.
            ("a.example.com", "/irc", "suffix"),
        ] {
            assert_eq!(table.find(host, path), Some(&name), "{host}{path}");
        }
    }

    #[test]
    fn nothing_matches_where_nothing_is_written() {
        let table = table(&[(&["a.example.com"], "/irc", "irc")]);
        assert_eq!(table.find("a.example.com", "/irc/"), None);
        assert_eq!(table.find("b.example.com", "/irc"), None);
    }
}
