//! Which certificate a client is shown: by the name that it asks for.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_rustls::rustls;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{Identity, names};

/// The certificates of a listener.
///
/// One for the very name goes before one for `*.` and what follows its first label, that before the first of all. Several may be for
/// the same name, with keys of different kinds: the first that the client can check is shown.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// Shown to clients that ask for no name, or for one that none has.
    first: Arc<CertifiedKey>,
    /// By name, and by `*.` and a domain.
    named: HashMap<String, Vec<Arc<CertifiedKey>>>,
    not_after: Option<jiff::Timestamp>,
}

impl Certificates {
    /// Adds one for these names, in lower case.
    pub fn add(&mut self, identity: &Identity, names: Vec<String>) {
        for name in names {
            self.named.entry(name).or_default().push(Arc::clone(&identity.0));
        }
        let ends = [self.not_after, identity.not_after()];
        self.not_after = ends.into_iter().flatten().min();
    }

    /// When the first of them ends, where they say so.
    pub fn not_after(&self) -> Option<jiff::Timestamp> {
        self.not_after
    }

    /// Those for a name, the best first.
    fn all_for(&self, name: &str) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let wildcard = name.split_once('.').map(|(_, domain)| format!("*.{domain}"));
        let wildcard = wildcard.and_then(|wildcard| self.named.get(&wildcard));
        self.named.get(&name).into_iter().chain(wildcard).flatten()
    }
}

impl From<&Identity> for Certificates {
    fn from(first: &Identity) -> Self {
        let mut certificates = Self {
            first: Arc::clone(&first.0),
            named: HashMap::new(),
            not_after: None,
        };
        certificates.add(first, first.all_names());
        certificates
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let checked = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let found = hello
            .server_name()
            .and_then(|name| self.all_for(name).find(checked));
        Some(Arc::clone(found.unwrap_or(&self.first)))
    }
}

impl Identity {
    /// For which names it can be shown: the wanted ones, if it is for all of them, or all that it is for. Says why it cannot be.
    pub fn names(&self, wanted: Option<&[String]>) -> Result<Vec<String>, String> {
        let own = self.all_names();
        if own.is_empty() {
            return Err("this certificate is for no host name, so no client can ask for it".to_owned());
        }
        match wanted.into_iter().flatten().find(|name| !covers(&own, name)) {
            Some(name) => Err(format!(
                "this certificate is not for {name}, but for {}",
                own.join(", ")
            )),
            None => Ok(wanted.map_or(own, <[_]>::to_vec)),
        }
    }

    fn all_names(&self) -> Vec<String> {
        self.0
            .cert
            .first()
            .map(|leaf| names::of(leaf))
            .unwrap_or_default()
    }
}

/// Whether a certificate for these names is good for this one.
fn covers(own: &[String], name: &str) -> bool {
    let wildcard = name
        .split_once('.')
        .filter(|(label, _)| *label != "*")
        .map(|(_, domain)| format!("*.{domain}"));
    own.iter()
        .any(|one| one == name || Some(one) == wildcard.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::DevelopmentCa;

    fn identity(names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        DevelopmentCa::make(&names).unwrap().identity()
    }

    #[test]
    fn the_very_name_goes_before_a_wildcard_and_that_before_the_first() {
        let first = identity(&["localhost", "first.example.com", "127.0.0.1"]);
        let wildcard = identity(&["*.example.com", "example.org"]);
        let exact = identity(&["a.example.com"]);
        let listed = identity(&["b.example.com", "c.example.com", "*.example.net"]);
        let wanted = ["c.example.com", "x.example.net"].map(str::to_owned);
        let mut certificates = Certificates::from(&first);
        certificates.add(&wildcard, wildcard.names(None).unwrap());
        certificates.add(&exact, exact.names(None).unwrap());
        certificates.add(&listed, listed.names(Some(&wanted)).unwrap());
        for (name, best) in [
            ("localhost", Some(&first)),
            ("first.example.com", Some(&first)),
            ("a.example.com", Some(&exact)),
            ("A.Example.COM", Some(&exact)),
            ("b.example.com", Some(&wildcard)),
            ("c.example.com", Some(&listed)),
            ("x.example.net", Some(&listed)),
            ("y.example.net", None),
            ("other.example.com", Some(&wildcard)),
            ("two.labels.example.com", None),
            ("example.com", None),
            ("example.org", Some(&wildcard)),
            ("www.example.org", None),
            ("*.example.com", Some(&wildcard)),
            ("com", None),
            ("", None),
        ] {
            let found = certificates.all_for(name).next();
            let same = match (found, best) {
                (Some(found), Some(best)) => Arc::ptr_eq(found, &best.0),
                (None, None) => true,
                _ => false,
            };
            assert!(same, "{name}");
        }
    }

    #[test]
    fn a_certificate_is_shown_for_its_own_names_only() {
        let wildcard = identity(&["*.example.com"]);
        for (name, good) in [
            ("*.example.com", true),
            ("a.example.com", true),
            ("a.b.example.com", false),
            ("*.b.example.com", false),
            ("example.com", false),
            ("*.com", false),
            ("a.example.org", false),
        ] {
            let names = wildcard.names(Some(&[name.to_owned()]));
            assert_eq!(names.is_ok(), good, "{name}");
            if let Err(problem) = names {
                assert!(problem.contains("*.example.com"), "{problem}");
            }
        }
        let nameless = identity(&["127.0.0.1"]);
        let problem = nameless.names(None).unwrap_err();
        assert!(problem.contains("no host name"), "{problem}");
    }
}
