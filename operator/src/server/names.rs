//! What the children of a server are called, and the labels that they carry.

use std::{collections::BTreeMap, fmt::Write};

use sha2::{Digest, Sha256};

/// The Secret that a tenant provides with `redis.users: Provided`.
pub const PROVIDED_REDIS_SECRET: &str = "gatehouse-redis";
/// The key of the user name in a Redis Secret.
pub const REDIS_USERNAME_KEY: &str = "username";
/// The key of the password in a Redis Secret.
pub const REDIS_PASSWORD_KEY: &str = "password";
/// The key of the CA certificates in a Redis Secret.
pub const REDIS_CA_KEY: &str = "ca.crt";
/// The keys of a client certificate in a Redis Secret, as in every Secret of type `kubernetes.io/tls`.
pub const REDIS_CERTIFICATE_KEYS: [&str; 2] = ["tls.crt", "tls.key"];
/// The field manager of everything that is applied.
pub const FIELD_MANAGER: &str = "gatehouse";
/// The label with the server's name, which is also the pods' selector.
pub const SERVER_LABEL: &str = "gatehouse.dev/server";
/// The annotation of a Deployment with a hash of what the operator itself decided about it: its image, its defaults.
pub const DEFAULTS_ANNOTATION: &str = "gatehouse.dev/defaults";
/// The annotation of a Deployment with the edit of the server, and of its policy, that it was made of.
pub const EDIT_ANNOTATION: &str = "gatehouse.dev/edit";
/// The port of a gateway's Service.
pub const SERVICE_PORT: i32 = 80;
/// The longest name that a DNS label allows.
const LABEL_LIMIT: usize = 63;

/// The Deployment, Service and ServiceAccount.
pub fn gateway(server: &str) -> String {
    format!("{server}-gateway")
}

/// The Secret with the sealing keys.
pub fn keys_secret(server: &str) -> String {
    format!("{server}-gateway-keys")
}

/// The Secret with the Redis user, which the operator writes with `redis.users: Managed` and `Shared`.
pub fn redis_secret(server: &str) -> String {
    format!("{server}-gateway-redis")
}

/// The ConfigMap of one configuration.
pub fn config_map(server: &str, hash: &str) -> String {
    bounded(&format!("{server}-gateway-{hash}"))
}

/// The headless twin of a backend's Service.
pub fn twin(server: &str, backend: &str) -> String {
    bounded(&format!("{server}-gateway-{backend}"))
}

/// The first `length` hexadecimal digits of a SHA-256.
pub fn short_hash(bytes: &[u8], length: usize) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.truncate(length);
    text
}

/// The name itself, or where it is too long its beginning and a hash of all of it.
fn bounded(name: &str) -> String {
    if name.len() <= LABEL_LIMIT {
        return name.to_owned();
    }
    let hash = short_hash(name.as_bytes(), 8);
    let kept: String = name.chars().take(LABEL_LIMIT - hash.len() - 1).collect();
    format!("{}-{hash}", kept.trim_end_matches('-'))
}

/// The labels by which the pods are selected: they never change, since a selector cannot.
pub fn selector(server: &str) -> BTreeMap<String, String> {
    [("app.kubernetes.io/name", "gatehouse-gateway"), (SERVER_LABEL, server)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The labels of every child.
pub fn labels(server: &str) -> BTreeMap<String, String> {
    let mut labels = selector(server);
    let more = [
        ("app.kubernetes.io/instance", server),
        ("app.kubernetes.io/managed-by", "gatehouse"),
        ("app.kubernetes.io/part-of", "gatehouse"),
        ("app.kubernetes.io/component", "gateway"),
    ];
    labels.extend(more.map(|(key, value)| (key.to_owned(), value.to_owned())));
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_bounded_and_stay_apart() {
        let server = "a".repeat(48);
        let (one, other) = (twin(&server, &"b".repeat(63)), twin(&server, &"b".repeat(62)));
        assert!(one.len() <= 63 && other.len() <= 63);
        assert_ne!(one, other);
        assert_eq!(twin("github", "tools"), "github-gateway-tools");
        assert!(keys_secret(&server).len() <= 63 && redis_secret(&server).len() <= 63);
    }
}
