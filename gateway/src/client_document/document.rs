//! What a document must say.

use std::sync::Arc;

use gatehouse_gateway_config::policy::RedirectUrisConfig;
use openidconnect::core::CoreJwsSigningAlgorithm;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{DocumentError, DocumentUrl, KeySet, keys::Published};
use crate::{
    jws::ALGORITHMS,
    model::{
        Hash32, RedirectUri,
        client::{PRIVATE_KEY_JWT, display_name},
        registration::allowed_redirect_uris,
    },
};

/// More redirect URIs than this are not looked at.
const MAX_REDIRECT_URIS: usize = 32;

/// What is kept of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What the client is called.
    pub name: String,
    /// Where its codes may go, as far as the policy allows: at least one.
    pub redirect_uris: Vec<RedirectUri>,
    /// How the client proves itself.
    pub auth: Auth,
    /// The digest of its text, by which a change of it is seen.
    pub digest: Hash32,
}

/// How the client of a document proves itself at the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Not at all: a public client.
    None,
    /// By assertions that it signs (RFC 7523 section 2.2).
    PrivateKeyJwt {
        /// With these keys.
        keys: KeySource,
        /// By this algorithm alone, if it says so.
        algorithm: Option<CoreJwsSigningAlgorithm>,
    },
}

/// Where the keys of a client are (RFC 7591 section 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In the document.
    Inline(Arc<KeySet>),
    /// At this address, which the same is asked of as of a document's.
    At(DocumentUrl),
}

/// What is read of a document; unknown members are ignored.
#[derive(Debug, Deserialize)]
struct Members {
    client_id: String,
    client_name: String,
    redirect_uris: Vec<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    client_secret: Option<IgnoredAny>,
    client_secret_expires_at: Option<IgnoredAny>,
    token_endpoint_auth_signing_alg: Option<Value>,
    jwks: Option<Published>,
    jwks_uri: Option<Value>,
}

impl Document {
    /// Reads the document at `url`.
    ///
    /// # Errors
    /// When it is not JSON as the draft wants it, is another URL's, asks for what is not offered here, or holds a
    /// secret.
    pub fn read(body: &[u8], url: &DocumentUrl, policy: &RedirectUrisConfig) -> Result<Self, DocumentError> {
        // The JSON parser does not look into what it skips.
        let text =
            std::str::from_utf8(body).map_err(|_| DocumentError::Refused("Its document is not UTF-8."))?;
        let members: Members = serde_json::from_str(text).map_err(|_| {
            DocumentError::Refused(
                "Its document is not a JSON object with client_id, client_name and redirect_uris.",
            )
        })?;
        members.check(url).map_err(DocumentError::Refused)?;
        let name = display_name(&members.client_name);
        let name = name.ok_or(DocumentError::Refused("The client_name in its document shows nothing."))?;
        let redirect_uris = match members.redirect_uris.as_slice() {
            uris if uris.len() > MAX_REDIRECT_URIS => {
                return Err(DocumentError::Refused("Its document has too many redirect_uris."));
            }
            uris => allowed_redirect_uris(uris, policy).map_err(|_| {
                DocumentError::Refused("A redirect URI in its document is malformed or dangerous.")
            })?,
        };
        if redirect_uris.is_empty() {
            let why = "None of the redirect_uris in its document is allowed by this server's client policy.";
            return Err(DocumentError::Refused(why));
        }
        let auth = members.auth().map_err(DocumentError::Refused)?;
        Ok(Self { name, redirect_uris, auth, digest: Hash32::of(body) })
    }
}

impl Members {
    fn check(&self, url: &DocumentUrl) -> Result<(), &'static str> {
        if self.client_id != url.as_str() {
            return Err("Its document is that of another application: client_id is not the document's URL.");
        }
        if self.client_secret.is_some()
            || self.client_secret_expires_at.is_some()
            || self.jwks.as_ref().is_some_and(Published::tells_a_secret)
        {
            return Err("Its document publishes a secret. Whoever runs the application must withdraw it.");
        }
        let lacks = |list: &Option<Vec<String>>, needed: &str| {
            list.as_ref().is_some_and(|list| !list.is_empty() && !list.iter().any(|entry| entry == needed))
        };
        if lacks(&self.grant_types, "authorization_code") || lacks(&self.response_types, "code") {
            return Err("Its document says that it does not use authorization codes.");
        }
        Ok(())
    }

    fn auth(self) -> Result<Auth, &'static str> {
        match self.token_endpoint_auth_method.as_deref() {
            // Left out it cannot mean RFC 7591's default: a document has no shared secret (section 4.1 of the draft).
            None | Some("none") => return Ok(Auth::None),
            Some(PRIVATE_KEY_JWT) => {}
            Some(_) => {
                return Err("Its document asks for a token_endpoint_auth_method other than none and \
                            private_key_jwt, which this server does not offer to applications with a document.");
            }
        }
        let algorithm = self.token_endpoint_auth_signing_alg.map(|name| {
            serde_json::from_value(name).ok().filter(|algorithm| ALGORITHMS.contains(algorithm)).ok_or(
                "Its document asks for a token_endpoint_auth_signing_alg that this server does not accept.",
            )
        });
        let keys = match (self.jwks, self.jwks_uri) {
            (Some(keys), None) => KeySource::Inline(Arc::new(KeySet::of(keys)?)),
            (None, Some(url)) => {
                let url = url.as_str().and_then(DocumentUrl::parse);
                KeySource::At(url.ok_or("The jwks_uri in its document is not a plain https address.")?)
            }
            _ => return Err("Its document must have either jwks or jwks_uri, for private_key_jwt."),
        };
        Ok(Auth::PrivateKeyJwt { keys, algorithm: algorithm.transpose()? })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const URL: &str = "https://a.example.com/c";

    fn read(body: &[u8]) -> Result<Document, DocumentError> {
        Document::read(body, &DocumentUrl::parse(URL).unwrap(), &RedirectUrisConfig::default())
    }

    fn good() -> Value {
        json!({
            "client_id": URL, "client_name": "Claude Code", "token_endpoint_auth_method": "none",
            "redirect_uris": ["http://localhost/callback", "https://elsewhere.example/cb"],
            "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
            "jwks": {"keys": [{"kty": "EC", "x": "a", "y": "b"}]}, "contacts": [{"x": 1}],
        })
    }

    #[test]
    fn what_is_kept_is_the_name_and_the_allowed_redirect_uris() {
        let document = read(good().to_string().as_bytes()).unwrap();
        assert_eq!(document.name, "Claude Code");
        assert_eq!(document.redirect_uris, [RedirectUri::parse("http://localhost/callback").unwrap()]);
        assert_eq!(document.auth, Auth::None);
    }

    fn signing(jwks: Value, jwks_uri: Value, algorithm: Value) -> Result<Auth, String> {
        let mut document = good();
        document["token_endpoint_auth_method"] = json!("private_key_jwt");
        document["jwks"] = jwks;
        document["jwks_uri"] = jwks_uri;
        document["token_endpoint_auth_signing_alg"] = algorithm;
        let document = read(document.to_string().as_bytes()).map_err(|error| error.to_string())?;
        Ok(document.auth)
    }

    #[test]
    fn a_client_that_signs_says_with_which_keys_in_one_place() {
        let key = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        let keys = json!({"keys": [key]});
        let at = json!("https://keys.example.net/jwks.json");
        let inline = signing(keys.clone(), Value::Null, json!("EdDSA")).unwrap();
        let algorithm = Some(CoreJwsSigningAlgorithm::EdDsa);
        let expected = KeySet::read(keys.to_string().as_bytes()).unwrap();
        let expected = KeySource::Inline(Arc::new(expected));
        assert_eq!(inline, Auth::PrivateKeyJwt { keys: expected, algorithm });
        let named = signing(Value::Null, at.clone(), Value::Null).unwrap();
        let expected = KeySource::At(DocumentUrl::parse(at.as_str().unwrap()).unwrap());
        assert_eq!(named, Auth::PrivateKeyJwt { keys: expected, algorithm: None });
        for (jwks, jwks_uri, algorithm, why) in [
            (Value::Null, Value::Null, Value::Null, "either jwks or jwks_uri"),
            (keys.clone(), at.clone(), Value::Null, "either jwks or jwks_uri"),
            (json!({"keys": []}), Value::Null, Value::Null, "no key"),
            (json!({}), Value::Null, Value::Null, "no key"),
            (json!({"keys": [{"kty": "oct"}]}), Value::Null, Value::Null, "secret"),
            (json!({"keys": [{"kty": "EC", "d": "x"}]}), Value::Null, Value::Null, "secret"),
            (Value::Null, json!("http://keys.example.net/jwks"), Value::Null, "plain https"),
            (Value::Null, json!("https://10.0.0.1/jwks"), Value::Null, "plain https"),
            (Value::Null, json!("https://keys.example.net:8443/jwks"), Value::Null, "plain https"),
            (Value::Null, json!("https://u@keys.example.net/jwks"), Value::Null, "plain https"),
            (Value::Null, json!(7), Value::Null, "plain https"),
            (keys.clone(), Value::Null, json!("none"), "signing_alg"),
            (keys.clone(), Value::Null, json!("HS256"), "signing_alg"),
            (keys, Value::Null, json!(7), "signing_alg"),
        ] {
            let error = signing(jwks, jwks_uri, algorithm).unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
    }

    /// Attack 119, as far as it is the document's text.
    #[test]
    fn other_documents_are_refused_and_say_why() {
        for (pointer, value, why) in [
            ("client_id", json!("https://a.example.com/d"), "another application"),
            ("client_id", json!("https://a.example.com/c/"), "another application"),
            ("client_id", json!("https://A.example.com/c"), "another application"),
            ("client_id", json!(7), "not a JSON object"),
            ("client_name", Value::Null, "not a JSON object"),
            ("client_name", json!("\u{200B} "), "shows nothing"),
            ("redirect_uris", Value::Null, "not a JSON object"),
            ("redirect_uris", json!([]), "None of"),
            ("redirect_uris", json!(["https://elsewhere.example/cb"]), "None of"),
            ("redirect_uris", json!(["http://localhost/cb", "javascript:alert(1)"]), "dangerous"),
            ("redirect_uris", json!(vec!["http://localhost/cb"; 33]), "too many"),
            ("token_endpoint_auth_method", json!("client_secret_basic"), "other than none"),
            ("token_endpoint_auth_method", json!("client_secret_jwt"), "other than none"),
            ("client_secret", json!("s"), "secret"),
            ("client_secret_expires_at", json!(0), "secret"),
            ("jwks", json!({"keys": [{"kty": "EC", "d": "x"}]}), "secret"),
            ("jwks", json!({"keys": [{"kty": "oct", "k": "x"}]}), "secret"),
            ("grant_types", json!(["client_credentials"]), "authorization codes"),
            ("response_types", json!(["token"]), "authorization codes"),
        ] {
            let mut document = good();
            document[pointer] = value;
            let error = read(document.to_string().as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{pointer}: {error}");
        }
        let twice = good().to_string().replacen('{', &format!("{{\"client_id\": \"{URL}\","), 1);
        assert!(read(twice.as_bytes()).is_err());
        let mut bytes = good().to_string().replace("contacts", "c?ntacts").into_bytes();
        assert!(read(&bytes).is_ok());
        let at = bytes.iter().position(|b| *b == b'?').unwrap();
        bytes[at] = 0xff;
        assert!(read(&bytes).unwrap_err().to_string().contains("UTF-8"));
        for bad in [&b""[..], b"[]", b"null", b"{", b"<html>"] {
            assert!(read(bad).is_err());
        }
    }
}
