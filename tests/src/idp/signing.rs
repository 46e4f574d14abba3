//! RS256 (RFC 7518 section 3.3), the one algorithm that every client of OpenID Connect must know.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use openidconnect::{
    JsonWebKeyId, PrivateSigningKey,
    core::{CoreHmacKey, CoreJwsSigningAlgorithm, CoreRsaPrivateSigningKey},
};
use serde_json::{Value, json};
use tokio::process::Command;

/// A key that signs, made when it is needed.
pub struct SigningKey {
    pub(super) id: String,
    key: CoreRsaPrivateSigningKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new key. `openssl` makes it: RSA primes in an unoptimised build take a minute.
    pub async fn generate(id: &str) -> Self {
        let output = Command::new("openssl").args(["genrsa", "-traditional", "2048"]).output().await;
        let output = output.expect("openssl is installed (tests/run installs it)");
        let pem = String::from_utf8(output.stdout).expect("PEM is text");
        let key = CoreRsaPrivateSigningKey::from_pem(&pem, Some(JsonWebKeyId::new(id.to_owned())));
        Self { id: id.to_owned(), key: key.unwrap_or_else(|e| panic!("openssl's key: {e}")) }
    }

    /// Its public half as a JSON Web Key.
    pub fn public(&self) -> Value {
        let mut key = serde_json::to_value(self.key.as_verification_key()).expect("a key is JSON");
        key["alg"] = "RS256".into();
        key
    }

    /// A JWT with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_below(&json!({ "alg": "RS256", "typ": "JWT", "kid": self.id }), claims)
    }

    /// The same with this header.
    pub fn sign_below(&self, head: &Value, claims: &Value) -> String {
        let text = unsigned(head, claims);
        let signature = self.key.sign(&CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256, text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.expect("RS256 fits an RSA key")))
    }

    /// A JWT with these claims, signed with HS256 by the bytes of the public key, which everybody knows.
    pub fn sign_symmetric(&self, claims: &Value) -> String {
        let text = unsigned(&json!({ "alg": "HS256", "typ": "JWT", "kid": self.id }), claims);
        let key = CoreHmacKey::new(self.public().to_string());
        let signature = key.sign(&CoreJwsSigningAlgorithm::HmacSha256, text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.expect("any text can be signed")))
    }
}

/// The part of a JWT that is signed.
pub fn unsigned(head: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(head), part(claims))
}
