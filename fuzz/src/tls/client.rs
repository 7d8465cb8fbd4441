//! The client: rustls' own, with a hand on its records.

use std::io::{Cursor, ErrorKind, Read, Write};
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, Error, HandshakeKind};

/// What a client was told at last.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// A close_notify.
    Close,
    /// The stream ended without.
    End,
    /// An alert, or something that its TLS refused.
    Failed(Error),
}

pub(super) struct Client {
    tls: ClientConnection,
    pub(super) heard: Vec<u8>,
    damage: Option<(usize, usize)>,
    /// Records that have left.
    records: usize,
    closed: bool,
    failed: Option<Error>,
}

impl Client {
    pub(super) fn new(config: Arc<ClientConfig>, damage: Option<(usize, usize)>) -> Self {
        let name = ServerName::try_from("localhost").expect("a name");
        let mut tls = ClientConnection::new(config, name).expect("a good configuration");
        tls.set_buffer_limit(None);
        Self {
            tls,
            heard: Vec::new(),
            damage,
            records: 0,
            closed: false,
            failed: None,
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.failed.is_some()
    }

    /// True once its own handshake is done.
    pub(super) fn may_speak(&self) -> bool {
        !self.tls.is_handshaking()
    }

    pub(super) fn handshake(&self) -> Option<HandshakeKind> {
        self.tls.handshake_kind().filter(|_| self.may_speak())
    }

    pub(super) fn write(&mut self, data: &[u8]) {
        if !self.closed {
            self.tls.writer().write_all(data).expect("no limit");
        }
    }

    pub(super) fn change_keys(&mut self) {
        if !self.closed {
            // TLS 1.2 cannot.
            drop(self.tls.refresh_traffic_keys());
        }
    }

    pub(super) fn close(&mut self) {
        if !self.closed {
            self.closed = true;
            self.tls.send_close_notify();
        }
    }

    /// The records that are to leave.
    pub(super) fn output(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).expect("a vector takes all");
        }
        let mut rest = &mut bytes[..];
        while let [_, _, _, high, low, ..] = rest {
            let len = 5 + usize::from(u16::from_be_bytes([*high, *low]));
            let (record, behind) = rest.split_at_mut(len);
            if let Some((_, at)) = self.damage.filter(|(record, _)| *record == self.records) {
                record[at % len] ^= 1;
            }
            self.records += 1;
            rest = behind;
        }
        bytes
    }

    pub(super) fn input(&mut self, bytes: &[u8]) {
        let mut bytes = Cursor::new(bytes);
        while self.failed.is_none() {
            // Behind a close_notify it reads nothing more.
            match self.tls.read_tls(&mut bytes) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
            self.failed = self.tls.process_new_packets().err();
            self.read().unwrap_or_default();
        }
    }

    /// The server's stream has ended.
    pub(super) fn hear_the_end(&mut self) {
        self.input(&[]);
    }

    pub(super) fn told(&mut self) -> Told {
        match (self.failed.take(), self.read()) {
            (Some(error), _) => Told::Failed(error),
            (None, Ok(())) => Told::Close,
            (None, Err(_)) => Told::End,
        }
    }

    /// Reads on. `Ok` is an end in order.
    fn read(&mut self) -> Result<(), ErrorKind> {
        self.tls
            .reader()
            .read_to_end(&mut self.heard)
            .map(drop)
            .map_err(|error| error.kind())
    }
}
