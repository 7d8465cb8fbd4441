//! The names that a certificate is for, read from its DER (RFC 5280 §4.1 and §4.2.1.6).
//!
//! rustls has parsed the certificate before and proven that its key belongs to it; it only does not tell the names. So what does not
//! look as expected here has none.

use tokio_rustls::rustls::pki_types::CertificateDer;

use super::der::{SEQUENCE, expect, find, next};

const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
/// `[3]` of a certificate: its extensions.
const EXTENSIONS: u8 = 0xa3;
/// `[2]` of a name: dNSName.
const DNS_NAME: u8 = 0x82;
/// 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// The DNS names, in lower case; also those with `*.` in front. Addresses are none: clients do not ask for them.
pub(super) fn of(certificate: &CertificateDer<'_>) -> Vec<String> {
    read(certificate).unwrap_or_default()
}

fn read(certificate: &[u8]) -> Option<Vec<String>> {
    let mut rest = certificate;
    let mut certificate = expect(&mut rest, SEQUENCE)?;
    let mut body = expect(&mut certificate, SEQUENCE)?;
    let mut extensions = find(&mut body, EXTENSIONS)?;
    let mut extensions = expect(&mut extensions, SEQUENCE)?;
    while !extensions.is_empty() {
        let mut extension = expect(&mut extensions, SEQUENCE)?;
        if expect(&mut extension, OBJECT)? == SUBJECT_ALT_NAME {
            // Whether it is critical may stand between.
            let mut value = find(&mut extension, OCTETS)?;
            return names(expect(&mut value, SEQUENCE)?);
        }
    }
    None
}

fn names(mut list: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    while !list.is_empty() {
        let (tag, value) = next(&mut list)?;
        if tag == DNS_NAME && value.is_ascii() {
            names.push(String::from_utf8_lossy(value).to_ascii_lowercase());
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, CustomExtension, KeyPair};

    fn certificate(names: &[String], extensions: &[CustomExtension]) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(names).unwrap();
        params.custom_extensions = extensions.to_vec();
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn every_name_is_found_and_no_address() {
        let many: Vec<String> = (0..300).map(|at| format!("host-{at}.example.com")).collect();
        for (written, read) in [
            (vec![], vec![]),
            (vec!["127.0.0.1".into()], vec![]),
            (
                vec!["A.example.com".into(), "::1".into(), "*.Example.org".into()],
                vec!["a.example.com".into(), "*.example.org".into()],
            ),
            (many.clone(), many),
        ] {
            assert_eq!(of(&certificate(&written, &[])), read);
        }
    }

    #[test]
    fn other_extensions_are_passed_over() {
        let mut odd = CustomExtension::from_oid_content(&[1, 2, 3], vec![DNS_NAME; 200]);
        odd.set_criticality(true);
        let made = certificate(&["a.example.com".into()], &[odd]);
        assert_eq!(of(&made), ["a.example.com"]);
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_does_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            of(&CertificateDer::from(bytes));
        }

        #[test]
        fn nor_a_certificate_with_a_wrong_byte_or_an_early_end(at in 0_usize..600, byte: u8, end in 0_usize..600) {
            let mut bytes = certificate(&["a.example.com".into()], &[]).to_vec();
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(end % length + 1);
            of(&CertificateDer::from(bytes));
        }
    }
}
