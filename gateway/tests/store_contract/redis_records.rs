//! What lies in Redis: names, lives, and records that somebody else wrote.

use std::time::Duration;

use gatehouse_gateway::{
    clock::SystemEntropy,
    model::{FlowRequest, GrantId, Session, user::IDENTITY_CREDENTIAL},
    store::{
        Approval, NewTokens, Redemption, Revocation, RobotGrant, Rotated, Rotation, Store, UserUpdate,
        keys::{self, BATCH, GRANTS_KEPT, ROBOT_GRANTS_KEPT},
    },
};
use gatehouse_gateway_config::{AccessRule, denial::Denial};

use crate::{
    lab::{
        Client, DAY, HOUR, Lab, MINUTE, PASSWORD, config, hash, new_access, password, prefix, proof,
        redis_store, refresh_with, request, sealed, tokens, user_update,
    },
    server::Admin,
};

async fn redis() -> Option<(Lab, Admin)> {
    let lab = Lab::redis().await?;
    let admin = lab.server.as_ref().unwrap().admin().await;
    Some((lab, admin))
}

#[tokio::test]
async fn every_key_has_the_life_of_the_table() {
    let Some((lab, admin)) = redis().await else { return };
    let first = lab.client(1).await;
    let (rotation, ..) = refresh_with(&lab, &first.refresh);
    lab.store.rotate_refresh(&rotation).await.unwrap();
    lab.signed_in(2).await;
    let signed = lab.sign_in_with(&FlowRequest { by_assertion: true, ..request() }).await;
    let pair = tokens(&new_access(), &lab.refresh(signed.grant.id, 1));
    lab.store.redeem_code(&proof(&signed), &pair).await.unwrap();
    let (flow, id, alice) = (request(), hash(), user_update(1));
    let session = Session { user: alice.id, identity: alice.identity.clone(), auth_time: 5, browser: None };
    lab.store.create_flow(&flow, 10 * MINUTE).await.unwrap();
    lab.store.sign_in(&flow.id, &alice, Some(&sealed()), (&id, &session, 8 * HOUR)).await.unwrap();
    lab.store.hit("authorize", MINUTE).await.unwrap();
    let prefix = format!("gatehouse:{{team-a/github.{}}}:", lab.keys.instance());
    let lives: &[(&str, &[Duration])] = &[
        ("oauth:client:", &[365 * DAY]),
        ("oauth:code:", &[10 * MINUTE]),
        ("oauth:spent:", &[10 * MINUTE]),
        ("jti:", &[30 * MINUTE]),
        // The replaced one lives no longer than the grace.
        ("oauth:access:", &[2 * MINUTE, HOUR]),
        ("oauth:refresh:", &[2 * MINUTE, 30 * DAY]),
        ("grant:", &[10 * MINUTE, 30 * DAY]),
        ("flow:", &[10 * MINUTE]),
        ("session:", &[8 * HOUR]),
        ("consent:", &[90 * DAY]),
        ("user:", &[400 * DAY]),
        ("users", &[400 * DAY]),
        ("credential:", &[180 * DAY]),
        ("limit:", &[MINUTE]),
        ("events", &[400 * DAY]),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for key in admin.keys("").await {
        let name = key.strip_prefix(&prefix).unwrap_or_else(|| panic!("{key} is not under {prefix}"));
        let (kind, allowed) =
            lives.iter().find(|(kind, _)| name.starts_with(kind)).unwrap_or_else(|| panic!("{name}"));
        let left = Duration::from_millis(u64::try_from(admin.run::<i64>(&["PTTL", &key]).await).unwrap());
        let fits = |life: &&Duration| left <= **life && left + Duration::from_secs(60) > **life;
        let life = allowed.iter().find(fits).unwrap_or_else(|| panic!("{name} lives {left:?}"));
        seen.insert((*kind, *life));
    }
    let expected = lives.iter().flat_map(|(kind, lives)| lives.iter().map(|life| (*kind, *life))).collect();
    assert_eq!(seen, expected, "every kind of key was there, with every life it may have");
}

#[tokio::test]
async fn after_a_sign_in_the_code_is_gone_and_the_tokens_are_there() {
    let Some((lab, admin)) = redis().await else { return };
    lab.client(1).await;
    assert_eq!(admin.keys(":oauth:access:").await.len(), 1);
    assert_eq!(admin.keys(":oauth:refresh:").await.len(), 1);
    assert_eq!(admin.keys(":oauth:code:").await.len(), 0);
}

#[tokio::test]
async fn a_revoked_grant_leaves_no_token_behind() {
    let Some((lab, admin)) = redis().await else { return };
    let client = lab.client(1).await;
    let (rotation, ..) = refresh_with(&lab, &client.refresh);
    lab.store.rotate_refresh(&rotation).await.unwrap();
    lab.signed_in(1).await;
    assert!(matches!(lab.revoke(client.grant()).await, Revocation::Revoked(_)));
    assert_eq!(admin.keys(":oauth:access:").await.len() + admin.keys(":oauth:refresh:").await.len(), 0);
    assert_eq!(admin.keys(":grant:").await.len(), 1);
    let listed: Vec<String> = admin.run(&["ZRANGE", &admin.key(":grants").await, "0", "-1"]).await;
    assert_eq!(listed.len(), 1, "only the grant that still waits for its code");
}

#[tokio::test]
async fn a_purged_user_leaves_no_key_behind() {
    let Some((lab, admin)) = redis().await else { return };
    lab.client(1).await;
    lab.signed_in(1).await;
    let user = user_update(1).id;
    assert!(admin.keys(&user.to_string()).await.len() >= 5);
    assert!(lab.store.purge_user(&user).await.unwrap());
    assert_eq!(admin.keys(&user.to_string()).await, Vec::<String>::new());
    assert_eq!(admin.keys("oauth:client:").await, Vec::<String>::new());
}

#[tokio::test]
async fn redis_itself_ends_what_ended() {
    let Some((lab, _)) = redis().await else { return };
    let done = lab.signed_in(1).await;
    let (access, refresh) = (new_access(), lab.refresh(done.grant.id, 1));
    let second = Duration::from_secs(1);
    // Long enough to be seen alive on a machine that is busy.
    let short = NewTokens { access_life: 5 * second, refresh_life: 10 * second, ..tokens(&access, &refresh) };
    lab.store.redeem_code(&proof(&done), &short).await.unwrap();
    assert!(lab.lives(&access).await);
    let begun = tokio::time::Instant::now();
    while lab.lives(&access).await {
        assert!(begun.elapsed() < 60 * second);
        tokio::time::sleep(second / 20).await;
    }
    let client = Client { done, access, refresh };
    let (rotation, ..) = refresh_with(&lab, &client.refresh);
    while lab.store.rotate_refresh(&Rotation { generation: 9, ..rotation.clone() }).await.unwrap()
        != Rotated::Refused
    {
        tokio::time::sleep(second / 20).await;
    }
    let server = lab.server.as_ref().unwrap().admin().await;
    while !server.keys(":oauth:refresh:").await.is_empty() || !server.keys(":grant:").await.is_empty() {
        assert!(begun.elapsed() < 60 * second);
        tokio::time::sleep(second / 20).await;
    }
    assert_eq!(lab.store.rotate_refresh(&rotation).await.unwrap(), Rotated::Refused);
}

#[tokio::test]
async fn redis_tells_the_time() {
    let Some((lab, admin)) = redis().await else { return };
    let server = lab.server.as_ref().unwrap();
    let near = async |told: Option<i64>| {
        let (now, _): (i64, i64) = admin.run(&["TIME"]).await;
        told.is_some_and(|told| now.abs_diff(told) < 5)
    };
    let fresh = || redis_store(&config(&server.url()), &lab.keys, password(PASSWORD));
    let (asked, worked) = (fresh(), fresh());
    assert_eq!(asked.unix(), None, "nothing was heard yet");
    asked.ping().await.unwrap();
    assert!(near(asked.unix()).await);
    worked.call(&hash()).await.unwrap();
    assert!(near(worked.unix()).await);
}

/// Copies a hash, as another holder of the same Redis user could.
async fn copy(admin: &Admin, from: &str, to: &str) {
    let _: i64 = admin.run(&["COPY", from, to, "REPLACE"]).await;
}

#[tokio::test]
async fn a_token_that_somebody_else_wrote_is_absent() {
    let Some((lab, admin)) = redis().await else { return };
    let alice = lab.client(1).await;
    let key = admin.key(":oauth:access:").await;
    let prefix = key.split_once("oauth:").unwrap().0.to_owned();
    let mine = new_access();
    copy(&admin, &key, &format!("{prefix}oauth:access:{}", mine.hash())).await;
    assert!(!lab.lives(&mine).await, "a MAC is for one key");
    let mallory = lab.client(2).await;
    let grant = format!("grant:{}", alice.grant().id);
    let hers = format!("{prefix}oauth:access:{}", mallory.access.hash());
    let _: i64 = admin.run(&["HSET", &hers, "grant", &grant]).await;
    assert!(!lab.lives(&mallory.access).await, "a token moved to another grant");

    let refresh = lab.refresh(alice.grant().id, 1);
    let forged = format!("{prefix}oauth:refresh:{}", refresh.hash());
    copy(&admin, &format!("{prefix}oauth:refresh:{}", alice.refresh.hash()), &forged).await;
    let (rotation, ..) = refresh_with(&lab, &refresh);
    assert_eq!(lab.store.rotate_refresh(&rotation).await.unwrap(), Rotated::Refused);
    assert!(lab.lives(&alice.access).await);
}

#[tokio::test]
async fn a_grant_or_user_that_somebody_else_changed_is_absent() {
    let Some((lab, admin)) = redis().await else { return };
    let (alice, mallory) = (lab.client(1).await, lab.client(2).await);
    let prefix = admin.key(":users").await.strip_suffix("users").unwrap().to_owned();
    let hers = format!("{prefix}grant:{}", mallory.grant().id);
    let content: String = admin.run(&["HGET", &hers, "g"]).await;
    let (a, m) = (alice.done.user.id.to_string(), mallory.done.user.id.to_string());
    let _: i64 =
        admin.run(&["HSET", &hers, "g", &content.replace(&m, &a), "owner", &format!("user:{a}")]).await;
    assert!(!lab.lives(&mallory.access).await, "mallory's grant says alice");
    let (rotation, next, _) = refresh_with(&lab, &mallory.refresh);
    assert_eq!(lab.store.rotate_refresh(&rotation).await.unwrap(), Rotated::Forged);
    assert!(!lab.lives(&next).await);

    let (bob, carol) = (lab.client(3).await, lab.client(4).await);
    let (b, c) = (bob.done.user.id.to_string(), carol.done.user.id.to_string());
    copy(&admin, &format!("{prefix}user:{b}"), &format!("{prefix}user:{c}")).await;
    assert!(!lab.lives(&carol.access).await, "carol's profile is bob's");
    assert_eq!(lab.store.user(&carol.done.user.id).await.unwrap(), None);
    assert!(lab.lives(&bob.access).await);
}

/// Another holder of the Redis user can write the times that no MAC covers: one that cannot be is as none.
#[tokio::test]
async fn what_was_done_at_no_time_or_later_than_now_was_not_done() {
    let Some((lab, admin)) = redis().await else { return };
    let client = lab.client(9).await;
    let prefix = admin.key(":users").await.strip_suffix("users").unwrap().to_owned();
    let (seconds, _): (i64, i64) = admin.run(&["TIME"]).await;
    let later = ((seconds + 3600) * 1000).to_string();
    for (n, redeemed) in (1..).zip(["", later.as_str(), "1e300", "inf", "nan"]) {
        let other = lab.client(n).await;
        let grant = format!("{prefix}grant:{}", other.grant().id);
        let _: i64 = if redeemed.is_empty() {
            admin.run(&["HDEL", &grant, "redeemed"]).await
        } else {
            admin.run(&["HSET", &grant, "redeemed", redeemed]).await
        };
        let (rotation, ..) = refresh_with(&lab, &other.refresh);
        assert_eq!(lab.store.rotate_refresh(&rotation).await.unwrap(), Rotated::Refused, "{redeemed}");
    }
    let user = format!("{prefix}user:{}", client.done.user.id);
    let ago = async || lab.store.user(&client.done.user.id).await.unwrap().unwrap().checked_ago;
    assert!(ago().await < MINUTE);
    // A master's clock may be a little behind that of the one before.
    for (checked, is_check) in [((seconds + 30) * 1000, true), ((seconds + 3600) * 1000, false)] {
        let _: i64 = admin.run(&["HSET", &user, "checked", &checked.to_string()]).await;
        assert_eq!(ago().await < MINUTE, is_check, "{checked}");
    }
}

#[tokio::test]
async fn a_code_that_somebody_else_wrote_is_absent() {
    let Some((lab, admin)) = redis().await else { return };
    let (alice, mallory) = (lab.signed_in(1).await, lab.signed_in(2).await);
    let prefix = admin.key(":users").await.strip_suffix("users").unwrap().to_owned();
    let (code, grant) = (format!("oauth:code:{}", mallory.code), format!("grant:{}", alice.grant.id));
    let _: i64 = admin.run(&["HSET", &format!("{prefix}{code}"), "grant", &grant]).await;
    let _: i64 = admin.run(&["HSET", &format!("{prefix}{grant}"), "code", &code]).await;
    let stolen = gatehouse_gateway::store::CodeProof { grant: alice.grant.id, ..proof(&mallory) };
    let pair = tokens(&new_access(), &lab.refresh(alice.grant.id, 1));
    assert_eq!(lab.store.redeem_code(&stolen, &pair).await.unwrap(), Redemption::Refused);

    let (bob, hers) = (lab.signed_in(3).await, lab.signed_in(4).await);
    let key = format!("{prefix}grant:{}", hers.grant.id);
    let content: String = admin.run(&["HGET", &key, "g"]).await;
    let content = content.replace(&hers.grant.user.to_string(), &bob.grant.user.to_string());
    let _: i64 = admin.run(&["HSET", &key, "g", &content]).await;
    let pair = tokens(&new_access(), &lab.refresh(hers.grant.id, 1));
    assert_eq!(lab.store.redeem_code(&proof(&hers), &pair).await.unwrap(), Redemption::Forged);
    assert_eq!(admin.keys(":oauth:access:").await.len(), 0, "what the step wrote is gone again");
}

#[tokio::test]
async fn a_flow_or_session_that_somebody_else_wrote_is_absent() {
    let Some((lab, admin)) = redis().await else { return };
    let (flow, id, alice) = (request(), hash(), user_update(1));
    let session = Session { user: alice.id, identity: alice.identity.clone(), auth_time: 5, browser: None };
    lab.store.create_flow(&flow, MINUTE).await.unwrap();
    lab.store.sign_in(&flow.id, &alice, None, (&id, &session, HOUR)).await.unwrap();
    let key = admin.key(":session:").await;
    let other = hash();
    copy(&admin, &key, &key.replace(&id.to_string(), &other.to_string())).await;
    assert_eq!(lab.store.session(&other).await.unwrap(), None);
    assert_eq!(lab.store.session(&id).await.unwrap(), Some(session));

    let key = admin.key(":flow:").await;
    let pin: String = admin.run(&["HGET", &key, "pin"]).await;
    let forged = pin.replace(&alice.id.to_string(), &user_update(2).id.to_string());
    let _: i64 = admin.run(&["HSET", &key, "pin", &forged]).await;
    assert_eq!(lab.store.flow(&flow.id).await.unwrap(), None, "another user consents");
    let _: i64 = admin.run(&["HSET", &key, "pin", &pin]).await;
    assert!(lab.store.flow(&flow.id).await.unwrap().is_some());
    let asked: String = admin.run(&["HGET", &key, "r"]).await;
    let forged = asked.replace("127.0.0.1:1234", "evil.example");
    let _: i64 = admin.run(&["HSET", &key, "r", &forged]).await;
    assert_eq!(lab.store.flow(&flow.id).await.unwrap(), None);
    let approval = lab.store.approve_flow(&flow.id, &flow.nonce, &flow.cookie, MINUTE).await.unwrap();
    assert_eq!(approval, Approval::Unknown);
}

#[tokio::test]
async fn an_event_that_somebody_else_wrote_makes_everything_doubtful() {
    let Some((lab, admin)) = redis().await else { return };
    lab.signed_in(1).await;
    let cursor = lab.store.event_cursor().await.unwrap();
    let _: String = admin.run(&["XADD", &admin.key(":events").await, "*", "what", "ever"]).await;
    let batch = lab.store.events(&cursor, Duration::ZERO).await.unwrap();
    assert!(batch.gap);
    lab.signed_in(1).await;
    assert!(lab.store.credential(&user_update(1).id, IDENTITY_CREDENTIAL).await.unwrap().is_some());
}

#[tokio::test]
async fn a_denial_that_somebody_else_wrote_is_as_absent() {
    let Some((lab, admin)) = redis().await else { return };
    let denial = Denial { generation: 1, rules: vec![AccessRule::default()] };
    lab.deny(&denial).await;
    assert_eq!(lab.store.denial().await.unwrap(), Some(denial));
    let key = admin.key("}:deny").await;
    admin.run::<i64>(&["HSET", &key, "r", r#"{"generation":2,"rules":[]}"#]).await;
    assert_eq!(lab.store.denial().await.unwrap(), None);
}

/// Evicted, as it happens on a Redis that does more than this, or listed by somebody else.
#[tokio::test]
async fn what_is_listed_and_gone_takes_no_room() {
    let Some((lab, admin)) = redis().await else { return };
    let mut grant = lab.client(1).await.grant().clone();
    let full =
        |user: &UserUpdate| format!("{}{}{}", prefix(&lab.keys), keys::user(&user.id), keys::GRANTS_OF);
    let fill = async |index: &str, most: usize| {
        let gone: Vec<String> = (0..most).map(|n| format!("{}{n}", keys::GRANT)).collect();
        let listed = gone.iter().flat_map(|grant| ["4000000000000", grant.as_str()]);
        let _: u64 = admin.run(&["ZADD", index].into_iter().chain(listed).collect::<Vec<_>>()).await;
    };
    let length = async |index: &str| admin.run::<usize>(&["ZCARD", index]).await;
    let index = full(&user_update(1));
    fill(&index, GRANTS_KEPT + BATCH).await;
    for _ in 0..2 {
        lab.signed_in(1).await;
    }
    assert_eq!(length(&index).await, GRANTS_KEPT);
    let listed = lab.store.account(&grant.user).await.unwrap().grants;
    assert_eq!(listed.len(), 1, "the one that is there stays");

    let user = UserUpdate { identity: "client".to_owned(), ..user_update(9) };
    (grant.id, grant.user, grant.identity) =
        (GrantId::random(&SystemEntropy), user.id, user.identity.clone());
    let index = full(&user);
    fill(&index, ROBOT_GRANTS_KEPT).await;
    let access = new_access().hash();
    let robot = RobotGrant { user, grant, access, life: HOUR, heard: String::new() };
    assert_eq!(lab.store.grant_robot(&robot).await.unwrap(), Some(Vec::new()));
    assert_eq!(length(&index).await, ROBOT_GRANTS_KEPT);
}
