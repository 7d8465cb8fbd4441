//! A sealock that lets known clients in, and everybody beside them.

use std::net::SocketAddr;

use super::{Authority, Backend, Program, certificate};

/// A sealock with two listeners, its authority for clients, and the backend of its route `/test`.
pub struct Gate {
    pub authority: Authority,
    pub backend: Backend,
    pub program: Program,
    /// The listener for everybody.
    pub open: SocketAddr,
    /// The listener for clients of the authority.
    pub guarded: SocketAddr,
}

impl Gate {
    /// The authority's name.
    pub const AUTHORITY: &str = "the gatekeeper";

    /// Starts it with these settings of its route.
    pub async fn start(route: &str) -> Self {
        let authority = Authority::make(Self::AUTHORITY);
        let backend = Backend::start().await;
        let (cert, key, ca) = (
            certificate("dev.pem"),
            certificate("dev.key"),
            authority.file("ca.pem"),
        );
        let listener =
            format!("[[listener]]\nbind = \"127.0.0.1:0\"\ncert_file = {cert:?}\nkey_file = {key:?}\n");
        let program = Program::start_file(&format!(
            "{listener}{listener}client_ca_file = {ca:?}\n\
             [[route]]\nname = \"test\"\npath = \"/test\"\nbackend = \"tcp://{}\"\n{route}\n",
            backend.address
        ))
        .await;
        Self {
            // The first listener, which has TLS here.
            open: program.plain,
            guarded: program.tls,
            authority,
            backend,
            program,
        }
    }
}
