//! Contracts of refresh tokens and revocation.

use std::time::Duration;

use gatehouse_gateway::{
    clock::SystemEntropy,
    model::{GrantId, IdentityState, RefreshToken},
    store::{Event, Revocation, RobotGrant, Rotated, Rotation, UserUpdate, keys::ROBOT_GRANTS_KEPT},
};

use crate::lab::{
    CLIENT, Client, GRACE, HOUR, Lab, MINUTE, about, hash, new_access, refresh_with, sealed, user_update,
};

/// Rotates the client's pair as a well-behaved client does.
async fn rotate(lab: &Lab, client: &mut Client) -> Rotation {
    let (rotation, access, refresh) = refresh_with(lab, &client.refresh);
    let rotated = lab.store.rotate_refresh(&rotation).await.unwrap();
    assert!(matches!(&rotated, Rotated::Rotated { grant, .. } if **grant == *client.grant()), "{rotated:?}");
    (client.access, client.refresh) = (access, refresh);
    rotation
}

async fn present(lab: &Lab, token: &RefreshToken) -> Rotated {
    lab.store.rotate_refresh(&refresh_with(lab, token).0).await.unwrap()
}

pub(crate) async fn fifty_refreshes_are_one_rotation(lab: &Lab) {
    let client = lab.client(1).await;
    let rotations: Vec<_> = (0..50).map(|_| refresh_with(lab, &client.refresh)).collect();
    let all = futures::future::join_all(rotations.iter().map(|(r, ..)| lab.store.rotate_refresh(r))).await;
    let winners: Vec<usize> = (0..50).filter(|n| matches!(all[*n], Ok(Rotated::Rotated { .. }))).collect();
    assert_eq!(winners.len(), 1, "{all:?}");
    let (won, access, _) = &rotations[winners[0]];
    for (n, rotated) in all.iter().enumerate().filter(|(n, _)| *n != winners[0]) {
        match rotated {
            Ok(Rotated::Successor { sealed, access_life, .. }) => {
                assert_eq!(*sealed, won.successor, "caller {n}");
                about(*access_life, HOUR);
            }
            other => panic!("caller {n}: {other:?}"),
        }
    }
    assert!(lab.lives(access).await);
}

pub(crate) async fn the_grace_does_not_slide(lab: &Lab) {
    let mut client = lab.client(1).await;
    let (old_access, old) = (client.access.clone(), client.refresh.clone());
    rotate(lab, &mut client).await;
    assert!(lab.lives(&old_access).await, "calls on the way still arrive");
    lab.pass(GRACE / 2).await;
    assert!(matches!(present(lab, &old).await, Rotated::Successor { .. }));
    lab.pass(GRACE / 2 + Duration::from_secs(1)).await;
    assert!(!lab.lives(&old_access).await);
    assert!(lab.lives(&client.access).await);
    assert_eq!(present(lab, &old).await, Rotated::Reused);
    assert!(!lab.lives(&client.access).await);
}

pub(crate) async fn without_grace_the_old_pair_is_dead_at_once(lab: &Lab) {
    let client = lab.client(1).await;
    let (mut rotation, access, _) = refresh_with(lab, &client.refresh);
    rotation.grace = Duration::ZERO;
    let cursor = lab.store.event_cursor().await.unwrap();
    assert!(matches!(lab.store.rotate_refresh(&rotation).await.unwrap(), Rotated::Rotated { .. }));
    let told = lab.store.events(&cursor, Duration::ZERO).await.unwrap().events;
    assert_eq!(told, [Event::Access(client.access.hash())], "and nothing of the grant, which goes on");
    assert!(!lab.lives(&client.access).await);
    assert!(lab.lives(&access).await);
    assert_eq!(lab.store.rotate_refresh(&rotation).await.unwrap(), Rotated::Reused);
    assert!(!lab.lives(&access).await);
}

/// Attack 86: who presents it, and for what, does not matter: somebody holds a token that they should not.
pub(crate) async fn reuse_ends_the_family_whoever_presents_it(lab: &Lab) {
    for wrong in [0, 1, 2] {
        let mut client = lab.client(1).await;
        let old = client.refresh.clone();
        let change = |rotation: &mut Rotation| match wrong {
            0 => rotation.client_id = String::from("gc_other"),
            1 => rotation.resource = Some("https://other.example/mcp".to_owned()),
            _ => rotation.identity = String::from("other"),
        };
        // A token that lives is only refused: attack 89.
        let mut rotation = refresh_with(lab, &client.refresh).0;
        change(&mut rotation);
        assert_eq!(lab.store.rotate_refresh(&rotation).await.unwrap(), Rotated::Refused);
        assert!(lab.lives(&client.access).await);
        rotate(lab, &mut client).await;
        rotate(lab, &mut client).await;
        let mut rotation = refresh_with(lab, &old).0;
        change(&mut rotation);
        assert_eq!(lab.store.rotate_refresh(&rotation).await.unwrap(), Rotated::Reused, "{wrong}");
        assert!(!lab.lives(&client.access).await);
    }
}

pub(crate) async fn redeeming_the_successor_ends_the_grace(lab: &Lab) {
    let mut client = lab.client(1).await;
    let (first_access, first) = (client.access.clone(), client.refresh.clone());
    rotate(lab, &mut client).await;
    let second_access = client.access.clone();
    let cursor = lab.store.event_cursor().await.unwrap();
    rotate(lab, &mut client).await;
    let told = lab.store.events(&cursor, Duration::ZERO).await.unwrap().events;
    assert_eq!(told, [Event::Access(first_access.hash())], "it would have lived for the grace");
    assert!(!lab.lives(&first_access).await);
    assert!(lab.lives(&second_access).await && lab.lives(&client.access).await);
    assert_eq!(present(lab, &first).await, Rotated::Reused);
    assert!(!lab.lives(&second_access).await && !lab.lives(&client.access).await);
}

pub(crate) async fn reuse_ends_the_family(lab: &Lab) {
    let mut client = lab.client(1).await;
    let bystander = lab.client(1).await;
    let first = client.refresh.clone();
    rotate(lab, &mut client).await;
    rotate(lab, &mut client).await;
    assert_eq!(present(lab, &first).await, Rotated::Reused);
    assert!(!lab.lives(&client.access).await);
    assert_eq!(present(lab, &client.refresh).await, Rotated::Refused);
    assert_eq!(present(lab, &first).await, Rotated::Refused, "there is nothing left to revoke");
    assert!(lab.lives(&bystander.access).await, "another grant of the same user lives");
}

pub(crate) async fn a_refresh_is_for_its_own_client_identity_and_resource(lab: &Lab) {
    let client = lab.client(1).await;
    let another = lab.client(1).await;
    let (right, ..) = refresh_with(lab, &client.refresh);
    let wrong = [
        Rotation { client_id: "gc_other".to_owned(), ..right.clone() },
        Rotation { identity: "https://other.example".to_owned(), ..right.clone() },
        Rotation { resource: Some("https://other.example/mcp".to_owned()), ..right.clone() },
        Rotation { generation: 2, ..right.clone() },
        Rotation { grant: another.grant().id, ..right.clone() },
        Rotation { presented: another.refresh.hash(), ..right.clone() },
    ];
    for rotation in &wrong {
        assert_eq!(lab.store.rotate_refresh(rotation).await.unwrap(), Rotated::Refused, "{rotation:?}");
    }
    assert!(lab.lives(&client.access).await && lab.lives(&another.access).await);
    let left_out = Rotation { resource: None, ..right };
    assert!(matches!(lab.store.rotate_refresh(&left_out).await.unwrap(), Rotated::Rotated { .. }));
}

pub(crate) async fn revocation_ends_every_token(lab: &Lab) {
    let mut client = lab.client(1).await;
    let (old_access, old) = (client.access.clone(), client.refresh.clone());
    rotate(lab, &mut client).await;
    assert!(matches!(lab.revoke(client.grant()).await, Revocation::Revoked(_)));
    assert!(!lab.lives(&old_access).await && !lab.lives(&client.access).await);
    assert_eq!(present(lab, &old).await, Rotated::Refused);
    assert_eq!(present(lab, &client.refresh).await, Rotated::Refused);
    assert_eq!(lab.revoke(client.grant()).await, Revocation::Unknown);
}

pub(crate) async fn a_client_ends_its_own_grant_alone(lab: &Lab) {
    let mut client = lab.client(1).await;
    rotate(lab, &mut client).await;
    let id = client.grant().id;
    let cursor = lab.store.event_cursor().await.unwrap();
    let end = async |id: &GrantId, client: &str| lab.store.revoke_for_client(id, client, None).await.unwrap();
    assert_eq!(end(&id, "gc_other").await, Revocation::OtherClient);
    assert!(lab.lives(&client.access).await, "nothing was changed");
    assert_eq!(lab.store.grant(&id).await.unwrap().as_ref(), Some(client.grant()));
    assert_eq!(end(&id, CLIENT).await, Revocation::Revoked(Box::new(client.grant().clone())));
    assert!(!lab.lives(&client.access).await);
    assert_eq!(present(lab, &client.refresh).await, Rotated::Refused);
    assert_eq!(end(&id, CLIENT).await, Revocation::Unknown);
    assert_eq!(lab.store.grant(&id).await.unwrap(), None);
    let told = lab.store.events(&cursor, Duration::ZERO).await.unwrap().events;
    assert_eq!(told, [Event::Grant(id)], "once");
}

pub(crate) async fn a_robot_has_an_access_token_alone(lab: &Lab) {
    let mut grant = lab.client(7).await.grant().clone();
    let user = UserUpdate { identity: "client".to_owned(), ..user_update(9) };
    (grant.id, grant.user, grant.identity) = (GrantId::random(&SystemEntropy), user.id, "client".to_owned());
    let access = new_access();
    let robot = RobotGrant { user, grant, access: access.hash(), life: HOUR, heard: String::new() };
    assert!(lab.store.grant_robot(&robot).await.unwrap().is_some());
    let call = lab.store.call(&access.hash()).await.unwrap().unwrap();
    assert_eq!((&call.grant, &call.user.profile), (&robot.grant, &robot.user.profile));
    assert_eq!((call.user.identity.as_str(), call.user.state), ("client", IdentityState::Live));
    assert_eq!(call.credential, None);
    about(call.life, HOUR);
    // Another process of the same robot.
    let (second, mut again) = (new_access(), robot.clone());
    (again.access, again.grant.id) = (second.hash(), GrantId::random(&SystemEntropy));
    assert!(lab.store.grant_robot(&again).await.unwrap().is_some());
    assert!(matches!(lab.revoke(&robot.grant).await, Revocation::Revoked(_)));
    assert!(!lab.lives(&access).await && lab.lives(&second).await);
    lab.pass(HOUR + Duration::from_secs(1)).await;
    assert!(!lab.lives(&second).await);
    let ended = lab.store.revoke_for_client(&again.grant.id, CLIENT, None).await.unwrap();
    assert_eq!(ended, Revocation::Unknown, "the grant lives as long as its token");
}

pub(crate) async fn a_robots_oldest_tokens_end_when_there_are_too_many(lab: &Lab) {
    let mut grant = lab.client(7).await.grant().clone();
    let user = UserUpdate { identity: "client".to_owned(), ..user_update(9) };
    (grant.user, grant.identity) = (user.id, "client".to_owned());
    let mut issue = async || {
        grant.id = GrantId::random(&SystemEntropy);
        let access = new_access();
        let (user, grant) = (user.clone(), grant.clone());
        let robot = RobotGrant { user, grant, access: access.hash(), life: HOUR, heard: String::new() };
        let ended = lab.store.grant_robot(&robot).await.unwrap().unwrap();
        (access, robot.grant, ended)
    };
    let (first, granted, _) = issue().await;
    lab.pass(MINUTE).await;
    for _ in 1..ROBOT_GRANTS_KEPT {
        assert_eq!(issue().await.2, []);
    }
    assert!(lab.lives(&first).await);
    let (last, _, ended) = issue().await;
    assert_eq!(ended, [granted]);
    assert!(!lab.lives(&first).await && lab.lives(&last).await);
}

pub(crate) async fn a_revocation_wins_over_parallel_refreshes(lab: &Lab) {
    let client = lab.client(1).await;
    let rotations: Vec<_> = (0..20).map(|_| refresh_with(lab, &client.refresh)).collect();
    let refresh = async |n: usize| {
        lab.store.rotate_refresh(&rotations[n].0).await.unwrap();
    };
    let revoke = async { assert!(matches!(lab.revoke(client.grant()).await, Revocation::Revoked(_))) };
    let (before, after) =
        (futures::future::join_all((0..10).map(refresh)), futures::future::join_all((10..20).map(refresh)));
    tokio::join!(before, revoke, after);
    for (_, access, refresh) in &rotations {
        assert!(!lab.lives(access).await);
        assert_eq!(present(lab, refresh).await, Rotated::Refused);
    }
    assert!(!lab.lives(&client.access).await);
}

pub(crate) async fn a_refresh_asks_for_a_check_when_it_is_due(lab: &Lab) {
    let client = lab.client(1).await;
    lab.pass(6 * HOUR + Duration::from_secs(1)).await;
    let (mut rotation, access, _) = refresh_with(lab, &client.refresh);
    match lab.store.rotate_refresh(&rotation).await.unwrap() {
        Rotated::CheckDue { grant, user } => {
            assert_eq!((*grant, user.id), (client.grant().clone(), client.done.user.id));
            about(user.checked_ago, 6 * HOUR);
        }
        other => panic!("{other:?}"),
    }
    assert!(!lab.lives(&access).await, "nothing was changed");
    rotation.recheck_every = None;
    assert!(matches!(lab.store.rotate_refresh(&rotation).await.unwrap(), Rotated::Rotated { .. }));
    rotation.recheck_every = Some(HOUR);
    let again = lab.store.rotate_refresh(&rotation).await.unwrap();
    assert!(matches!(again, Rotated::Successor { .. }), "the successor needs no check: {again:?}");
}

pub(crate) async fn a_refresh_asks_each_time_when_no_check_is_young_enough(lab: &Lab) {
    let client = lab.client(1).await;
    let (mut rotation, ..) = refresh_with(lab, &client.refresh);
    rotation.recheck_every = Some(Duration::ZERO);
    let due = lab.store.rotate_refresh(&rotation).await.unwrap();
    assert!(matches!(due, Rotated::CheckDue { .. }), "{due:?}");
}

pub(crate) async fn a_refresh_brings_its_user(lab: &Lab) {
    let client = lab.client(1).await;
    let (rotation, ..) = refresh_with(lab, &client.refresh);
    for _ in 0..2 {
        match lab.store.rotate_refresh(&rotation).await.unwrap() {
            Rotated::Rotated { user, .. } | Rotated::Successor { user, .. } => {
                assert_eq!((user.id, &user.profile), (client.done.user.id, &client.done.user.profile));
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn who_was_not_judged_so_is_judged_first(lab: &Lab) {
    let mut client = lab.client(1).await;
    let user = client.done.user.clone();
    let due = async |rotation: &Rotation| {
        let rotated = lab.store.rotate_refresh(rotation).await.unwrap();
        let Rotated::CheckDue { user, .. } = rotated else { panic!("{rotated:?}") };
        user.profile
    };
    let (mut rotation, access, refresh) = refresh_with(lab, &client.refresh);
    rotation.rules = hash();
    assert_eq!(due(&rotation).await, user.profile);
    rotation.judged = Some(sealed());
    assert_eq!(due(&rotation).await, user.profile, "another profile was judged");
    assert!(lab.lives(&client.access).await && !lab.lives(&access).await, "nothing was changed");
    rotation.judged = Some(user.profile.clone());
    assert!(matches!(lab.store.rotate_refresh(&rotation).await.unwrap(), Rotated::Rotated { .. }));
    let rules = rotation.rules;

    // Remembered for the grant, and for this profile.
    client.refresh = refresh;
    let (mut rotation, _, refresh) = refresh_with(lab, &client.refresh);
    assert_eq!(due(&rotation).await, user.profile, "the rules before");
    rotation.rules = rules;
    assert!(matches!(lab.store.rotate_refresh(&rotation).await.unwrap(), Rotated::Rotated { .. }));
    let learned = UserUpdate { profile: sealed(), ..user };
    lab.store.user_checked(&learned).await.unwrap();
    let (mut rotation, ..) = refresh_with(lab, &refresh);
    rotation.rules = rules;
    assert_eq!(due(&rotation).await, learned.profile);
    rotation.recheck_every = None;
    assert_eq!(due(&rotation).await, learned.profile, "a check is no judgement");
}

pub(crate) async fn a_dead_user_keeps_the_family(lab: &Lab) {
    let client = lab.client(1).await;
    let user = client.done.user.id;
    let dead = IdentityState::Dead { reason: "refresh_refused".to_owned(), told: false };
    lab.store.set_identity_state(&user, &dead).await.unwrap();
    match present(lab, &client.refresh).await {
        Rotated::Dead(record) => assert_eq!((record.id, record.state), (user, dead.clone())),
        other => panic!("{other:?}"),
    }
    let call = lab.store.call(&client.access.hash()).await.unwrap().unwrap();
    assert_eq!(call.user.state, dead);
    lab.store.set_identity_state(&user, &IdentityState::Live).await.unwrap();
    assert!(matches!(present(lab, &client.refresh).await, Rotated::Rotated { .. }));
}
