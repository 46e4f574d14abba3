//! A file of users that a test edits.

use std::{
    fmt::Write,
    sync::{Arc, Mutex},
};

use gatehouse_gateway_config::KeyRef;
use zeroize::Zeroizing;

use crate::refs::{Refs, Value};

#[derive(Debug, Default)]
pub(crate) struct Editable(Mutex<Option<Value>>);

impl Editable {
    pub(crate) fn write(&self, text: &str) {
        *self.0.lock().unwrap() = Some(Arc::new(Zeroizing::new(text.as_bytes().to_vec())));
    }

    /// Name, uid and token of each; the password is the name.
    pub(crate) fn write_users(&self, users: &[(&str, &str, Option<&str>)]) {
        let mut text = String::new();
        for (name, uid, token) in users {
            let token = token.map_or(String::new(), |token| format!(", token: {token}"));
            writeln!(text, "- {{name: {name}, uid: {uid}, passwordHash: \"{}\"{token}}}", hash(name))
                .unwrap();
        }
        self.write(&text);
    }
}

impl Refs for Editable {
    fn get(&self, _: &KeyRef) -> Option<Value> {
        self.0.lock().unwrap().clone()
    }
}

/// The hash of `password`, cheap enough for tests.
pub(crate) fn hash(password: &str) -> String {
    use argon2::{Algorithm, Params, PasswordHasher, Version, password_hash::SaltString};
    let salt = SaltString::encode_b64(b"0123456789abcdef").unwrap();
    let cheap =
        argon2::Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 1, None).unwrap());
    cheap.hash_password(password.as_bytes(), &salt).unwrap().to_string()
}
