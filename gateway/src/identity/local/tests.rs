//! Signing in against a file that changes.

use futures::future::Either;
use gatehouse_gateway_config::KeyRef;

use crate::clock::ManualClock;

use super::{
    testing::{Editable, hash},
    *,
};

fn users() -> (LocalUsers, Arc<Editable>) {
    let file = Arc::new(Editable::default());
    let config = LocalConfig { users: KeyRef::secret("users", "users.yaml") };
    (LocalUsers::new(config, file.clone(), Arc::new(ManualClock::at(0))), file)
}

fn entry(name: &str, uid: &str) -> String {
    format!("- {{name: {name}, uid: {uid}, passwordHash: \"{}\", token: token-of-{name}}}\n", hash(name))
}

fn stranger(network: &str) -> Asking {
    Asking::Stranger(network.to_owned())
}

async fn sign_in(users: &LocalUsers, name: &str, password: &str) -> Result<String, LocalError> {
    sign_in_as(users, &stranger("203.0.113.0"), name, password).await
}

async fn sign_in_as(
    users: &LocalUsers,
    asking: &Asking,
    name: &str,
    password: &str,
) -> Result<String, LocalError> {
    let signed_in = users.authenticate(name, Zeroizing::new(password.to_owned()), asking).await?;
    Ok(signed_in.profile.subject)
}

#[tokio::test]
async fn only_the_right_password_signs_in() {
    let (users, file) = users();
    assert_eq!(
        sign_in(&users, "alice", "alice").await,
        Err(LocalError::NoFile("Secret \"users\", key \"users.yaml\"".to_owned()))
    );
    file.write(&(entry("alice", "u1") + &entry("bob", "u2")));
    assert_eq!(sign_in(&users, "alice", "alice").await.as_deref(), Ok("u1"));
    assert_eq!(sign_in(&users, "bob", "bob").await.as_deref(), Ok("u2"));
    for (name, password) in [("alice", "bob"), ("alice", ""), ("carol", "carol"), ("", ""), ("u1", "alice")] {
        assert_eq!(sign_in(&users, name, password).await, Err(LocalError::Wrong), "{name} {password}");
    }
    assert_eq!(sign_in(&users, "alice", &"x".repeat(PASSWORD_LIMIT + 1)).await, Err(LocalError::Wrong));
}

#[tokio::test]
async fn the_file_decides_at_once_and_a_bad_one_changes_nothing() {
    let (users, file) = users();
    file.write(&(entry("alice", "u1") + &entry("bob", "u2")));
    assert!(
        matches!(users.presence("u2"), Presence::Here(bob) if bob.token.as_deref() == Some("token-of-bob"))
    );
    file.write("- {name: alice");
    assert!(matches!(users.presence("u2"), Presence::Here(_)));
    file.write(&entry("alice", "u1"));
    assert_eq!(users.presence("u2"), Presence::Gone);
    // A new bob is not the old one.
    file.write(&(entry("alice", "u1") + &entry("bob", "u3")));
    assert_eq!(users.presence("u2"), Presence::Gone);
    assert_eq!(sign_in(&users, "bob", "bob").await.as_deref(), Ok("u3"));
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_let_the_next_one_in() {
    let (users, file) = users();
    file.write(&entry("alice", "u1"));
    // An unknown name costs the decoy's full 19 MiB, far longer than what follows.
    let mut hung_up = Box::pin(sign_in(&users, "nobody", "x"));
    assert!(futures::poll!(&mut hung_up).is_pending());
    drop(hung_up);
    let mut next = Box::pin(users.one_at_a_time.turn("next".to_owned()));
    assert!(futures::poll!(&mut next).is_pending());
    drop(next.await.unwrap());
    assert_eq!(sign_in(&users, "alice", "alice").await.as_deref(), Ok("u1"));
}

#[tokio::test]
async fn a_network_has_a_share_of_the_line_and_known_browsers_stand_at_its_head() {
    let (users, file) = users();
    file.write(&entry("alice", "u1"));
    let looked_at = users.one_at_a_time.turn("another".to_owned()).await.unwrap();
    let (network, elsewhere) = (stranger("203.0.113.0"), stranger("198.51.100.0"));
    let mut waiting: Vec<_> =
        (0..SHARE).map(|_| Box::pin(sign_in_as(&users, &network, "alice", "guess"))).collect();
    for one in &mut waiting {
        assert!(futures::poll!(one).is_pending());
    }
    assert_eq!(sign_in_as(&users, &network, "alice", "alice").await, Err(LocalError::Busy));
    let mut other = Box::pin(sign_in_as(&users, &elsewhere, "alice", "alice"));
    assert!(futures::poll!(&mut other).is_pending());
    let known = Asking::Known(UserId::from_bytes([1; 32]));
    let mut known = Box::pin(sign_in_as(&users, &known, "alice", "alice"));
    assert!(futures::poll!(&mut known).is_pending());
    drop(looked_at);
    let strangers = futures::future::join_all(waiting);
    match futures::future::select(known, strangers).await {
        Either::Left((signed_in, strangers)) => {
            assert_eq!(signed_in.as_deref(), Ok("u1"));
            assert!(strangers.await.iter().all(|told| *told == Err(LocalError::Wrong)));
        }
        Either::Right(_) => panic!("it stood behind all of them"),
    }
    assert_eq!(other.await.as_deref(), Ok("u1"));
    assert_eq!(sign_in_as(&users, &network, "alice", "alice").await.as_deref(), Ok("u1"));
}
