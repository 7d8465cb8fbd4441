//! Sockets that the service manager has bound, and passes by name (sd_listen_fds(3)).

use std::io;

use listenfd::ListenFd;
use socket2::SockRef;

use super::Listener;

/// What systemd calls a socket that it passes no name of (sd_listen_fds_with_names(3)).
const NAMELESS: &str = "unknown";

/// The sockets that were passed; those that somebody has taken are gone, and have left their names.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(String, Option<io::Result<std::net::TcpListener>>)>);

impl Inherited {
    /// Takes them out of the environment. To be called once, before there are threads: the environment is changed, so that it names
    /// them to nobody else.
    pub fn take() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let names = names.split(':').chain(std::iter::repeat(""));
        let sockets = (0..passed.len()).zip(names).map(|(at, name)| {
            let name = if name.is_empty() { NAMELESS } else { name };
            (name.to_owned(), passed.take_tcp_listener(at).transpose())
        });
        Self(sockets.collect())
    }

    /// Takes those with this name: one or more.
    pub fn listeners(&mut self, name: &str) -> io::Result<Vec<Listener>> {
        let named = self.0.iter_mut().filter(|(passed, _)| passed == name);
        let found: Vec<_> = named.filter_map(|(_, socket)| socket.take()).collect();
        if found.is_empty() {
            let message = match list(self.0.iter()) {
                names if names.is_empty() => {
                    "systemd has passed no sockets\n  help: start the socket unit: systemctl enable --now sealock.socket"
                        .to_owned()
                }
                _ if self.0.iter().any(|(passed, _)| passed == name) => {
                    "another listener has it: all sockets of one name belong to one listener".to_owned()
                }
                names => format!("systemd has passed no socket of this name, but {names}"),
            };
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        // What is wrong with one is that it is of another kind: the error names a descriptor, which tells nobody anything.
        let other_kind = |_| {
            let message = "it is no TCP socket: its unit needs `ListenStream=` with a TCP port";
            io::Error::new(io::ErrorKind::InvalidInput, message)
        };
        let listeners = found
            .into_iter()
            .map(|socket| listener(socket.map_err(other_kind)?));
        listeners.collect()
    }

    /// The names of those that nobody has taken, or nothing.
    pub fn names(&self) -> String {
        list(self.0.iter().filter(|(_, socket)| socket.is_some()))
    }
}

fn list<'a, T: 'a>(sockets: impl Iterator<Item = &'a (String, T)>) -> String {
    let names: Vec<String> = sockets.map(|(name, _)| format!("{name:?}")).collect();
    names.join(", ")
}

fn listener(socket: std::net::TcpListener) -> io::Result<Listener> {
    if !SockRef::from(&socket).is_listener()? {
        let message = "the socket does not listen: its unit must not say Accept=yes";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    crate::addr::tune(&socket, address.ip())?;
    Listener::of(tokio::net::TcpListener::from_std(socket)?, false)
}
