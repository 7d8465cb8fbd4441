//! Sockets that the service manager has bound, and passes by name (sd_listen_fds(3)).

use std::io;

use listenfd::ListenFd;
use socket2::SockRef;

use super::Listener;

/// What systemd calls a socket whose name it does not pass.
const NAMELESS: &str = "unknown";

/// The sockets that were passed and that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(String, io::Result<std::net::TcpListener>)>);

impl Inherited {
    /// Takes them out of the environment. To be called once, before there are threads: the environment is changed, so that it names
    /// them to nobody else.
    pub fn take() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let names = names.split(':').chain(std::iter::repeat(NAMELESS));
        let sockets = (0..passed.len()).zip(names).filter_map(|(at, name)| {
            let socket = passed.take_tcp_listener(at).transpose()?;
            Some((name.to_owned(), socket))
        });
        Self(sockets.collect())
    }

    /// Takes those with this name: one or more.
    pub fn listeners(&mut self, name: &str) -> io::Result<Vec<Listener>> {
        let named = self.0.extract_if(.., |(passed, _)| passed == name);
        let found: Vec<_> = named.map(|(_, socket)| socket.and_then(listener)).collect();
        if found.is_empty() {
            let message = match self.names() {
                names if names.is_empty() => "systemd has passed no sockets".to_owned(),
                names => format!("systemd has passed no socket of this name, but {names}"),
            };
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        found.into_iter().collect()
    }

    /// The names of those that nobody has taken, or nothing.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    }
}

fn listener(socket: std::net::TcpListener) -> io::Result<Listener> {
    if !SockRef::from(&socket).is_listener()? {
        let message = "the socket does not listen: its unit must not say Accept=yes";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    crate::addr::tune(&socket, address.ip())?;
    Ok(Listener {
        socket: tokio::net::TcpListener::from_std(socket)?,
        address,
        shares_port: false,
    })
}
