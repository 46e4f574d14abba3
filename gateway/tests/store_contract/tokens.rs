//! Contracts of codes and of what a call sees.

use std::time::Duration;

use gatehouse_gateway::{
    model::{FlowRequest, Hash32, IdentityState},
    store::{CodeProof, Completion, NewTokens, Redemption, Replay, Revocation, Rotated, Rotation},
};
use gatehouse_gateway_config::denial::Denial;

use crate::lab::{DAY, HOUR, Lab, MINUTE, about, hash, new_access, proof, refresh_with, sealed, tokens};

pub(crate) fn new_tokens(lab: &Lab, done: &Completion) -> NewTokens {
    tokens(&new_access(), &lab.refresh(done.grant.id, 1))
}

pub(crate) async fn a_hundred_redemptions_give_one_pair(lab: &Lab) {
    let done = lab.signed_in(1).await;
    let (proof, pairs) = (proof(&done), (0..100).map(|_| new_tokens(lab, &done)).collect::<Vec<NewTokens>>());
    let all = futures::future::join_all(pairs.iter().map(|pair| lab.store.redeem_code(&proof, pair))).await;
    let redeemed = |r: &&_| matches!(r, Ok(Redemption::Redeemed { grant, .. }) if **grant == done.grant);
    assert_eq!(all.iter().filter(redeemed).count(), 1);
    let lost = |r: &&_| matches!(r, Ok(Redemption::Replayed(Replay::Parallel)));
    assert_eq!(all.iter().filter(lost).count(), 99, "{all:?}");
    let mut live = 0;
    for pair in &pairs {
        live += usize::from(lab.store.call(&pair.access).await.unwrap().is_some());
    }
    assert_eq!(live, 1);
    assert!(!lab.code_waits(&done.code).await);
}

pub(crate) async fn a_code_is_for_its_own_client(lab: &Lab) {
    let done = lab.signed_in(1).await;
    let other = lab.signed_in(1).await;
    let right = proof(&done);
    let wrong = [
        CodeProof { code: hash(), ..right.clone() },
        CodeProof { code: other.code, ..right.clone() },
        CodeProof { grant: other.grant.id, ..right.clone() },
        CodeProof { client_id: "gc_other".to_owned(), ..right.clone() },
        CodeProof { redirect_uri: Some("http://127.0.0.1:9/cb".to_owned()), ..right.clone() },
        CodeProof { redirect_uri: Some(String::new()), ..right.clone() },
        CodeProof { redirect_uri: None, ..right.clone() },
        CodeProof { challenge: "another".to_owned(), ..right.clone() },
        CodeProof { resource: Some("https://other.example/mcp".to_owned()), ..right.clone() },
    ];
    for proof in &wrong {
        let tokens = new_tokens(lab, &done);
        let result = lab.store.redeem_code(proof, &tokens).await.unwrap();
        assert_eq!(result, Redemption::Refused, "{proof:?}");
        assert!(lab.store.call(&tokens.access).await.unwrap().is_none());
    }
    let left_out = CodeProof { resource: None, ..right };
    let result = lab.store.redeem_code(&left_out, &new_tokens(lab, &done)).await.unwrap();
    assert!(matches!(result, Redemption::Redeemed { .. }), "refusals leave the code untouched");
}

pub(crate) async fn a_redirect_uri_may_be_left_out_where_it_was_before(lab: &Lab) {
    let mut request = crate::lab::request();
    request.redirect_uri_implied = true;
    for named in [None, Some(request.redirect_uri.clone())] {
        request.id = crate::lab::request().id;
        let done = lab.sign_in_with(&request).await;
        let other = CodeProof { redirect_uri: Some("http://127.0.0.1:9/cb".to_owned()), ..proof(&done) };
        let refused = lab.store.redeem_code(&other, &new_tokens(lab, &done)).await.unwrap();
        assert_eq!(refused, Redemption::Refused);
        let right = CodeProof { redirect_uri: named.clone(), ..proof(&done) };
        let result = lab.store.redeem_code(&right, &new_tokens(lab, &done)).await.unwrap();
        assert!(matches!(result, Redemption::Redeemed { .. }), "{named:?}");
    }
}

pub(crate) async fn a_late_replay_ends_the_grant(lab: &Lab) {
    let client = lab.client(1).await;
    let replay =
        async |proof: &CodeProof| lab.store.redeem_code(proof, &new_tokens(lab, &client.done)).await.unwrap();
    let right = proof(&client.done);
    lab.pass(Duration::from_secs(3)).await;
    let stolen = CodeProof { challenge: "a guess".to_owned(), ..right.clone() };
    assert_eq!(replay(&stolen).await, Redemption::Refused, "without the verifier nothing is revoked");
    let foreign = CodeProof { client_id: "gc_other".to_owned(), ..right.clone() };
    assert_eq!(replay(&foreign).await, Redemption::Refused);
    assert!(lab.lives(&client.access).await);
    assert_eq!(replay(&right).await, Redemption::Replayed(Replay::Ended));
    assert!(!lab.lives(&client.access).await);
    let (rotation, ..) = refresh_with(lab, &client.refresh);
    assert_eq!(lab.store.rotate_refresh(&rotation).await.unwrap(), Rotated::Refused);
    for _ in 0..2 {
        assert_eq!(replay(&right).await, Redemption::Replayed(Replay::EndedBefore), "there is nothing left");
    }
}

pub(crate) async fn a_code_is_redeemed_for_who_was_judged(lab: &Lab) {
    let done = lab.signed_in(1).await;
    let pair = new_tokens(lab, &done);
    let redeem = async |proof: &CodeProof| lab.store.redeem_code(proof, &pair).await.unwrap();
    let mut proof = CodeProof { rules: hash(), ..proof(&done) };
    let Redemption::JudgementDue { grant, user } = redeem(&proof).await else { panic!("other rules") };
    assert_eq!((*grant, user.profile), (done.grant.clone(), done.user.profile.clone()));
    proof.judged = Some(sealed());
    assert!(matches!(redeem(&proof).await, Redemption::JudgementDue { .. }), "another profile");
    lab.deny(&Denial { generation: 7, rules: Vec::new() }).await;
    proof.judged = Some(done.user.profile.clone());
    assert!(matches!(redeem(&proof).await, Redemption::JudgementDue { .. }), "the operator spoke");
    proof.heard = lab.store.heard().mark;
    let dead = IdentityState::Dead { reason: "refresh_refused".to_owned(), told: false };
    lab.store.set_identity_state(&done.user.id, &dead).await.unwrap();
    assert!(matches!(redeem(&proof).await, Redemption::Dead(user) if user.id == done.user.id));
    lab.store.set_identity_state(&done.user.id, &IdentityState::Live).await.unwrap();
    assert!(lab.code_waits(&done.code).await, "nothing was changed");
    assert!(matches!(redeem(&proof).await, Redemption::Redeemed { .. }));
}

pub(crate) async fn a_code_ends(lab: &Lab) {
    let done = lab.signed_in(1).await;
    lab.pass(10 * MINUTE).await;
    assert!(!lab.code_waits(&done.code).await);
    let result = lab.store.redeem_code(&proof(&done), &new_tokens(lab, &done)).await.unwrap();
    assert_eq!(result, Redemption::Refused);
    let revoked = lab.signed_in(1).await;
    assert!(matches!(lab.revoke(&revoked.grant).await, Revocation::Revoked(_)));
    assert!(!lab.code_waits(&revoked.code).await);
    let result = lab.store.redeem_code(&proof(&revoked), &new_tokens(lab, &revoked)).await.unwrap();
    assert_eq!(result, Redemption::Refused);
}

pub(crate) async fn a_call_sees_all_it_needs(lab: &Lab) {
    let client = lab.client(1).await;
    lab.pass(10 * MINUTE).await;
    let call = lab.store.call(&client.access.hash()).await.unwrap().unwrap();
    assert_eq!(&call.grant, client.grant());
    assert_eq!(call.scope, "mcp");
    assert_eq!((call.user.id, &call.user.profile), (client.done.user.id, &client.done.user.profile));
    about(call.user.checked_ago, 10 * MINUTE);
    about(call.life, 50 * MINUTE);
    assert_eq!(Some(call.credential.unwrap().sealed), client.done.identity_credential);
    assert!(lab.store.call(&hash()).await.unwrap().is_none());
    let another = lab.client(2).await;
    assert_eq!(lab.store.call(&another.access.hash()).await.unwrap().unwrap().user.id, another.done.user.id);
    lab.pass(51 * MINUTE).await;
    assert!(!lab.lives(&client.access).await);
}

pub(crate) async fn lives_are_cut_to_the_end_of_the_sign_in(lab: &Lab) {
    let done = lab.signed_in(1).await;
    let (access, refresh) = (new_access(), lab.refresh(done.grant.id, 1));
    let short = NewTokens { sign_in_life: 20 * MINUTE, ..tokens(&access, &refresh) };
    let redeemed = lab.store.redeem_code(&proof(&done), &short).await.unwrap();
    assert!(matches!(redeemed, Redemption::Redeemed { access_life, .. } if access_life == 20 * MINUTE));
    lab.pass(15 * MINUTE).await;
    let client = crate::lab::Client { done, access, refresh };
    let (mut rotation, next, _) = refresh_with(lab, &client.refresh);
    rotation.next.sign_in_life = 20 * MINUTE;
    match lab.store.rotate_refresh(&rotation).await.unwrap() {
        Rotated::Rotated { access_life, .. } => about(access_life, 5 * MINUTE),
        other => panic!("{other:?}"),
    }
    lab.pass(6 * MINUTE).await;
    assert!(!lab.lives(&next).await, "renewing a sign-in does not move its end");
}

pub(crate) async fn a_refresh_beyond_the_sign_in_is_refused(lab: &Lab) {
    let client = lab.client(1).await;
    lab.pass(2 * DAY).await;
    let (mut rotation, ..) = refresh_with(lab, &client.refresh);
    rotation.recheck_every = None;
    // The policy became stricter since.
    rotation.next.sign_in_life = DAY;
    assert_eq!(lab.store.rotate_refresh(&rotation).await.unwrap(), Rotated::Refused);
    rotation.next.sign_in_life = 2 * DAY + HOUR;
    assert!(matches!(lab.store.rotate_refresh(&rotation).await.unwrap(), Rotated::Rotated { .. }));
}

/// A sign-in of a client that signs.
async fn signed(lab: &Lab) -> Completion {
    lab.sign_in_with(&FlowRequest { by_assertion: true, ..crate::lab::request() }).await
}

pub(crate) async fn a_client_proves_itself_as_its_grant_asks(lab: &Lab) {
    for by_assertion in [false, true] {
        let done = lab.sign_in_with(&FlowRequest { by_assertion, ..crate::lab::request() }).await;
        let (right, wrong) = (|| by_assertion.then(hash), || (!by_assertion).then(hash));
        let (access, refresh) = (new_access(), lab.refresh(done.grant.id, 1));
        let pair = tokens(&access, &refresh);
        let code = proof(&done);
        let other = CodeProof { assertion: wrong(), ..code.clone() };
        assert_eq!(
            lab.store.redeem_code(&other, &pair).await.unwrap(),
            Redemption::Refused,
            "{by_assertion}"
        );
        let redeemed = lab.store.redeem_code(&code, &pair).await.unwrap();
        assert!(matches!(redeemed, Redemption::Redeemed { grant, .. } if *grant == done.grant));

        let (rotation, access, _) = refresh_with(lab, &refresh);
        // Live, and then in its grace.
        for _ in 0..2 {
            let other = Rotation { assertion: wrong(), ..rotation.clone() };
            assert_eq!(lab.store.rotate_refresh(&other).await.unwrap(), Rotated::Refused, "{by_assertion}");
            let rotated =
                lab.store.rotate_refresh(&Rotation { assertion: right(), ..rotation.clone() }).await;
            let good = matches!(rotated, Ok(Rotated::Rotated { .. } | Rotated::Successor { .. }));
            assert!(good, "{by_assertion}: {rotated:?}");
        }

        let end = async |assertion: Option<Hash32>| {
            let (id, client) = (&done.grant.id, &done.grant.client_id);
            lab.store.revoke_for_client(id, client, assertion.as_ref()).await.unwrap()
        };
        assert_eq!(end(wrong()).await, Revocation::OtherClient, "{by_assertion}");
        assert!(lab.lives(&access).await, "nothing was changed");
        assert!(matches!(end(right()).await, Revocation::Revoked(_)), "{by_assertion}");
    }
}

pub(crate) async fn an_assertion_is_spent_once(lab: &Lab) {
    let assertion = Some(hash());
    let mut codes = Vec::new();
    for _ in 0..10 {
        let done = signed(lab).await;
        let (access, refresh) = (new_access(), lab.refresh(done.grant.id, 1));
        codes.push((CodeProof { assertion, ..proof(&done) }, tokens(&access, &refresh), access, refresh));
    }
    let all = codes.iter().map(|(code, pair, ..)| lab.store.redeem_code(code, pair));
    let all = futures::future::join_all(all).await;
    let count =
        |which: fn(&Redemption) -> bool| all.iter().filter(|one| which(one.as_ref().unwrap())).count();
    assert_eq!(count(|one| matches!(one, Redemption::Redeemed { .. })), 1, "{all:?}");
    assert_eq!(count(|one| *one == Redemption::AssertionSpent), 9, "{all:?}");

    let lost = all.iter().position(|one| matches!(one, Ok(Redemption::AssertionSpent))).unwrap();
    let (code, pair, access, refresh) = &codes[lost];
    let again = CodeProof { assertion: Some(hash()), ..code.clone() };
    let redeemed = lab.store.redeem_code(&again, pair).await.unwrap();
    assert!(matches!(redeemed, Redemption::Redeemed { .. }), "the code was untouched: {redeemed:?}");

    let rotate = async |assertion, recheck_every| {
        let (rotation, ..) = refresh_with(lab, refresh);
        lab.store.rotate_refresh(&Rotation { assertion, recheck_every, ..rotation }).await.unwrap()
    };
    assert_eq!(rotate(assertion, None).await, Rotated::AssertionSpent);
    let fresh = Some(hash());
    assert!(matches!(rotate(fresh, Some(Duration::ZERO)).await, Rotated::CheckDue { .. }));
    assert!(
        matches!(rotate(fresh, None).await, Rotated::Rotated { .. }),
        "asking for a check spends nothing"
    );
    assert_eq!(rotate(fresh, None).await, Rotated::AssertionSpent, "the successor takes another");
    assert!(matches!(rotate(Some(hash()), None).await, Rotated::Successor { .. }));

    let end = async |assertion: Option<Hash32>| {
        lab.store.revoke_for_client(&code.grant, &code.client_id, assertion.as_ref()).await.unwrap()
    };
    assert_eq!(end(fresh).await, Revocation::AssertionSpent);
    assert!(lab.lives(access).await, "nothing was changed");
    lab.pass(30 * MINUTE + Duration::from_secs(1)).await;
    assert!(matches!(end(fresh).await, Revocation::Revoked(_)), "by then it has long expired");
}
