//! A fleet that asks everybody for a certificate and a password.

use std::{fmt::Write, path::Path};

use gatehouse_redis::Login;

use super::{
    tls::{Authority, Chain},
    words,
};

/// The password of the user `default`, with which the processes know one another, too.
const PASSWORD: &str = "of-the-fleet";

/// What guards a fleet.
pub struct Guard {
    authority: Authority,
    /// What the certificates of the processes name.
    name: String,
    /// Where they are, as settings of a server.
    settings: Vec<(&'static str, String)>,
}

impl Guard {
    pub(super) fn new(name: &str, dir: &Path) -> Self {
        let authority = Authority::generate();
        let settings = authority.settings(dir, name);
        Self { authority, name: name.to_owned(), settings }
    }

    /// The CA of all, as it is now (PEM).
    pub fn ca(&self) -> String {
        self.authority.pem()
    }

    /// A certificate with which a client is let in.
    pub fn client(&self) -> Chain {
        self.authority.sign(None)
    }

    /// The name to verify, where it is not the address.
    pub fn server_name(&self) -> Option<String> {
        Some(self.name.clone()).filter(|name| name != "127.0.0.1")
    }

    pub(super) fn rotate(&mut self, dir: &Path) -> Vec<(&'static str, String)> {
        *self = Self::new(&self.name, dir);
        self.settings.clone()
    }

    /// The user `default`, with a certificate.
    pub(super) fn access(&self) -> Login {
        let Chain { certificate, key } = self.client();
        Login {
            username: None,
            password: Some(PASSWORD.to_owned().into()),
            ca: Some(self.ca().into_bytes()),
            certificate: Some((certificate.into_bytes(), key.into_bytes().into())),
            server_name: self.server_name(),
        }
    }

    /// The arguments of a server.
    pub(super) fn arguments(&self, port: u16) -> Vec<String> {
        let mut all = words(&format!(
            "--port 0 --tls-port {port} --tls-replication yes --tls-cluster yes --tls-auth-clients yes \
             --requirepass {PASSWORD} --masterauth {PASSWORD}"
        ));
        all.extend(self.settings.iter().flat_map(|(name, value)| [format!("--{name}"), value.clone()]));
        all
    }

    /// The lines of a Sentinel's file for this master.
    pub(super) fn sentinel(&self, port: u16, master: &str) -> String {
        let mut lines = format!(
            "port 0\ntls-port {port}\ntls-replication yes\ntls-auth-clients yes\nrequirepass {PASSWORD}\n\
             sentinel auth-pass {master} {PASSWORD}\n"
        );
        for (name, value) in &self.settings {
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "{name} {value}");
        }
        lines
    }
}
