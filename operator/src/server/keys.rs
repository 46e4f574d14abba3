//! The Secrets whose content is generated: the sealing keys, and the Redis user. Losing the keys is losing every stored
//! credential, so nothing here trusts a cache and nothing is ever overwritten.
//!
//! - Decisions come from a live GET of the Secret and of the McpServer.
//! - Creation is a POST, which cannot overwrite. There is no PATCH. A change of metadata is a PUT with the
//!   `resourceVersion` that was read.
//! - Keys that the status knows and the cluster does not, or has others in their place, are lost, and stay lost until a
//!   person accepts it.

use std::collections::BTreeMap;

use gatehouse_gateway_config::{KEYRING_KEY, keys::Keyring};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ObjectMeta, PostParams},
};

use super::{fetch::Keys, names};
use crate::{
    clock::Entropy,
    crd::{ACCEPT_KEY_LOSS, ISSUER_ANNOTATION, McpServer, SERVER_ANNOTATION, server_gateway::DeletionPolicy},
};

/// What became of the keys, with what is not wrong but worth an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ensured {
    /// As the pipeline sees them.
    Keys {
        /// The keys.
        keys: Keys,
        /// Whether they were made just now.
        created: bool,
        /// The keys themselves, for what is authenticated with them at once and kept nowhere.
        ring: Option<Box<Keyring>>,
    },
    /// The server itself is gone, or is another one of the same name: nothing may be made for it.
    ServerGone,
}

/// Ensures the sealing keys of a server. `issuer` is recorded on the Secret when this server may have it.
///
/// # Errors
/// When the API server fails or refuses; nothing was overwritten then.
pub async fn ensure_keys(
    client: &Client,
    cached: &McpServer,
    issuer: Option<&str>,
    entropy: &Entropy,
) -> Result<Ensured, kube::Error> {
    let namespace = cached.namespace().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let name = names::keys_secret(&cached.name_any());
    // A second look, after a POST that lost against somebody else's.
    for _ in 0..2 {
        // The Secret first: the server that is read after it cannot be older than what was missing.
        let found = secrets.get_opt(&name).await?;
        let servers: Api<McpServer> = Api::namespaced(client.clone(), &namespace);
        let Some(server) = live(&servers, cached).await? else { return Ok(Ensured::ServerGone) };
        let known = known(&server);
        if let Some(secret) = found {
            return Ok(match (inspect(&secret, &server), known) {
                // They cannot open what is stored; whoever put them there may yet bring the others back.
                (Ok(ring), Some(instance)) if instance != ring.instance => {
                    without_keys(Keys::Replaced { instance, found: ring.instance })
                }
                (Ok(ring), _) => {
                    keep_metadata(&secrets, secret, &server, issuer).await?;
                    present(ring, false)
                }
                (Err(why), _) => without_keys(Keys::Unusable { why }),
            });
        }
        if let Some(instance) = known {
            return Ok(without_keys(Keys::Lost { instance }));
        }
        let ring = entropy.with(Keyring::generate);
        let secret = keys_secret(&server, issuer, &ring);
        match secrets.create(&PostParams::default(), &secret).await {
            Ok(_) => return Ok(present(ring, true)),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error),
        }
    }
    let why = format!("Secret {name} appears and disappears; somebody else writes it");
    Ok(without_keys(Keys::Unusable { why }))
}

fn present(ring: Keyring, created: bool) -> Ensured {
    let keys = Keys::Present { instance: ring.instance.clone() };
    Ensured::Keys { keys, created, ring: Some(Box::new(ring)) }
}

fn without_keys(keys: Keys) -> Ensured {
    Ensured::Keys { keys, created: false, ring: None }
}

/// The server as it is now, if it still is the one that was cached.
async fn live(api: &Api<McpServer>, cached: &McpServer) -> Result<Option<McpServer>, kube::Error> {
    let server = api.get_opt(&cached.name_any()).await?;
    Ok(server.filter(|s| s.uid() == cached.uid() && s.metadata.deletion_timestamp.is_none()))
}

/// The instance that the status knows, unless its loss was accepted.
fn known(server: &McpServer) -> Option<String> {
    let instance = server.status.as_ref()?.keys.as_ref()?.instance.clone();
    (server.annotations().get(ACCEPT_KEY_LOSS) != Some(&instance)).then_some(instance)
}

fn keys_secret(server: &McpServer, issuer: Option<&str>, ring: &Keyring) -> Secret {
    let mut annotations = BTreeMap::from([(SERVER_ANNOTATION.to_owned(), full_name(server))]);
    if let Some(issuer) = issuer {
        annotations.insert(ISSUER_ANNOTATION.to_owned(), issuer.to_owned());
    }
    let data = BTreeMap::from([(KEYRING_KEY.to_owned(), ByteString(ring.to_json().into_bytes()))]);
    Secret {
        metadata: ObjectMeta {
            name: Some(names::keys_secret(&server.name_any())),
            namespace: server.namespace(),
            labels: Some(names::labels(&server.name_any())),
            annotations: Some(annotations),
            owner_references: owners(server),
            ..ObjectMeta::default()
        },
        data: Some(data),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

fn full_name(server: &McpServer) -> String {
    format!("{}/{}", server.namespace().unwrap_or_default(), server.name_any())
}

/// A retained Secret has no owner: restored from a backup under a new owner's UID it would be collected.
fn owners(server: &McpServer) -> Option<Vec<OwnerReference>> {
    let policy = server.spec.keys.as_ref().map(|keys| keys.deletion_policy).unwrap_or_default();
    (policy == DeletionPolicy::Delete).then(|| server.controller_owner_ref(&()).into_iter().collect())
}

/// The owners that a Secret shall have: this server or not, and whoever else owns it.
fn owners_beside(now: Option<Vec<OwnerReference>>, server: &McpServer) -> Option<Vec<OwnerReference>> {
    let mut all = now.unwrap_or_default();
    let ours = owners(server).into_iter().flatten().next();
    match (all.iter_mut().find(|owner| Some(&owner.uid) == server.uid().as_ref()), ours) {
        (Some(owner), Some(ours)) => *owner = ours,
        (None, Some(ours)) => all.push(ours),
        (_, None) => all.retain(|owner| Some(&owner.uid) != server.uid().as_ref()),
    }
    Some(all).filter(|owners| !owners.is_empty())
}

/// The keys, if the Secret is this server's and holds some; else what is wrong with it.
fn inspect(secret: &Secret, server: &McpServer) -> Result<Keyring, String> {
    let name = secret.name_any();
    let owner = secret.owner_references().iter().find(|o| o.controller == Some(true));
    match owner {
        Some(owner) if Some(&owner.uid) != server.uid().as_ref() => {
            let why = format!(
                "Secret {name} belongs to {} {} with another UID; delete that Secret, or take the ownerReference \
                 off and annotate it with {SERVER_ANNOTATION}: {}",
                owner.kind,
                owner.name,
                full_name(server)
            );
            return Err(why);
        }
        None if secret.annotations().get(SERVER_ANNOTATION) != Some(&full_name(server)) => {
            let why = format!(
                "Secret {name} exists and was not made for this server; rename or delete it, or annotate it with \
                 {SERVER_ANNOTATION}: {} if its keys are this server's",
                full_name(server)
            );
            return Err(why);
        }
        _ => {}
    }
    let Some(value) = secret.data.as_ref().and_then(|data| data.get(KEYRING_KEY)) else {
        return Err(format!("Secret {name} has no key {KEYRING_KEY}; restore it from a backup"));
    };
    Keyring::parse(&value.0)
        .map_err(|error| format!("key {KEYRING_KEY} of Secret {name}: {error}; restore it from a backup"))
}

/// Puts owner and annotations right, leaving the data as it was read.
async fn keep_metadata(
    secrets: &Api<Secret>,
    mut secret: Secret,
    server: &McpServer,
    issuer: Option<&str>,
) -> Result<(), kube::Error> {
    let before = secret.metadata.clone();
    secret.metadata.owner_references = owners_beside(secret.metadata.owner_references, server);
    secret.labels_mut().extend(names::labels(&server.name_any()));
    secret.annotations_mut().insert(SERVER_ANNOTATION.to_owned(), full_name(server));
    if let Some(issuer) = issuer {
        secret.annotations_mut().insert(ISSUER_ANNOTATION.to_owned(), issuer.to_owned());
    }
    if secret.metadata == before {
        return Ok(());
    }
    secrets.replace(&secret.name_any(), &PostParams::default(), &secret).await.map(drop)
}

/// The data of a Redis Secret.
pub type RedisData = BTreeMap<String, Vec<u8>>;

/// Ensures the Secret with a server's Redis user. `wanted` gives its data from what it holds now; nothing wanted makes
/// no Secret. Gives the data, or `None` when a Secret of this name is not ours.
///
/// Unlike the keys, a lost password costs nothing: a new one is made, and Redis told.
///
/// # Errors
/// When the API server fails or refuses.
pub async fn ensure_redis_secret(
    client: &Client,
    server: &McpServer,
    wanted: impl Fn(&RedisData) -> RedisData,
) -> Result<Option<RedisData>, kube::Error> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &server.namespace().unwrap_or_default());
    let name = names::redis_secret(&server.name_any());
    let Some(mut secret) = secrets.get_opt(&name).await? else {
        let data = wanted(&RedisData::new());
        if !data.is_empty() {
            secrets.create(&PostParams::default(), &redis_secret(server, &data)).await?;
        }
        return Ok(Some(data));
    };
    if !is_owned(&secret, server.uid().as_ref()) {
        return Ok(None);
    }
    let now = values(secret.data.take());
    let data = wanted(&now);
    if now != data {
        secret.data = redis_secret(server, &data).data;
        secrets.replace(&name, &PostParams::default(), &secret).await?;
    }
    Ok(Some(data))
}

/// The data of the Secret with a server's Redis user, if there is one and it is this server's.
///
/// # Errors
/// When the API server fails or refuses.
pub async fn redis_data(client: &Client, server: &ObjectMeta) -> Result<Option<RedisData>, kube::Error> {
    let namespace = server.namespace.as_deref().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let name = names::redis_secret(server.name.as_deref().unwrap_or_default());
    let secret = secrets.get_opt(&name).await?.filter(|secret| is_owned(secret, server.uid.as_ref()));
    Ok(secret.map(|secret| values(secret.data)))
}

fn is_owned(secret: &Secret, uid: Option<&String>) -> bool {
    secret.owner_references().iter().any(|owner| Some(&owner.uid) == uid)
}

fn values(data: Option<BTreeMap<String, ByteString>>) -> RedisData {
    data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect()
}

fn redis_secret(server: &McpServer, data: &RedisData) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(names::redis_secret(&server.name_any())),
            namespace: server.namespace(),
            labels: Some(names::labels(&server.name_any())),
            owner_references: server.controller_owner_ref(&()).map(|o| vec![o]),
            ..ObjectMeta::default()
        },
        data: Some(data.iter().map(|(key, value)| (key.clone(), ByteString(value.clone()))).collect()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}
