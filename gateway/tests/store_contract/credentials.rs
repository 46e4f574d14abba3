//! Contracts of upstream credentials and counters.

use std::time::Duration;

use gatehouse_gateway::{
    clock::SystemEntropy,
    model::{AttemptId, UserId, user::IDENTITY_CREDENTIAL as NAME},
    store::{Lease, Quota},
};

use crate::lab::{Lab, MINUTE, about, completion, sealed};

const LEASE: Duration = Duration::from_secs(30);

fn attempt() -> AttemptId {
    AttemptId::random(&SystemEntropy)
}

async fn version(lab: &Lab, user: &UserId) -> u64 {
    lab.store.credential(user, NAME).await.unwrap().unwrap().version
}

pub(crate) async fn one_lease_at_a_time(lab: &Lab) {
    let (store, user) = (&lab.store, lab.signed_in(1).await.user.id);
    let at = version(lab, &user).await;
    let attempts: Vec<AttemptId> = (0..20).map(|_| attempt()).collect();
    let all = futures::future::join_all(
        attempts.iter().map(|attempt| store.lease_refresh(&user, NAME, at, attempt, LEASE)),
    )
    .await;
    assert_eq!(all.iter().filter(|l| matches!(l, Ok(Lease::Won))).count(), 1, "{all:?}");
    assert_eq!(all.iter().filter(|l| matches!(l, Ok(Lease::Busy(left)) if *left <= LEASE)).count(), 19);
    let winner = attempts[all.iter().position(|l| matches!(l, Ok(Lease::Won))).unwrap()];
    assert_eq!(store.credential(&user, NAME).await.unwrap().unwrap().attempt, Some(winner));
    let again = store.lease_refresh(&user, NAME, at, &winner, LEASE).await.unwrap();
    assert_eq!(again, Lease::Won, "an answer that was lost may be asked for again");
    lab.pass(LEASE + Duration::from_secs(1)).await;
    assert_eq!(store.credential(&user, NAME).await.unwrap().unwrap().attempt, None);
    assert_eq!(store.lease_refresh(&user, NAME, at, &attempt(), LEASE).await.unwrap(), Lease::TakenOver);
}

pub(crate) async fn a_result_is_stored_once_for_its_parent(lab: &Lab) {
    let (store, user) = (&lab.store, lab.signed_in(1).await.user.id);
    let (at, first, second) = (version(lab, &user).await, attempt(), attempt());
    store.lease_refresh(&user, NAME, at, &first, LEASE).await.unwrap();
    lab.pass(LEASE + Duration::from_secs(1)).await;
    store.lease_refresh(&user, NAME, at, &second, LEASE).await.unwrap();
    // The lease was taken over, but the first one's success came first.
    let new = sealed();
    assert!(store.store_credential(&user, NAME, at, &new).await.unwrap());
    assert!(!store.store_credential(&user, NAME, at, &sealed()).await.unwrap());
    let current = store.credential(&user, NAME).await.unwrap().unwrap();
    assert_eq!((&current.sealed, current.attempt), (&new, None));
    assert!(current.version > at);
    match store.lease_refresh(&user, NAME, at, &attempt(), LEASE).await.unwrap() {
        Lease::Moved(moved) => assert_eq!(*moved, current),
        other => panic!("{other:?}"),
    }
    let absent = store.lease_refresh(&user, "other", at, &attempt(), LEASE).await.unwrap();
    assert_eq!(absent, Lease::Absent);
    assert!(!store.store_credential(&user, "other", 0, &sealed()).await.unwrap());
    assert_eq!(store.credential(&user, "other").await.unwrap(), None);
}

pub(crate) async fn a_version_is_never_used_twice(lab: &Lab) {
    let (store, user) = (&lab.store, lab.signed_in(1).await.user.id);
    let at = version(lab, &user).await;
    // The identity gives no tokens any more, then it does again.
    let mut without = completion(&lab.approved().await, 1);
    without.identity_credential = None;
    assert!(store.complete_flow(&without).await.unwrap().is_some());
    assert_eq!(store.credential(&user, NAME).await.unwrap(), None);
    lab.signed_in(1).await;
    assert_ne!(version(lab, &user).await, at);
    assert!(!store.store_credential(&user, NAME, at, &sealed()).await.unwrap(), "a late answer");
}

pub(crate) async fn a_lease_can_be_given_back(lab: &Lab) {
    let (store, user) = (&lab.store, lab.signed_in(1).await.user.id);
    let (at, mine, other) = (version(lab, &user).await, attempt(), attempt());
    assert_eq!(store.lease_refresh(&user, NAME, at, &mine, LEASE).await.unwrap(), Lease::Won);
    store.release_refresh(&user, NAME, &other).await.unwrap();
    let busy = store.lease_refresh(&user, NAME, at, &other, LEASE).await.unwrap();
    assert!(matches!(busy, Lease::Busy(_)), "another cannot give it back");
    store.release_refresh(&user, NAME, &mine).await.unwrap();
    assert_eq!(store.lease_refresh(&user, NAME, at, &other, LEASE).await.unwrap(), Lease::Won);
    store.release_refresh(&user, "other", &mine).await.unwrap();
}

pub(crate) async fn hits_are_counted_in_windows(lab: &Lab) {
    for n in 1..=3 {
        let (count, left) = lab.store.hit("authorize/192.0.2.1", MINUTE).await.unwrap();
        assert_eq!(count, n);
        about(left, MINUTE);
    }
    assert_eq!(lab.store.hit("authorize/192.0.2.2", MINUTE).await.unwrap().0, 1);
    lab.pass(MINUTE / 2).await;
    let (count, left) = lab.store.hit("authorize/192.0.2.1", MINUTE).await.unwrap();
    assert_eq!(count, 4);
    about(left, MINUTE / 2);
    lab.pass(MINUTE / 2 + Duration::from_secs(1)).await;
    assert_eq!(lab.store.hit("authorize/192.0.2.1", MINUTE).await.unwrap().0, 1);
}

pub(crate) async fn a_request_counts_in_all_windows_or_in_none(lab: &Lab) {
    let quota = |key: &str, count| Quota { key: key.to_owned(), count, window: MINUTE };
    let admit =
        async |own: &str, count| lab.store.admit(&[quota(own, count), quota("all", 3)]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(admit("alice", 2).await, None);
    }
    about(admit("alice", 2).await.unwrap(), MINUTE);
    // What was refused took nothing of the room that all share.
    assert_eq!(admit("bob", 2).await, None);
    about(admit("carol", 2).await.unwrap(), MINUTE);
    // And made no counter.
    assert_eq!(lab.store.hit("carol", MINUTE).await.unwrap().0, 1);
    lab.pass(MINUTE + Duration::from_secs(1)).await;
    assert_eq!(admit("alice", 2).await, None);
}
