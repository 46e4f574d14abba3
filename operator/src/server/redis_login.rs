//! The Redis user of one server: its name, its Secret, and the ask to keep it in force.

use std::{collections::BTreeMap, fmt::Write};

use gatehouse_gateway_config::{denial::Denial, keys::Keyring};
use gatehouse_redis::Login;
use kube::{ResourceExt, api::ObjectMeta};
use rand::Rng;

use super::{
    fetch::live::Source,
    keys::{self, RedisData},
    names,
    validate::access,
};
use crate::{
    config::RedisUsers,
    crd::{
        McpServer, McpServerStatus,
        condition::{Problem, Reason},
    },
    redis_users::{self, Instance, User},
};

/// Shorter ones are not ours.
const SHORTEST_PASSWORD: usize = 32;

/// Ensures the Secret, and asks for the user where the operator makes it. Gives the user's name in that case.
pub(super) async fn ensure(
    source: &Source<'_>,
    server: &McpServer,
    ring: &Keyring,
) -> Result<Result<Option<String>, Problem>, kube::Error> {
    let settings = &source.config.redis;
    let unusable = |message: String| Problem::refs(Reason::InvalidRef, "redis", message);
    let Login { ca, certificate, .. } = match redis_users::login(settings) {
        Ok(own) => own,
        Err(error) => return Ok(Err(unusable(error.to_string()))),
    };
    let instance = Instance {
        namespace: server.namespace().unwrap_or_default(),
        name: server.name_any(),
        id: ring.instance.clone(),
    };
    let name = instance.username(&settings.key_prefix);
    let wanted: Box<dyn Fn(&RedisData) -> RedisData + Send + Sync> = match settings.users {
        RedisUsers::Provided => return Ok(Ok(None)),
        RedisUsers::Managed => {
            let (name, entropy) = (name.clone(), source.entropy.clone());
            Box::new(move |now| {
                let ours = now.get(names::REDIS_USERNAME_KEY).is_some_and(|n| n == name.as_bytes());
                let kept =
                    now.get(names::REDIS_PASSWORD_KEY).filter(|p| ours && p.len() >= SHORTEST_PASSWORD);
                let password = kept.cloned().unwrap_or_else(|| entropy.with(password).into_bytes());
                login(name.as_bytes(), &password)
            })
        }
        RedisUsers::Shared => match redis_users::operator_login(settings) {
            Ok(Some((user, password))) => {
                let user = user.unwrap_or_else(|| "default".to_owned());
                Box::new(move |_| login(user.as_bytes(), password.as_bytes()))
            }
            Ok(None) => Box::new(|_| RedisData::new()),
            Err(error) => return Ok(Err(unusable(error.to_string()))),
        },
    };
    let wanted = |now: &RedisData| {
        let mut data = wanted(now);
        data.extend(ca.clone().map(|ca| (names::REDIS_CA_KEY.to_owned(), ca)));
        if let Some((chain, key)) = &certificate {
            let parts = [chain.clone(), key.to_vec()];
            data.extend(names::REDIS_CERTIFICATE_KEYS.map(str::to_owned).into_iter().zip(parts));
        }
        data
    };
    let Some(data) = keys::ensure_redis_secret(source.client, server, wanted).await? else {
        let secret = names::redis_secret(&server.name_any());
        let message = format!(
            "Secret {secret} exists and is not this server's; it is left as it is. Rename or delete it"
        );
        return Ok(Err(Problem::accepted(Reason::Conflict, "metadata.name", message)));
    };
    let prefix = instance.prefix(&settings.key_prefix);
    // Before anything is written under it: what is not in the index is never swept.
    source.redis.index(instance.clone());
    match denial(server).seal(ring, &prefix, source.clock.now().as_second()) {
        Some(denial) => source.redis.deny(instance, denial),
        None => {
            tracing::warn!("access.deny is too long for Redis and waits for the roll-out");
        }
    }
    if settings.users != RedisUsers::Managed {
        return Ok(Ok(None));
    }
    let password = data.get(names::REDIS_PASSWORD_KEY).map(|p| String::from_utf8_lossy(p).into_owned());
    source.redis.want(User::new(&name, &password.unwrap_or_default(), &prefix));
    Ok(Ok(Some(name)))
}

/// Keeps the user of a server whose keys or spec cannot be read, as its Secret has it: its pods run on and need it, also
/// after Redis has forgotten it. Writes nothing. Gives the user's name where there is one.
///
/// The instance is the one that the status knows: whoever writes the Secret does not choose whose records it opens.
pub(super) async fn keep(
    source: &Source<'_>,
    server: &ObjectMeta,
    status: &McpServerStatus,
) -> Result<Option<String>, kube::Error> {
    let settings = &source.config.redis;
    let (RedisUsers::Managed, Some(keys)) = (settings.users, &status.keys) else { return Ok(None) };
    let instance = Instance {
        namespace: server.namespace.clone().unwrap_or_default(),
        name: server.name.clone().unwrap_or_default(),
        id: keys.instance.clone(),
    };
    let Some(data) = keys::redis_data(source.client, server).await? else { return Ok(None) };
    let name = instance.username(&settings.key_prefix);
    let ours = data.get(names::REDIS_USERNAME_KEY).is_some_and(|n| n == name.as_bytes());
    let password = data.get(names::REDIS_PASSWORD_KEY).filter(|p| ours && p.len() >= SHORTEST_PASSWORD);
    let Some(password) = password else { return Ok(None) };
    let prefix = instance.prefix(&settings.key_prefix);
    source.redis.index(instance);
    source.redis.want(User::new(&name, &String::from_utf8_lossy(password), &prefix));
    Ok(Some(name))
}

/// Who may not use the server, as its latest edit says.
fn denial(server: &McpServer) -> Denial {
    let rules = server.spec.access.deny.iter().map(access::rule).collect();
    Denial { generation: server.metadata.generation.unwrap_or_default(), rules }
}

fn login(username: &[u8], password: &[u8]) -> RedisData {
    BTreeMap::from([
        (names::REDIS_USERNAME_KEY.to_owned(), username.to_vec()),
        (names::REDIS_PASSWORD_KEY.to_owned(), password.to_vec()),
    ])
}

/// 256 random bits in hexadecimal.
fn password(rng: &mut rand::rngs::StdRng) -> String {
    let mut bytes = [0u8; 32];
    rng.fill_bytes(&mut bytes);
    let mut text = String::new();
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
