//! Puts sealock before the demo's backends: its configuration, and what is printed.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::Demo;
use crate::app::Bound;
use crate::config::{self, Config, Diagnostics};

/// The names and addresses that the demo's certificate is for.
pub fn names(bind: SocketAddr) -> Vec<String> {
    let mut names = vec![
        "localhost".to_owned(),
        Ipv4Addr::LOCALHOST.to_string(),
        Ipv6Addr::LOCALHOST.to_string(),
    ];
    let ip = bind.ip();
    if !ip.is_unspecified() && !ip.is_loopback() {
        names.push(ip.to_string());
    }
    names
}

/// The demo's configuration: a file like any other, but for its certificate, which is in memory.
pub fn config(bind: SocketAddr, backends: &Demo) -> Result<Config, Diagnostics> {
    let file = file(bind, backends);
    config::parse(&file, "demo.toml", Path::new(""), &|_| None).map(|loaded| loaded.config)
}

fn file(bind: SocketAddr, Demo { chat, echo, raw }: &Demo) -> String {
    format!(
        r#"shutdown_timeout = "3s"

[[listener]]
bind = "{bind}"
cert_file = "in memory"
key_file = "in memory"

[[route]]
name = "chat"
path = "/chat"
backend = "tcp://{chat}"
framing = "lines"
message = "text"

[[route]]
name = "echo"
path = "/echo"
backend = "tcp://{echo}"
framing = "u32be"
message = "auto"
max_message = "16 MiB"

[[route]]
name = "raw"
path = "/raw"
backend = "tcp://{raw}"
framing = "raw"
message = "binary"
"#
    )
}

/// What is printed once the demo is up. `in_memory`: its certificate was made for this run.
pub fn welcome(bound: &[Bound], backends: &Demo, in_memory: bool) -> String {
    let mut text = String::new();
    let port = bound.first().map_or(0, |bound| bound.address.port());
    let host = match bound.first().map(|bound| bound.address.ip()) {
        Some(ip) if !ip.is_unspecified() && !ip.is_loopback() => match ip {
            IpAddr::V6(ip) => format!("[{ip}]"),
            IpAddr::V4(ip) => ip.to_string(),
        },
        _ => "localhost".to_owned(),
    };
    // Writing to a String cannot fail.
    let _infallible = write!(
        text,
        "\n  Open  https://{host}:{port}/\n\n\
         Three TCP services run behind it, and know nothing of WebSocket:\n\
         \x20 /chat  a chat by lines            nc {} {}\n\
         \x20 /echo  records with u32 lengths   {}\n\
         \x20 /raw   bytes as they come         {}\n\n",
        backends.chat.ip(),
        backends.chat.port(),
        backends.echo,
        backends.raw
    );
    text.push_str(if in_memory {
        "The certificate was made for this run and is nowhere on disk, so the browser warns:\n\
         choose \"Advanced\", then \"Proceed\". To be trusted instead, once for all runs:\n\
         \x20 sealock cert --out certs       then import certs/ca.pem in the browser, and\n\
         \x20 sealock demo --cert certs/dev.pem --key certs/dev.key\n\n"
    } else {
        "The certificate is the one that was named: it must be trusted by the browser.\n\n"
    });
    text.push_str("Ctrl-C ends it.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demos_configuration_is_good_on_every_address() {
        let backend = "127.0.0.1:7000".parse().unwrap();
        let backends = Demo {
            chat: backend,
            echo: backend,
            raw: backend,
        };
        for bind in ["127.0.0.1:8443", "[::1]:0", "0.0.0.0:8443"] {
            let config =
                config(bind.parse().unwrap(), &backends).unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(config.routes.len(), 3);
        }
    }

    #[test]
    fn the_certificate_covers_the_address_that_is_shown() {
        assert!(names("192.0.2.7:8443".parse().unwrap()).contains(&"192.0.2.7".to_owned()));
        assert_eq!(names("0.0.0.0:8443".parse().unwrap()).len(), 3);
    }
}
