//! Steps of a sign-in.

use std::time::Duration;

use super::{
    super::{
        Approval, CallbackClaim, CodeStanding, Completion, Event, TakenBack, UserUpdate,
        keys::{CONSENT_LIFE, CONSENTS_KEPT, FLOW_LIVES, SESSIONS_KEPT},
    },
    State,
    grant::Family,
    token::Code,
};
use crate::{
    keys::Sealed,
    model::{
        CodeState, Flow, FlowId, FlowRequest, FlowState, Grant, GrantId, Hash32, Session, UserId,
        flow_state::Claim, user::IDENTITY_CREDENTIAL,
    },
};

impl State {
    pub(super) fn create_flow(&mut self, request: &FlowRequest, life: Duration) {
        let flow = Flow { request: request.clone(), state: FlowState::BEGUN };
        self.flows.put(request.id, flow, self.now + life);
        self.flow_ends.put(request.id, (), self.now + life * FLOW_LIVES);
    }

    /// Lets a flow live for `life` from now, but not beyond the end that was set when it began.
    fn renew_flow(&mut self, id: &FlowId, life: Duration) {
        self.flows.renew(id, self.now, life.min(self.flow_ends.life(id, self.now)));
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
        self.write_session(*id, session, life);
        true
    }

    pub(super) fn write_session(&mut self, id: Hash32, session: &Session, life: Duration) {
        self.sessions.keep(self.now, SESSIONS_KEPT - 1, |_, other| other.user == session.user);
        self.sessions.put(id, session.clone(), self.now + life);
    }

    pub(super) fn pin(&mut self, flow: &FlowId, user: &UserId, session: &Hash32) -> bool {
        let known = self.sessions.get(session, self.now).is_some_and(|s| s.user == *user);
        known && self.pin_pending(flow, user, session)
    }

    fn pin_pending(&mut self, flow: &FlowId, user: &UserId, session: &Hash32) -> bool {
        let Some(flow) = self.flows.get_mut(flow, self.now) else { return false };
        let next = flow.state.pin(*user, *session);
        next.map(|next| flow.state = next).is_some()
    }

    pub(super) fn approve_flow(
        &mut self,
        id: &FlowId,
        nonce: &Hash32,
        cookie: &Hash32,
        life: Duration,
    ) -> Approval {
        let Some(flow) = self.flow_of(id, cookie).filter(|flow| flow.request.nonce == *nonce) else {
            return Approval::Unknown;
        };
        let begins = matches!(flow.state, FlowState::Pending { .. });
        let Some(next @ FlowState::Approved { attempt, .. }) = flow.state.approve() else {
            return Approval::Over(Box::new(flow.clone()));
        };
        flow.state = next;
        let flow = Box::new(flow.clone());
        if begins {
            self.renew_flow(id, life);
        }
        Approval::Approved { flow, attempt }
    }

    pub(super) fn deny_flow(&mut self, id: &FlowId, nonce: &Hash32, cookie: &Hash32) -> Option<TakenBack> {
        let before = self.flow_of(id, cookie).filter(|flow| flow.request.nonce == *nonce)?.state.clone();
        let waiting = match &before {
            FlowState::Done { code, .. } => self.waiting(code),
            _ => None,
        };
        self.flow_of(id, cookie)?.state = before.deny(waiting.is_some())?;
        Some(match waiting {
            Some(grant) => {
                let family = self.grants.get(&grant, self.now);
                let consent = family.and_then(|family| Some((family.grant.user, family.consent?.0)));
                self.revoke(&grant);
                if let Some(consent) = consent {
                    self.recall(consent);
                }
                TakenBack::Code(grant)
            }
            None if matches!(before, FlowState::Approved { .. }) => TakenBack::Approval,
            None => TakenBack::Nothing,
        })
    }

    /// What is told of a consent is its last approval of those whose grants are there.
    fn recall(&mut self, (user, consent): (UserId, Hash32)) {
        let families = self.grants.iter(self.now).map(|(_, family)| family);
        let approved =
            families.filter(|family| family.grant.user == user).filter_map(|family| family.consent);
        let last = approved.filter(|(of, _)| *of == consent).map(|(_, at)| at).max();
        let left = last.map_or(Duration::ZERO, |at| {
            CONSENT_LIFE.saturating_sub(Duration::from_secs(self.unix.abs_diff(at)))
        });
        match last.filter(|_| !left.is_zero()) {
            Some(at) => self.consents.put((user, consent), at, self.now + left),
            None => drop(self.consents.take(&(user, consent), self.now)),
        }
    }

    /// The grant of a code that was not redeemed.
    fn waiting(&self, code: &Hash32) -> Option<GrantId> {
        self.codes.get(code, self.now).filter(|code| code.state == CodeState::Live).map(|code| code.grant)
    }

    pub(super) fn code_standing(&self, code: &Hash32) -> CodeStanding {
        match self.codes.get(code, self.now) {
            Some(code) if code.state == CodeState::Live => CodeStanding::Waits,
            Some(code) if self.grants.get(&code.grant, self.now).is_some() => CodeStanding::Redeemed,
            _ => CodeStanding::Gone,
        }
    }

    pub(super) fn next_attempt(
        &mut self,
        id: &FlowId,
        cookie: &Hash32,
        after: u32,
        life: Duration,
    ) -> Option<u32> {
        let flow = self.flow_of(id, cookie)?;
        let next @ FlowState::Approved { attempt, .. } = flow.state.again(after)? else { return None };
        let begins = next != flow.state;
        flow.state = next;
        if begins {
            self.renew_flow(id, life);
        }
        Some(attempt)
    }

    pub(super) fn claim_callback(&mut self, id: &FlowId, cookie: &Hash32, answered: u32) -> CallbackClaim {
        let Some(flow) = self.flow_of(id, cookie) else {
            return CallbackClaim::Unknown;
        };
        match flow.state.claim(answered) {
            Claim::Early => CallbackClaim::Unknown,
            Claim::First(next) => {
                flow.state = next;
                CallbackClaim::Claimed(Box::new(flow.clone()))
            }
            Claim::Spent => CallbackClaim::Spent(Box::new(flow.clone())),
            Claim::Over => CallbackClaim::Over(Box::new(flow.clone())),
        }
    }

    pub(super) fn complete_flow(&mut self, done: &Completion) -> Option<Vec<Grant>> {
        let now = self.now;
        let flow = self.flows.get_mut(&done.flow, now)?;
        let sealed = done.sealed_redirect.clone();
        flow.state = flow.state.complete(done.attempt, done.user.id, sealed, done.code)?;
        self.signed_in(&done.user);
        self.replace_credential(&done.user.id, IDENTITY_CREDENTIAL, done.identity_credential.as_ref());
        let until = now + done.code_life;
        let judged = (done.rules, done.user.profile.clone());
        let family = Family::new(done.grant.clone(), done.code, judged, (done.consent, self.unix), now);
        self.grants.put(done.grant.id, family, until);
        let code = Code {
            state: CodeState::Live,
            grant: done.grant.id,
            client_id: done.grant.client_id.clone(),
            challenge: done.challenge.clone(),
        };
        self.codes.put(done.code, code, until);
        let consent = (done.user.id, done.consent);
        self.consents.keep(now, CONSENTS_KEPT - 1, |other, _| other.0 == consent.0 && *other != consent);
        self.consents.put(consent, self.unix, now + CONSENT_LIFE);
        if let Some((id, session, life)) = &done.session {
            self.write_session(*id, session, *life);
        }
        Some(self.make_room(&done.user.id, &done.grant.id))
    }

    /// A sign-in sets the user live, dates the check now and mends every client.
    pub(super) fn signed_in(&mut self, user: &UserUpdate) {
        self.write_user(user);
        self.events.push(Event::User(user.id));
    }
}
