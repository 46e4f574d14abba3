//! Contracts of a sign-in.

use gatehouse_gateway::{
    model::{FlowRequest, FlowState, Session, flow_state::ATTEMPTS},
    store::{Approval, CallbackClaim, CodeStanding, Completion, Redemption, TakenBack, keys::CONSENT_LIFE},
};

use crate::{
    lab::{HOUR, Lab, MINUTE, completion, hash, proof, request, sealed, user_update},
    tokens::new_tokens,
};

const LIFE: std::time::Duration = MINUTE;

pub(crate) async fn a_sign_in_goes_from_pending_to_done(lab: &Lab) {
    let (store, request) = (&lab.store, request());
    store.create_flow(&request, LIFE).await.unwrap();
    let flow = store.flow(&request.id).await.unwrap().unwrap();
    assert_eq!((flow.request, flow.state), (request.clone(), FlowState::Pending { pinned: None }));

    let approval = store.approve_flow(&request.id, &request.nonce, &request.cookie, LIFE).await.unwrap();
    let approved = FlowState::Approved { attempt: 1, claimed: false, pinned: None };
    assert!(matches!(approval, Approval::Approved { flow, attempt: 1 } if flow.state == approved));

    let claim = store.claim_callback(&request.id, &request.cookie, 1).await.unwrap();
    assert!(matches!(claim, CallbackClaim::Claimed(flow) if flow.request == request));

    let done = completion(&request, 1);
    assert_eq!(store.consented(&done.user.id, &done.consent).await.unwrap(), None);
    assert!(store.complete_flow(&done).await.unwrap().is_some());
    assert!(lab.code_waits(&done.code).await);
    assert!(store.consented(&done.user.id, &done.consent).await.unwrap().unwrap() > 900_000);
    let over = FlowState::Done { sealed_redirect: done.sealed_redirect, code: done.code };
    assert_eq!(store.flow(&request.id).await.unwrap().unwrap().state, over);
    let again = store.approve_flow(&request.id, &request.nonce, &request.cookie, LIFE).await.unwrap();
    assert!(matches!(again, Approval::Over(flow) if flow.state == over));
    let again = store.claim_callback(&request.id, &request.cookie, 1).await.unwrap();
    assert!(matches!(again, CallbackClaim::Over(_)));
}

pub(crate) async fn approval_needs_nonce_and_cookie(lab: &Lab) {
    let (store, request) = (&lab.store, request());
    store.create_flow(&request, LIFE).await.unwrap();
    for (nonce, cookie) in
        [(hash(), request.cookie), (request.nonce, hash()), (request.cookie, request.nonce)]
    {
        let approval = store.approve_flow(&request.id, &nonce, &cookie, LIFE).await.unwrap();
        assert_eq!(approval, Approval::Unknown);
        assert_eq!(store.deny_flow(&request.id, &nonce, &cookie).await.unwrap(), None);
    }
    let state = store.flow(&request.id).await.unwrap().unwrap().state;
    assert_eq!(state, FlowState::Pending { pinned: None });
    assert_eq!(
        store.claim_callback(&request.id, &request.cookie, 1).await.unwrap(),
        CallbackClaim::Unknown,
        "a flow that nobody approved has no callback"
    );
}

pub(crate) async fn fifty_approvals_are_one(lab: &Lab) {
    let request = request();
    lab.store.create_flow(&request, LIFE).await.unwrap();
    let approve = || lab.store.approve_flow(&request.id, &request.nonce, &request.cookie, LIFE);
    let all = futures::future::join_all((0..50).map(|_| approve())).await;
    assert!(all.iter().all(|a| matches!(a, Ok(Approval::Approved { attempt: 1, .. }))), "{all:?}");
    let claim = || lab.store.claim_callback(&request.id, &request.cookie, 1);
    let all = futures::future::join_all((0..50).map(|_| claim())).await;
    assert_eq!(all.iter().filter(|c| matches!(c, Ok(CallbackClaim::Claimed(_)))).count(), 1);
    assert_eq!(all.iter().filter(|c| matches!(c, Ok(CallbackClaim::Spent(_)))).count(), 49);
}

pub(crate) async fn a_denied_flow_stays_denied(lab: &Lab) {
    let (store, request) = (&lab.store, request());
    store.create_flow(&request, LIFE).await.unwrap();
    let denied = store.deny_flow(&request.id, &request.nonce, &request.cookie).await.unwrap();
    assert_eq!(denied, Some(TakenBack::Nothing));
    assert_eq!(store.deny_flow(&request.id, &request.nonce, &request.cookie).await.unwrap(), None);
    let approval = store.approve_flow(&request.id, &request.nonce, &request.cookie, LIFE).await.unwrap();
    assert!(matches!(approval, Approval::Over(flow) if flow.state == FlowState::Denied));
    assert!(store.complete_flow(&completion(&request, 1)).await.unwrap().is_none());
}

pub(crate) async fn a_denial_takes_back_what_no_client_has(lab: &Lab) {
    let store = &lab.store;
    let deny = async |request: &FlowRequest| {
        let denied = store.deny_flow(&request.id, &request.nonce, &request.cookie).await.unwrap();
        let state = store.flow(&request.id).await.unwrap().unwrap().state;
        assert_eq!(denied.is_some(), state == FlowState::Denied);
        denied
    };
    // The browser is at the identity provider.
    let request = lab.approved().await;
    assert_eq!(deny(&request).await, Some(TakenBack::Approval));
    let late = store.claim_callback(&request.id, &request.cookie, 1).await.unwrap();
    assert!(matches!(late, CallbackClaim::Over(flow) if flow.state == FlowState::Denied));
    assert!(store.complete_flow(&completion(&request, 1)).await.unwrap().is_none());

    // The code was sent, and nobody came with it.
    let request = lab.approved().await;
    let done = completion(&request, 1);
    assert!(store.complete_flow(&done).await.unwrap().is_some());
    assert_eq!(store.code_standing(&done.code).await.unwrap(), CodeStanding::Waits);
    assert_eq!(deny(&request).await, Some(TakenBack::Code(done.grant.id)));
    assert_eq!(store.code_standing(&done.code).await.unwrap(), CodeStanding::Gone);
    let late = store.redeem_code(&proof(&done), &new_tokens(lab, &done)).await.unwrap();
    assert_eq!(late, Redemption::Refused);

    // The client has its tokens: what ends them is a revocation.
    let request = self::request();
    let done = lab.sign_in_with(&request).await;
    let redeemed = store.redeem_code(&proof(&done), &new_tokens(lab, &done)).await.unwrap();
    assert!(matches!(redeemed, Redemption::Redeemed { .. }));
    assert_eq!(deny(&request).await, None);
    assert_eq!(store.code_standing(&done.code).await.unwrap(), CodeStanding::Redeemed);
    lab.revoke(&done.grant).await;
    assert_eq!(store.code_standing(&done.code).await.unwrap(), CodeStanding::Gone);
}

pub(crate) async fn what_was_taken_back_is_not_remembered_as_approved(lab: &Lab) {
    let store = &lab.store;
    let (consent, other) = (hash(), hash());
    let approve = async |consent| {
        let request = lab.approved().await;
        let done = Completion { consent, ..completion(&request, 1) };
        assert!(store.complete_flow(&done).await.unwrap().is_some());
        (request, done)
    };
    let deny = async |request: &FlowRequest| {
        let denied = store.deny_flow(&request.id, &request.nonce, &request.cookie).await.unwrap();
        assert!(matches!(denied, Some(TakenBack::Code(_))));
    };
    let user = user_update(1).id;
    let told = async |consent| store.consented(&user, &consent).await.unwrap();
    approve(other).await;
    let (first, _) = approve(consent).await;
    let (second, _) = approve(consent).await;
    deny(&second).await;
    assert!(told(consent).await.is_some(), "the first may still be redeemed");
    deny(&first).await;
    assert_eq!(told(consent).await, None);
    assert!(told(other).await.is_some());

    // A client is connected by an older one.
    let (_, done) = approve(consent).await;
    let redeemed = store.redeem_code(&proof(&done), &new_tokens(lab, &done)).await.unwrap();
    assert!(matches!(redeemed, Redemption::Redeemed { .. }), "{redeemed:?}");
    lab.pass(HOUR).await;
    let older = told(consent).await.unwrap();
    let (later, _) = approve(consent).await;
    assert!(told(consent).await.unwrap() >= older + 3600);
    deny(&later).await;
    assert_eq!(told(consent).await, Some(older));
    lab.pass(CONSENT_LIFE.saturating_sub(HOUR)).await;
    assert_eq!(told(consent).await, None, "nor is it told for longer than it was");
}

pub(crate) async fn a_callback_is_claimed_once_for_each_attempt(lab: &Lab) {
    let store = &lab.store;
    let request = lab.approved().await;
    let claim = async |cookie, attempt| store.claim_callback(&request.id, cookie, attempt).await.unwrap();
    assert!(matches!(claim(&request.cookie, 1).await, CallbackClaim::Spent(_)));
    assert_eq!(store.next_attempt(&request.id, &hash(), 1, LIFE).await.unwrap(), None);
    assert_eq!(store.next_attempt(&request.id, &request.cookie, 1, LIFE).await.unwrap(), Some(2));
    let same = store.next_attempt(&request.id, &request.cookie, 1, LIFE).await.unwrap();
    assert_eq!(same, Some(2), "a link that is followed twice starts one attempt");
    let foreign = hash();
    assert_eq!(claim(&foreign, 2).await, CallbackClaim::Unknown);
    assert!(matches!(claim(&request.cookie, 1).await, CallbackClaim::Spent(_)), "an older attempt");
    assert!(matches!(claim(&request.cookie, 2).await, CallbackClaim::Claimed(_)));
    assert!(store.complete_flow(&completion(&request, 1)).await.unwrap().is_none(), "an older attempt");
    let done = Completion { attempt: 2, ..completion(&request, 1) };
    assert!(store.complete_flow(&done).await.unwrap().is_some());
    assert_eq!(store.next_attempt(&request.id, &request.cookie, 2, LIFE).await.unwrap(), None);
}

pub(crate) async fn a_flow_has_so_many_attempts(lab: &Lab) {
    let (store, request) = (&lab.store, lab.approved().await);
    for attempt in 2..=ATTEMPTS {
        assert_eq!(
            store.next_attempt(&request.id, &request.cookie, attempt - 1, LIFE).await.unwrap(),
            Some(attempt)
        );
    }
    for _ in 0..2 {
        assert_eq!(store.next_attempt(&request.id, &request.cookie, ATTEMPTS, LIFE).await.unwrap(), None);
    }
    let last = FlowState::Approved { attempt: ATTEMPTS, claimed: false, pinned: None };
    assert_eq!(store.flow(&request.id).await.unwrap().unwrap().state, last);
    let claim = store.claim_callback(&request.id, &request.cookie, ATTEMPTS).await.unwrap();
    assert!(matches!(claim, CallbackClaim::Claimed(_)));
}

pub(crate) async fn a_flow_that_is_tried_again_and_again_ends(lab: &Lab) {
    let (store, request) = (&lab.store, request());
    store.create_flow(&request, LIFE).await.unwrap();
    lab.pass(LIFE * 3 / 4).await;
    store.approve_flow(&request.id, &request.nonce, &request.cookie, LIFE).await.unwrap();
    lab.pass(LIFE * 3 / 4).await;
    assert_eq!(store.next_attempt(&request.id, &request.cookie, 1, LIFE).await.unwrap(), Some(2));
    lab.pass(LIFE / 4).await;
    assert_eq!(store.next_attempt(&request.id, &request.cookie, 2, LIFE).await.unwrap(), Some(3));
    lab.pass(LIFE / 4).await;
    assert_eq!(store.flow(&request.id).await.unwrap(), None, "two lives are all it has");
}

pub(crate) async fn a_flow_ends(lab: &Lab) {
    let (store, request) = (&lab.store, request());
    store.create_flow(&request, LIFE).await.unwrap();
    lab.pass(LIFE / 2).await;
    store.approve_flow(&request.id, &request.nonce, &request.cookie, LIFE).await.unwrap();
    lab.pass(LIFE * 3 / 4).await;
    assert!(store.flow(&request.id).await.unwrap().is_some(), "approval begins a new life");
    lab.pass(LIFE / 2).await;
    assert_eq!(store.flow(&request.id).await.unwrap(), None);
    let approval = store.approve_flow(&request.id, &request.nonce, &request.cookie, LIFE).await.unwrap();
    assert_eq!(approval, Approval::Unknown);
    assert!(store.complete_flow(&completion(&request, 1)).await.unwrap().is_none());
}

pub(crate) async fn a_local_user_is_pinned_and_must_be_the_one(lab: &Lab) {
    let (store, request, alice) = (&lab.store, request(), user_update(1));
    let id = hash();
    let session = Session { user: alice.id, identity: alice.identity.clone(), auth_time: 5, browser: None };
    let sign_in =
        async || store.sign_in(&request.id, &alice, Some(&sealed()), (&id, &session, HOUR)).await.unwrap();
    assert!(!sign_in().await, "there is no such flow");
    assert_eq!(store.user(&alice.id).await.unwrap(), None);
    assert_eq!(store.session(&id).await.unwrap(), None);
    store.create_flow(&request, LIFE).await.unwrap();
    assert!(sign_in().await);
    assert_eq!(store.session(&id).await.unwrap().unwrap(), session);
    let pinned = Some((alice.id, id));
    assert_eq!(store.flow(&request.id).await.unwrap().unwrap().state, FlowState::Pending { pinned });

    store.approve_flow(&request.id, &request.nonce, &request.cookie, LIFE).await.unwrap();
    assert!(!sign_in().await, "it is not pending any more");
    assert!(!store.pin(&request.id, &alice.id, &id).await.unwrap());
    let approved = FlowState::Approved { attempt: 1, claimed: false, pinned };
    assert_eq!(store.flow(&request.id).await.unwrap().unwrap().state, approved);
    assert!(store.complete_flow(&completion(&request, 2)).await.unwrap().is_none(), "another user consents");
    assert!(store.complete_flow(&completion(&request, 1)).await.unwrap().is_some());
}

pub(crate) async fn a_session_ends(lab: &Lab) {
    let (store, first, alice) = (&lab.store, request(), user_update(1));
    let (id, other) = (hash(), hash());
    let session = Session { user: alice.id, identity: alice.identity.clone(), auth_time: 5, browser: None };
    store.create_flow(&first, LIFE).await.unwrap();
    assert!(store.sign_in(&first.id, &alice, None, (&id, &session, HOUR)).await.unwrap());
    let second = request();
    store.create_flow(&second, LIFE).await.unwrap();
    assert!(!store.pin(&second.id, &alice.id, &other).await.unwrap(), "no such session");
    assert!(!store.pin(&second.id, &user_update(2).id, &id).await.unwrap(), "another's session");
    assert!(store.pin(&second.id, &alice.id, &id).await.unwrap());
    store.end_session(&id).await.unwrap();
    assert_eq!(store.session(&id).await.unwrap(), None);
    assert!(!store.pin(&second.id, &alice.id, &id).await.unwrap());
    assert!(store.sign_in(&second.id, &alice, None, (&other, &session, HOUR)).await.unwrap());
    lab.pass(HOUR).await;
    assert_eq!(store.session(&other).await.unwrap(), None);
}

pub(crate) async fn a_finished_flow_cannot_be_finished_again(lab: &Lab) {
    let request = lab.approved().await;
    let all: Vec<_> = (0..20).map(|_| completion(&request, 1)).collect();
    let finished = futures::future::join_all(all.iter().map(|done| lab.store.complete_flow(done))).await;
    assert_eq!(finished.iter().filter(|f| matches!(f, Ok(Some(_)))).count(), 1);
    let mut codes = 0;
    for done in &all {
        codes += usize::from(lab.code_waits(&done.code).await);
    }
    assert_eq!(codes, 1);
}

pub(crate) async fn a_finished_sign_in_may_open_a_session(lab: &Lab) {
    let (request, id) = (lab.approved().await, hash());
    let done = completion(&request, 1);
    let session = Session {
        user: done.user.id,
        identity: done.user.identity.clone(),
        auth_time: 5,
        browser: Some("Firefox".to_owned()),
    };
    let late = Completion { attempt: 2, session: Some((id, session.clone(), HOUR)), ..done.clone() };
    assert!(lab.store.complete_flow(&late).await.unwrap().is_none());
    assert_eq!(lab.store.session(&id).await.unwrap(), None, "nothing was written");
    let done = Completion { attempt: 1, ..late };
    assert!(lab.store.complete_flow(&done).await.unwrap().is_some());
    assert_eq!(lab.store.session(&id).await.unwrap(), Some(session));
    let listed = lab.store.account(&done.user.id).await.unwrap().sessions;
    assert_eq!(listed.iter().map(|listed| listed.id).collect::<Vec<_>>(), [id]);
    lab.pass(HOUR + MINUTE).await;
    assert_eq!(lab.store.session(&id).await.unwrap(), None);
}
