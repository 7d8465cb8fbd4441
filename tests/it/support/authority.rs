//! Certificates for clients, and the authority that issues them.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

/// An authority whose certificates are files, named by what is special about them: `client` has nothing wrong with it, `server` is not
/// for clients, `expired` is not valid any more. `ca.pem` is the authority's own.
pub struct Authority(tempfile::TempDir);

impl Authority {
    /// Makes an authority with this name.
    pub fn make(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(DnType::CommonName, name);
        let ca = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        let issuer = Issuer::from_params(&params, &key);
        for (name, purpose, last_year) in [
            ("client", ExtendedKeyUsagePurpose::ClientAuth, 4000),
            ("server", ExtendedKeyUsagePurpose::ServerAuth, 4000),
            ("expired", ExtendedKeyUsagePurpose::ClientAuth, 2001),
        ] {
            let mut params = CertificateParams::new(vec![format!("{name}.example.com")]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![purpose];
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(last_year, 1, 1);
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            std::fs::write(dir.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(dir.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Self(dir)
    }

    /// The path of a file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
