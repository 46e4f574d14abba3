//! Users who come and go.

use gatehouse_gateway_config::{IdentityConfig, KeyRef, LocalConfig};

use super::*;
use crate::{
    credentials::{open_profile, testing},
    identity::local::testing::Editable,
};

struct World {
    server: Server,
    local: Arc<LocalUsers>,
    file: Arc<Editable>,
    clock: crate::clock::ManualClock,
}

impl World {
    fn new() -> Self {
        let file = Arc::new(Editable::default());
        let config = LocalConfig { users: KeyRef::secret("users", "users.yaml") };
        let local = Arc::new(LocalUsers::new(config.clone(), file.clone()));
        let (server, clock) = testing::server(IdentityConfig::Local(config), Identity::Local(local.clone()));
        Self { server, local, file, clock }
    }

    async fn sign_in(&self, uid: &str) -> UserId {
        let profile = Profile { subject: uid.into(), ..Profile::default() };
        testing::sign_in(self.server.store.as_ref(), &self.server.keys, &self.server.config, &profile, None)
            .await
    }

    async fn sweep(&self) {
        sweep(&self.server, &self.local).await.unwrap();
    }

    async fn state(&self, user: &UserId) -> Option<IdentityState> {
        self.server.store.user(user).await.unwrap().map(|record| record.state)
    }
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
    assert_eq!(world.state(&bob).await, Some(IdentityState::Dead { reason: REMOVED.into(), told: false }));
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
    let record = world.server.store.user(&bob).await.unwrap().unwrap();
    let profile = open_profile(&world.server.keys, &bob, &record.profile).unwrap();
    assert_eq!(profile.name.as_deref(), Some("robert"));
}
