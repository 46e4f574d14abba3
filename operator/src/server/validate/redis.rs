//! How the gateway of a server reaches Redis, as the operator's configuration says.

use gatehouse_gateway_config::{KeyRef, RedisAuthConfig, RedisConfig};

use super::Checks;
use crate::{
    config::{RedisSettings, RedisUsers},
    crd::condition::Reason,
    server::names::{self, PROVIDED_REDIS_SECRET, REDIS_CA_KEY, REDIS_PASSWORD_KEY, REDIS_USERNAME_KEY},
};

/// The Redis of a server; absent while the tenant's Secret is missing.
pub(super) fn check(checks: &mut Checks<'_>) -> Option<RedisConfig> {
    let settings = &checks.config.redis;
    let (auth, ca) = match settings.users {
        RedisUsers::Provided => provided(checks)?,
        RedisUsers::Managed | RedisUsers::Shared => written(settings, &checks.name),
    };
    Some(RedisConfig {
        url: settings.url.clone(),
        key_prefix: settings.key_prefix.clone(),
        auth,
        ca,
        min_replicas: settings.min_replicas,
    })
}

/// The Secret that a configuration names.
pub(super) fn secret(config: &RedisConfig) -> Option<String> {
    config.auth.as_ref().map(|a| &a.password).or(config.ca.as_ref()).map(|key| key.name.clone())
}

/// What the operator writes into the Secret of a server: `Managed` a user of its own, `Shared` the operator's.
fn written(settings: &RedisSettings, server: &str) -> (Option<RedisAuthConfig>, Option<KeyRef>) {
    let secret = names::redis_secret(server);
    let managed = settings.users == RedisUsers::Managed;
    let username =
        (managed || settings.username_file.is_some()).then(|| KeyRef::secret(&secret, REDIS_USERNAME_KEY));
    let auth = (managed || settings.password_file.is_some())
        .then(|| RedisAuthConfig { username, password: KeyRef::secret(&secret, REDIS_PASSWORD_KEY) });
    let ca =
        settings.tls.as_ref().and_then(|t| t.ca_file.as_ref()).map(|_| KeyRef::secret(&secret, REDIS_CA_KEY));
    (auth, ca)
}

/// What the tenant provides.
fn provided(checks: &mut Checks<'_>) -> Option<(Option<RedisAuthConfig>, Option<KeyRef>)> {
    let key = |key: &str| KeyRef::secret(PROVIDED_REDIS_SECRET, key);
    let Some(keys) = checks.fetched.secrets.get(PROVIDED_REDIS_SECRET) else {
        if checks.fetched.assume_refs {
            let username = Some(key(REDIS_USERNAME_KEY));
            return Some((Some(RedisAuthConfig { username, password: key(REDIS_PASSWORD_KEY) }), None));
        }
        let message = format!(
            "Secret \"{PROVIDED_REDIS_SECRET}\" does not exist in namespace \"{}\"; here tenants provide their Redis user \
             in it (keys username, password, and ca.crt if needed)",
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
    Some((Some(RedisAuthConfig { username, password: key(REDIS_PASSWORD_KEY) }), ca))
}
