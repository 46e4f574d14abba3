//! Two replicas' custodies over one store, against a strict provider that rotates refresh tokens.

mod renewal;

use std::{sync::Arc, time::Duration};

use gatehouse_gateway_config::{
    CredentialKind, IdentityConfig, KeyRef, LocalConfig, ServerConfig, keys::Keyring,
};
use rand::{SeedableRng, rngs::StdRng};
use tokio_util::task::TaskTracker;

use super::{
    testing::{NOW, Trail, call, config, refs, server, server_at, sign_in},
    *,
};
use crate::{
    audit::Audit,
    clock::{Clock, ManualClock, SeededEntropy, SystemEntropy},
    identity::{
        Provider,
        fake::{CLIENT_ID, Fake, Fault, IMPATIENT, setup},
        local::{LocalUsers, Presence, testing::Editable},
        oauth2::OAuth2,
    },
    keys::{Keys, Sealed},
    model::{AttemptId, IdentityState, Profile, UpstreamTokens, user::IDENTITY_CREDENTIAL},
    server::Identity,
    store::{
        Lease, Store,
        memory::{MemoryStore, Outage},
    },
};

const SENTENCE: &str = "Your GitHub session expired, please sign in again.";

/// One user, one provider, one store; as many replicas as a test wants.
struct World {
    fake: Arc<Fake>,
    clock: ManualClock,
    store: Arc<dyn Store>,
    memory: MemoryStore,
    keys: Keys,
    config: ServerConfig,
    user: UserId,
    trail: Arc<Trail>,
    tasks: TaskTracker,
}

impl World {
    /// The user's access token ends in `life` seconds.
    async fn new(life: i64) -> Self {
        let fake = Fake::start().await;
        let clock = ManualClock::at(NOW);
        let keys = Keys::new(Keyring::generate(&mut StdRng::seed_from_u64(1)), Arc::new(clock.clone()));
        let config = config(IdentityConfig::Oauth2(Box::new(fake.github())));
        let profile = Profile { subject: "4242".into(), ..Profile::default() };
        let user = keys.user_id(&config.identity.id(), &profile);
        let memory = MemoryStore::new(Arc::new(clock.clone()));
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        let (trail, tasks) = (Arc::default(), TaskTracker::new());
        let world = Self { fake, clock, store, memory, keys, config, user, trail, tasks };
        world.sign_in(&world.tokens(life)).await;
        world
    }

    fn tokens(&self, life: i64) -> UpstreamTokens {
        UpstreamTokens {
            access: "access-0".into(),
            refresh: Some("refresh-0".into()),
            expires_at: Some(self.clock.unix_millis() + life * 1000),
            issued_at: None,
            client_id: CLIENT_ID.into(),
        }
    }

    fn seal(&self, tokens: &UpstreamTokens) -> Sealed {
        let identity = self.config.identity.id();
        seal_tokens(&self.keys, &SystemEntropy, (&identity, &self.user, IDENTITY_CREDENTIAL), tokens)
    }

    /// Writes user and credential, as a sign-in does.
    async fn sign_in(&self, tokens: &UpstreamTokens) {
        let profile = Profile { subject: "4242".into(), ..Profile::default() };
        sign_in(&*self.store, &self.keys, &self.config, &profile, Some(&self.seal(tokens))).await;
    }

    /// A replica.
    fn custody(&self) -> Custody {
        let provider = OAuth2::new(self.fake.github(), setup(Arc::new(self.clock.clone()))).unwrap();
        self.custody_with(Arc::new(provider.with_timeout(IMPATIENT)))
    }

    fn custody_with(&self, provider: Arc<dyn Provider>) -> Custody {
        Custody::new(CustodyParts {
            config: self.config.clone(),
            keys: self.keys.clone(),
            refs: refs(),
            store: Arc::clone(&self.store),
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::new(SystemEntropy),
            identity: Identity::Provider(provider),
            audit: Audit::new(Some(self.trail.clone()), Arc::new(self.clock.clone()), "team-a", "github"),
            tasks: self.tasks.clone(),
        })
    }

    async fn call(&self) -> CallRecord {
        call(&*self.store, &self.config, &self.user).await
    }

    /// The token that a call carries now.
    async fn token(&self, custody: &Custody) -> Result<String, CredentialError> {
        let headers = custody.headers(&self.call().await, &self.config.backends[0]).await?;
        Ok(headers[0].1.to_str().unwrap().to_owned())
    }

    async fn state(&self) -> IdentityState {
        self.store.user(&self.user).await.unwrap().unwrap().state
    }

    async fn stored(&self) -> (u64, UpstreamTokens) {
        let record = self.store.credential(&self.user, IDENTITY_CREDENTIAL).await.unwrap().unwrap();
        let identity = self.config.identity.id();
        let place = (identity.as_str(), &self.user, IDENTITY_CREDENTIAL);
        (record.version, open_tokens(&self.keys, place, &record.sealed).unwrap())
    }

    /// An attempt of another replica that wins the lease and is heard of no more.
    async fn foreign_attempt(&self) -> AttemptId {
        let attempt = AttemptId::random(&SeededEntropy::new(9));
        let version = self.stored().await.0;
        let lease = self
            .store
            .lease_refresh(&self.user, IDENTITY_CREDENTIAL, version, &attempt, Duration::from_secs(30))
            .await;
        assert_eq!(lease.unwrap(), Lease::Won);
        attempt
    }
}

#[tokio::test]
async fn a_call_carries_the_users_own_token_and_the_shared_key() {
    let world = World::new(3600).await;
    let headers = world.custody().headers(&world.call().await, &world.config.backends[0]).await.unwrap();
    let seen: Vec<_> =
        headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap(), v.is_sensitive())).collect();
    assert_eq!(seen, [("authorization", "Bearer access-0", true), ("x-api-key", "k-123", true)]);
    assert_eq!(world.fake.refreshes(), 0);
}

/// Attack 93.
#[tokio::test]
async fn fifty_calls_over_two_replicas_make_one_refresh() {
    let world = World::new(-1).await;
    let replicas = [world.custody(), world.custody()];
    world.fake.fail_token(&[Fault::Wait]);
    let calls = (0..50).map(|n| world.token(&replicas[n % 2]));
    let (tokens, ()) = tokio::join!(futures::future::join_all(calls), async {
        world.fake.waits.notified().await;
        world.fake.go();
    });
    for token in tokens {
        assert_eq!(token.unwrap(), "Bearer access-1");
    }
    assert_eq!(world.fake.refreshes(), 1);
    assert_eq!(world.stored().await.1.refresh.as_deref(), Some("refresh-1"));
    // And a call that still holds the old record gets the new token without another one.
    let mut stale = world.call().await;
    stale.credential.as_mut().unwrap().sealed = world.seal(&world.tokens(-1));
    stale.credential.as_mut().unwrap().version = 1;
    let headers = replicas[0].headers(&stale, &world.config.backends[0]).await.unwrap();
    assert_eq!(headers[0].1, "Bearer access-1");
    assert_eq!(world.fake.refreshes(), 1);
}

#[tokio::test]
async fn a_token_near_its_end_is_refreshed_beside_the_call() {
    let world = World::new(30).await;
    let custody = world.custody();
    world.fake.fail_token(&[Fault::Wait]);
    assert_eq!(world.token(&custody).await.unwrap(), "Bearer access-0");
    world.fake.waits.notified().await;
    assert_eq!(world.token(&custody).await.unwrap(), "Bearer access-0");
    world.fake.go();
    // Draining waits until what the provider gave is stored.
    world.tasks.close();
    world.tasks.wait().await;
    assert_eq!(world.stored().await.1.access, "access-1");
    assert_eq!(world.token(&custody).await.unwrap(), "Bearer access-1");
    assert_eq!(world.fake.refreshes(), 1);
}

/// Each token is used for most of its life, however short that is.
#[tokio::test]
async fn a_short_token_is_not_refreshed_at_every_call() {
    let world = World::new(-1).await;
    let custody = world.custody();
    world.fake.inner().expires_in = Some(4);
    assert_eq!(world.token(&custody).await.unwrap(), "Bearer access-1");
    world.clock.advance(Duration::from_secs(3));
    assert_eq!(world.token(&custody).await.unwrap(), "Bearer access-1");
    assert_eq!(world.fake.refreshes(), 1);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.token(&custody).await.unwrap(), "Bearer access-2");
}

/// The provider has rotated: what it gave is stored however often the store fails, and also when the store did what it
/// did not acknowledge.
#[tokio::test]
async fn storing_is_repeated_until_it_is_acknowledged() {
    for outages in [vec![Outage::Lost; 4], vec![Outage::Unacknowledged, Outage::Lost]] {
        let world = World::new(-1).await;
        world.memory.fail_stores(&outages);
        let custody = world.custody();
        assert_eq!(world.token(&custody).await.unwrap(), "Bearer access-1", "{outages:?}");
        assert_eq!(world.stored().await.1.refresh.as_deref(), Some("refresh-1"), "{outages:?}");
        assert_eq!(world.fake.refreshes(), 1, "{outages:?}");
    }
}

#[tokio::test]
async fn a_refused_refresh_kills_the_identity_until_the_next_sign_in() {
    let world = World::new(-1).await;
    let custody = world.custody();
    world.fake.inner().refresh = Some("another".into());
    let error = world.token(&custody).await.unwrap_err();
    assert_eq!(error.to_string(), SENTENCE);
    assert_eq!(world.state().await, IdentityState::Dead { reason: "refresh_refused".into(), told: false });
    // No loop: the provider is not asked again.
    assert_eq!(world.token(&custody).await.unwrap_err().to_string(), SENTENCE);
    assert_eq!(world.fake.refreshes(), 1);
    assert_eq!(world.trail.decisions(), ["identity dead refresh_refused"]);
    world.sign_in(&world.tokens(3600)).await;
    assert_eq!(world.token(&custody).await.unwrap(), "Bearer access-0");
}

#[tokio::test]
async fn a_token_that_ends_without_a_refresh_token_ends_the_session() {
    let world = World::new(3600).await;
    let mut tokens = world.tokens(60);
    tokens.refresh = None;
    world.sign_in(&tokens).await;
    let custody = world.custody();
    assert_eq!(world.token(&custody).await.unwrap(), "Bearer access-0");
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.token(&custody).await.unwrap_err().to_string(), SENTENCE);
    assert_eq!(world.fake.inner().seen.token.len(), 0);
}

/// Attacks 67 and 92: nothing is burnt, and the next call after a pause succeeds.
#[tokio::test]
async fn a_failing_provider_is_not_a_dead_identity() {
    for (fault, requests) in [
        (Fault::Status(500), 1),
        (Fault::Status(302), 1),
        (Fault::RateLimit(3), 1),
        (Fault::Error(400, "temporarily_unavailable"), 1),
        (Fault::Error(401, "invalid_client"), 1),
    ] {
        let world = World::new(-1).await;
        let custody = world.custody();
        world.fake.fail_token(std::slice::from_ref(&fault));
        let error = world.token(&custody).await.unwrap_err();
        assert!(!matches!(error, CredentialError::SessionExpired(_)), "{fault:?}: {error:?}");
        // While it is left alone it is not asked.
        world.token(&custody).await.unwrap_err();
        assert_eq!(world.fake.refreshes(), requests, "{fault:?}");
        assert_eq!(world.state().await, IdentityState::Live);
        world.clock.advance(Duration::from_secs(5));
        assert_eq!(world.token(&custody).await.unwrap(), "Bearer access-1", "{fault:?}");
    }
}

/// An attempt with unknown outcome is retried once with the old token.
#[tokio::test]
async fn an_unknown_outcome_is_tried_once_more() {
    for fault in [Fault::Html, Fault::Long, Fault::Hang] {
        let world = World::new(-1).await;
        world.fake.fail_token(std::slice::from_ref(&fault));
        assert_eq!(world.token(&world.custody()).await.unwrap(), "Bearer access-1", "{fault:?}");
        assert_eq!(world.fake.refreshes(), 2, "{fault:?}");
    }
    // The provider rotated and the answer was lost: the old token is dead, and the user is told.
    let world = World::new(-1).await;
    world.fake.fail_token(&[Fault::CommitAndBreak]);
    assert_eq!(world.token(&world.custody()).await.unwrap_err().to_string(), SENTENCE);
    // Lost twice: nothing is concluded, and the next attempt takes the lease over.
    let world = World::new(-1).await;
    world.fake.fail_token(&[Fault::Html, Fault::Html]);
    let custody = world.custody();
    assert!(matches!(world.token(&custody).await, Err(CredentialError::Unavailable { .. })));
    assert_eq!(world.state().await, IdentityState::Live);
    world.clock.advance(Duration::from_secs(31));
    assert_eq!(world.token(&custody).await.unwrap(), "Bearer access-1");
}

#[tokio::test]
async fn after_a_take_over_a_late_success_wins_over_a_refusal() {
    let world = World::new(-1).await;
    world.foreign_attempt().await;
    // The other replica's attempt succeeded at the provider, and is not stored yet.
    world.fake.inner().refresh = Some("refresh-1".into());
    world.fake.inner().access = "access-1".into();
    world.clock.advance(Duration::from_secs(31));
    let custody = world.custody().with_suspect(Duration::from_secs(60));
    let late = async {
        while world.fake.refreshes() == 0 {
            tokio::task::yield_now().await;
        }
        let mut tokens = world.tokens(3600);
        tokens.access = "access-1".into();
        let (version, _) = world.stored().await;
        assert!(
            world
                .store
                .store_credential(&world.user, IDENTITY_CREDENTIAL, version, &world.seal(&tokens))
                .await
                .unwrap()
        );
    };
    let (token, ()) = tokio::join!(world.token(&custody), late);
    assert_eq!(token.unwrap(), "Bearer access-1");
    assert_eq!(world.state().await, IdentityState::Live);
}

#[tokio::test]
async fn after_a_take_over_a_refusal_is_believed_in_the_end() {
    let world = World::new(-1).await;
    world.foreign_attempt().await;
    world.fake.inner().refresh = Some("refresh-1".into());
    world.clock.advance(Duration::from_secs(31));
    let custody = world.custody().with_suspect(Duration::from_millis(120));
    assert_eq!(world.token(&custody).await.unwrap_err().to_string(), SENTENCE);
    assert_eq!(world.fake.refreshes(), 1);
}

#[tokio::test]
async fn a_check_learns_dates_and_kills() {
    let world = World::new(3600).await;
    let custody = world.custody();
    world.clock.advance(Duration::from_secs(1800));
    let user = world.call().await.user;
    assert_eq!(custody.recheck(&user).await, Check::Live);
    let user = world.call().await.user;
    assert_eq!(user.checked_ago, Duration::ZERO);
    let profile = open_profile(&world.keys, &user.id, &user.profile).unwrap();
    assert_eq!(profile.groups, ["acme", "acme/team-0", "acme/team-1"]);
    assert_eq!(world.fake.refreshes(), 0);

    // Near its end the token is renewed, which is a check too.
    world.clock.advance(Duration::from_secs(1600));
    assert_eq!(custody.recheck(&world.call().await.user).await, Check::Live);
    assert_eq!(world.fake.refreshes(), 1);

    // The access token was revoked: the refresh token decides.
    world.fake.inner().access = "other".into();
    assert_eq!(custody.recheck(&world.call().await.user).await, Check::Live);
    assert_eq!(world.fake.refreshes(), 2);

    // Both were.
    world.fake.inner().access = "other".into();
    world.fake.inner().refresh = Some("other".into());
    assert_eq!(custody.recheck(&world.call().await.user).await, Check::Dead(SENTENCE.into()));
    assert!(matches!(world.state().await, IdentityState::Dead { told: false, .. }));
    let reads = world.fake.inner().seen.reads.len();
    assert_eq!(custody.recheck(&world.call().await.user).await, Check::Dead(SENTENCE.into()));
    assert_eq!(world.trail.decisions(), ["identity dead refresh_refused"], "once");
    assert_eq!(world.fake.inner().seen.reads.len(), reads);
}

/// New tokens alone do not prove the user: a provider renews for an account that it has blocked, too.
#[tokio::test]
async fn a_refused_profile_after_a_renewal_kills_and_an_outage_dates_nothing() {
    let world = World::new(60).await;
    let custody = world.custody();
    let check = async || custody.recheck(&world.call().await.user).await;
    world.clock.advance(Duration::from_secs(30));
    world.fake.fail_read(&[Fault::Status(503)]);
    assert_eq!(check().await, Check::Tolerated);
    assert_eq!(world.fake.refreshes(), 1);
    assert_eq!(world.call().await.user.checked_ago, Duration::from_secs(30));

    world.fake.inner().expires_in = Some(60);
    world.fake.inner().access = "revoked".into();
    world.fake.fail_read(&[Fault::Status(401), Fault::Status(403)]);
    assert_eq!(check().await, Check::Dead(SENTENCE.into()));
    assert_eq!(world.fake.refreshes(), 2);
    assert!(matches!(world.state().await, IdentityState::Dead { told: false, .. }));
    assert_eq!(world.trail.decisions(), ["identity dead user_info_refused"]);
}

/// Attack 128.
#[tokio::test]
async fn an_outage_is_tolerated_for_a_while() {
    let world = World::new(100 * 3600).await;
    let custody = world.custody();
    world.fake.fail_read(&[Fault::Status(503), Fault::Hang, Fault::Status(503)]);
    world.clock.advance(Duration::from_secs(23 * 3600));
    assert_eq!(custody.recheck(&world.call().await.user).await, Check::Tolerated);
    assert_eq!(custody.recheck(&world.call().await.user).await, Check::Tolerated);
    world.clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(custody.recheck(&world.call().await.user).await, Check::Unavailable);
    assert_eq!(custody.recheck(&world.call().await.user).await, Check::Live);
}

#[tokio::test]
async fn parallel_checks_ask_once() {
    let world = World::new(3600).await;
    world.clock.advance(Duration::from_secs(600));
    let replicas = [world.custody(), world.custody()];
    let user = world.call().await.user;
    world.fake.fail_read(&[Fault::Wait]);
    let checks = (0..10).map(|n| replicas[n % 2].recheck(&user));
    let (checks, ()) = tokio::join!(futures::future::join_all(checks), async {
        world.fake.waits.notified().await;
        world.fake.go();
    });
    assert!(checks.iter().all(|check| *check == Check::Live), "{checks:?}");
    assert_eq!(world.fake.inner().seen.reads.iter().filter(|r| *r == "/user").count(), 1);
}

#[tokio::test]
async fn a_backends_refusal_is_confirmed_once_a_minute() {
    let world = World::new(3600).await;
    let custody = world.custody();
    assert_eq!(custody.confirm(&world.user).await, Check::Live);
    assert_eq!(custody.confirm(&world.user).await, Check::Tolerated);
    assert_eq!(world.fake.inner().seen.reads.iter().filter(|r| *r == "/user").count(), 1);
    world.clock.advance(Duration::from_secs(61));
    world.fake.inner().access = "revoked".into();
    world.fake.inner().refresh = None;
    assert_eq!(custody.confirm(&world.user).await, Check::Dead(SENTENCE.into()));
    assert_eq!(custody.confirm(&world.user).await, Check::Dead(SENTENCE.into()));
    assert_eq!(world.token(&custody).await.unwrap_err().to_string(), SENTENCE);
}

#[tokio::test]
async fn a_missing_secret_names_itself() {
    let mut world = World::new(3600).await;
    world.config.credentials[1].kind = CredentialKind::Static(KeyRef::secret("gone", "key"));
    let error = world.token(&world.custody()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "a credential is not configured: Secret \"gone\", key \"key\" does not exist or is empty"
    );
}

#[tokio::test]
async fn a_local_user_is_what_the_file_says_now() {
    let file = Arc::new(Editable::default());
    let local = LocalConfig { users: KeyRef::secret("users", "users.yaml") };
    let clock = ManualClock::at(NOW);
    let users = LocalUsers::new(local.clone(), file.clone(), Arc::new(clock.clone()));
    let trail = Arc::<Trail>::default();
    let identity = Identity::Local(Arc::new(users));
    let server = server_at(IdentityConfig::Local(local), identity, trail.clone(), &clock);
    let (store, config, custody) = (&server.store, &server.config, &server.credentials);
    let profile = Profile { subject: "u1".into(), ..Profile::default() };
    let user = sign_in(&**store, &server.keys, config, &profile, None).await;
    let token = async || {
        let headers = custody.headers(&call(&**store, config, &user).await, &config.backends[0]).await?;
        Ok::<_, CredentialError>(headers[0].1.to_str().unwrap().to_owned())
    };
    assert!(matches!(token().await, Err(CredentialError::Misconfigured(_))));
    file.write_users(&[("alice", "u1", Some("t1"))]);
    assert_eq!(token().await.unwrap(), "Bearer t1");
    file.write_users(&[("alice", "u1", Some("t2"))]);
    assert_eq!(token().await.unwrap(), "Bearer t2");
    file.write_users(&[("alice", "u1", None)]);
    assert!(matches!(token().await, Err(CredentialError::Misconfigured(_))));
    // A new alice is not the old one.
    file.write_users(&[("alice", "u2", Some("t3"))]);
    assert_eq!(token().await.unwrap_err().to_string(), "Your session expired, please sign in again.");
    let state = store.user(&user).await.unwrap().unwrap().state;
    assert_eq!(state, IdentityState::Dead { reason: "user_removed".into(), told: false });
    // Back again: alive at once, and the next check says so to the store.
    file.write_users(&[("alice", "u1", Some("t4"))]);
    assert_eq!(token().await.unwrap(), "Bearer t4");
    assert_eq!(custody.recheck(&store.user(&user).await.unwrap().unwrap()).await, Check::Live);
    assert_eq!(store.user(&user).await.unwrap().unwrap().state, IdentityState::Live);
    assert_eq!(trail.decisions(), ["identity dead user_removed", "identity live"]);
    // Checked since this file is here, and so perhaps by a newer one: refused by this one, and nothing else.
    clock.advance(Duration::from_secs(1));
    file.write_users(&[("bob", "u2", None)]);
    let Identity::Local(users) = &server.identity else { unreachable!() };
    assert_eq!(users.presence("u1"), Presence::Gone);
    clock.advance(Duration::from_secs(1));
    sign_in(&**store, &server.keys, config, &profile, None).await;
    clock.advance(Duration::from_secs(1));
    assert!(matches!(token().await, Err(CredentialError::Unavailable { .. })));
    let record = store.user(&user).await.unwrap().unwrap();
    assert_eq!((custody.recheck(&record).await, record.state), (Check::Unavailable, IdentityState::Live));
    assert_eq!(store.user(&user).await.unwrap().unwrap().state, IdentityState::Live);
    // Removed by another since this file is here, in which they still are.
    file.write_users(&[("alice", "u1", Some("t5"))]);
    assert_eq!(token().await.unwrap(), "Bearer t5");
    clock.advance(Duration::from_secs(1));
    standing::remove(server.standing(), &user, "user_removed").await.unwrap();
    assert!(matches!(token().await, Err(CredentialError::SessionExpired(_))));
    let record = store.user(&user).await.unwrap().unwrap();
    assert!(matches!(custody.recheck(&record).await, Check::Dead(_)));
    assert!(matches!(store.user(&user).await.unwrap().unwrap().state, IdentityState::Dead { .. }));
}

/// Attack 68.
#[tokio::test]
async fn a_consent_without_a_refresh_token_keeps_the_previous_one() {
    let fake = Fake::start().await;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(NOW));
    let provider = OAuth2::new(fake.github(), setup(clock)).unwrap();
    let identity = IdentityConfig::Oauth2(Box::new(fake.github()));
    let (server, _) = server(identity, Identity::Provider(Arc::new(provider)));
    let profile = Profile { subject: "4242".into(), ..Profile::default() };
    let id = server.config.identity.id();
    let user = server.keys.user_id(&id, &profile);
    let given = |access: &str, refresh: Option<&str>, client_id: &str| UpstreamTokens {
        access: access.into(),
        refresh: refresh.map(str::to_owned),
        expires_at: None,
        issued_at: None,
        client_id: client_id.into(),
    };
    let place = (id.as_str(), &user, IDENTITY_CREDENTIAL);
    for (tokens, expected) in [
        (given("a1", None, CLIENT_ID), None),
        (given("a2", Some("r1"), CLIENT_ID), Some("r1")),
        (given("a3", None, CLIENT_ID), Some("r1")),
        (given("a4", Some("r2"), CLIENT_ID), Some("r2")),
        // Another client's refresh token is of no use.
        (given("a5", None, "other"), None),
    ] {
        let sealed = seal_sign_in(&server, &user, tokens.clone()).await.unwrap();
        let opened = open_tokens(&server.keys, place, &sealed).unwrap();
        assert_eq!((&opened.access, opened.refresh.as_deref()), (&tokens.access, expected));
        sign_in(&*server.store, &server.keys, &server.config, &profile, Some(&sealed)).await;
    }
}
