//! Users who come and go.

use gatehouse_gateway_config::{IdentityConfig, KeyRef, LocalConfig};

use super::*;
use crate::{
    clock::ManualClock,
    credentials::{Check, open_profile, testing},
    identity::local::testing::Editable,
    model::UserId,
};

struct World {
    server: Server,
    local: Arc<LocalUsers>,
    file: Arc<Editable>,
    clock: ManualClock,
}

impl World {
    fn new() -> Self {
        let file = Arc::new(Editable::default());
        let config = LocalConfig { users: KeyRef::secret("users", "users.yaml") };
        let clock = ManualClock::at(testing::NOW);
        let local = Arc::new(LocalUsers::new(config.clone(), file.clone(), Arc::new(clock.clone())));
        let identity = Identity::Local(local.clone());
        let server = testing::server_at(IdentityConfig::Local(config), identity, Arc::default(), &clock);
        Self { server, local, file, clock }
    }

    /// The users of another replica of the same server, which has this file from now on.
    fn replica(&self, users: &[(&str, &str, Option<&str>)]) -> (LocalUsers, Arc<Editable>) {
        let file = Arc::new(Editable::default());
        file.write_users(users);
        let config = LocalConfig { users: KeyRef::secret("users", "users.yaml") };
        let local = LocalUsers::new(config, file.clone(), Arc::new(self.clock.clone()));
        local.current().unwrap();
        (local, file)
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Signs in as whom the file of this replica names so.
    async fn sign_in(&self, uid: &str) -> UserId {
        let profile = profile_of(&self.local, uid);
        testing::sign_in(self.server.store.as_ref(), &self.server.keys, &self.server.config, &profile, None)
            .await
    }

    async fn sweep(&self) {
        assert!(sweep(&self.server, &self.local).await.unwrap());
    }

    async fn state(&self, user: &UserId) -> Option<IdentityState> {
        self.server.store.user(user).await.unwrap().map(|record| record.state)
    }

    async fn known(&self, user: &UserId) -> Profile {
        let record = self.server.store.user(user).await.unwrap().unwrap();
        open_profile(&self.server.keys, user, &record.profile).unwrap()
    }

    async fn sessions(&self, user: &UserId) -> usize {
        self.server.store.account(user).await.unwrap().sessions.len()
    }
}

fn removed() -> IdentityState {
    IdentityState::Dead { reason: REMOVED.into(), told: false }
}

#[tokio::test]
async fn a_user_who_is_gone_is_dead_at_once_and_purged_after_a_day() {
    let world = World::new();
    world.file.write_users(&[("alice", "u1", None), ("bob", "u2", None)]);
    let (alice, bob) = (world.sign_in("u1").await, world.sign_in("u2").await);
    world.clock.advance(Duration::from_secs(30 * 24 * 3600));
    world.sweep().await;
    assert_eq!(world.state(&bob).await, Some(IdentityState::Live));

    world.file.write_users(&[("alice", "u1", None)]);
    world.sweep().await;
    assert_eq!(world.state(&bob).await, Some(removed()));
    world.clock.advance(Duration::from_secs(24 * 3600 - 1));
    world.sweep().await;
    assert!(world.state(&bob).await.is_some());
    world.clock.advance(Duration::from_secs(1));
    world.sweep().await;
    assert_eq!(world.state(&bob).await, None);
    assert_eq!(world.state(&alice).await, Some(IdentityState::Live));
}

#[tokio::test]
async fn a_truncated_file_deletes_nothing() {
    let world = World::new();
    world.file.write_users(&[("alice", "u1", None), ("bob", "u2", None)]);
    let bob = world.sign_in("u2").await;
    world.file.write("- {name: ali");
    world.sweep().await;
    assert_eq!(world.state(&bob).await, Some(IdentityState::Live));
    world.file.write_users(&[("alice", "u1", None)]);
    world.sweep().await;
    // Mended: alive again, with what the file says now.
    world.file.write_users(&[("alice", "u1", None), ("robert", "u2", None)]);
    world.sweep().await;
    assert_eq!(world.state(&bob).await, Some(IdentityState::Live));
    assert_eq!(world.known(&bob).await.name.as_deref(), Some("robert"));
}

/// Their Secrets reach the replicas one after the other.
#[tokio::test]
async fn a_replica_with_the_file_of_before_ends_nobody_whom_the_newer_file_has() {
    let world = World::new();
    let (late, file) = world.replica(&[("alice", "u1", None)]);
    world.pass(60);
    world.file.write_users(&[("alice", "u1", None), ("carol", "u3", None)]);
    let carol = world.sign_in("u3").await;
    world.pass(1);
    assert!(!sweep(&world.server, &late).await.unwrap(), "not all of it is done");
    assert_eq!(world.state(&carol).await, Some(IdentityState::Live));
    file.write_users(&[("alice", "u1", None), ("carol", "u3", None)]);
    assert!(sweep(&world.server, &late).await.unwrap());
    assert_eq!(world.state(&carol).await, Some(IdentityState::Live));
    // Gone again, by a file that is read after all that is known of her.
    file.write_users(&[("alice", "u1", None)]);
    assert!(sweep(&world.server, &late).await.unwrap());
    assert_eq!(world.state(&carol).await, Some(removed()));
}

/// The file that a process finds when it starts may be the one of before.
#[tokio::test]
async fn a_replica_that_starts_ends_nobody_whom_another_has_just_admitted() {
    let world = World::new();
    world.file.write_users(&[("alice", "u1", None), ("carol", "u3", None)]);
    let carol = world.sign_in("u3").await;
    world.pass(1);
    let (starting, file) = world.replica(&[("alice", "u1", None)]);
    assert!(!sweep(&world.server, &starting).await.unwrap(), "not all of it is done");
    assert_eq!(world.state(&carol).await, Some(IdentityState::Live));
    world.clock.advance(ON_ITS_WAY.saturating_sub(Duration::from_secs(1)));
    assert!(sweep(&world.server, &starting).await.unwrap());
    assert_eq!(world.state(&carol).await, Some(removed()), "no other has come");
    // One that comes later is new.
    file.write_users(&[("alice", "u1", None), ("carol", "u3", None)]);
    assert!(sweep(&world.server, &starting).await.unwrap());
    assert_eq!(world.state(&carol).await, Some(IdentityState::Live));
}

/// However long a replica has its file: after some time no other is on its way.
#[tokio::test]
async fn who_signed_in_by_a_file_of_before_is_dead_when_no_newer_one_came() {
    let world = World::new();
    let (newer, _) = world.replica(&[("alice", "u1", None)]);
    world.pass(60);
    // On the replica that is late.
    world.file.write_users(&[("alice", "u1", None), ("bob", "u2", None)]);
    let bob = world.sign_in("u2").await;
    let moment = Duration::from_millis(1);
    world.clock.advance(ON_ITS_WAY.saturating_sub(moment));
    assert!(!sweep(&world.server, &newer).await.unwrap());
    assert_eq!(world.state(&bob).await, Some(IdentityState::Live));
    world.clock.advance(moment);
    assert!(sweep(&world.server, &newer).await.unwrap());
    assert_eq!(world.state(&bob).await, Some(removed()));
}

#[tokio::test]
async fn a_replica_with_the_file_of_before_neither_ends_nor_changes_nor_revives() {
    let world = World::new();
    let before = [("alice", "u1", None), ("bob", "u2", None)];
    let (late, _) = world.replica(&before);
    world.file.write_users(&before);
    let (alice, bob) = (world.sign_in("u1").await, world.sign_in("u2").await);
    world.pass(60);
    // The password of each is their name.
    world.file.write_users(&[("alicia", "u1", None)]);
    world.sweep().await;
    assert_eq!((world.sessions(&alice).await, world.state(&bob).await), (0, Some(removed())));
    world.sign_in("u1").await;
    world.pass(1);
    assert!(!sweep(&world.server, &late).await.unwrap());
    assert_eq!(world.state(&bob).await, Some(removed()), "not back");
    assert_eq!((world.sessions(&alice).await, world.state(&alice).await), (1, Some(IdentityState::Live)));
    assert_eq!(world.known(&alice).await, profile_of(&world.local, "u1"));
}

/// The day begins when they are found gone, whoever finds it, and not when they were last checked.
#[tokio::test]
async fn a_call_that_finds_a_user_gone_begins_their_day() {
    let world = World::new();
    world.file.write_users(&[("alice", "u1", None), ("bob", "u2", None)]);
    let bob = world.sign_in("u2").await;
    world.pass(2 * 24 * 3600);
    world.file.write_users(&[("alice", "u1", None)]);
    let record = world.server.store.user(&bob).await.unwrap().unwrap();
    assert!(matches!(world.server.credentials.recheck(&record).await, Check::Dead(_)));
    assert_eq!(world.state(&bob).await, Some(removed()));
    world.sweep().await;
    world.pass(24 * 3600 - 1);
    world.sweep().await;
    assert_eq!(world.state(&bob).await, Some(removed()), "kept for a day");
    world.pass(1);
    world.sweep().await;
    assert_eq!(world.state(&bob).await, None);
}

fn profile_of(local: &LocalUsers, uid: &str) -> Profile {
    match local.presence(uid) {
        Presence::Here(user) => profile(&user),
        other => panic!("{other:?}"),
    }
}
