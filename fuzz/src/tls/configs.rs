//! Configurations of servers and clients.

use std::sync::{Arc, LazyLock};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ED25519,
};
use sealock::tls::{ClientCa, DevelopmentCa, server_config};
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{GetRandomFailed, SecureRandom, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, version};

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Tls12,
    Tls13,
}

/// What the two sides think of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// The server asks for no certificate.
    Anybody,
    /// It does, and gets one.
    Known,
    /// It does, and gets none.
    Nameless,
    /// The client does not trust the server.
    Distrustful,
}

/// Chance without chance. The order of a hello's extensions comes from it, and a damaged byte must be the same one in every run; keys do
/// not.
#[derive(Debug)]
struct Certain;

impl SecureRandom for Certain {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        buf.fill(7);
        Ok(())
    }
}

struct Made {
    /// The server's own.
    server: DevelopmentCa,
    open: Arc<ServerConfig>,
    guarded: Arc<ServerConfig>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let server = DevelopmentCa::make(&["localhost".into()]).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca = authority.self_signed(&key).expect("an authority");
    let issuer = Issuer::from_params(&authority, &key);
    let mut client = CertificateParams::default();
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    // Its signatures are all of one length: a script finds the same places in every run.
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let client = client.signed_by(&key, &issuer).expect("a certificate");

    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), ca.pem()).expect("a file");
    let client_ca = ClientCa::load(file.path()).expect("an authority");
    let config = |client_ca| server_config(&server.identity(), client_ca).expect("a configuration");
    Made {
        open: config(None),
        guarded: config(Some(&client_ca)),
        server,
        chain: vec![client.der().clone()],
        key: PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
    }
});

/// A client with no tickets yet, and its server.
pub(super) fn make(version: Version, clients: Clients) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let made = &*MADE;
    let mut roots = RootCertStore::empty();
    if clients != Clients::Distrustful {
        let ca = CertificateDer::from_pem_slice(made.server.ca_pem.as_bytes()).expect("PEM");
        roots.add(ca).expect("an authority");
    }
    let mut provider = aws_lc_rs::default_provider();
    // The shortest hello: there are fewer places to cut it at.
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    provider.secure_random = &Certain;
    let version = match version {
        Version::Tls12 => &version::TLS12,
        Version::Tls13 => &version::TLS13,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots);
    let mut config = match clients {
        Clients::Known => builder
            .with_client_auth_cert(made.chain.clone(), made.key.clone_key())
            .expect("a certificate"),
        _ => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(4);
    let server = match clients {
        Clients::Known | Clients::Nameless => &made.guarded,
        Clients::Anybody | Clients::Distrustful => &made.open,
    };
    (Arc::new(config), Arc::clone(server))
}
