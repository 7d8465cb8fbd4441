//! What is wrong with a certificate, in words: of some problems rustls gives only the name that its own library has for them.

use std::io;

use tokio_rustls::rustls::{CertificateError, Error};

/// What is wrong with a certificate of our own.
pub(super) fn of(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(problem) => of_certificate(problem),
        other => other.to_string(),
    }
}

/// The same error, which may be about the certificate of the other end.
pub(super) fn of_peer(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(Error::InvalidCertificate(problem @ CertificateError::Other(_))) => {
            let words = format!("invalid peer certificate: {}", of_certificate(problem));
            io::Error::new(error.kind(), words)
        }
        _ => error,
    }
}

fn of_certificate(problem: &CertificateError) -> String {
    let other = match problem {
        CertificateError::Other(other) => other,
        CertificateError::BadEncoding => return "it cannot be read".into(),
        told => return told.to_string(),
    };
    match &*other.to_string() {
        "CaUsedAsEndEntity" => "it is the certificate of an authority, which cannot stand for itself".into(),
        "EndEntityUsedAsCa" => "it was issued by somebody who is no authority".into(),
        "UnsupportedCertVersion" => "it is not of version 3 of X.509".into(),
        "UnsupportedCriticalExtension" => "it has a critical extension that is not known".into(),
        "NameConstraintViolation" => "its authority may not issue certificates for this name".into(),
        "PathLenConstraintViolated" => "its chain is longer than an authority in it allows".into(),
        name => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::DevelopmentCa;
    use std::sync::Arc;
    use tokio_rustls::rustls::RootCertStore;
    use tokio_rustls::rustls::client::WebPkiServerVerifier;
    use tokio_rustls::rustls::client::danger::ServerCertVerifier;
    use tokio_rustls::rustls::crypto::aws_lc_rs;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use tokio_rustls::rustls::server::ParsedCertificate;

    fn authority() -> CertificateDer<'static> {
        let made = DevelopmentCa::make(&["localhost".into()]).unwrap();
        CertificateDer::from_pem_slice(made.ca_pem.as_bytes()).unwrap()
    }

    #[test]
    fn an_authority_that_stands_for_itself_is_told_in_words() {
        let mut roots = RootCertStore::empty();
        roots.add(authority()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let name = ServerName::try_from("localhost").unwrap();
        let verified =
            verifier
                .build()
                .unwrap()
                .verify_server_cert(&authority(), &[], &name, &[], UnixTime::now());
        let error = of_peer(io::Error::other(verified.unwrap_err()));
        assert_eq!(
            error.to_string(),
            "invalid peer certificate: it is the certificate of an authority, which cannot stand for itself"
        );
    }

    #[test]
    fn an_old_certificate_of_our_own_is_told_in_words() {
        let mut bytes = authority().to_vec();
        let version = bytes.windows(5).position(|at| at == [0xa0, 3, 2, 1, 2]).unwrap();
        bytes[version + 4] = 1;
        let Err(error) = ParsedCertificate::try_from(&CertificateDer::from(bytes)) else {
            panic!("this should have been refused")
        };
        assert_eq!(of(&error), "it is not of version 3 of X.509");
    }

    #[test]
    fn what_rustls_says_in_words_is_left() {
        let left = of_peer(io::Error::other(Error::InvalidCertificate(
            CertificateError::Revoked,
        )));
        assert_eq!(
            left.to_string(),
            Error::InvalidCertificate(CertificateError::Revoked).to_string()
        );
        assert_eq!(
            of_peer(io::ErrorKind::UnexpectedEof.into()).kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
