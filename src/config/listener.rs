//! Reads `[[listener]]`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;

use super::diagnostic::{Basis, Diagnostic};
use super::keys::Place;
use super::model::{Bind, Certificate, Listener, OtherCertificate, Tls};
use super::reader::{Item, Reader, Section};
use super::scalar::TIMEOUT;
use super::suggest::quote;
use crate::addr::Networks;
use crate::upgrade::{ForwardedHeader, Forwarding};

/// hyper reads heads into a buffer of at least 8 KiB.
const HEAD: std::ops::RangeInclusive<u64> = (8 << 10)..=(1 << 20);
const DEFAULT_HEAD: usize = 16 << 10;
const MOST_NETWORKS: usize = 256;
const MOST_CERTIFICATES: usize = 1000;
/// Of `FileDescriptorName=` (systemd.socket(5)).
const LONGEST_NAME: usize = 255;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq)]
enum Plaintext {
    Loopback,
    Anywhere,
}

/// Reads all listeners and compares them.
pub(super) fn read_all(top: &Section<'_>) -> Vec<Listener> {
    let mut listeners = Vec::new();
    let mut binds = Vec::new();
    for section in top.tables("listener", Place::Listener) {
        listeners.extend(read(&section, &mut binds));
    }
    compare(top.reader, &binds);
    if !top.mentions("listener") {
        let missing = Diagnostic::error("there is no listener").help(
            "add, for example\n[[listener]]\nbind = \"0.0.0.0:8443\"\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"",
        );
        top.reader.report(missing);
    }
    listeners
}

fn read(section: &Section<'_>, binds: &mut Vec<Spanned<Bind>>) -> Option<Listener> {
    section.require("a listener", &[("bind", "bind = \"0.0.0.0:8443\"")]);
    let bind = section.get("bind").and_then(|item| {
        let bind = bind(&item)?;
        binds.push(Spanned::new(item.span, bind.clone()));
        Some(bind)
    });
    let reuse_port = section
        .get("reuse_port")
        .map_or(Some(false), |item| reuse_port(&item, bind.as_ref()));
    let tls = tls(section, bind.as_ref());
    let timeout = |key| {
        section
            .get(key)
            .map_or(Some(DEFAULT_TIMEOUT), |item| item.duration(TIMEOUT))
    };
    let handshake_timeout = timeout("handshake_timeout");
    let request_timeout = timeout("request_timeout");
    let max_head = section.get("max_head").map_or(Some(DEFAULT_HEAD), |item| {
        item.size(HEAD).and_then(|size| usize::try_from(size).ok())
    });
    let proxies = section
        .get("proxy_protocol_from")
        .map_or(Some(Networks::default()), |item| networks(&item));
    let forwarding = forwarding(section);
    let max_sessions = super::max_sessions(section);
    let (tls, loopback) = tls?;
    Some(Listener {
        bind: bind?,
        reuse_port: reuse_port?,
        loopback,
        max_sessions: max_sessions?,
        proxies: proxies?,
        forwarding: forwarding?,
        tls,
        handshake_timeout: handshake_timeout?,
        request_timeout: request_timeout?,
        max_head: max_head?,
    })
}

pub(super) fn bind(item: &Item<'_>) -> Option<Bind> {
    const HELP: &str = "write an address and a port: \"127.0.0.1:8443\" for this machine only, \"0.0.0.0:8443\" or \"[::]:8443\" for every interface";
    if let toml::de::DeValue::Integer(port) = item.value {
        item.mismatch(
            "a string",
            format!("write \"0.0.0.0:{port}\", or \"127.0.0.1:{port}\" for this machine only"),
        );
        return None;
    }
    let text = item.text("\"0.0.0.0:8443\"")?;
    if let Some(name) = text.value.strip_prefix("systemd:") {
        return socket(item, name);
    }
    if let Ok(address) = text.value.parse() {
        return Some(Bind::Address(address));
    }
    let help = text
        .literal()
        .and_then(meant_bind)
        .unwrap_or_else(|| HELP.to_owned());
    let label = match text.value.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && crate::addr::normalize_host(host).is_some() => {
            "a host name"
        }
        _ => "not an address with a port",
    };
    item.wrong("`bind` is an IP address and a port", label, help);
    None
}

/// The name of sockets that systemd passes: what `FileDescriptorName=` may be.
fn socket(item: &Item<'_>, name: &str) -> Option<Bind> {
    let fits = |c: char| c.is_ascii() && !c.is_ascii_control() && c != ':';
    if !(1..=LONGEST_NAME).contains(&name.len()) || !name.chars().all(fits) {
        item.wrong(
            "behind `systemd:` stands the name of a socket",
            "not a name",
            "write what the socket unit says after `FileDescriptorName=`, such as \"systemd:public\"",
        );
        return None;
    }
    Some(Bind::Socket(name.to_owned()))
}

fn reuse_port(item: &Item<'_>, bind: Option<&Bind>) -> Option<bool> {
    let reuse = item.boolean()?;
    if reuse && let Some(Bind::Socket(_)) = bind {
        let idle = Diagnostic::error("`reuse_port` has no meaning for a socket of systemd")
            .at(item.key_span.clone(), "the socket is there already")
            .help("remove it: whoever has the socket listens on it, the next process too");
        item.report(idle);
        return None;
    }
    Some(reuse)
}

/// The address that a text almost is.
fn meant_bind(text: &str) -> Option<String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let meant = if let Ok(address) = bare.parse::<IpAddr>() {
        SocketAddr::new(address, 8443).to_string()
    } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("0.0.0.0:{text}")
    } else {
        let (host, port) = text.rsplit_once(':')?;
        match host {
            "" | "*" => format!("0.0.0.0:{port}"),
            "localhost" => format!("127.0.0.1:{port}"),
            _ => format!("[{host}]:{port}"),
        }
    };
    meant.parse::<SocketAddr>().ok()?;
    Some(format!("write {}", quote(&meant)))
}

/// Whether it speaks TLS, and, where it does not, whether it promises to be on loopback.
fn tls(section: &Section<'_>, bind: Option<&Bind>) -> Option<(Tls, bool)> {
    let certificate = ["cert_file", "key_file"].map(|key| section.get(key));
    let others = others(section);
    let client_ca = section.get("client_ca_file");
    let client_ca_file = client_ca.as_ref().map_or(Some(None), |item| file(item).map(Some));
    let plaintext = section.get("plaintext");
    let chosen = plaintext.as_ref().and_then(|item| {
        item.choice(&[
            ("loopback", Plaintext::Loopback),
            ("anywhere", Plaintext::Anywhere),
        ])
    });
    match (certificate, plaintext) {
        ([None, None], None) => {
            // A misspelt key is reported already, and was meant to be here.
            if !["cert_file", "key_file", "plaintext"]
                .iter()
                .any(|key| section.mentions(key))
            {
                neither(section, bind);
            }
            None
        }
        ([None, None], Some(item)) => {
            warn_of_handshake(section, &item);
            if let Some(others) = section.get("certificate") {
                refuse_others(&others, &item);
                return None;
            }
            if let Some(client_ca) = client_ca {
                refuse_client_ca(&client_ca, &item);
            }
            in_the_clear(&item, chosen?, bind?)
        }
        ([cert, key], None) => {
            let [cert_file, key_file] = pair(section, [cert, key]);
            let certificate = Certificate {
                cert_file: cert_file?,
                key_file: key_file?,
                others: others?,
                client_ca_file: client_ca_file?,
            };
            Some((Tls::On(certificate), false))
        }
        ([cert, key], Some(item)) => {
            let mut both = Diagnostic::error("a listener is either encrypted or plaintext")
                .at(item.key_span, "in the clear")
                .help("remove `plaintext`, or `cert_file` and `key_file`");
            for file in [cert, key].into_iter().flatten() {
                both = both.at(file.key_span, "encrypted");
            }
            section.reader.report(both);
            None
        }
    }
}

/// The files of a chain and its key. One without the other is reported.
fn pair(section: &Section<'_>, [cert, key]: [Option<Item<'_>>; 2]) -> [Option<PathBuf>; 2] {
    if let Some(one) = cert.as_ref().xor(key.as_ref()) {
        let other = if cert.is_some() { "key_file" } else { "cert_file" };
        if !section.mentions(other) {
            let missing = Diagnostic::error(format!("`{}` needs `{other}` beside it", one.key))
                .at(one.key_span.clone(), "alone here")
                .help(format!("add {other} = \"…\", the PEM file of the other half"));
            section.reader.report(missing);
        }
    }
    [cert, key].map(|item| item.and_then(|item| file(&item)))
}

/// Reads `[[listener.certificate]]`.
fn others(listener: &Section<'_>) -> Option<Vec<OtherCertificate>> {
    if let Some(item) = listener.get("certificate")
        && let toml::de::DeValue::String(_) = item.value
    {
        let tables = Diagnostic::error("`certificate` is a table, [[listener.certificate]]")
            .at(item.span, "this is a string")
            .help("the file of the listener's own certificate is its `cert_file`");
        listener.reader.report(tables);
        return None;
    }
    let sections = listener.tables("certificate", Place::ListenerCertificate);
    if let Some(extra) = sections.get(MOST_CERTIFICATES) {
        let many = Diagnostic::error(format!(
            "a listener has at most {MOST_CERTIFICATES} more certificates"
        ))
        .at(extra.span.clone(), "one too many");
        listener.reader.report(many);
        return None;
    }
    let read: Vec<_> = sections.iter().map(other).collect();
    read.into_iter().collect()
}

fn other(section: &Section<'_>) -> Option<OtherCertificate> {
    let written = ["cert_file", "key_file"].map(|key| section.get(key));
    if written.iter().all(Option::is_none) {
        let lines = [
            ("cert_file", "cert_file = \"cert.pem\""),
            ("key_file", "key_file = \"key.pem\""),
        ];
        section.require("a certificate", &lines);
    }
    let [cert_file, key_file] = pair(section, written);
    let names = section
        .get("names")
        .map_or(Some(None), |item| certificate_names(&item).map(Some));
    Some(OtherCertificate {
        cert_file: cert_file?,
        key_file: key_file?,
        names: names?,
    })
}

fn certificate_names(item: &Item<'_>) -> Option<Vec<String>> {
    let elements = item.list("[\"chat.example.com\"]")?;
    if elements.is_empty() {
        item.wrong(
            "`names` lists at least one name",
            "none",
            "leave it out for all names that the certificate is for",
        );
        return None;
    }
    let read = item.each(&elements, |item| {
        let text = item.text("\"chat.example.com\"")?;
        let host = text.value.strip_prefix("*.").unwrap_or(&text.value);
        let name = host.parse::<IpAddr>().is_err() && crate::addr::normalize_host(host).is_some();
        if !name {
            item.wrong(
                "this is not a name that clients can ask for",
                "not a host name",
                "write a name such as \"chat.example.com\" or \"*.example.com\"; clients that connect to an address ask for none",
            );
            return None;
        }
        Some(text.value.to_ascii_lowercase())
    })?;
    Some(read.into_iter().map(|(_, name)| name).collect())
}

fn neither(section: &Section<'_>, bind: Option<&Bind>) {
    let clear = match bind {
        Some(Bind::Address(address)) if !is_loopback(*address) => {
            "plaintext = \"anywhere\" lets it be reached in the clear over the network, which is safe only behind \
             something that ends TLS"
        }
        _ => "plaintext = \"loopback\" lets programs on this machine reach it in the clear",
    };
    let problem = Diagnostic::error("this listener has no certificate")
        .at(section.span.clone(), "neither `cert_file` nor `plaintext`")
        .help("to encrypt, add\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"")
        .help(clear);
    section.reader.report(problem);
}

fn in_the_clear(item: &Item<'_>, chosen: Plaintext, bind: &Bind) -> Option<(Tls, bool)> {
    // Where a socket of systemd is bound shows when it is there.
    if let Bind::Address(bind) = bind
        && chosen == Plaintext::Loopback
        && !is_loopback(*bind)
    {
        let problem = Diagnostic::error("this listener is not on loopback")
            .at(item.span.clone(), "promises loopback")
            .help(format!("write bind = \"127.0.0.1:{}\" or, so that others can reach it in the clear, plaintext = \"anywhere\"", bind.port()));
        item.report(problem);
        return None;
    }
    Some((Tls::Off, chosen == Plaintext::Loopback))
}

fn warn_of_handshake(section: &Section<'_>, plaintext: &Item<'_>) {
    if let Some(item) = section.get("handshake_timeout") {
        let idle = Diagnostic::warning("`handshake_timeout` has no effect here")
            .at(item.key_span, "no TLS handshake takes place")
            .at(plaintext.key_span.clone(), "because of this")
            .help("remove it");
        section.reader.report(idle);
    }
}

/// An error, not a warning: who writes this relies on clients being known.
fn refuse_client_ca(client_ca: &Item<'_>, plaintext: &Item<'_>) {
    let nobody = Diagnostic::error("`client_ca_file` needs TLS")
        .at(client_ca.key_span.clone(), "asks clients for certificates")
        .at(plaintext.key_span.clone(), "in the clear, where nobody has one")
        .help("remove one of them, and with `plaintext` add `cert_file` and `key_file`");
    client_ca.report(nobody);
}

/// An error as well: they were meant for somebody.
fn refuse_others(others: &Item<'_>, plaintext: &Item<'_>) {
    let nobody = Diagnostic::error("`certificate` needs TLS")
        .at(others.key_span.clone(), "for clients that ask by name")
        .at(plaintext.key_span.clone(), "in the clear, where nobody asks")
        .help("remove one of them, and with `plaintext` add `cert_file` and `key_file`");
    others.report(nobody);
}

/// Who says in a request whom it comes from.
fn forwarding(section: &Section<'_>) -> Option<Option<Forwarding>> {
    let header = section
        .get("forwarded_header")
        .map_or(Some(ForwardedHeader::XForwardedFor), |item| {
            item.choice(&[
                ("x-forwarded-for", ForwardedHeader::XForwardedFor),
                ("forwarded", ForwardedHeader::Forwarded),
            ])
        });
    let Some(item) = section.get("forwarded_from") else {
        if let Some(item) = section.get("forwarded_header") {
            let nobody = Diagnostic::error("`forwarded_header` has no meaning without `forwarded_from`")
                .at(item.key_span, "nobody is trusted with it")
                .help("remove it, or add forwarded_from = [\"10.0.0.0/8\"], the addresses of your proxies");
            section.reader.report(nobody);
        }
        return Some(None);
    };
    let from = networks(&item)?;
    Some(Some(Forwarding {
        from,
        header: header?,
    }))
}

fn networks(item: &Item<'_>) -> Option<Networks> {
    let elements = item.list("[\"10.0.0.0/8\"]")?;
    if elements.is_empty() || elements.len() > MOST_NETWORKS {
        let label = if elements.is_empty() { "none" } else { "too many" };
        item.wrong(
            format!("`{}` lists 1 to {MOST_NETWORKS} networks", item.key),
            label,
            "write the addresses of your proxies, such as [\"10.0.0.0/8\"]",
        );
        return None;
    }
    let read = item.each(&elements, network)?;
    Some(Networks::new(read.into_iter().map(|(_, network)| network)))
}

/// A network, or a single address.
fn network(item: &Item<'_>) -> Option<IpNet> {
    let text = item.text("\"10.0.0.0/8\"")?;
    let parsed = text.value.parse::<IpNet>().ok();
    let network = parsed.or_else(|| text.value.parse::<IpAddr>().ok().map(IpNet::from));
    let (title, help) = match network {
        None => (
            "this is not a network",
            "write an address and how many of its bits count, such as \"10.0.0.0/8\" or \"2001:db8::/32\""
                .to_owned(),
        ),
        Some(IpNet::V6(net)) if net.addr().to_ipv4_mapped().is_some() => (
            "this is an IPv4 network in the form of IPv6",
            "write it as IPv4, such as \"10.0.0.0/8\": that holds for both forms".to_owned(),
        ),
        Some(net) if net.trunc() != net => {
            let meant = text
                .literal()
                .map(|_| format!("write {}", quote(&net.trunc().to_string())));
            (
                "there are bits behind those that count",
                meant.unwrap_or_default(),
            )
        }
        Some(net) => return Some(net),
    };
    item.wrong(title, "not a network", help);
    None
}

/// A path, relative to the folder of the configuration file.
pub(super) fn file(item: &Item<'_>) -> Option<PathBuf> {
    let text = item.text("\"certs/cert.pem\"")?;
    if text.value.is_empty() {
        item.wrong(
            format!("`{}` is empty", item.key),
            "no path",
            "write the path of a PEM file",
        );
        return None;
    }
    Some(item.reader.base_dir.join(text.value))
}

pub(super) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

fn compare(reader: &Reader<'_>, binds: &[Spanned<Bind>]) {
    for (at, later) in binds.iter().enumerate() {
        let clashes = |earlier: &&Spanned<Bind>| {
            let (Bind::Address(address), Bind::Address(other)) = (later.get_ref(), earlier.get_ref()) else {
                return earlier.get_ref() == later.get_ref();
            };
            let covered = other.is_ipv4() == address.is_ipv4()
                && (other.ip().is_unspecified() || address.ip().is_unspecified());
            other.port() == address.port() && address.port() != 0 && (other.ip() == address.ip() || covered)
        };
        let Some(earlier) = binds[..at].iter().find(clashes) else {
            continue;
        };
        let problem = if let Bind::Socket(_) = later.get_ref() {
            Diagnostic::error("two listeners have the same socket")
                .help("give each its own `FileDescriptorName=`")
        } else if earlier.get_ref() == later.get_ref() {
            Diagnostic::error("two listeners have the same address").help("give each its own port")
        } else {
            Diagnostic::warning("two listeners share a port")
                .help("one of them stands for every address, so most systems refuse the other; give each its own port")
        };
        let problem = problem
            .at(later.span(), "again here")
            .at(earlier.span(), "first here");
        reader.report(problem.basis(Basis::Structure));
    }
}
