//! Redis away, cut, slow, full, flushed, without replicas, or with another password.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use gatehouse_gateway::{
    clock::SystemClock,
    model::{IdentityState, Session, user::IDENTITY_CREDENTIAL},
    refs::{FixedRefs, Refs, Value},
    store::{
        AccountSteps, EndedSessions, EndedSignIns, Ending, GrantEnd, Quota, Redemption, Replay, Rotated,
        Store, StoreError, Unfinished,
        keys::{BATCH, GRANTS_KEPT},
        redis::RedisStore,
    },
};
use gatehouse_gateway_config::{KeyRef, RedisConfig};

use crate::{
    chaos::{Chaos, Mode},
    lab::{
        CLIENT, GRACE, HOUR, Lab, MINUTE, PASSWORD, completion, config, hash, new_access, password, proof,
        redis_store, refresh_with, request, tokens, user_update,
    },
};

/// A Redis, and a store that reaches it through a proxy.
async fn through_chaos() -> Option<(Lab, Chaos, RedisStore)> {
    let lab = Lab::redis().await?;
    let chaos = Chaos::before(lab.server.as_ref().unwrap().socket.clone()).await;
    let store = redis_store(&config(&chaos.url()), &lab.keys, password(PASSWORD));
    Some((lab, chaos, store))
}

/// A Redis, and a store that waits for a replica of it, which is not there.
async fn without_replica() -> Option<(Lab, RedisStore)> {
    let lab = Lab::redis().await?;
    let strict = RedisConfig { min_replicas: 1, ..config(&lab.server.as_ref().unwrap().url()) };
    let store = redis_store(&strict, &lab.keys, password(PASSWORD));
    Some((lab, store))
}

/// What was done, although the store does not answer for it.
fn unacknowledged<T: std::fmt::Debug, D: std::fmt::Debug>(result: Ending<T, D>) -> D {
    result.expect_err("it is not known to last").done
}

pub(crate) fn unavailable<T: std::fmt::Debug>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable(_)))
}

/// Waits until a store works, which it must by itself.
pub(crate) async fn recovers(store: &(impl Store + ?Sized)) {
    for _ in 0..500 {
        if store.ping().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not recover");
}

/// Waits until a store is refused for this reason: that its connection broke off is not yet one.
pub(crate) async fn refused(store: &impl Store, reason: &str) {
    let mut last = String::new();
    for _ in 0..500 {
        last = store.ping().await.expect_err("it is not let in").to_string();
        if last.contains(reason) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is not refused for {reason}, but: {last}");
}

#[tokio::test]
async fn a_lost_answer_is_no_redemption_and_the_claim_stays_spent() {
    let Some((lab, chaos, store)) = through_chaos().await else { return };
    let done = lab.signed_in(1).await;
    // Redis knows the script, and so the lost answer is the step's.
    lab.client(2).await;
    store.ping().await.unwrap();
    chaos.set(Mode::LoseAnswer);
    let pair = tokens(&new_access(), &lab.refresh(done.grant.id, 1));
    assert_eq!(unacknowledged(store.redeem_code(&proof(&done), &pair).await), None);
    chaos.set(Mode::Pass);
    recovers(&store).await;
    let pair = tokens(&new_access(), &lab.refresh(done.grant.id, 1));
    let again = store.redeem_code(&proof(&done), &pair).await.unwrap();
    assert_eq!(again, Redemption::Replayed(Replay::Parallel));
}

#[tokio::test]
async fn a_refresh_whose_answer_was_lost_gets_the_same_successor() {
    let Some((lab, chaos, store)) = through_chaos().await else { return };
    let client = lab.client(1).await;
    let another = lab.client(2).await;
    store.rotate_refresh(&refresh_with(&lab, &another.refresh).0).await.unwrap();
    chaos.set(Mode::LoseAnswer);
    let (first, access, _) = refresh_with(&lab, &client.refresh);
    assert_eq!(unacknowledged(store.rotate_refresh(&first).await), None);
    chaos.set(Mode::Pass);
    recovers(&store).await;
    let (second, ..) = refresh_with(&lab, &client.refresh);
    match store.rotate_refresh(&second).await.unwrap() {
        Rotated::Successor { sealed, .. } => assert_eq!(sealed, first.successor),
        other => panic!("{other:?}"),
    }
    assert!(lab.lives(&access).await);
}

#[tokio::test]
async fn a_cut_is_unavailable_until_it_mends_itself() {
    let Some((lab, chaos, store)) = through_chaos().await else { return };
    let client = lab.client(1).await;
    let cursor = store.event_cursor().await.unwrap();
    chaos.set(Mode::Cut);
    let begun = tokio::time::Instant::now();
    for _ in 0..20 {
        assert!(unavailable(&store.call(&client.access.hash()).await));
        assert!(unavailable(&store.events(&cursor, MINUTE).await));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "an outage answers at once");
    chaos.set(Mode::Pass);
    recovers(&store).await;
    assert!(store.call(&client.access.hash()).await.unwrap().is_some());
    store.revoke_for_client(&client.grant().id, CLIENT, None).await.unwrap();
    assert_eq!(store.events(&cursor, MINUTE).await.unwrap().events.len(), 1);
}

#[tokio::test]
async fn a_connection_that_ended_while_idle_costs_nobody_an_answer() {
    let Some((lab, chaos, store)) = through_chaos().await else { return };
    let client = lab.client(1).await;
    store.ping().await.unwrap();
    for _ in 0..5 {
        chaos.cut_idle().await;
        assert!(store.call(&client.access.hash()).await.expect("the next one is made first").is_some());
    }
}

#[tokio::test]
async fn a_primary_that_became_a_replica_is_left() {
    let Some((lab, chaos, store)) = through_chaos().await else { return };
    let next = crate::server::RedisServer::start().await.unwrap();
    next.admin().await.give_rights(&lab.keys.instance(), PASSWORD).await;
    store.create_flow(&request(), MINUTE).await.unwrap();
    let admin = lab.server.as_ref().unwrap().admin().await;
    let () = admin.run(&["REPLICAOF", "127.0.0.1", "1"]).await;
    chaos.lead_to(next.socket.clone());
    store.create_flow(&request(), MINUTE).await.expect("READONLY: nothing ran, so the new primary is asked");
}

#[tokio::test]
async fn a_stalled_redis_is_unavailable_in_time() {
    let Some((_lab, chaos, store)) = through_chaos().await else { return };
    store.ping().await.unwrap();
    chaos.set(Mode::Stall);
    let answer = tokio::time::timeout(Duration::from_secs(4), store.flow(&request().id)).await;
    assert!(unavailable(&answer.expect("every command has a timeout")));
    chaos.set(Mode::Pass);
    recovers(&store).await;
}

#[tokio::test]
async fn a_redis_that_was_never_there_is_unavailable() {
    let store = redis_store(&config("redis://127.0.0.1:1"), &crate::lab::some_keys(), password(PASSWORD));
    assert!(unavailable(&store.ping().await));
    let missing = redis_store(&config("redis://127.0.0.1:1"), &crate::lab::some_keys(), FixedRefs::default());
    let error = missing.ping().await.unwrap_err().to_string();
    assert!(error.contains(r#"Secret "redis", key "username""#), "{error}");
}

#[tokio::test]
async fn a_flushed_redis_forgets_and_goes_on() {
    let Some(mut lab) = Lab::redis().await else { return };
    let client = lab.client(1).await;
    let cursor = lab.store.event_cursor().await.unwrap();
    let admin = lab.server.as_ref().unwrap().admin().await;
    let () = admin.run(&["FLUSHALL"]).await;
    let () = admin.run(&["SCRIPT", "FLUSH"]).await;
    assert!(!lab.lives(&client.access).await);
    let (rotation, ..) = refresh_with(&lab, &client.refresh);
    assert_eq!(lab.store.rotate_refresh(&rotation).await.unwrap(), Rotated::Refused);
    assert!(lab.store.events(&cursor, Duration::ZERO).await.unwrap().gap);
    let cursor = lab.store.event_cursor().await.unwrap();
    let client = lab.client(1).await;
    assert!(!lab.store.events(&cursor, Duration::ZERO).await.unwrap().gap);

    // A crash and a new, empty process: no script is known any more, the ACL user only after the operator came by.
    lab.server.as_mut().unwrap().restart().await;
    assert!(unavailable(&lab.store.call(&client.access.hash()).await), "closed on WRONGPASS");
    lab.server.as_ref().unwrap().admin().await.give_rights(&lab.keys.instance(), PASSWORD).await;
    recovers(lab.store.as_ref()).await;
    assert!(!lab.lives(&client.access).await);
    assert!(lab.lives(&lab.client(1).await.access).await);
}

#[tokio::test]
async fn a_full_redis_is_unavailable() {
    let Some(lab) = Lab::redis().await else { return };
    let admin = lab.server.as_ref().unwrap().admin().await;
    let () = admin.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert!(unavailable(&lab.store.create_flow(&request(), MINUTE).await));
    assert!(unavailable(&lab.store.hit("source", MINUTE).await));
    let quota = Quota { key: "source".to_owned(), count: 1, window: MINUTE };
    assert!(unavailable(&lab.store.admit(&[quota]).await));
    let () = admin.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    lab.store.create_flow(&request(), MINUTE).await.unwrap();
}

#[tokio::test]
async fn another_tenants_keys_are_out_of_reach() {
    let Some(lab) = Lab::redis().await else { return };
    let server = lab.server.as_ref().unwrap();
    let another = redis_store(&config(&server.url()), &crate::lab::some_keys(), password(PASSWORD));
    another.ping().await.unwrap();
    let refused = another.create_flow(&request(), MINUTE).await;
    assert!(unavailable(&refused), "{refused:?}");
    assert!(unavailable(&another.session(&hash()).await), "NOPERM");
    assert!(unavailable(&another.event_cursor().await));
}

#[derive(Debug)]
pub(crate) struct ChangingRefs(pub(crate) Mutex<FixedRefs>);

impl Refs for ChangingRefs {
    fn get(&self, key: &KeyRef) -> Option<Value> {
        self.0.lock().unwrap().get(key)
    }
}

#[tokio::test]
async fn a_new_password_needs_no_restart() {
    let Some(lab) = Lab::redis().await else { return };
    let server = lab.server.as_ref().unwrap();
    let admin = server.admin().await;
    let refs = Arc::new(ChangingRefs(Mutex::new(password("wrong"))));
    let store = RedisStore::new(
        &config(&server.url()),
        "team-a",
        "github",
        lab.keys.clone(),
        refs.clone(),
        Arc::new(SystemClock::default()),
    )
    .unwrap();
    refused(&store, "WRONGPASS").await;
    *refs.0.lock().unwrap() = password(PASSWORD);
    recovers(&store).await;
    admin.give_rights(&lab.keys.instance(), "rotated").await;
    store.ping().await.expect("a connection that is open stays");
    let _: i64 = admin.run(&["CLIENT", "KILL", "USER", "tenant"]).await;
    refused(&store, "WRONGPASS").await;
    *refs.0.lock().unwrap() = password("rotated");
    recovers(&store).await;
    store.create_flow(&request(), MINUTE).await.unwrap();
}

#[tokio::test]
async fn a_claim_that_no_replica_acknowledged_is_unavailable_and_spent() {
    let Some((lab, store)) = without_replica().await else { return };
    let done = lab.signed_in(1).await;
    let pair = tokens(&new_access(), &lab.refresh(done.grant.id, 1));
    assert_eq!(unacknowledged(store.redeem_code(&proof(&done), &pair).await), None);
    let again = lab.store.redeem_code(&proof(&done), &pair).await.unwrap();
    assert_eq!(again, Redemption::Replayed(Replay::Parallel));
    store.call(&hash()).await.expect("only claims wait");
}

/// Whoever reads that their own revocation is done can rely on it as on any other.
#[tokio::test]
async fn what_a_user_ends_is_acknowledged_by_replicas_too() {
    let Some((lab, store)) = without_replica().await else { return };
    let client = lab.client(1).await;
    let user = client.done.user.id;
    let version = store.credential(&user, IDENTITY_CREDENTIAL).await.unwrap().unwrap().version;
    for died in [true, false] {
        let refused = store.refuse_identity(&user, version, "refresh_refused").await;
        assert_eq!(unacknowledged(refused), died, "once");
    }
    let dead = |told| IdentityState::Dead { reason: "user_removed".to_owned(), told };
    for died in [true, false] {
        assert_eq!(unacknowledged(store.set_identity_state(&user, &dead(false)).await), died, "once");
    }
    for harmless in [dead(true), IdentityState::Live] {
        assert!(store.set_identity_state(&user, &harmless).await.expect("it waits for nobody"));
    }
    let (flow, id) = (request(), hash());
    store.create_flow(&flow, MINUTE).await.unwrap();
    let session = Session { user, identity: client.done.user.identity.clone(), auth_time: 5, browser: None };
    assert!(store.sign_in(&flow.id, &client.done.user, None, (&id, &session, HOUR)).await.unwrap());
    assert!(unavailable(&store.end_session(&id).await));
    assert_eq!(lab.store.session(&id).await.unwrap(), None, "it is done, and not known to last");
    assert_eq!(unacknowledged(store.end_sessions(&user, EndedSessions::One(hash())).await), 0);
    assert_eq!(unacknowledged(store.end_sessions(&user, EndedSessions::AllBut(hash())).await), 0);
    let ended = unacknowledged(store.revoke_for_user(&user, Some(&client.grant().id)).await);
    assert_eq!(ended, [client.grant().clone()]);
    assert!(!lab.lives(&client.access).await, "it is done, and not known to last");
    let client = lab.client(1).await;
    for ended in [Some(Box::new(client.grant().clone())), None] {
        let revoked = store.revoke_for_client(&client.grant().id, CLIENT, None).await;
        assert_eq!(unacknowledged(revoked), ended, "once");
    }
    assert!(!lab.lives(&client.access).await && unavailable(&store.settled().await));
    assert_eq!(unacknowledged(store.revoke_for_user(&user, None).await), []);
    assert_eq!(unacknowledged(store.end_sign_ins(&user).await), EndedSignIns::default());
    assert!(unacknowledged(store.purge_user(&user).await));
}

/// Who presents something once more ends the grant with it, and a repetition finds nothing to end.
#[tokio::test]
async fn a_reuse_that_no_replica_acknowledged_says_that_it_ended_the_grant() {
    let Some((lab, store)) = without_replica().await else { return };
    let client = lab.client(1).await;
    let pair = tokens(&new_access(), &lab.refresh(client.grant().id, 1));
    let replay = async || store.redeem_code(&proof(&client.done), &pair).await;
    assert_eq!(unacknowledged(replay().await), None, "parallel");
    lab.pass(Duration::from_secs(3)).await;
    for ended in [Some(GrantEnd::Reuse), None] {
        assert_eq!(unacknowledged(replay().await), ended, "once");
        assert!(!lab.lives(&client.access).await);
    }
    let client = lab.client(1).await;
    let (rotation, access, _) = refresh_with(&lab, &client.refresh);
    lab.store.rotate_refresh(&rotation).await.unwrap();
    lab.pass(2 * GRACE).await;
    for ended in [Some(GrantEnd::Reuse), None] {
        assert_eq!(unacknowledged(store.rotate_refresh(&rotation).await), ended, "once");
        assert!(!lab.lives(&access).await);
    }
}

#[tokio::test]
async fn a_batch_that_no_replica_acknowledged_keeps_the_next_from_nothing() {
    let Some((lab, store)) = without_replica().await else { return };
    let user = user_update(1).id;
    let fill = async || {
        for _ in 0..=BATCH {
            lab.signed_in(1).await;
        }
    };
    fill().await;
    assert_eq!(unacknowledged(store.revoke_for_user(&user, None).await).len(), BATCH + 1);
    assert_eq!(lab.store.revoke_for_user(&user, None).await.unwrap(), []);
    fill().await;
    assert_eq!(unacknowledged(store.end_sign_ins(&user).await).grants.len(), BATCH + 1);
    assert_eq!(lab.store.end_sign_ins(&user).await.unwrap(), EndedSignIns::default());
    fill().await;
    assert!(unacknowledged(store.purge_user(&user).await));
    assert!(!lab.store.purge_user(&user).await.unwrap());
}

/// Anybody who begins sign-ins can ask for claims of them, and no refresh stands behind those.
#[tokio::test]
async fn claims_of_sign_ins_hold_no_refresh_up() {
    let Some((lab, store)) = without_replica().await else { return };
    let (client, flow) = (lab.client(1).await, request());
    let (rotation, ..) = refresh_with(&lab, &client.refresh);
    // Each waits for a replica, one after the other: together longer than a command may take.
    let denied = (0..15).map(|_| store.deny_flow(&flow.id, &flow.nonce, &flow.cookie));
    let (denied, refreshed) =
        tokio::join!(futures::future::join_all(denied), store.rotate_refresh(&rotation));
    let late = |error: &StoreError| error.to_string().contains("in time");
    assert!(denied.iter().any(|denied| denied.as_ref().is_err_and(late)), "{denied:?}");
    let Err(Unfinished { error, .. }) = refreshed else { panic!("there is no replica") };
    assert!(error.to_string().contains("acknowledged"), "{error}");
}

/// What a sign-in ends is done with it, and found by nobody who repeats it.
#[tokio::test]
async fn a_sign_in_that_no_replica_acknowledged_says_what_it_ended() {
    let Some((lab, store)) = without_replica().await else { return };
    let first = lab.signed_in(1).await.grant;
    for _ in 1..GRANTS_KEPT {
        lab.signed_in(1).await;
    }
    let done = completion(&lab.approved().await, 1);
    assert_eq!(unacknowledged(store.complete_flow(&done).await), Some(vec![first]));
    assert!(lab.code_waits(&done.code).await);
    assert_eq!(unacknowledged(store.complete_flow(&done).await), None, "it is over");
}

/// No script ends more than a batch: others on the same Redis wait while one runs.
#[tokio::test]
async fn many_grants_end_in_batches() {
    let Some(lab) = Lab::redis().await else { return };
    for _ in 0..GRANTS_KEPT {
        lab.client(1).await;
    }
    let admin = lab.server.as_ref().unwrap().admin().await;
    let user = user_update(1).id;
    let () = admin.run(&["CONFIG", "RESETSTAT"]).await;
    assert_eq!(lab.store.revoke_for_user(&user, None).await.unwrap().len(), GRANTS_KEPT);
    let info: String = admin.run(&["INFO", "commandstats"]).await;
    let ran = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap();
    let ran: usize = ran.split(',').next().unwrap().parse().unwrap();
    // The first is sent twice: Redis did not know it.
    assert_eq!(ran, 1 + GRANTS_KEPT / BATCH);
}

#[tokio::test]
async fn a_claim_that_a_replica_acknowledged_holds() {
    let Some(lab) = Lab::redis().await else { return };
    let server = lab.server.as_ref().unwrap();
    let way = Chaos::before(server.socket.clone()).await;
    let _replica = server.replica(way.port).await;
    let asked = Chaos::before(server.socket.clone()).await;
    let strict = RedisConfig { min_replicas: 1, ..config(&asked.url()) };
    let store = redis_store(&strict, &lab.keys, password(PASSWORD));
    // The first connects and loads the script.
    let mut warm = false;
    // A machine that is busy may take longer than the gateway waits: then that claim is refused, and the next is tried.
    for _ in 0..50 {
        let done = lab.signed_in(1).await;
        let pair = tokens(&new_access(), &lab.refresh(done.grant.id, 1));
        let before = asked.turns();
        match store.redeem_code(&proof(&done), &pair).await {
            Err(Unfinished { done: None, .. }) => warm = false,
            redeemed => {
                assert!(matches!(redeemed, Ok(Redemption::Redeemed { .. })), "{redeemed:?}");
                if warm {
                    return assert_eq!(asked.turns() - before, 1, "the script and the wait go together");
                }
                warm = true;
            }
        }
    }
    panic!("no two claims of fifty in a row were acknowledged");
}

#[tokio::test]
async fn a_refresh_that_no_replica_acknowledged_is_not_answered_by_its_repetition() {
    let Some(lab) = Lab::redis().await else { return };
    let server = lab.server.as_ref().unwrap();
    let way = Chaos::before(server.socket.clone()).await;
    let strict = RedisConfig { min_replicas: 1, ..config(&server.url()) };
    let store = || redis_store(&strict, &lab.keys, password(PASSWORD));
    let client = lab.client(1).await;
    let (rotation, ..) = refresh_with(&lab, &client.refresh);
    let first = store();
    let _replica = server.replica(way.port).await;
    way.set(Mode::Stall);
    assert_eq!(unacknowledged(first.rotate_refresh(&rotation).await), None);
    // The repetition writes nothing of its own, and the replica still lacks the rotation.
    // What is not acknowledged is not answered.
    assert_eq!(unacknowledged(store().rotate_refresh(&rotation).await), None);
    way.set(Mode::Pass);
}

#[test]
fn what_cannot_name_a_redis_is_refused_at_once() {
    let refused = |config: RedisConfig| {
        let refs = Arc::new(FixedRefs::default());
        RedisStore::new(&config, "n", "s", crate::lab::some_keys(), refs, Arc::new(SystemClock::default()))
            .unwrap_err()
            .to_string()
    };
    assert!(refused(config("http://h:1")).contains("redis.url: its scheme"));
    let secret = refused(config("redis://user:hunter2@h:1"));
    assert!(secret.contains("user or password") && !secret.contains("hunter2"), "{secret}");
    let ca = Some(KeyRef::secret("redis", "ca.crt"));
    assert!(refused(RedisConfig { ca, ..config("redis://h:1") }).contains("rediss"));
}
