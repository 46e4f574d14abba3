//! Contracts of the list of changes.

use std::time::Duration;

use gatehouse_gateway::{
    model::{GrantId, IdentityState, user::IDENTITY_CREDENTIAL},
    store::{Event, EventBatch, EventCursor, Heard, Revocation, RobotGrant, Rotated, keys::EVENTS_KEPT},
};
use gatehouse_gateway_config::{AccessRule, denial::Denial};

use crate::lab::{Lab, MINUTE, new_access, refresh_with, sealed, user_update};

/// What came since `cursor`, which moves on.
async fn since(lab: &Lab, cursor: &mut EventCursor) -> EventBatch {
    let batch = lab.store.events(cursor, Duration::ZERO).await.unwrap();
    *cursor = batch.cursor.clone();
    batch
}

pub(crate) async fn every_change_is_seen(lab: &Lab) {
    let store = &lab.store;
    let mut cursor = store.event_cursor().await.unwrap();
    let mut client = lab.client(1).await;
    let (user, grant) = (Event::User(client.done.user.id), Event::Grant(client.grant().id));
    let expect = async |cursor: &mut EventCursor, events: &[Event]| {
        let batch = since(lab, cursor).await;
        assert_eq!((&batch.events[..], batch.gap), (events, false));
    };
    expect(&mut cursor, std::slice::from_ref(&user)).await;

    let dead = IdentityState::Dead { reason: "token_revoked".to_owned(), told: false };
    store.set_identity_state(&client.done.user.id, &dead).await.unwrap();
    store.set_identity_state(&client.done.user.id, &dead).await.unwrap();
    expect(&mut cursor, std::slice::from_ref(&user)).await;
    store.set_identity_state(&client.done.user.id, &IdentityState::Live).await.unwrap();
    let version = store.credential(&client.done.user.id, IDENTITY_CREDENTIAL).await.unwrap().unwrap().version;
    store.store_credential(&client.done.user.id, IDENTITY_CREDENTIAL, version, &sealed()).await.unwrap();
    store.user_checked(&user_update(1)).await.unwrap();
    expect(&mut cursor, &[user.clone(), user.clone(), user.clone()]).await;

    assert!(matches!(lab.revoke(client.grant()).await, Revocation::Revoked(_)));
    assert_eq!(lab.revoke(client.grant()).await, Revocation::Unknown);
    expect(&mut cursor, &[grant]).await;
    client = lab.client(1).await;
    store.purge_user(&client.done.user.id).await.unwrap();
    expect(&mut cursor, &[user.clone(), Event::Grant(client.grant().id), user]).await;
    expect(&mut cursor, &[]).await;
}

pub(crate) async fn a_denial_is_told_and_read(lab: &Lab) {
    lab.signed_in(1).await;
    assert_eq!(lab.store.denial().await.unwrap(), None);
    let mut cursor = lab.store.event_cursor().await.unwrap();
    let rule = AccessRule { subjects: vec!["42".to_owned()], ..AccessRule::default() };
    let denial = Denial { generation: 7, rules: vec![rule] };
    lab.deny(&denial).await;
    assert_eq!(lab.store.denial().await.unwrap(), Some(denial));
    let batch = since(lab, &mut cursor).await;
    assert_eq!((batch.events, batch.gap), (vec![Event::Denial], false));
}

pub(crate) async fn a_step_that_does_not_know_the_last_denial_waits_and_tells_it(lab: &Lab) {
    let client = lab.client(1).await;
    let (store, before) = (&lab.store, lab.store.heard());
    let robot = |heard: &Heard| {
        let mut grant = client.grant().clone();
        grant.id = GrantId::from_bytes([9; 16]);
        let (user, access) = (user_update(9), new_access().hash());
        RobotGrant { user, grant, access, life: MINUTE, heard: heard.mark.clone() }
    };
    let (mut rotation, access, refresh) = refresh_with(lab, &client.refresh);
    for generation in [7, 8] {
        let rule = AccessRule { subjects: vec![generation.to_string()], ..AccessRule::default() };
        let denial = Denial { generation, rules: vec![rule] };
        lab.deny(&denial).await;
        let rotated = store.rotate_refresh(&rotation).await.unwrap();
        assert!(matches!(rotated, Rotated::CheckDue { .. }), "{rotated:?}");
        assert_eq!(store.heard().denial.as_deref(), Some(&denial));
        rotation.heard = store.heard().mark;
    }
    assert!(!lab.lives(&access).await, "nothing was changed");
    assert!(store.grant_robot(&robot(&before)).await.unwrap().is_none());
    assert_eq!(store.user(&user_update(9).id).await.unwrap(), None, "nothing was written");
    assert!(store.grant_robot(&robot(&store.heard())).await.unwrap().is_some());
    assert!(matches!(store.rotate_refresh(&rotation).await.unwrap(), Rotated::Rotated { .. }));

    // The successor changes nothing: it comes with what was said meanwhile.
    let last = Denial { generation: 9, rules: Vec::new() };
    lab.deny(&last).await;
    let again = store.rotate_refresh(&rotation).await.unwrap();
    assert!(matches!(again, Rotated::Successor { .. }), "{again:?}");
    assert_eq!(store.heard().denial.as_deref(), Some(&last));
    assert!(matches!(
        store.rotate_refresh(&refresh_with(lab, &refresh).0).await.unwrap(),
        Rotated::Rotated { .. }
    ));
}

pub(crate) async fn a_waiting_reader_wakes(lab: &Lab) {
    let cursor = lab.store.event_cursor().await.unwrap();
    let reader = lab.store.events(&cursor, Duration::from_secs(10));
    // Polled first, so the reader waits before anything happens.
    let (batch, done) = tokio::time::timeout(Duration::from_secs(5), async {
        tokio::join!(biased; reader, lab.signed_in(1))
    })
    .await
    .expect("the reader wakes long before its wait is over");
    let batch = batch.unwrap();
    assert_eq!((batch.events, batch.gap), (vec![Event::User(done.user.id)], false));
    let quiet = lab.store.events(&batch.cursor, Duration::from_millis(50)).await.unwrap();
    assert_eq!(quiet, EventBatch { events: vec![], cursor: batch.cursor, gap: false });
}

pub(crate) async fn trimmed_events_are_a_gap(lab: &Lab) {
    let user = lab.signed_in(1).await.user;
    let mut behind = lab.store.event_cursor().await.unwrap();
    lab.store.user_checked(&user).await.unwrap();
    let mut just_there = lab.store.event_cursor().await.unwrap();
    for _ in 0..EVENTS_KEPT {
        lab.store.user_checked(&user).await.unwrap();
    }
    assert!(since(lab, &mut behind).await.gap);
    let batch = since(lab, &mut just_there).await;
    assert_eq!((batch.events.len(), batch.gap), (EVENTS_KEPT, false));
    assert!(!since(lab, &mut behind).await.gap, "after a gap it goes on");
}

pub(crate) async fn a_cursor_of_nobody_is_a_gap(lab: &Lab) {
    lab.signed_in(1).await;
    for text in ["", "x", "99999999999999-0/77", "1/2/3", "-/1", "5-5"] {
        let mut cursor = EventCursor(text.to_owned());
        assert!(since(lab, &mut cursor).await.gap, "{text}");
        assert!(!since(lab, &mut cursor).await.gap, "{text}");
    }
}
