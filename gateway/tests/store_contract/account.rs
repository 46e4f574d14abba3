//! Contracts of a user's own page.

use std::time::Duration;

use gatehouse_gateway::{
    model::{Hash32, Session, UserId, user::IDENTITY_CREDENTIAL},
    store::{
        AccountRecord, Completion, EndedSessions, Event,
        keys::{BATCH, CONSENTS_KEPT, GRANTS_KEPT, SESSIONS_KEPT},
    },
};

use crate::lab::{DAY, HOUR, Lab, MINUTE, about, completion, hash, request, sealed, user_update};

fn session(user: &UserId, auth_time: i64) -> Session {
    let identity = user_update(1).identity;
    Session { user: *user, identity, auth_time, browser: Some("Firefox on Linux".to_owned()) }
}

/// Opens a session of a user, as the sign-in of a local user does.
async fn open(lab: &Lab, user: u8, auth_time: i64) -> Hash32 {
    let (flow, id, user) = (request(), hash(), user_update(user));
    lab.store.create_flow(&flow, MINUTE).await.unwrap();
    let pair = (&id, &session(&user.id, auth_time), HOUR);
    assert!(lab.store.sign_in(&flow.id, &user, Some(&sealed()), pair).await.unwrap());
    id
}

pub(crate) async fn an_account_lists_what_was_redeemed_and_where_it_is_signed_in(lab: &Lab) {
    let first = lab.client(1).await;
    lab.pass(HOUR / 2).await;
    let second = lab.client(1).await;
    lab.client(2).await;
    lab.signed_in(1).await;
    let (old, new) = (open(lab, 1, 5).await, open(lab, 1, 6).await);
    open(lab, 2, 7).await;
    let user = first.done.user.id;
    let account = lab.store.account(&user).await.unwrap();
    let grants: Vec<_> = account.grants.iter().map(|listed| &listed.grant).collect();
    assert_eq!(
        grants,
        [second.grant(), first.grant()],
        "the one used last first, without what nobody redeemed"
    );
    about(account.grants[0].used_ago, Duration::ZERO);
    about(account.grants[1].used_ago, HOUR / 2);
    let mut sessions: Vec<_> = account.sessions.iter().map(|s| (s.id, s.session.clone())).collect();
    sessions.sort_by_key(|(_, session)| session.auth_time);
    assert_eq!(sessions, [(old, session(&user, 5)), (new, session(&user, 6))]);

    // Of two uses in one instant neither is the last.
    lab.pass(Duration::from_secs(1)).await;
    assert!(lab.lives(&first.access).await);
    let account = lab.store.account(&user).await.unwrap();
    assert_eq!(&account.grants[0].grant, first.grant(), "a call is a use");
    assert_eq!(lab.store.account(&user_update(3).id).await.unwrap(), AccountRecord::default());
    lab.pass(HOUR).await;
    assert!(lab.store.account(&user).await.unwrap().sessions.is_empty());
    lab.pass(30 * DAY).await;
    assert!(lab.store.account(&user).await.unwrap().grants.is_empty());
}

pub(crate) async fn one_more_than_a_user_may_have_ends_the_one_used_longest_ago(lab: &Lab) {
    let mut clients = vec![lab.client(1).await, lab.client(1).await, lab.client(1).await];
    let (others, waiting) = (lab.client(2).await, lab.signed_in(1).await);
    lab.pass(2 * MINUTE).await;
    assert!(lab.lives(&clients[0].access).await, "a call is a use");
    lab.pass(2 * MINUTE).await;
    while clients.len() + 1 < GRANTS_KEPT {
        clients.push(lab.client(1).await);
    }
    let cursor = lab.store.event_cursor().await.unwrap();
    // These began together, and nobody used them since.
    let oldest = [clients[1].grant(), clients[2].grant(), &waiting.grant];
    for _ in oldest {
        let done = completion(&lab.approved().await, 1);
        let ended = lab.store.complete_flow(&done).await.unwrap().unwrap();
        assert!(ended.len() == 1 && oldest.contains(&&ended[0]), "{ended:?}");
        assert!(lab.code_waits(&done.code).await);
    }
    let told = lab.store.events(&cursor, Duration::ZERO).await.unwrap().events;
    assert_eq!(told.iter().filter(|event| matches!(event, Event::Grant(_))).count(), 3);
    for gone in &clients[1..3] {
        assert!(!lab.lives(&gone.access).await);
    }
    assert!(!lab.code_waits(&waiting.code).await);
    assert!(lab.lives(&clients[0].access).await && lab.lives(&others.access).await);
    let user = clients[0].done.user.id;
    assert_eq!(lab.store.revoke_for_user(&user, None).await.unwrap().len(), GRANTS_KEPT, "all of them end");
    assert!(!lab.lives(&clients[0].access).await && lab.lives(&others.access).await);
}

pub(crate) async fn many_sessions_end_but_for_one(lab: &Lab) {
    let (many, sessions) = (BATCH + 5, SESSIONS_KEPT - 1);
    for _ in 0..sessions {
        open(lab, 1, 1).await;
    }
    let (kept, user, others) = (open(lab, 1, 2).await, user_update(1).id, open(lab, 2, 3).await);
    let ended = lab.store.end_sessions(&user, EndedSessions::AllBut(kept)).await.unwrap();
    assert_eq!(ended, u64::try_from(sessions).unwrap());
    assert_eq!(lab.store.account(&user).await.unwrap().sessions.len(), 1);
    for _ in 0..sessions {
        open(lab, 1, 4).await;
    }
    for _ in 0..many {
        lab.client(1).await;
    }
    let ended = lab.store.end_sign_ins(&user).await.unwrap();
    assert_eq!((ended.grants.len(), ended.sessions), (many, u64::try_from(sessions).unwrap() + 1));
    assert_eq!(lab.store.account(&user).await.unwrap(), AccountRecord::default());
    for _ in 0..sessions {
        open(lab, 1, 5).await;
    }
    assert!(lab.store.purge_user(&user).await.unwrap());
    assert_eq!(lab.store.account(&user).await.unwrap(), AccountRecord::default());
    assert!(lab.store.session(&others).await.unwrap().is_some());
}

pub(crate) async fn the_newest_sessions_of_a_user_stay(lab: &Lab) {
    let (store, mut old, mut new) = (&lab.store, Vec::new(), Vec::new());
    for _ in 0..5 {
        old.push(open(lab, 1, 1).await);
    }
    let others = open(lab, 2, 1).await;
    lab.pass(MINUTE).await;
    let left = async |old: &[Hash32]| {
        let found = futures::future::join_all(old.iter().map(|id| store.session(id))).await;
        found.iter().filter(|session| matches!(session, Ok(Some(_)))).count()
    };
    for _ in 0..SESSIONS_KEPT - 2 {
        new.push(open(lab, 1, 2).await);
    }
    assert_eq!(left(&old).await, 2);
    // Whichever step opens one.
    let (user, id) = (user_update(1), hash());
    let flow = lab.approved().await;
    let done = Completion { session: Some((id, session(&user.id, 3), HOUR)), ..completion(&flow, 1) };
    assert!(store.complete_flow(&done).await.unwrap().is_some());
    new.push(id);
    assert_eq!(left(&old).await, 1);
    let (id, flow) = (hash(), lab.approved().await);
    let pair = (&id, &session(&user.id, 4), HOUR);
    assert!(store.sign_in_at_provider((&flow.id, 1), &user, None, pair).await.unwrap());
    new.push(id);
    assert_eq!((left(&old).await, left(&new).await, left(&[others]).await), (0, SESSIONS_KEPT, 1));
}

pub(crate) async fn the_newest_consents_of_a_user_are_remembered(lab: &Lab) {
    let (store, mut old) = (&lab.store, Vec::new());
    let consent = async |user| {
        let done = completion(&lab.approved().await, user);
        assert!(store.complete_flow(&done).await.unwrap().is_some());
        done
    };
    for _ in 0..3 {
        old.push(consent(1).await.consent);
    }
    let others = consent(2).await;
    lab.pass(MINUTE).await;
    let user = user_update(1).id;
    let left = async || {
        let found = futures::future::join_all(old.iter().map(|id| store.consented(&user, id))).await;
        found.iter().filter(|given| matches!(given, Ok(Some(_)))).count()
    };
    let mut last = consent(1).await;
    for _ in 1..CONSENTS_KEPT - 2 {
        last = consent(1).await;
    }
    assert_eq!(left().await, 2);
    // What is given again is one.
    let again = Completion { consent: last.consent, ..completion(&lab.approved().await, 1) };
    assert!(store.complete_flow(&again).await.unwrap().is_some());
    assert_eq!(left().await, 2);
    for expected in [1, 0] {
        last = consent(1).await;
        assert_eq!(left().await, expected);
    }
    assert!(store.consented(&user, &last.consent).await.unwrap().is_some());
    assert!(store.consented(&others.user.id, &others.consent).await.unwrap().is_some());
}

pub(crate) async fn a_user_revokes_only_their_own_grants(lab: &Lab) {
    let (store, alice, bob) = (&lab.store, lab.client(1).await, lab.client(2).await);
    let (again, waiting) = (lab.client(1).await, lab.signed_in(1).await);
    let cursor = store.event_cursor().await.unwrap();
    let user = alice.done.user.id;
    assert_eq!(store.revoke_for_user(&user, Some(&bob.done.grant.id)).await.unwrap(), []);
    assert!(lab.lives(&bob.access).await);
    assert_eq!(
        store.revoke_for_user(&user, Some(&alice.done.grant.id)).await.unwrap(),
        [alice.grant().clone()]
    );
    assert_eq!(store.revoke_for_user(&user, Some(&alice.done.grant.id)).await.unwrap(), []);
    assert!(!lab.lives(&alice.access).await && lab.lives(&again.access).await);
    let events = store.events(&cursor, Duration::ZERO).await.unwrap().events;
    assert_eq!(events, [Event::Grant(alice.done.grant.id)]);

    let mut ended: Vec<_> = store.revoke_for_user(&user, None).await.unwrap().iter().map(|g| g.id).collect();
    let mut expected = vec![again.done.grant.id, waiting.grant.id];
    ended.sort();
    expected.sort();
    assert_eq!(ended, expected);
    assert!(!lab.lives(&again.access).await && lab.lives(&bob.access).await);
    assert!(!lab.code_waits(&waiting.code).await, "a code that waits ends, too");
    assert!(store.account(&user).await.unwrap().grants.is_empty());
}

pub(crate) async fn a_user_ends_only_their_own_sessions(lab: &Lab) {
    let store = &lab.store;
    let (a, b, c, bobs) =
        (open(lab, 1, 1).await, open(lab, 1, 2).await, open(lab, 1, 3).await, open(lab, 2, 4).await);
    let user = user_update(1).id;
    assert_eq!(store.end_sessions(&user, EndedSessions::One(bobs)).await.unwrap(), 0);
    assert_eq!(store.end_sessions(&user, EndedSessions::One(a)).await.unwrap(), 1);
    assert_eq!(store.session(&a).await.unwrap(), None);
    assert_eq!(store.end_sessions(&user, EndedSessions::AllBut(c)).await.unwrap(), 1);
    assert_eq!(store.session(&b).await.unwrap(), None);
    assert!(store.session(&c).await.unwrap().is_some() && store.session(&bobs).await.unwrap().is_some());
    let left = store.account(&user).await.unwrap().sessions;
    assert_eq!(left.iter().map(|s| s.id).collect::<Vec<_>>(), [c]);
}

pub(crate) async fn a_provider_signs_in_once_for_each_claimed_attempt(lab: &Lab) {
    let (store, flow, user, credential) = (&lab.store, request(), user_update(1), sealed());
    let (id, opened) = (hash(), session(&user.id, 5));
    let sign_in = async |attempt| {
        let pair = (&id, &opened, HOUR);
        store.sign_in_at_provider((&flow.id, attempt), &user, Some(&credential), pair).await.unwrap()
    };
    assert!(!sign_in(1).await, "there is no such flow");
    store.create_flow(&flow, MINUTE).await.unwrap();
    assert!(!sign_in(1).await, "it is not approved");
    store.approve_flow(&flow.id, &flow.nonce, &flow.cookie, MINUTE).await.unwrap();
    assert!(!sign_in(1).await, "nobody claimed its callback");
    store.claim_callback(&flow.id, &flow.cookie, 1).await.unwrap();
    assert!(!sign_in(2).await, "another attempt");
    assert_eq!((store.session(&id).await.unwrap(), store.user(&user.id).await.unwrap()), (None, None));
    assert!(sign_in(1).await);
    assert_eq!(store.session(&id).await.unwrap(), Some(opened.clone()));
    let stored = store.credential(&user.id, IDENTITY_CREDENTIAL).await.unwrap().unwrap();
    assert_eq!(stored.sealed, credential);
    assert!(!sign_in(1).await, "it is over");
    assert_eq!(store.flow(&flow.id).await.unwrap(), None);
}
