//! How the gateway of a server reaches Redis, as the operator's configuration says.

use gatehouse_gateway_config::{KeyRef, RedisAuthConfig, RedisConfig};

use super::Checks;
use crate::{
    config::{RedisSettings, RedisUsers},
    crd::condition::Reason,
    server::names::{
        self, PROVIDED_REDIS_SECRET, REDIS_CA_KEY, REDIS_CERTIFICATE_KEYS, REDIS_PASSWORD_KEY,
        REDIS_USERNAME_KEY,
    },
};

/// How a server signs in, and whom it trusts.
struct Access {
    auth: Option<RedisAuthConfig>,
    ca: Option<KeyRef>,
    /// The Secret with the client certificate.
    client_certificate: Option<String>,
}

/// The Redis of a server; absent while the tenant's Secret is missing.
pub(super) fn check(checks: &mut Checks<'_>) -> Option<RedisConfig> {
    let settings = &checks.config.redis;
    let Access { auth, ca, client_certificate } = match settings.users {
        RedisUsers::Provided => provided(checks)?,
        RedisUsers::Managed | RedisUsers::Shared => written(settings, &checks.name),
    };
    Some(RedisConfig {
        url: settings.url(),
        key_prefix: settings.key_prefix.clone(),
        auth,
        ca,
        client_certificate,
        server_name: settings.tls.as_ref().and_then(|tls| tls.server_name.clone()),
        min_replicas: settings.min_replicas(),
    })
}

/// The Secret that a configuration names.
pub(super) fn secret(config: &RedisConfig) -> Option<String> {
    let key = config.auth.as_ref().map(|a| &a.password).or(config.ca.as_ref());
    key.map(|key| key.name.clone()).or_else(|| config.client_certificate.clone())
}

/// What the operator writes into the Secret of a server: `Managed` a user of its own, `Shared` the operator's.
fn written(settings: &RedisSettings, server: &str) -> Access {
    let secret = names::redis_secret(server);
    let managed = settings.users == RedisUsers::Managed;
    let username =
        (managed || settings.username_file.is_some()).then(|| KeyRef::secret(&secret, REDIS_USERNAME_KEY));
    let auth = (managed || settings.password_file.is_some())
        .then(|| RedisAuthConfig { username, password: KeyRef::secret(&secret, REDIS_PASSWORD_KEY) });
    let tls = settings.tls.as_ref();
    let ca = tls.and_then(|tls| tls.ca_file.as_ref()).map(|_| KeyRef::secret(&secret, REDIS_CA_KEY));
    let client_certificate = tls.and_then(|tls| tls.cert_file.as_ref()).map(|_| secret);
    Access { auth, ca, client_certificate }
}

/// What the tenant provides.
fn provided(checks: &mut Checks<'_>) -> Option<Access> {
    let key = |key: &str| KeyRef::secret(PROVIDED_REDIS_SECRET, key);
    let Some(keys) = checks.fetched.secrets.get(PROVIDED_REDIS_SECRET) else {
        if checks.fetched.assume_refs {
            let username = Some(key(REDIS_USERNAME_KEY));
            let auth = Some(RedisAuthConfig { username, password: key(REDIS_PASSWORD_KEY) });
            return Some(Access { auth, ca: None, client_certificate: None });
        }
        let message = format!(
            "Secret \"{PROVIDED_REDIS_SECRET}\" does not exist in namespace \"{}\"; here tenants provide their Redis user \
             in it (keys username, password, and ca.crt, tls.crt, tls.key if needed)",
            checks.namespace
        );
        checks.unresolved(Reason::RefNotFound, "metadata.namespace", message);
        return None;
    };
    if !keys.contains(REDIS_PASSWORD_KEY) {
        let message = format!("Secret \"{PROVIDED_REDIS_SECRET}\" has no key \"{REDIS_PASSWORD_KEY}\"");
        checks.unresolved(Reason::KeyNotFound, "metadata.namespace", message);
        return None;
    }
    let username = keys.contains(REDIS_USERNAME_KEY).then(|| key(REDIS_USERNAME_KEY));
    let ca = keys.contains(REDIS_CA_KEY).then(|| key(REDIS_CA_KEY));
    let certificate = REDIS_CERTIFICATE_KEYS.iter().all(|part| keys.contains(*part));
    Some(Access {
        auth: Some(RedisAuthConfig { username, password: key(REDIS_PASSWORD_KEY) }),
        ca,
        client_certificate: certificate.then(|| PROVIDED_REDIS_SECRET.to_owned()),
    })
}
