//! TLS to backends.

use std::cell::OnceCell;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::io::{self, ErrorKind as K};
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{ServerName, TrustAnchor};
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::client::system_roots;
use super::identity::authorities;
use super::{Identity, IdentityError, words};
use crate::files::regular;
use crate::io::Connection;

/// Makes TLS 1.2 or 1.3 of connections to a backend, whose certificate is verified.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
    print: u64,
}

/// The key of [`Connector::print`], which nobody knows: so nobody can make two that look the same.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The authorities of the system: read when they are asked for first, and kept for all who trust them.
#[derive(Default)]
pub struct SystemRoots(OnceCell<Result<Arc<RootCertStore>, String>>);

impl SystemRoots {
    fn get(&self) -> Result<Arc<RootCertStore>, String> {
        self.0.get_or_init(|| system_roots().map(Arc::new)).clone()
    }
}

impl Connector {
    /// One that trusts the authorities in this PEM file, or those of the system. `server_name` is what the certificate must be for, and
    /// what is asked for, instead of the target's host. Backends that ask for a certificate get `identity`.
    pub fn new(
        ca_file: Option<&Path>,
        system: &SystemRoots,
        server_name: Option<&str>,
        identity: Option<&Identity>,
    ) -> Result<Self, IdentityError> {
        let setup = |problem: &dyn std::fmt::Display| IdentityError::Backend(problem.to_string());
        let name = server_name.map(server_name_of).transpose();
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| setup(&error))?;
        let roots = match ca_file {
            Some(file) => Arc::new(authorities(file, regular(file))?),
            None => system.get().map_err(|problem| setup(&problem))?,
        };
        let mut hasher = KEY.build_hasher();
        server_name.hash(&mut hasher);
        // The system's store has no order.
        let print_of = |root: &TrustAnchor<'_>| {
            KEY.hash_one((
                &*root.subject,
                &*root.subject_public_key_info,
                root.name_constraints.as_deref(),
            ))
        };
        let mut prints: Vec<u64> = roots.roots.iter().map(print_of).collect();
        prints.sort_unstable();
        prints.hash(&mut hasher);
        // The key belongs to the certificate.
        identity.map(|identity| &identity.0.cert).hash(&mut hasher);
        let builder = builder.with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&identity.0))))
            }
        };
        Ok(Self {
            config: Arc::new(config),
            name: name.map_err(|error| setup(&error))?,
            print: hasher.finish(),
        })
    }

    /// A number for what it was made of: authorities, certificate and name. The same for the same in this process.
    pub fn print(&self) -> u64 {
        self.print
    }

    /// Performs the handshake with a host: a name, or an address without brackets. The deadline is the caller's.
    pub async fn connect(&self, tcp: TcpStream, host: &str) -> io::Result<BackendTls> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => server_name_of(host).map_err(io::Error::other)?,
        };
        let stream = TlsConnector::from(Arc::clone(&self.config))
            .connect(name, tcp)
            .await
            .map_err(words::of_peer)?;
        Ok(BackendTls { stream, taken: 0 })
    }
}

fn server_name_of(host: &str) -> Result<ServerName<'static>, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(ServerName::from(address));
    }
    ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host:?} is not a name that a certificate can have"))
}

/// A connection to a backend, encrypted.
///
/// Its end without close_notify is an error, as it is for clients: somebody on the way may have cut it.
pub struct BackendTls {
    stream: TlsStream<TcpStream>,
    /// Bytes that were sealed, and of which not all have left. They count as written only then, so that whoever writes waits for the
    /// socket, and a backend that takes nothing is not mistaken for one that does.
    taken: usize,
}

impl Connection for BackendTls {
    fn reset_on_drop(&self) {
        self.stream.get_ref().0.reset_on_drop();
    }

    fn held_memory(&self) -> usize {
        self.taken
    }
}

impl AsyncRead for BackendTls {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.get_mut().stream).poll_read(cx, buf);
        // What rustls says is for those who write programs.
        read.map_err(|error| match error.kind() {
            K::UnexpectedEof => io::Error::new(K::UnexpectedEof, "TLS ended without close_notify"),
            _ => error,
        })
    }
}

impl AsyncWrite for BackendTls {
    /// Where it is pending, it must be asked again with the same bytes, or at least as many: as all who write do that have a queue.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.taken == 0 {
            this.taken = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        }
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        Poll::Ready(Ok(std::mem::take(&mut this.taken)))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    /// close_notify, then FIN: the backend may still answer.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{DevelopmentCa, server_config};
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    /// A backend and the connection to it.
    async fn pair() -> (BackendTls, tokio_rustls::server::TlsStream<TcpStream>) {
        let made = DevelopmentCa::make(&["localhost".into()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, &made.ca_pem).unwrap();
        let connector = Connector::new(Some(&ca), &SystemRoots::default(), Some("localhost"), None).unwrap();
        let acceptor = TlsAcceptor::from(server_config(&made.identity(), None).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(
            async {
                let tcp = TcpStream::connect(address).await.unwrap();
                connector.connect(tcp, "127.0.0.1").await.unwrap()
            },
            async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() }
        );
        (near, far)
    }

    #[tokio::test]
    async fn what_counts_as_written_has_left() {
        let (mut near, mut far) = pair().await;
        let bytes: Vec<u8> = (0..64 * 1024 * 1024_usize).map(|at| at as u8).collect();
        // Nobody reads: the socket fills up, and then nothing more is taken.
        let mut written = 0;
        loop {
            let wrote =
                poll_fn(|cx| Poll::Ready(Pin::new(&mut near).poll_write(cx, &bytes[written..]))).await;
            match wrote {
                Poll::Ready(count) => written += count.unwrap(),
                Poll::Pending => break,
            }
        }
        assert!(near.held_memory() > 0 && near.stream.get_ref().1.wants_write());
        // Without another word of its own, all that counts as written arrives.
        let mut got = vec![0; written];
        far.read_exact(&mut got).await.unwrap();
        assert!(got == bytes[..written]);
        // And the rest, once: nothing is sealed twice.
        let writing = async {
            near.write_all(&bytes[written..]).await.unwrap();
            near.shutdown().await.unwrap();
        };
        let reading = async {
            let mut rest = vec![0; bytes.len() - written];
            far.read_exact(&mut rest).await.unwrap();
            assert!(rest == bytes[written..]);
            assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
        };
        tokio::join!(writing, reading);
        // Our end is not theirs.
        far.write_all(b"an answer").await.unwrap();
        far.shutdown().await.unwrap();
        let mut answer = [0; 9];
        near.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"an answer");
        assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn an_end_without_close_notify_is_an_error() {
        let (mut near, mut far) = pair().await;
        far.get_mut().0.shutdown().await.unwrap();
        let error = near.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(error.to_string().contains("close_notify"), "{error}");
    }

    #[test]
    fn the_authorities_of_the_system_are_read_once() {
        let system = SystemRoots::default();
        let (first, second) = (system.get().unwrap(), system.get().unwrap());
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn names_and_files_are_checked_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let endless = dir.path().join("endless.pem");
        std::fs::File::create(&endless)
            .unwrap()
            .set_len(17 << 20)
            .unwrap();
        for (ca_file, name, says) in [
            (None, Some("a b"), "not a name that a certificate can have"),
            (Some("/nonexistent.pem"), None, "/nonexistent.pem"),
            (Some("/dev/null"), None, "/dev/null: this is no regular file"),
            (endless.to_str(), None, "the file has more than 16 MiB"),
        ] {
            let ca_file = ca_file.map(Path::new);
            let Err(error) = Connector::new(ca_file, &SystemRoots::default(), name, None) else {
                panic!("this should have been refused")
            };
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
