//! The proxies that are measured: how each is configured, started and ended.

mod child;
mod config;
mod relay;

use std::fs;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::Result;
use crate::measure::Tree;
use crate::traffic::Framing;

pub(crate) use config::write_identity;
pub(crate) use relay::relay;

use child::Child;

/// Longest time for a proxy to listen.
const START: Duration = Duration::from_secs(5);
/// Ports tried for those who cannot choose one themselves.
const TRIES: usize = 5;

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Sealock,
    /// An older build of sealock, to compare with.
    Baseline,
    Nginx,
    Haproxy,
    Websockify,
    Relay,
}

impl Kind {
    /// In the order of the tables.
    pub(crate) const ALL: [Self; 6] = [
        Self::Sealock,
        Self::Baseline,
        Self::Nginx,
        Self::Haproxy,
        Self::Websockify,
        Self::Relay,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sealock => "sealock",
            Self::Baseline => "baseline",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Websockify => "websockify",
            Self::Relay => "relay",
        }
    }

    /// What it does, for the report.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Sealock => "TLS, WebSocket and framing to TCP",
            Self::Baseline => "another build of sealock",
            Self::Nginx => "`stream`: TLS to TCP, default buffers, one worker",
            Self::Haproxy => "`mode tcp`: TLS to TCP, default buffers, one thread",
            Self::Websockify => "TLS and WebSocket to TCP, raw only, a process a session",
            Self::Relay => "TCP to TCP, nothing ended or looked at: the floor",
        }
    }

    /// Whether clients speak TLS with it.
    pub(crate) fn is_tls(self) -> bool {
        self != Self::Relay
    }

    /// The path to ask for, of those that speak WebSocket.
    pub(crate) fn path(self, framing: Framing, large: bool) -> Option<String> {
        match self {
            Self::Sealock | Self::Baseline => Some(config::path(framing, large)),
            Self::Websockify => Some("/".to_owned()),
            Self::Nginx | Self::Haproxy | Self::Relay => None,
        }
    }
}

/// The programs, and the folder for what they read and write.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) sealock: PathBuf,
    /// Another build of it.
    pub(crate) baseline: Option<PathBuf>,
    /// This program, which is the relay too.
    pub(crate) own: PathBuf,
    pub(crate) folder: PathBuf,
}

/// A proxy that runs, until this is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Proxy {
    /// Starts one in front of a backend and waits until it listens.
    pub(crate) async fn start(kind: Kind, programs: &Programs, backend: SocketAddr) -> Result<Self> {
        let mut last = None;
        for _ in 0..TRIES {
            match Self::attempt(kind, programs, backend).await {
                Ok(proxy) => return Ok(proxy),
                // Another program may have taken the port meanwhile.
                Err(error) => last = Some(error),
            }
        }
        let error = last.map_or_else(String::new, |error| error.to_string());
        Err(format!("{} does not start: {error}", kind.name()).into())
    }

    async fn attempt(kind: Kind, programs: &Programs, backend: SocketAddr) -> Result<Self> {
        let log = programs.folder.join(format!("{}.log", kind.name()));
        let port = free_port()?;
        let mut command = config::command(kind, programs, backend, port)?;
        let mut child = Child::start(&mut command, &log)?;
        let end = Instant::now() + START;
        loop {
            if child.has_ended() {
                return Err(tail(&log).into());
            }
            if let Some(address) = listening(kind, &log, port).await {
                return Ok(Self { child, address });
            }
            if Instant::now() > end {
                return Err(format!("it does not listen\n{}", tail(&log)).into());
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Its processes as they are now.
    pub(crate) fn tree(&self) -> Result<Tree> {
        Tree::of(self.child.pid())
    }
}

/// Where it listens, once it does. Some say so; the others were told, and are asked.
async fn listening(kind: Kind, log: &Path, port: u16) -> Option<SocketAddr> {
    if matches!(kind, Kind::Sealock | Kind::Baseline | Kind::Relay) {
        return announced(&fs::read_to_string(log).ok()?);
    }
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    TcpStream::connect(address).await.ok().map(|_| address)
}

/// The address in a line such as `listening on wss://127.0.0.1:1234`.
fn announced(text: &str) -> Option<SocketAddr> {
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n')?.strip_prefix("listening on "))
        .find_map(|url| url.split_once("://")?.1.parse().ok())
}

/// A port that is free now.
fn free_port() -> Result<u16> {
    Ok(StdListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The end of a log, for an error.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

/// What a proxy says of its version; nothing when it is not installed.
pub(crate) fn version(kind: Kind, programs: &Programs) -> Option<String> {
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        text.lines().next().map(|line| line.trim().to_owned())
    };
    match kind {
        Kind::Sealock => said(programs.sealock.to_str()?, &["--version"]),
        Kind::Baseline => said(programs.baseline.as_ref()?.to_str()?, &["--version"]),
        Kind::Nginx => config::nginx_stream(&nginx_build()?)
            .is_some()
            .then(|| said("nginx", &["-v"]))?,
        Kind::Haproxy => said("haproxy", &["-v"]),
        // It does not tell its version; the package does.
        Kind::Websockify => {
            said("websockify", &["--help"])?;
            let package = said("dpkg-query", &["-W", "-f", "${Package} ${Version}", "websockify"]);
            Some(package.unwrap_or_else(|| "websockify".to_owned()))
        }
        Kind::Relay => Some(format!("relay of sealock-bench {}", env!("CARGO_PKG_VERSION"))),
    }
}

/// How nginx was built.
fn nginx_build() -> Option<String> {
    let output = Command::new("nginx").arg("-V").output().ok()?;
    Some(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_when_its_line_is_whole() {
        let found = |text| announced(text).map(|address| address.to_string());
        assert_eq!(found("listening on wss://127.0.0.1:12"), None);
        assert_eq!(
            found("a\nlistening on wss://127.0.0.1:1234\nb\n").as_deref(),
            Some("127.0.0.1:1234")
        );
    }
}
