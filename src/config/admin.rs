//! Reads `[admin]`.

use std::net::SocketAddr;

use super::diagnostic::Diagnostic;
use super::keys::Place;
use super::listener::{bind, file, is_loopback};
use super::model::{Admin, Bind, Token};
use super::reader::{Item, Section};
use crate::addr::normalize_host;

const MOST_HOSTS: usize = 64;

/// `Some(None)` when there is no such table.
pub(super) fn read(top: &Section<'_>) -> Option<Option<Admin>> {
    let Some(item) = top.get("admin") else {
        return Some(None);
    };
    let section = item.table(Place::Admin)?;
    section.require("[admin]", &[("bind", "bind = \"127.0.0.1:9901\"")]);
    let address = section.get("bind");
    let bind = address.as_ref().and_then(own_address);
    let token = token(&section);
    if let (Some(address), Some(bind)) = (address, bind)
        && !is_loopback(bind)
        && !["token", "token_file"].iter().any(|key| section.mentions(key))
    {
        let open = Diagnostic::error("the admin listener is open to everybody")
            .at(address.span.clone(), "not on loopback, and without a token")
            .help(format!(
                "write bind = \"127.0.0.1:{}\", or add token_file = \"/etc/sealock/admin.token\"",
                bind.port()
            ));
        address.report(open);
        return None;
    }
    let hosts = section.get("hosts").map_or(Some(Vec::new()), |item| hosts(&item));
    Some(Some(Admin {
        bind: bind?,
        token: token?,
        hosts: hosts?,
    }))
}

/// An address; a socket of systemd is for those who come from outside.
fn own_address(item: &Item<'_>) -> Option<SocketAddr> {
    match bind(item)? {
        Bind::Address(address) => Some(address),
        Bind::Socket(_) => {
            item.wrong(
                "the admin listener has an address of its own",
                "a socket of systemd",
                "write bind = \"127.0.0.1:9901\"",
            );
            None
        }
    }
}

fn token(section: &Section<'_>) -> Option<Option<Token>> {
    match ["token", "token_file"].map(|key| section.get(key)) {
        [None, None] => Some(None),
        [Some(item), None] => {
            let token = item.text("\"${ADMIN_TOKEN}\"")?.value;
            if let Some(problem) = Token::problem(&token) {
                // Not at its line, which would be shown: it may be a secret all the same.
                let bad = Diagnostic::error(problem)
                    .at(section.span.clone(), "its `token` is another")
                    .help("write a random one, such as `openssl rand -hex 32` gives");
                item.report(bad);
                return None;
            }
            Some(Some(Token::Here(token)))
        }
        [None, Some(item)] => file(&item).map(|file| Some(Token::File(file))),
        [Some(_), Some(file)] => {
            let both = Diagnostic::error("there is one token")
                .at(file.key_span, "beside `token`")
                .help("remove one of them");
            section.reader.report(both);
            None
        }
    }
}

fn hosts(item: &Item<'_>) -> Option<Vec<String>> {
    let elements = item.list("[\"sealock.internal\"]")?;
    if elements.is_empty() || elements.len() > MOST_HOSTS {
        let label = if elements.is_empty() { "none" } else { "too many" };
        let help = "write the names that the admin listener is reached by, such as [\"sealock.internal\"]";
        item.wrong(format!("`hosts` lists 1 to {MOST_HOSTS} names"), label, help);
        return None;
    }
    let read = item.each(&elements, |item| {
        let text = item.text("\"sealock.internal\"")?;
        let host = normalize_host(&text.value);
        if host.is_none() {
            item.wrong(
                "this is not a host name",
                "",
                "write a name without scheme and path",
            );
        }
        host
    })?;
    Some(read.into_iter().map(|(_, host)| host).collect())
}
