//! Steps of a sign-in.

use std::time::Duration;

use super::{
    super::{Approval, CallbackClaim, Completion, Event, UserUpdate, keys::CONSENT_LIFE},
    State,
    token::{Code, Family},
};
use crate::{
    keys::Sealed,
    model::{Flow, FlowId, FlowRequest, FlowState, Hash32, Session, UserId, user::IDENTITY_CREDENTIAL},
};

impl State {
    pub(super) fn create_flow(&mut self, request: &FlowRequest, life: Duration) {
        let flow = Flow { request: request.clone(), state: FlowState::Pending { pinned: None } };
        self.flows.put(request.id, flow, self.now + life);
    }

    fn flow_of(&mut self, id: &FlowId, cookie: &Hash32) -> Option<&mut Flow> {
        self.flows.get_mut(id, self.now).filter(|flow| flow.request.cookie == *cookie)
    }

    pub(super) fn sign_in(
        &mut self,
        flow: &FlowId,
        user: &UserUpdate,
        credential: Option<&Sealed>,
        (id, session, life): (&Hash32, &Session, Duration),
    ) -> bool {
        if !self.pin_pending(flow, &user.id, id) {
            return false;
        }
        self.signed_in(user);
        self.replace_credential(&user.id, IDENTITY_CREDENTIAL, credential);
        self.sessions.put(*id, session.clone(), self.now + life);
        true
    }

    pub(super) fn pin(&mut self, flow: &FlowId, user: &UserId, session: &Hash32) -> bool {
        let known = self.sessions.get(session, self.now).is_some_and(|s| s.user == *user);
        known && self.pin_pending(flow, user, session)
    }

    fn pin_pending(&mut self, flow: &FlowId, user: &UserId, session: &Hash32) -> bool {
        let Some(Flow { state: FlowState::Pending { pinned }, .. }) = self.flows.get_mut(flow, self.now)
        else {
            return false;
        };
        *pinned = Some((*user, *session));
        true
    }

    pub(super) fn approve_flow(
        &mut self,
        id: &FlowId,
        nonce: &Hash32,
        cookie: &Hash32,
        life: Duration,
    ) -> Approval {
        let now = self.now;
        let Some(flow) = self.flow_of(id, cookie).filter(|flow| flow.request.nonce == *nonce) else {
            return Approval::Unknown;
        };
        let attempt = match &flow.state {
            FlowState::Pending { pinned } => {
                flow.state = FlowState::Approved { attempt: 1, claimed: false, pinned: *pinned };
                let flow = flow.clone();
                self.flows.renew(id, now, life);
                return Approval::Approved { flow: Box::new(flow), attempt: 1 };
            }
            FlowState::Approved { attempt, .. } => *attempt,
            FlowState::Done { .. } | FlowState::Denied => return Approval::Over(Box::new(flow.clone())),
        };
        Approval::Approved { flow: Box::new(flow.clone()), attempt }
    }

    pub(super) fn deny_flow(&mut self, id: &FlowId, nonce: &Hash32, cookie: &Hash32) -> Option<Flow> {
        let flow = self.flow_of(id, cookie)?;
        if flow.request.nonce != *nonce || !matches!(flow.state, FlowState::Pending { .. }) {
            return None;
        }
        flow.state = FlowState::Denied;
        Some(flow.clone())
    }

    pub(super) fn next_attempt(&mut self, id: &FlowId, cookie: &Hash32, life: Duration) -> Option<u32> {
        let now = self.now;
        let FlowState::Approved { attempt, claimed, .. } = &mut self.flow_of(id, cookie)?.state else {
            return None;
        };
        *attempt += 1;
        *claimed = false;
        let attempt = *attempt;
        self.flows.renew(id, now, life);
        Some(attempt)
    }

    pub(super) fn claim_callback(&mut self, id: &FlowId, cookie: &Hash32, presented: u32) -> CallbackClaim {
        let Some(flow) = self.flow_of(id, cookie) else {
            return CallbackClaim::Unknown;
        };
        match &mut flow.state {
            FlowState::Pending { .. } => CallbackClaim::Unknown,
            FlowState::Approved { attempt, claimed, .. } if *attempt == presented && !*claimed => {
                *claimed = true;
                CallbackClaim::Claimed(Box::new(flow.clone()))
            }
            FlowState::Approved { .. } => CallbackClaim::Spent(Box::new(flow.clone())),
            FlowState::Done { .. } | FlowState::Denied => CallbackClaim::Over(Box::new(flow.clone())),
        }
    }

    pub(super) fn complete_flow(&mut self, done: &Completion) -> bool {
        let now = self.now;
        let Some(flow) = self.flows.get_mut(&done.flow, now) else {
            return false;
        };
        let FlowState::Approved { attempt, pinned, .. } = &flow.state else {
            return false;
        };
        if *attempt != done.attempt || pinned.is_some_and(|(user, _)| user != done.user.id) {
            return false;
        }
        flow.state = FlowState::Done { sealed_redirect: done.sealed_redirect.clone(), code: done.code };
        self.signed_in(&done.user);
        self.replace_credential(&done.user.id, IDENTITY_CREDENTIAL, done.identity_credential.as_ref());
        let until = now + done.code_life;
        let judged = (done.rules, done.user.profile.clone());
        self.grants.put(done.grant.id, Family::new(done.grant.clone(), done.code, judged), until);
        self.codes.put(done.code, Code { grant: done.grant.id, challenge: done.challenge.clone() }, until);
        let client = Hash32::of(done.grant.client_id.as_bytes());
        self.clients.put(client, (), now + done.client_life);
        self.consents.put((done.user.id, done.consent), self.unix, now + CONSENT_LIFE);
        if let Some((id, session, life)) = &done.session {
            self.sessions.put(*id, session.clone(), now + *life);
        }
        true
    }

    /// A sign-in sets the user live, dates the check now and mends every client.
    pub(super) fn signed_in(&mut self, user: &UserUpdate) {
        self.write_user(user);
        self.events.push(Event::User(user.id));
    }
}
