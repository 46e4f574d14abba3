//! A server's configuration, its store, and users in it, for tests of what stands on them.

use std::{sync::Arc, time::Duration};

use gatehouse_gateway_config::{
    AccessConfig, Allow, BackendConfig, BackendTarget, CredentialConfig, CredentialKind, DisplayConfig,
    EgressConfig, IdentityConfig, InjectConfig, KeyRef, PolicyConfig, ServerConfig, TimeoutsConfig,
    keys::Keyring,
};
use rand::{SeedableRng, rngs::StdRng};
use tokio_util::task::TaskTracker;

use super::{Custody, CustodyParts, seal_profile};
use crate::{
    audit::Audit,
    client_document::Documents,
    clock::{ManualClock, SystemEntropy},
    denied::Denied,
    egress::{Destination, Egress},
    keys::{Keys, Sealed},
    model::{
        FlowId, FlowKind, FlowRequest, Grant, GrantId, Hash32, Profile, Session, UserId,
        user::IDENTITY_CREDENTIAL,
    },
    refs::{FixedRefs, Refs},
    server::{Identity, Server, Urls},
    store::{CallRecord, Store, UserUpdate, memory::MemoryStore},
};

pub(crate) const NOW: i64 = 1_700_000_000;

/// A server of this identity over a memory store, and its clock.
pub(crate) fn server(identity: IdentityConfig, provider: Identity) -> (Server, ManualClock) {
    server_told(identity, provider, Arc::default())
}

/// As [`server`], whose events are kept.
pub(crate) fn server_told(
    identity: IdentityConfig,
    provider: Identity,
    trail: Arc<Trail>,
) -> (Server, ManualClock) {
    let clock = ManualClock::at(NOW);
    (server_at(identity, provider, trail, &clock), clock)
}

/// As [`server_told`], by this clock.
pub(crate) fn server_at(
    identity: IdentityConfig,
    provider: Identity,
    trail: Arc<Trail>,
    clock: &ManualClock,
) -> Server {
    let config = config(identity);
    let keys = Keys::new(Keyring::generate(&mut StdRng::seed_from_u64(1)), Arc::new(clock.clone()));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(clock.clone())));
    let audit = Audit::new(Some(trail), Arc::new(clock.clone()), "team-a", "tools");
    let tasks = TaskTracker::new();
    let custody = Custody::new(CustodyParts {
        config: config.clone(),
        keys: keys.clone(),
        refs: refs(),
        store: Arc::clone(&store),
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(SystemEntropy),
        identity: provider.clone(),
        audit: audit.clone(),
        tasks: tasks.clone(),
    });
    let egress = Egress::new(&EgressConfig::default()).unwrap();
    let documents = Documents::new(&egress, Destination::default(), refs(), &[], Arc::new(clock.clone()));
    Server {
        urls: Urls::new(&config.url, &config.issuer).unwrap(),
        scopes: crate::model::Scopes::new(&config.scopes, None).unwrap(),
        config,
        keys,
        refs: refs(),
        store,
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(SystemEntropy),
        identity: provider,
        documents,
        credentials: Arc::new(custody),
        denied: Denied::default(),
        audit,
        tasks,
    }
}

pub(crate) fn config(identity: IdentityConfig) -> ServerConfig {
    let inject = |credential: &str, header: &str, format: &str| InjectConfig {
        credential: credential.into(),
        header: header.into(),
        format: format.into(),
    };
    ServerConfig {
        namespace: "team-a".into(),
        name: "github".into(),
        url: "https://gw.example/mcp".into(),
        issuer: "https://gw.example".into(),
        display: DisplayConfig::default(),
        identity,
        access: AccessConfig {
            allow: Allow::Everyone,
            deny: vec![],
            recheck_every: Duration::from_secs(6 * 3600),
            recheck_tolerate: Duration::from_secs(24 * 3600),
        },
        scopes: Vec::new(),
        credentials: vec![
            CredentialConfig { name: "me".into(), kind: CredentialKind::FromIdentity },
            CredentialConfig {
                name: "key".into(),
                kind: CredentialKind::Static(KeyRef::secret("api", "key")),
            },
        ],
        backends: vec![BackendConfig {
            name: "tools".into(),
            target: BackendTarget::Url("https://tools.example/mcp".into()),
            inject: vec![
                inject("me", "authorization", "Bearer {token}"),
                inject("key", "x-api-key", "{token}"),
            ],
            headers: vec![],
            tools: gatehouse_gateway_config::ToolsConfig::default(),
            tls: None,
            timeouts: TimeoutsConfig::default(),
        }],
        policy: PolicyConfig::default(),
        drain_period: Duration::from_secs(60),
    }
}

pub(crate) fn refs() -> Arc<dyn Refs> {
    let mut refs = FixedRefs::default();
    refs.insert(KeyRef::secret("api", "key"), b"k-123\n".to_vec());
    Arc::new(refs)
}

pub(crate) async fn sign_in(
    store: &dyn Store,
    keys: &Keys,
    config: &ServerConfig,
    profile: &Profile,
    credential: Option<&Sealed>,
) -> UserId {
    let entropy = SystemEntropy;
    let user = keys.user_id(&config.identity.id(), profile);
    let flow = FlowRequest {
        id: FlowId::new(&ManualClock::at(NOW), &entropy),
        kind: FlowKind::Authorize,
        client_id: "gc_1".into(),
        client_name: "Client".into(),
        redirect_uri: "http://127.0.0.1/cb".into(),
        redirect_uri_implied: false,
        by_assertion: false,
        document: None,
        state: None,
        prompt: None,
        scope: "mcp".into(),
        resource: config.url.clone(),
        challenge: "c".into(),
        cookie: Hash32::of(b"cookie"),
        nonce: Hash32::of(b"nonce"),
    };
    store.create_flow(&flow, Duration::from_secs(600)).await.unwrap();
    let update = UserUpdate {
        id: user,
        identity: config.identity.id(),
        profile: seal_profile(keys, &entropy, &user, profile),
    };
    let session = Session { user, identity: config.identity.id(), auth_time: NOW, browser: None };
    let hash = Hash32::of(flow.id.as_bytes());
    let life = Duration::from_secs(600);
    assert!(store.sign_in(&flow.id, &update, credential, (&hash, &session, life)).await.unwrap());
    user
}

pub(crate) async fn call(store: &dyn Store, config: &ServerConfig, user: &UserId) -> CallRecord {
    CallRecord {
        grant: Grant {
            id: GrantId::from_bytes([1; 16]),
            client_id: "gc_1".into(),
            client_name: "Client".into(),
            user: *user,
            identity: config.identity.id(),
            scope: "mcp".into(),
            resource: config.url.clone(),
            redirect_uri: "http://127.0.0.1/cb".into(),
            redirect_uri_implied: false,
            by_assertion: false,
            created: NOW,
        },
        scope: "mcp".into(),
        user: store.user(user).await.unwrap().unwrap(),
        credential: store.credential(user, IDENTITY_CREDENTIAL).await.unwrap(),
        life: Duration::from_secs(3600),
    }
}

/// Events as they were told.
#[derive(Debug, Default)]
pub(crate) struct Trail(std::sync::Mutex<Vec<String>>);

impl crate::audit::Sink for Trail {
    fn take(&self, record: &crate::audit::Record<'_>) {
        self.0.lock().unwrap().push(record.to_string());
    }
}

impl Trail {
    /// What was decided since the last look: event, outcome and, where there is one, reason.
    pub(crate) fn decisions(&self) -> Vec<String> {
        let word = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            ["event", "outcome", "reason"].contains(&name).then(|| value.to_owned())
        };
        let lines = std::mem::take(&mut *self.0.lock().unwrap());
        lines.iter().map(|line| line.split(' ').filter_map(word).collect::<Vec<_>>().join(" ")).collect()
    }
}
