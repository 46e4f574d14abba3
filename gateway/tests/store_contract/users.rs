//! Contracts of users.

use std::time::Duration;

use gatehouse_gateway::{
    model::{IdentityState, Session, user::IDENTITY_CREDENTIAL},
    store::{EndedSignIns, IdentityRefusal, UserUpdate},
};

use crate::lab::{HOUR, Lab, MINUTE, about, hash, request, sealed, user_update};

fn dead(told: bool) -> IdentityState {
    IdentityState::Dead { reason: "token_revoked".to_owned(), told }
}

pub(crate) async fn a_sign_in_mends_a_dead_user(lab: &Lab) {
    let client = lab.client(1).await;
    let (store, user) = (&lab.store, client.done.user.id);
    store.set_identity_state(&user, &dead(false)).await.unwrap();
    store.set_identity_state(&user, &dead(true)).await.unwrap();
    assert_eq!(store.user(&user).await.unwrap().unwrap().state, dead(true));
    let again = lab.signed_in(1).await;
    let record = store.user(&user).await.unwrap().unwrap();
    assert_eq!((record.state, &record.profile), (IdentityState::Live, &again.user.profile));
    let call = store.call(&client.access.hash()).await.unwrap().unwrap();
    assert_eq!(call.user.state, IdentityState::Live, "every client is mended");
    assert_eq!(Some(call.credential.unwrap().sealed), again.identity_credential);
    assert_eq!(store.user(&user_update(2).id).await.unwrap(), None);
}

pub(crate) async fn telling_never_undoes_a_sign_in(lab: &Lab) {
    let user = lab.signed_in(1).await.user.id;
    assert!(!lab.store.set_identity_state(&user, &dead(true)).await.unwrap());
    assert_eq!(lab.store.user(&user).await.unwrap().unwrap().state, IdentityState::Live);
    assert!(lab.store.set_identity_state(&user, &dead(false)).await.unwrap());
    assert!(!lab.store.set_identity_state(&user, &dead(false)).await.unwrap(), "it is told once");
}

pub(crate) async fn a_refusal_of_an_older_credential_changes_nothing(lab: &Lab) {
    let (store, user) = (&lab.store, lab.signed_in(1).await.user.id);
    let version = || async { store.credential(&user, IDENTITY_CREDENTIAL).await.unwrap().unwrap().version };
    let refuse =
        async |user, version| store.refuse_identity(&user, version, "refresh_refused").await.unwrap();
    let old = version().await;
    lab.signed_in(1).await;
    assert_eq!(refuse(user, old).await, IdentityRefusal::Stale);
    assert_eq!(store.user(&user).await.unwrap().unwrap().state, IdentityState::Live);
    assert_eq!(refuse(user, version().await).await, IdentityRefusal::Died);
    let state = IdentityState::Dead { reason: "refresh_refused".to_owned(), told: false };
    assert_eq!(store.user(&user).await.unwrap().unwrap().state, state);
    store.set_identity_state(&user, &dead(true)).await.unwrap();
    assert_eq!(refuse(user, version().await).await, IdentityRefusal::WasDead);
    assert_eq!(store.user(&user).await.unwrap().unwrap().state, dead(true), "who was told stays told");
    assert_eq!(refuse(user_update(2).id, 1).await, IdentityRefusal::Stale);
}

pub(crate) async fn a_check_is_dated(lab: &Lab) {
    let (store, user) = (&lab.store, lab.signed_in(1).await.user.id);
    lab.pass(HOUR).await;
    about(store.user(&user).await.unwrap().unwrap().checked_ago, HOUR);
    let update = UserUpdate { profile: sealed(), ..user_update(1) };
    store.user_checked(&update).await.unwrap();
    let record = store.user(&user).await.unwrap().unwrap();
    about(record.checked_ago, Duration::ZERO);
    assert_eq!(record.profile, update.profile);
    let ago = async || store.user(&user).await.unwrap().unwrap().checked_ago;
    for state in [dead(false), IdentityState::Live] {
        lab.pass(HOUR).await;
        assert!(store.set_identity_state(&user, &state).await.unwrap());
        about(ago().await, Duration::ZERO);
    }
    lab.pass(HOUR).await;
    let version = store.credential(&user, IDENTITY_CREDENTIAL).await.unwrap().unwrap().version;
    assert_eq!(store.refuse_identity(&user, version, "r").await.unwrap(), IdentityRefusal::Died);
    about(ago().await, Duration::ZERO);
    lab.pass(HOUR).await;
    assert!(store.set_identity_state(&user, &dead(true)).await.unwrap());
    about(ago().await, HOUR);
    store.user_checked(&user_update(2)).await.unwrap();
    assert_eq!(store.user(&user_update(2).id).await.unwrap(), None, "a check makes no user");
    assert_eq!(store.users().await.unwrap(), [user]);
}

pub(crate) async fn a_purged_user_leaves_nothing(lab: &Lab) {
    let store = &lab.store;
    let (alice, bob) = (lab.client(1).await, lab.client(2).await);
    let waiting = lab.signed_in(1).await;
    let (flow, id) = (request(), hash());
    let session = Session {
        user: alice.done.user.id,
        identity: alice.done.user.identity.clone(),
        auth_time: 5,
        browser: None,
    };
    store.create_flow(&flow, MINUTE).await.unwrap();
    assert!(store.sign_in(&flow.id, &alice.done.user, Some(&sealed()), (&id, &session, HOUR)).await.unwrap());
    let mut both = store.users().await.unwrap();
    both.sort();
    assert_eq!(both, [alice.done.user.id, bob.done.user.id]);

    assert!(store.purge_user(&alice.done.user.id).await.unwrap());
    assert!(!lab.lives(&alice.access).await);
    assert!(!lab.code_waits(&waiting.code).await);
    assert_eq!(store.session(&id).await.unwrap(), None);
    assert_eq!(store.consented(&alice.done.user.id, &waiting.consent).await.unwrap(), None);
    assert!(store.consented(&bob.done.user.id, &bob.done.consent).await.unwrap().is_some());
    assert_eq!(store.user(&alice.done.user.id).await.unwrap(), None);
    assert_eq!(store.credential(&alice.done.user.id, IDENTITY_CREDENTIAL).await.unwrap(), None);
    assert_eq!(store.users().await.unwrap(), [bob.done.user.id]);
    assert!(lab.lives(&bob.access).await);
    assert!(!store.purge_user(&alice.done.user.id).await.unwrap());
}

pub(crate) async fn ended_sign_ins_leave_the_user_and_others(lab: &Lab) {
    let store = &lab.store;
    let (alice, bob) = (lab.client(1).await, lab.client(2).await);
    let waiting = lab.signed_in(1).await;
    let (user, flow, id) = (alice.done.user.id, request(), hash());
    let session = Session { user, identity: alice.done.user.identity.clone(), auth_time: 5, browser: None };
    store.create_flow(&flow, MINUTE).await.unwrap();
    assert!(store.sign_in(&flow.id, &alice.done.user, Some(&sealed()), (&id, &session, HOUR)).await.unwrap());

    let ended = store.end_sign_ins(&user).await.unwrap();
    let mut grants: Vec<_> = ended.grants.iter().map(|grant| grant.id).collect();
    let mut expected = [alice.grant().id, waiting.grant.id];
    grants.sort();
    expected.sort();
    assert_eq!((grants.as_slice(), ended.sessions), (expected.as_slice(), 1));
    assert!(!lab.lives(&alice.access).await && lab.lives(&bob.access).await);
    assert!(!lab.code_waits(&waiting.code).await);
    assert_eq!(store.session(&id).await.unwrap(), None);
    assert_eq!(store.user(&user).await.unwrap().unwrap().state, IdentityState::Live);
    assert!(store.credential(&user, IDENTITY_CREDENTIAL).await.unwrap().is_some());
    // Who signs in again is in again, and nothing of before is.
    let again = lab.client(1).await;
    assert!(lab.lives(&again.access).await && !lab.lives(&alice.access).await);
    assert_eq!(store.end_sign_ins(&user_update(9).id).await.unwrap(), EndedSignIns::default());
}
