//! What each proxy is told. Defaults throughout: only addresses, the certificate, and limits that 9,000 sessions need.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{Kind, Programs, nginx_build};
use crate::Result;
use crate::traffic::Framing;

/// Files of the certificate, in the folder of a run.
const CERT: &str = "cert.pem";
const KEY: &str = "key.pem";
/// Both in one, as HAProxy wants it.
const BOTH: &str = "both.pem";

/// Writes the certificate where the proxies look for it.
pub(crate) fn write_identity(folder: &Path, cert: &str, key: &str) -> Result<()> {
    fs::write(folder.join(CERT), cert)?;
    fs::write(folder.join(KEY), key)?;
    Ok(fs::write(folder.join(BOTH), format!("{cert}{key}"))?)
}

/// sealock's path for a framing.
pub(super) fn path(framing: Framing, large: bool) -> String {
    let name = match framing {
        Framing::Raw => "raw",
        Framing::U32be => "u32be",
        Framing::Lines => "lines",
    };
    format!("/{name}{}", if large { "-large" } else { "" })
}

/// The command that starts a proxy.
pub(super) fn command(kind: Kind, programs: &Programs, backend: SocketAddr, port: u16) -> Result<Command> {
    let folder = &programs.folder;
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).map(|()| path)
    };
    let command = match kind {
        Kind::Sealock | Kind::Baseline => {
            let program = if kind == Kind::Sealock {
                Some(&programs.sealock)
            } else {
                programs.baseline.as_ref()
            };
            let mut command = Command::new(program.ok_or("there is no baseline")?);
            command
                .arg("run")
                .arg("-c")
                .arg(file("sealock.toml", sealock(backend))?);
            command
        }
        Kind::Nginx => {
            let module = nginx_stream(&nginx_build().ok_or("nginx is not installed")?)
                .ok_or("nginx has no stream module")?;
            let root = rustix::process::geteuid().is_root();
            let config = file("nginx.conf", nginx(&module, root, folder, backend, port))?;
            let mut command = Command::new("nginx");
            command
                .args(["-e", "stderr", "-p"])
                .arg(folder)
                .arg("-c")
                .arg(config);
            command
        }
        Kind::Haproxy => {
            let config = file("haproxy.cfg", haproxy(folder, backend, port))?;
            let mut command = Command::new("haproxy");
            command.args(["-db", "-f"]).arg(config);
            command
        }
        Kind::Websockify => {
            let mut command = Command::new("websockify");
            command.arg("--cert").arg(folder.join(CERT));
            command.arg("--key").arg(folder.join(KEY)).arg("--ssl-only");
            command.args([format!("127.0.0.1:{port}"), backend.to_string()]);
            command
        }
        Kind::Relay => {
            let mut command = Command::new(&programs.own);
            command.args(["relay", "--backend", &backend.to_string()]);
            command
        }
    };
    Ok(command)
}

fn sealock(backend: SocketAddr) -> String {
    let mut text =
        format!("[limits]\nmax_sessions_per_client = \"off\"\n[[listener]]\nbind = \"127.0.0.1:0\"\ncert_file = \"{CERT}\"\nkey_file = \"{KEY}\"\n");
    for framing in [Framing::Raw, Framing::U32be, Framing::Lines] {
        for large in [false, true] {
            let path = path(framing, large);
            let preset = path.trim_start_matches('/').trim_end_matches("-large");
            let name = &path[1..];
            text += &format!(
                "\n[[route]]\nname = \"{name}\"\npath = \"{path}\"\nbackend = \"tcp://{backend}\"\nframing = \"{preset}\"\n"
            );
            if large {
                text += "max_message = \"64 MiB\"\n";
            }
        }
    }
    text
}

/// The line that loads nginx' stream module: empty where it is built in, nothing where it is not there.
pub(super) fn nginx_stream(build: &str) -> Option<String> {
    let mut options = build.split_whitespace();
    if build.split_whitespace().any(|option| option == "--with-stream") {
        return Some(String::new());
    }
    let folder = options.find_map(|option| option.strip_prefix("--modules-path="))?;
    let module = Path::new(folder).join("ngx_stream_module.so");
    module
        .exists()
        .then(|| format!("load_module {};\n", module.display()))
}

fn nginx(module: &str, root: bool, folder: &Path, backend: SocketAddr, port: u16) -> String {
    let user = if root { "user root;\n" } else { "" };
    let folder = folder.display();
    format!(
        "{module}{user}daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
events {{ worker_connections 20000; }}
stream {{
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/{CERT};
        ssl_certificate_key {folder}/{KEY};
        ssl_protocols TLSv1.2 TLSv1.3;
        proxy_pass {backend};
        proxy_timeout 1h;
    }}
}}
"
    )
}

fn haproxy(folder: &Path, backend: SocketAddr, port: u16) -> String {
    format!(
        "global
    nbthread 1
    maxconn 9500
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen bench
    bind 127.0.0.1:{port} ssl crt {folder}/{BOTH}
    server backend {backend}
",
        folder = folder.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_needs_a_module_where_stream_is_not_built_in() {
        let folder = tempfile::tempdir().unwrap();
        let dynamic = format!(
            "x --modules-path={} --with-stream=dynamic",
            folder.path().display()
        );
        assert_eq!(
            nginx_stream("configure arguments: --with-stream"),
            Some(String::new())
        );
        assert_eq!(nginx_stream(&dynamic), None);
        fs::write(folder.path().join("ngx_stream_module.so"), "").unwrap();
        assert!(nginx_stream(&dynamic).is_some_and(|line| line.starts_with("load_module ")));
    }

    #[test]
    fn sealock_gets_routes_and_nothing_else() {
        let text = sealock("127.0.0.1:9".parse().unwrap());
        assert_eq!(text.matches("[[route]]").count(), 6);
        let keys = text
            .lines()
            .filter_map(|line| line.split_once(" = "))
            .map(|(key, _)| key);
        let known = [
            "bind",
            "cert_file",
            "key_file",
            "name",
            "path",
            "backend",
            "framing",
            "max_message",
        ];
        assert!(keys.into_iter().all(|key| known.contains(&key)));
    }
}
