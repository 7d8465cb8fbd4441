//! A real server of somebody else, as a process of its own behind sealock.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::{Program, soon};

/// A free port may be taken by somebody else before the server has it.
const ATTEMPTS: usize = 5;

/// A running server. Killed when dropped.
pub struct Service {
    pub address: SocketAddr,
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    _dir: tempfile::TempDir,
}

impl Service {
    /// Starts a server on a free port of loopback. `command` gets the port and an empty folder; the server is up once it prints
    /// `ready`, which it must not do before it listens.
    pub async fn start(ready: &str, command: impl Fn(u16, &Path) -> Command) -> Self {
        let mut said = String::new();
        for _ in 0..ATTEMPTS {
            let dir = tempfile::tempdir().unwrap();
            let address = free_address();
            let mut command = command(address.port(), dir.path());
            let mut child = command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .unwrap_or_else(|error| missing(&command, &error));
            let mut lines = lines(&mut child);
            while let Some(line) = soon("the server to start", lines.recv()).await {
                if line.contains(ready) {
                    return Self {
                        address,
                        child,
                        lines,
                        _dir: dir,
                    };
                }
                said += &format!("{line}\n");
            }
        }
        panic!("the server ended {ATTEMPTS} times:\n{said}");
    }

    /// sealock in front of it, with these settings of the one route, `/`.
    pub async fn behind(&self, route: &str) -> Program {
        let address = self.address;
        Program::start(&format!(
            "[[route]]\nname = \"service\"\npath = \"/\"\nbackend = \"tcp://{address}\"\n{route}\n"
        ))
        .await
    }

    /// The next line that it prints.
    pub async fn line(&mut self) -> String {
        soon("a line of the server", self.lines.recv())
            .await
            .expect("the server runs")
    }

    /// Sends it a signal by name, and waits for its end.
    pub async fn stop(mut self, signal: &str) {
        let id = self.child.id().expect("the server runs").to_string();
        let sent = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(id)
            .status()
            .await;
        assert!(sent.unwrap().success());
        soon("the server's end", self.child.wait()).await.unwrap();
    }
}

/// An address that is free to listen on, if nobody else takes it until then.
pub fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// An address where nobody listens.
pub fn nobody() -> SocketAddr {
    nobody_at(Ipv4Addr::LOCALHOST.into())
}

/// The same at an IP address. A socket that never listens keeps it until all tests are over: given back, it could be somebody else's.
pub fn nobody_at(address: IpAddr) -> SocketAddr {
    let any = SocketAddr::new(address, 0);
    let socket = Socket::new(Domain::for_address(any), Type::STREAM, None).unwrap();
    socket.bind(&any.into()).unwrap();
    let bound = socket.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(socket);
    bound
}

/// A program of Debian, whose daemons lie where an ordinary user's path may not lead.
pub fn program(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
    command
}

/// A program of PyPI, from the folder that tests/install-deps.sh puts such into.
pub fn pypi(name: &str) -> Command {
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/services/bin");
    Command::new(bin.join(name))
}

/// A server, or a client, of a Python library that brings none to run: a few lines of `tests/it/support`, which get the port.
pub fn script(name: &str, port: u16) -> Command {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/support")
        .join(name);
    let mut command = pypi("python3");
    command.arg("-u").arg(file).arg(port.to_string());
    command
}

/// Fails the test: it was to run with a program that is not there.
pub fn missing(command: &Command, error: &std::io::Error) -> ! {
    let name = command.as_std().get_program().display();
    panic!("{name}: {error}: tests/install-deps.sh installs what the tests run beside sealock")
}

/// All that a child prints, until both its outputs end. It is read on when nobody listens any more, so that no pipe fills up.
fn lines(child: &mut Child) -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    if let Some(out) = child.stdout.take() {
        tokio::spawn(forward(out, sender.clone()));
    }
    if let Some(err) = child.stderr.take() {
        tokio::spawn(forward(err, sender));
    }
    lines
}

async fn forward(output: impl AsyncRead + Unpin, to: mpsc::UnboundedSender<String>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // The test may have heard enough.
        drop(to.send(line));
    }
}
