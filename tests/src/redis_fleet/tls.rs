//! Certificates of Redis behind TLS: a CA of the company's own, and what it signs.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// A CA.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key (PEM).
#[derive(Clone)]
pub struct Chain {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl Authority {
    /// A new one, which nobody trusts yet.
    pub fn generate() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        Self(CertifiedIssuer::self_signed(params, key).expect("it can sign itself"))
    }

    /// Its own certificate (PEM).
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a server of this name or address; without one, for a client.
    pub fn sign(&self, server: Option<&str>) -> Chain {
        let names: Vec<String> = server.map(str::to_owned).into_iter().collect();
        let mut params = CertificateParams::new(names).expect("the name is good");
        // With the name of its issuer it would count as signed by itself.
        params.distinguished_name.push(DnType::CommonName, server.unwrap_or("client"));
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.0).expect("it can be signed").pem();
        Chain { certificate, key: key.serialize_pem() }
    }

    /// Writes what a server of this name needs into `directory`, over what is there; gives the settings that say it.
    pub fn settings(&self, directory: &Path, server: &str) -> Vec<(&'static str, String)> {
        let Chain { certificate, key } = self.sign(Some(server));
        let files = [
            ("tls-cert-file", "cert.pem", certificate),
            ("tls-key-file", "key.pem", key),
            ("tls-ca-cert-file", "ca.pem", self.pem()),
        ];
        let write = |(setting, name, text)| {
            let path = directory.join(name);
            std::fs::write(&path, text).expect("the directory can be written");
            (setting, path.display().to_string())
        };
        files.into_iter().map(write).collect()
    }
}
