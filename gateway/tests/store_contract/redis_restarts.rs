//! A Redis that crashes and comes back with what it had on disk: what that costs (README, "Redis").

use gatehouse_gateway::store::{Redemption, Rotated};

use crate::{
    lab::{Lab, PASSWORD, new_access, proof, refresh_with, tokens},
    redis_faults::recovers,
};

/// `kill -9`, a start, and the operator, who gives the rights again.
async fn crashes(lab: &mut Lab) {
    let server = lab.server.as_mut().unwrap();
    server.restart().await;
    server.admin().await.give_rights(&lab.keys.instance(), PASSWORD).await;
    recovers(lab.store.as_ref()).await;
}

#[tokio::test]
async fn what_was_answered_outlives_a_crash_where_each_write_is_on_disk_first() {
    let keeps_all = ["--appendonly", "yes", "--appendfsync", "always"];
    let Some(mut lab) = Lab::redis_with(&keeps_all).await else { return };
    let (client, revoked, waits) = (lab.client(1).await, lab.client(2).await, lab.signed_in(3).await);
    let (rotation, access, refresh) = refresh_with(&lab, &client.refresh);
    let rotated = lab.store.rotate_refresh(&rotation).await.unwrap();
    assert!(matches!(rotated, Rotated::Rotated { .. }), "{rotated:?}");
    lab.revoke(revoked.grant()).await;

    crashes(&mut lab).await;
    assert!(!lab.lives(&revoked.access).await, "a sign-in that was revoked is back");
    let (again, ..) = refresh_with(&lab, &revoked.refresh);
    assert_eq!(lab.store.rotate_refresh(&again).await.unwrap(), Rotated::Refused);
    // Replaced stays replaced, by the pair that was answered.
    let repeated = lab.store.rotate_refresh(&refresh_with(&lab, &client.refresh).0).await.unwrap();
    let Rotated::Successor { sealed, .. } = repeated else { panic!("{repeated:?}") };
    assert!(sealed.as_bytes() == rotation.successor.as_bytes(), "another lineage");
    assert!(lab.lives(&access).await);
    let next = lab.store.rotate_refresh(&refresh_with(&lab, &refresh).0).await.unwrap();
    assert!(matches!(next, Rotated::Rotated { .. }), "{next:?}");
    // A code that waited can be redeemed; those that were redeemed cannot, whose replay may end their sign-in.
    let pair = tokens(&new_access(), &lab.refresh(waits.grant.id, 1));
    let redeemed = lab.store.redeem_code(&proof(&waits), &pair).await.unwrap();
    assert!(matches!(redeemed, Redemption::Redeemed { .. }), "{redeemed:?}");
    for done in [&waits, &client.done, &revoked.done] {
        let replayed = lab.store.redeem_code(&proof(done), &pair).await.unwrap();
        assert!(matches!(replayed, Redemption::Replayed(_)), "a spent code is good again: {replayed:?}");
    }
}

#[tokio::test]
async fn a_snapshot_alone_brings_back_what_was_ended_since() {
    let Some(mut lab) = Lab::redis().await else { return };
    let (client, revoked, waits) = (lab.client(1).await, lab.client(2).await, lab.signed_in(3).await);
    let () = lab.server.as_ref().unwrap().admin().await.run(&["SAVE"]).await;
    lab.revoke(revoked.grant()).await;
    let (rotation, ..) = refresh_with(&lab, &client.refresh);
    let pair = tokens(&new_access(), &lab.refresh(waits.grant.id, 1));
    for _ in 0..2 {
        let rotated = lab.store.rotate_refresh(&rotation).await.unwrap();
        assert!(matches!(rotated, Rotated::Rotated { .. }), "{rotated:?}");
        let redeemed = lab.store.redeem_code(&proof(&waits), &pair).await.unwrap();
        assert!(matches!(redeemed, Redemption::Redeemed { .. }), "{redeemed:?}");
        crashes(&mut lab).await;
        assert!(lab.lives(&revoked.access).await);
    }
}
