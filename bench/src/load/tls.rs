//! TLS as the generator speaks it: into and out of buffers of its own, so that a record costs no more than its cipher.

use std::sync::Arc;

use rustls::client::{ClientConnectionData, Resumption, UnbufferedClientConnection};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus, WriteTraffic};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Result;

/// The most payload a record takes (RFC 8446 §5.1).
pub(crate) const MAX_RECORD: usize = 16 * 1024;
/// More than a record adds to its payload.
const OVERHEAD: usize = 64;
/// More than a flight of the handshake takes.
const FLIGHT: usize = 16 * 1024;
const NAME: &str = "localhost";

/// The certificate of a run, made at its start and forgotten at its end.
pub(crate) struct Identity {
    pub(crate) cert_pem: String,
    pub(crate) key_pem: String,
    roots: Arc<RootCertStore>,
}

impl Identity {
    /// Makes a certificate with a P-256 key.
    pub(crate) fn make() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone())?;
        Ok(Self {
            cert_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
            roots: Arc::new(roots),
        })
    }
}

/// One cipher suite and one group, so that every proxy does the same work.
pub(crate) fn client_config(identity: &Identity, resume: bool) -> Result<Arc<ClientConfig>> {
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(Arc::clone(&identity.roots))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = if resume {
        Resumption::in_memory_sessions(4)
    } else {
        Resumption::disabled()
    };
    Ok(Arc::new(config))
}

/// The client's side of a TLS connection.
pub(crate) struct Tls {
    conn: UnbufferedClientConnection,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

enum Step {
    Again,
    Read,
    Done,
}

impl Tls {
    /// Performs the handshake; returns what came behind it, still sealed.
    pub(crate) async fn connect(tcp: &mut TcpStream, config: Arc<ClientConfig>) -> Result<(Self, Vec<u8>)> {
        let mut conn = UnbufferedClientConnection::new(config, ServerName::try_from(NAME)?)?;
        let (mut input, mut out) = (Vec::with_capacity(4096), Vec::new());
        loop {
            let UnbufferedStatus { discard, state, .. } = conn.process_tls_records(&mut input);
            let step = match state? {
                ConnectionState::EncodeTlsData(mut data) => {
                    append(&mut out, FLIGHT, |room| data.encode(room))?;
                    Step::Again
                }
                ConnectionState::TransmitTlsData(data) => {
                    tcp.write_all(&out).await?;
                    out.clear();
                    data.done();
                    Step::Again
                }
                ConnectionState::BlockedHandshake => Step::Read,
                ConnectionState::WriteTraffic(_) => Step::Done,
                other => return Err(format!("the TLS handshake is in the state {other:?}").into()),
            };
            input.drain(..discard);
            match step {
                Step::Again => {}
                Step::Read if input.len() > FLIGHT => return Err("the TLS handshake is too long".into()),
                Step::Read => {
                    if tcp.read_buf(&mut input).await? == 0 {
                        return Err("closed during the TLS handshake".into());
                    }
                }
                Step::Done => return Ok((Self { conn }, input)),
            }
        }
    }

    /// True when the handshake resumed an earlier session.
    pub(crate) fn is_resumed(&self) -> bool {
        self.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Seals what `next` puts into `plain`, a record or more at a time, until it says that there is no more.
    pub(crate) fn seal(
        &mut self,
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
        mut next: impl FnMut(&mut Vec<u8>, usize) -> bool,
    ) -> Result<()> {
        let mut traffic = self.traffic()?;
        loop {
            plain.clear();
            if !next(plain, out.len()) {
                return Ok(());
            }
            let room = plain.len() + OVERHEAD * (1 + plain.len() / MAX_RECORD);
            append(out, room, |room| traffic.encrypt(plain, room))?;
        }
    }

    /// Appends close_notify.
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let mut traffic = self.traffic()?;
        append(out, OVERHEAD, |room| traffic.queue_close_notify(room))
    }

    fn traffic(&mut self) -> Result<WriteTraffic<'_, ClientConnectionData>> {
        match self.conn.process_tls_records(&mut []).state? {
            ConnectionState::WriteTraffic(traffic) => Ok(traffic),
            other => Err(format!("cannot write in the TLS state {other:?}").into()),
        }
    }

    /// Opens the records in `input`; returns how many bytes they were. What TLS itself answers goes to `out`.
    pub(crate) fn open(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
        mut sink: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<usize> {
        let mut at = 0;
        loop {
            let UnbufferedStatus { discard, state, .. } = self.conn.process_tls_records(&mut input[at..]);
            let more = match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        sink(record?.payload)?;
                    }
                    true
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    append(out, FLIGHT, |room| data.encode(room))?;
                    true
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    true
                }
                ConnectionState::PeerClosed => true,
                _ => false,
            };
            at += discard;
            if !more {
                return Ok(at);
            }
        }
    }
}

/// Lets `write` fill at most `room` bytes behind what is there.
fn append<E: std::error::Error + Send + Sync + 'static>(
    out: &mut Vec<u8>,
    room: usize,
    write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
) -> Result<()> {
    let start = out.len();
    out.resize(start + room, 0);
    let written = write(&mut out[start..]);
    out.truncate(start + *written.as_ref().unwrap_or(&0));
    written?;
    Ok(())
}
