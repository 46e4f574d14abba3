//! Any sequence of steps of one sign-in, one after the other and two at once, leads where [`FlowState`]'s transitions
//! lead: on memory, which is made of them, and through Redis's scripts, which are not.

use gatehouse_gateway::{
    model::{
        FlowRequest, FlowState, Hash32, Session,
        flow_state::{ATTEMPTS, Claim},
    },
    store::{Approval, CallbackClaim, Completion},
};
use proptest::prelude::*;

use crate::{
    lab::{HOUR, Lab, MINUTE, completion, hash, request, user_update},
    property::{check, runtime},
};

const LIFE: std::time::Duration = MINUTE;

/// What a browser, somebody else's browser or the identity provider does.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// One of two users who are signed in comes with their session.
    Pin(u8),
    Approve,
    Deny,
    Again(u32),
    /// The identity provider's answer to an attempt.
    Claim(u32),
    /// A replica finishes an attempt, for a user.
    Complete(u32, u8),
    /// Approval, denial or the answer, from a browser without the flow's cookie.
    Stranger,
}

#[derive(Debug, Clone)]
struct Step(Op, Option<Op>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let op = || {
        prop_oneof![
            2 => (1..3_u8).prop_map(Op::Pin),
            4 => Just(Op::Approve),
            1 => Just(Op::Deny),
            4 => (1_u32..4).prop_map(Op::Again),
            4 => (1..=ATTEMPTS + 1).prop_map(Op::Claim),
            3 => (1..=ATTEMPTS + 1, 1..3_u8).prop_map(|(attempt, user)| Op::Complete(attempt, user)),
            1 => Just(Op::Stranger),
        ]
    };
    // Long enough for more attempts than a flow has.
    prop::collection::vec((op(), prop::option::weighted(0.3, op())).prop_map(|(a, b)| Step(a, b)), 1..20)
}

/// What a step says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    No,
    Yes,
    /// As it stands after the step.
    At(FlowState),
    Spent,
    Over,
}

/// A flow, and what it takes to go on with it.
struct Run<'a> {
    lab: &'a Lab,
    request: FlowRequest,
    /// The sessions of the two users.
    sessions: [Hash32; 2],
    state: FlowState,
}

impl Run<'_> {
    async fn begin(lab: &Lab) -> Run<'_> {
        let (sessions, request) = ([hash(), hash()], request());
        for (user, id) in (1..).zip(&sessions) {
            let (flow, user) = (crate::lab::request(), user_update(user));
            let session =
                Session { user: user.id, identity: user.identity.clone(), auth_time: 5, browser: None };
            lab.store.create_flow(&flow, LIFE).await.unwrap();
            assert!(lab.store.sign_in(&flow.id, &user, None, (id, &session, HOUR)).await.unwrap());
        }
        lab.store.create_flow(&request, LIFE).await.unwrap();
        Run { lab, request, sessions, state: FlowState::BEGUN }
    }

    /// How a sign-in would end; the same for one attempt and user each time.
    fn ending(&self, attempt: u32, user: u8) -> Completion {
        let code = Hash32::of(format!("{} {attempt} {user}", self.request.id).as_bytes());
        let sealed_redirect = format!("{attempt} {user}");
        Completion { attempt, code, sealed_redirect, ..completion(&self.request, user) }
    }

    async fn act(&self, op: Op) -> Told {
        let (store, FlowRequest { id, nonce, cookie, .. }) = (&self.lab.store, &self.request);
        let yes = |yes| if yes { Told::Yes } else { Told::No };
        match op {
            Op::Pin(user) => {
                let session = &self.sessions[usize::from(user) - 1];
                yes(store.pin(id, &user_update(user).id, session).await.unwrap())
            }
            Op::Approve => match store.approve_flow(id, nonce, cookie, LIFE).await.unwrap() {
                Approval::Approved { flow, .. } => Told::At(flow.state),
                Approval::Over(_) => Told::Over,
                Approval::Unknown => Told::No,
            },
            Op::Deny => {
                let denied = store.deny_flow(id, nonce, cookie).await.unwrap();
                denied.map_or(Told::No, |_| Told::At(FlowState::Denied))
            }
            Op::Again(after) => yes(store.next_attempt(id, cookie, after, LIFE).await.unwrap().is_some()),
            Op::Claim(attempt) => match store.claim_callback(id, cookie, attempt).await.unwrap() {
                CallbackClaim::Claimed(flow) => Told::At(flow.state),
                CallbackClaim::Spent(_) => Told::Spent,
                CallbackClaim::Over(_) => Told::Over,
                CallbackClaim::Unknown => Told::No,
            },
            Op::Complete(attempt, user) => {
                yes(store.complete_flow(&self.ending(attempt, user)).await.unwrap().is_some())
            }
            Op::Stranger => {
                let other = hash();
                let approval = store.approve_flow(id, nonce, &other, LIFE).await.unwrap();
                assert_eq!(approval, Approval::Unknown);
                assert_eq!(store.deny_flow(id, nonce, &other).await.unwrap(), None);
                assert_eq!(store.next_attempt(id, &other, 1, LIFE).await.unwrap(), None);
                assert_eq!(store.claim_callback(id, &other, 1).await.unwrap(), CallbackClaim::Unknown);
                Told::No
            }
        }
    }

    /// Where the machine says that a step leads.
    fn after(&self, state: &FlowState, op: Op) -> (Told, FlowState) {
        let stays = |told| (told, state.clone());
        let yes = |next: Option<FlowState>| next.map_or(stays(Told::No), |next| (Told::Yes, next));
        match op {
            Op::Pin(user) => yes(state.pin(user_update(user).id, self.sessions[usize::from(user) - 1])),
            Op::Approve => state.approve().map_or(stays(Told::Over), |next| (Told::At(next.clone()), next)),
            Op::Deny => state.deny(true).map_or(stays(Told::No), |next| (Told::At(next.clone()), next)),
            Op::Again(after) => yes(state.again(after)),
            Op::Claim(attempt) => match state.claim(attempt) {
                Claim::First(next) => (Told::At(next.clone()), next),
                Claim::Spent => stays(Told::Spent),
                Claim::Over => stays(Told::Over),
                Claim::Early => stays(Told::No),
            },
            Op::Complete(attempt, user) => {
                let end = self.ending(attempt, user);
                yes(state.complete(attempt, end.user.id, end.sealed_redirect, end.code))
            }
            Op::Stranger => stays(Told::No),
        }
    }

    async fn step(&mut self, Step(one, beside): Step) {
        let Some(other) = beside else {
            let told = self.act(one).await;
            let (expected, next) = self.after(&self.state, one);
            assert_eq!(told, expected, "{one:?} at {:?}", self.state);
            self.state = next;
            return;
        };
        let told = tokio::join!(self.act(one), self.act(other));
        let orders = [(one, other), (other, one)].map(|(first, second)| {
            let (of_first, between) = self.after(&self.state, first);
            let (of_second, end) = self.after(&between, second);
            (of_first, of_second, end)
        });
        let [(a, b, forth), (d, c, back)] = orders;
        let found = self.lab.store.flow(&self.request.id).await.unwrap().unwrap().state;
        let fits = [(a, b, forth), (c, d, back)]
            .into_iter()
            .find(|(of_one, of_other, end)| (of_one, of_other, end) == (&told.0, &told.1, &found));
        assert!(fits.is_some(), "{one:?} beside {other:?} at {:?}: {told:?}, {found:?}", self.state);
        self.state = found;
    }
}

async fn holds(lab: &Lab, steps: Vec<Step>) {
    let mut run = Run::begin(lab).await;
    for step in steps {
        run.step(step).await;
        assert_eq!(lab.store.flow(&run.request.id).await.unwrap().unwrap().state, run.state);
        if let FlowState::Done { code, .. } = &run.state {
            assert!(lab.code_waits(code).await, "its code is there");
        }
    }
}

#[test]
fn flows_in_memory_go_by_the_machine() {
    let runtime = runtime();
    check(500, steps(), |steps| runtime.block_on(async { holds(&Lab::memory(), steps).await }));
}

#[test]
fn flows_in_redis_go_by_the_machine() {
    let runtime = runtime();
    let Some(lab) = runtime.block_on(Lab::redis()) else { return };
    check(80, steps(), |steps| runtime.block_on(holds(&lab, steps)));
    runtime.block_on(async { lab.store.ping().await.unwrap() });
}
