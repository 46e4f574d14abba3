//! A store, a way to let time pass, and the steps of a client in short.

use std::{sync::Arc, time::Duration};

use gatehouse_gateway::{
    clock::{Clock, Entropy, ManualClock, SystemClock, SystemEntropy, random},
    keys::{Keys, Sealed},
    model::{AccessToken, FlowId, FlowKind, FlowRequest, Grant, GrantId, Hash32, RefreshToken, UserId},
    refs::{FixedRefs, Refs},
    store::{
        CodeProof, CodeStanding, Completion, NewTokens, Revocation, Rotation, Store, UserUpdate,
        memory::MemoryStore, redis::RedisStore,
    },
};
use gatehouse_gateway_config::{KeyRef, RedisAuthConfig, RedisConfig, denial::Denial, keys::Keyring};
use rand::{SeedableRng, rngs::StdRng};

use crate::{
    redis_fleet::RedisFleet,
    server::{Admin, RedisServer},
};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
pub(crate) const RESOURCE: &str = "https://h.example/mcp";
pub(crate) const CLIENT: &str = "gc_client";
pub(crate) const IDENTITY: &str = "https://idp.example";
pub(crate) const PASSWORD: &str = "p:a@ss word";
pub(crate) const GRACE: Duration = Duration::from_secs(120);
/// How long a claim in a fleet may wait for a replica: no contract is about the 200 ms, which a busy machine may exceed.
const CLAIMS_WAIT: Duration = Duration::from_secs(10);

pub(crate) struct Lab {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: Keys,
    ring: Keyring,
    clock: ManualClock,
    memory: Option<Arc<MemoryStore>>,
    pub(crate) server: Option<RedisServer>,
    /// Every node of a fleet.
    nodes: Vec<Admin>,
    /// The node of a fleet that holds our keys.
    leader: Option<Admin>,
}

impl Lab {
    pub(crate) fn memory() -> Self {
        let clock = ManualClock::at(1_000_000);
        let store = Arc::new(MemoryStore::new(Arc::new(clock.clone())));
        let ring = some_ring();
        let keys = Keys::new(ring.clone(), Arc::new(SystemClock::default()));
        let nodes = Vec::new();
        Self {
            store: store.clone(),
            keys,
            ring,
            clock,
            memory: Some(store),
            server: None,
            nodes,
            leader: None,
        }
    }

    /// A Redis that is used as a user with the rights that the operator gives, no more.
    pub(crate) async fn redis() -> Option<Self> {
        Self::redis_with(&[]).await
    }

    /// The same, started with more arguments.
    pub(crate) async fn redis_with(arguments: &[&str]) -> Option<Self> {
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        let server = RedisServer::start_with(&arguments).await?;
        let ring = some_ring();
        let keys = Keys::new(ring.clone(), Arc::new(SystemClock::default()));
        server.admin().await.give_rights(&keys.instance(), PASSWORD).await;
        let store = Arc::new(redis_store(&config(&server.url()), &keys, password(PASSWORD)));
        let (clock, nodes) = (ManualClock::at(0), Vec::new());
        Some(Self { store, keys, ring, clock, memory: None, server: Some(server), nodes, leader: None })
    }

    /// A server of its own, with such a user, in a fleet that others use, too. Claims wait for a replica.
    pub(crate) async fn fleet(fleet: &RedisFleet) -> Self {
        let ring = some_ring();
        let keys = Keys::new(ring.clone(), Arc::new(SystemClock::default()));
        give_rights(fleet, &keys, PASSWORD).await;
        let nodes: Vec<Admin> = fleet.connections().await.into_iter().map(Admin::of).collect();
        let leader = Admin::of(fleet.master(&prefix(&keys)).await);
        let (config, refs) = fleet_config(fleet, 1, PASSWORD);
        let store = redis_store(&config, &keys, refs).with_claims_wait(CLAIMS_WAIT);
        connect(&store).await;
        let (store, clock) = (Arc::new(store), ManualClock::at(0));
        Self { store, keys, ring, clock, memory: None, server: None, nodes, leader: Some(leader) }
    }

    /// Denies, as the operator does.
    pub(crate) async fn deny(&self, denial: &Denial) {
        let admin = match (&self.server, &self.leader) {
            (Some(server), _) => server.admin().await,
            (None, Some(leader)) => leader.clone(),
            (None, None) => return self.memory.as_ref().unwrap().deny(denial.clone()),
        };
        admin.deny(&self.ring, &prefix(&self.keys), denial).await;
    }

    /// Lets time pass.
    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        if let Some(server) = &self.server {
            server.admin().await.age("", time).await;
        }
        for node in &self.nodes {
            node.age(&self.keys.instance(), time).await;
        }
    }

    pub(crate) fn refresh(&self, grant: GrantId, generation: u32) -> RefreshToken {
        RefreshToken::mint(&self.keys, &SystemEntropy, grant, generation)
    }

    /// Whether a code can still be redeemed.
    pub(crate) async fn code_waits(&self, code: &Hash32) -> bool {
        self.store.code_standing(code).await.unwrap() == CodeStanding::Waits
    }

    /// A flow that is approved and whose callback was claimed.
    pub(crate) async fn approved(&self) -> FlowRequest {
        let request = request();
        self.approve(&request).await;
        request
    }

    async fn approve(&self, request: &FlowRequest) {
        self.store.create_flow(request, 10 * MINUTE).await.unwrap();
        self.store.approve_flow(&request.id, &request.nonce, &request.cookie, 10 * MINUTE).await.unwrap();
        self.store.claim_callback(&request.id, &request.cookie, 1).await.unwrap();
    }

    /// A finished sign-in whose code waits to be redeemed.
    pub(crate) async fn signed_in(&self, user: u8) -> Completion {
        let done = completion(&self.approved().await, user);
        assert!(self.store.complete_flow(&done).await.unwrap().is_some());
        done
    }

    /// As [`Lab::signed_in`], for this request.
    pub(crate) async fn sign_in_with(&self, request: &FlowRequest) -> Completion {
        self.approve(request).await;
        let done = completion(request, 1);
        assert!(self.store.complete_flow(&done).await.unwrap().is_some());
        done
    }

    /// A sign-in with its first pair.
    pub(crate) async fn client(&self, user: u8) -> Client {
        let done = self.signed_in(user).await;
        let (access, refresh) = (new_access(), self.refresh(done.grant.id, 1));
        let tokens = tokens(&access, &refresh);
        let redeemed = self.store.redeem_code(&proof(&done), &tokens).await.unwrap();
        assert!(matches!(redeemed, gatehouse_gateway::store::Redemption::Redeemed { .. }), "{redeemed:?}");
        Client { done, access, refresh }
    }

    /// Ends a grant as its client does.
    pub(crate) async fn revoke(&self, grant: &Grant) -> Revocation {
        self.store.revoke_for_client(&grant.id, &grant.client_id, None).await.unwrap()
    }

    pub(crate) async fn lives(&self, access: &AccessToken) -> bool {
        self.store.call(&access.hash()).await.unwrap().is_some()
    }
}

/// A client that holds a pair.
pub(crate) struct Client {
    pub(crate) done: Completion,
    pub(crate) access: AccessToken,
    pub(crate) refresh: RefreshToken,
}

impl Client {
    pub(crate) fn grant(&self) -> &Grant {
        &self.done.grant
    }
}

pub(crate) fn new_access() -> AccessToken {
    AccessToken::mint(&some_keys(), &SystemEntropy)
}

/// The request to replace `presented`, and the pair it would bring.
pub(crate) fn refresh_with(lab: &Lab, presented: &RefreshToken) -> (Rotation, AccessToken, RefreshToken) {
    let access = new_access();
    let refresh = lab.refresh(presented.grant, presented.generation + 1);
    let rotation = Rotation {
        presented: presented.hash(),
        grant: presented.grant,
        generation: presented.generation,
        client_id: CLIENT.to_owned(),
        identity: IDENTITY.to_owned(),
        resource: Some(RESOURCE.to_owned()),
        assertion: None,
        next: tokens(&access, &refresh),
        successor: sealed(),
        grace: GRACE,
        recheck_every: Some(6 * HOUR),
        heard: lab.store.heard().mark,
        rules: rules(),
        judged: None,
    };
    (rotation, access, refresh)
}

/// By what the users of the contracts are judged.
pub(crate) fn rules() -> Hash32 {
    Hash32::of(b"rules")
}

fn some_ring() -> Keyring {
    let mut seed = [0; 32];
    SystemEntropy.fill(&mut seed);
    Keyring::generate(&mut StdRng::from_seed(seed))
}

pub(crate) fn some_keys() -> Keys {
    Keys::new(some_ring(), Arc::new(SystemClock::default()))
}

/// What every key of the lab's server begins with.
pub(crate) fn prefix(keys: &Keys) -> String {
    format!("gatehouse:{{team-a/github.{}}}:", keys.instance())
}

pub(crate) fn config(url: &str) -> RedisConfig {
    RedisConfig {
        url: url.to_owned(),
        key_prefix: "gatehouse".to_owned(),
        auth: Some(RedisAuthConfig {
            username: Some(KeyRef::secret("redis", "username")),
            password: KeyRef::secret("redis", "password"),
        }),
        ca: None,
        client_certificate: None,
        server_name: None,
        min_replicas: 0,
    }
}

/// Makes each of a store's connections. A machine that is busy may take longer to shake hands with all nodes than a gateway
/// waits: then it is asked again, as a client would.
pub(crate) async fn connect(store: &RedisStore) {
    let end = std::time::Instant::now() + MINUTE;
    while std::time::Instant::now() < end {
        let cursor = store.event_cursor().await;
        let read = match &cursor {
            Ok(cursor) => store.events(cursor, Duration::ZERO).await.map(drop),
            Err(error) => Err(error.clone()),
        };
        let claimed = store.revoke_for_client(&GrantId::random(&SystemEntropy), CLIENT, None).await;
        let openly = store.deny_flow(&request().id, &hash(), &hash()).await;
        if read.is_ok() && claimed.is_ok() && openly.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a fleet that is settled is not reached");
}

/// The operator's work in a fleet: the user of these keys on every node, and at Sentinels that ask for a login.
pub(crate) async fn give_rights(fleet: &RedisFleet, keys: &Keys, password: &str) {
    for node in fleet.connections().await {
        Admin::of(node).give_rights(&keys.instance(), password).await;
    }
    for sentinel in fleet.guarded_sentinels().await {
        Admin::of(sentinel).give_rights_at_sentinel(password).await;
    }
}

/// How a fleet is reached, and with what.
pub(crate) fn fleet_config(
    fleet: &RedisFleet,
    min_replicas: u32,
    password: &str,
) -> (RedisConfig, FixedRefs) {
    let mut refs = self::password(password);
    let mut config = RedisConfig { min_replicas, ..config(&fleet.url()) };
    if let Some(guard) = fleet.guard() {
        let (ca, chain) = (KeyRef::secret("redis", "ca.crt"), guard.client());
        refs.insert(ca.clone(), guard.ca().into_bytes());
        refs.insert(KeyRef::secret("redis", "tls.crt"), chain.certificate.into_bytes());
        refs.insert(KeyRef::secret("redis", "tls.key"), chain.key.into_bytes());
        config.ca = Some(ca);
        config.client_certificate = Some("redis".to_owned());
        config.server_name = guard.server_name();
    }
    (config, refs)
}

pub(crate) fn password(password: &str) -> FixedRefs {
    let mut refs = FixedRefs::default();
    refs.insert(KeyRef::secret("redis", "username"), b"tenant\n".to_vec());
    refs.insert(KeyRef::secret("redis", "password"), password.as_bytes().to_vec());
    refs
}

pub(crate) fn redis_store(config: &RedisConfig, keys: &Keys, refs: impl Refs + 'static) -> RedisStore {
    let clock = Arc::new(SystemClock::default());
    RedisStore::new(config, "team-a", "github", keys.clone(), Arc::new(refs), clock).unwrap()
}

pub(crate) fn hash() -> Hash32 {
    Hash32::from_bytes(random(&SystemEntropy))
}

pub(crate) fn sealed() -> Sealed {
    Sealed::from_bytes(random::<40>(&SystemEntropy).to_vec())
}

pub(crate) fn request() -> FlowRequest {
    let clock: &dyn Clock = &SystemClock::default();
    FlowRequest {
        id: FlowId::new(clock, &SystemEntropy),
        kind: FlowKind::Authorize,
        client_id: CLIENT.to_owned(),
        client_name: "A \"client\" — ünïcode".to_owned(),
        redirect_uri: "http://127.0.0.1:1234/cb".to_owned(),
        redirect_uri_implied: false,
        by_assertion: false,
        document: None,
        state: Some("s/=?&".to_owned()),
        prompt: None,
        scope: "mcp".to_owned(),
        resource: RESOURCE.to_owned(),
        challenge: "challenge".to_owned(),
        cookie: hash(),
        nonce: hash(),
    }
}

/// What is learned of a user, with the same profile each time.
pub(crate) fn user_update(user: u8) -> UserUpdate {
    let profile = Sealed::from_bytes(vec![user; 40]);
    UserUpdate { id: UserId::from_bytes([user; 32]), identity: IDENTITY.to_owned(), profile }
}

pub(crate) fn completion(request: &FlowRequest, user: u8) -> Completion {
    let user = user_update(user);
    let grant = Grant {
        id: GrantId::random(&SystemEntropy),
        client_id: request.client_id.clone(),
        client_name: request.client_name.clone(),
        user: user.id,
        identity: IDENTITY.to_owned(),
        scope: request.scope.clone(),
        resource: request.resource.clone(),
        redirect_uri: request.redirect_uri.clone(),
        redirect_uri_implied: request.redirect_uri_implied,
        by_assertion: request.by_assertion,
        created: 1_000_000,
    };
    Completion {
        flow: request.id,
        attempt: 1,
        user,
        identity_credential: Some(sealed()),
        grant,
        rules: rules(),
        code: hash(),
        challenge: request.challenge.clone(),
        code_life: 10 * MINUTE,
        client_life: 365 * DAY,
        consent: hash(),
        sealed_redirect: sealed().to_text(),
        session: None,
    }
}

pub(crate) fn proof(done: &Completion) -> CodeProof {
    CodeProof {
        code: done.code,
        grant: done.grant.id,
        client_id: done.grant.client_id.clone(),
        redirect_uri: Some(done.grant.redirect_uri.clone()),
        challenge: done.challenge.clone(),
        resource: Some(done.grant.resource.clone()),
        assertion: done.grant.by_assertion.then(hash),
        heard: String::new(),
        rules: done.rules,
        judged: None,
    }
}

pub(crate) fn tokens(access: &AccessToken, refresh: &RefreshToken) -> NewTokens {
    NewTokens {
        access: access.hash(),
        access_life: HOUR,
        refresh: refresh.hash(),
        refresh_life: 30 * DAY,
        sign_in_life: 365 * DAY,
    }
}

/// Within a second of what is expected: Redis's time goes on while a test runs.
pub(crate) fn about(found: Duration, expected: Duration) {
    assert!(found.abs_diff(expected) < Duration::from_secs(5), "{found:?} is not about {expected:?}");
}
