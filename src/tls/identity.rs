//! Certificates: a chain and its key as one value, checked as a pair; and those for development.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use tokio_rustls::rustls;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SigningKey};

use super::{Certificates, ServerConfig, expiry, words};
use crate::escape::Printable;
use crate::files::regular;

/// Certificates are renewed long before.
const SOON: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);

/// A certificate chain with the key that belongs to it.
#[derive(Clone, Debug)]
pub struct Identity(pub(super) Arc<CertifiedKey>);

/// Why a certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read as PEM of the expected kind.
    #[error("{}: {problem}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The key is not that of the certificate.
    #[error("the key in {} does not belong to the certificate in {}", key.display(), cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// TLS to a backend cannot be set up.
    #[error("TLS to a backend: {0}")]
    Backend(String),
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Make(String),
}

impl Identity {
    /// Reads a PEM chain (the leaf first) and a PEM key, and checks that they belong together.
    pub fn load(cert_file: &Path, key_file: &Path) -> Result<Self, IdentityError> {
        let chain = certificates(cert_file, regular(cert_file))?;
        let certified = CertifiedKey::new(chain, signing_key(key_file)?);
        match certified.keys_match() {
            Ok(()) => Ok(Self(Arc::new(certified))),
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
                Err(IdentityError::Mismatch {
                    cert: cert_file.to_owned(),
                    key: key_file.to_owned(),
                })
            }
            Err(error) => Err(IdentityError::File {
                file: cert_file.to_owned(),
                problem: format!("this certificate cannot be used: {}", words::of(&error)),
            }),
        }
    }

    /// What is wrong with a key, whatever there is of its certificate.
    pub fn key_problem(key_file: &Path) -> Option<IdentityError> {
        signing_key(key_file).err()
    }

    /// When the leaf's validity ends.
    pub fn not_after(&self) -> Option<jiff::Timestamp> {
        Some(expiry::read(self.0.cert.first()?)?.not_after)
    }

    /// What clients may not like about it, at this moment.
    pub fn remarks(&self, now: jiff::Timestamp) -> Vec<String> {
        let mut remarks = Vec::new();
        let mut issuer = None;
        for (at, certificate) in self.0.cert.iter().enumerate() {
            let which = match at {
                0 => "the certificate".to_owned(),
                at => format!("certificate {} of the chain", at + 1),
            };
            let Some(facts) = expiry::read(certificate) else {
                issuer = None;
                continue;
            };
            if issuer.is_some_and(|issuer| issuer != facts.subject) {
                remarks.push(format!("{which} is not that of the issuer of the one before it"));
            }
            issuer = Some(facts.issuer);
            if facts.not_after < now {
                remarks.push(format!(
                    "{which} has expired: it was valid until {}",
                    facts.not_after
                ));
            } else if facts.not_before > now {
                remarks.push(format!("{which} is valid from {} only", facts.not_before));
            } else if facts.not_after.duration_since(now) < SOON {
                remarks.push(format!(
                    "{which} expires soon: it is valid until {}",
                    facts.not_after
                ));
            }
        }
        remarks
    }
}

/// The authorities whose certificates clients must present.
#[derive(Clone, Debug)]
pub struct ClientCa(Arc<dyn ClientCertVerifier>);

impl ClientCa {
    /// Reads the authorities' certificates, PEM.
    pub fn load(file: &Path) -> Result<Self, IdentityError> {
        let roots = authorities(file, regular(file))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map(Self)
            .map_err(|error| no_authority(file, &error))
    }
}

/// The authorities in a PEM file that was opened so; at least one.
pub(super) fn authorities(file: &Path, opened: io::Result<File>) -> Result<RootCertStore, IdentityError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, opened)? {
        roots
            .add(certificate)
            .map_err(|error| no_authority(file, &words::of(&error)))?;
    }
    Ok(roots)
}

fn no_authority(file: &Path, error: &dyn std::fmt::Display) -> IdentityError {
    IdentityError::File {
        file: file.to_owned(),
        problem: format!("this certificate cannot be an authority's: {error}"),
    }
}

/// The key in a PEM file.
fn signing_key(file: &Path) -> Result<Arc<dyn SigningKey>, IdentityError> {
    let problem = |problem| IdentityError::File {
        file: file.to_owned(),
        problem,
    };
    let key = read_file(regular(file))
        .and_then(|pem| PrivateKeyDer::from_pem_slice(&pem))
        .map_err(|error| problem(read_problem(&error)))?;
    aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| problem(format!("this key cannot be used: {error}")))
}

/// The certificates of a PEM file that was opened so; at least one.
fn certificates(
    file: &Path,
    opened: io::Result<File>,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let problem = |problem| IdentityError::File {
        file: file.to_owned(),
        problem,
    };
    let found = read_file(opened)
        .and_then(|pem| CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>())
        .map_err(|error| problem(read_problem(&error)))?;
    if found.is_empty() {
        return Err(problem("there is no certificate in this file".into()));
    }
    Ok(found)
}

/// More is no PEM file that sealock needs.
const LONGEST_FILE: u64 = 16 << 20;

fn read_file(opened: io::Result<File>) -> Result<Vec<u8>, pem::Error> {
    let mut text = Vec::new();
    let file = opened.map_err(pem::Error::Io)?;
    file.take(LONGEST_FILE + 1)
        .read_to_end(&mut text)
        .map_err(pem::Error::Io)?;
    if text.len() as u64 > LONGEST_FILE {
        return Err(pem::Error::Io(io::Error::other("the file has more than 16 MiB")));
    }
    Ok(text)
}

fn read_problem(error: &pem::Error) -> String {
    use pem::Error;
    match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "there is no PEM item of the expected kind in this file".into(),
        Error::MissingSectionEnd { end_marker } => {
            let section = String::from_utf8_lossy(end_marker);
            format!(
                "not valid PEM: it ends inside the section {}",
                Printable(&section)
            )
        }
        // Not quoted: the key may stand on the same line.
        Error::IllegalSectionStart { .. } => {
            "not valid PEM: a line that begins with -----BEGIN does not end with -----".into()
        }
        other => format!("not valid PEM: {other}"),
    }
}

/// TLS 1.2 and 1.3 with these certificates, ALPN `http/1.1`, and session tickets, which no other configuration takes: a resumed session
/// is not asked for its certificate again. With authorities, only their clients get through the handshake.
pub fn server_config(
    certificates: impl Into<Certificates>,
    client_ca: Option<&ClientCa>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let clients = client_ca.map_or_else(WebPkiClientVerifier::no_client_auth, |ca| Arc::clone(&ca.0));
    let resolver: Arc<dyn ResolvesServerCert> = Arc::new(certificates.into());
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    if client_ca.is_some() {
        // A ticket ends; a session of TLS 1.2 that is remembered here, for a client without tickets, does not.
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    // Browsers use one; more would only cost bytes.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// A certificate authority for development and tests, with one certificate made by it.
pub struct DevelopmentCa {
    /// The authority's certificate, to be trusted.
    pub ca_pem: String,
    /// The server's certificate.
    pub cert_pem: String,
    /// The server's key.
    pub key_pem: String,
    identity: Identity,
}

impl DevelopmentCa {
    /// Makes an authority and a certificate for these names and addresses. The authority's key is forgotten at once, so what is
    /// trusted with it can never grow.
    pub fn make(names: &[String]) -> Result<Self, IdentityError> {
        make(names).map_err(|error| IdentityError::Make(error.to_string()))
    }

    /// The certificate and key as an identity.
    pub fn identity(&self) -> Identity {
        self.identity.clone()
    }
}

fn make(names: &[String]) -> Result<DevelopmentCa, Box<dyn std::error::Error>> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name
        .push(DnType::CommonName, "sealock development CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut ca)?;
    let ca_cert = ca.self_signed(&ca_key)?;
    let issuer = rcgen::Issuer::from_params(&ca, &ca_key);

    let key = KeyPair::generate()?;
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name
        .push(DnType::CommonName, "sealock development certificate");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.use_authority_key_identifier_extension = true;
    set_validity(&mut leaf)?;
    let cert = leaf.signed_by(&key, &issuer)?;

    let private = PrivateKeyDer::try_from(key.serialize_der())?;
    let provider = aws_lc_rs::default_provider();
    let private = provider.key_provider.load_private_key(private)?;
    let identity = Identity(Arc::new(CertifiedKey::new(vec![cert.der().clone()], private)));
    Ok(DevelopmentCa {
        ca_pem: ca_cert.pem(),
        cert_pem: cert.pem(),
        key_pem: key.serialize_pem(),
        identity,
    })
}

/// From yesterday, for clocks that differ, to a year ahead: browsers refuse certificates of much longer life.
fn set_validity(params: &mut CertificateParams) -> Result<(), jiff::Error> {
    use jiff::ToSpan;
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let day = |date: jiff::civil::Date| {
        rcgen::date_time_ymd(
            date.year().into(),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
    };
    params.not_before = day(today.checked_sub(1.day())?);
    params.not_after = day(today.checked_add(365.days())?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_checked_when_it_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let one = DevelopmentCa::make(&["localhost".into()]).unwrap();
        let other = DevelopmentCa::make(&["localhost".into(), "127.0.0.1".into()]).unwrap();
        let (cert, key) = (file("a.pem", &one.cert_pem), file("a.key", &one.key_pem));
        server_config(&Identity::load(&cert, &key).unwrap(), None).unwrap();

        let wrong = file("b.key", &other.key_pem);
        assert!(matches!(
            Identity::load(&cert, &wrong),
            Err(IdentityError::Mismatch { .. })
        ));
        let empty = file("empty.pem", "");
        for (cert, key, says) in [
            (&empty, &key, "there is no certificate in this file"),
            (&cert, &empty, "there is no PEM item of the expected kind"),
            (&cert, &dir.path().join("missing"), "No such file"),
            (&key, &key, "there is no certificate in this file"),
        ] {
            let error = Identity::load(cert, key).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn client_authorities_are_certificates() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let made = DevelopmentCa::make(&["localhost".into()]).unwrap();
        let load = |text: &str| {
            std::fs::write(&file, text).unwrap();
            ClientCa::load(&file)
        };
        let several = [&*made.ca_pem, &*made.cert_pem].concat();
        let client_ca = load(&several).unwrap();
        server_config(&made.identity(), Some(&client_ca)).unwrap();

        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (text, says) in [
            ("", "there is no certificate in this file"),
            (&*made.key_pem, "there is no certificate in this file"),
            (nonsense, "this certificate cannot be an authority's"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n",
                "not valid PEM: it ends inside the section CERTIFICATE",
            ),
            (
                "-----BEGIN CERTIFICATE\n",
                "not valid PEM: a line that begins with -----BEGIN does not end with -----",
            ),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("ca.pem"), "{error}");
        }
        let error = ClientCa::load(&dir.path().join("missing")).unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
    }
}
