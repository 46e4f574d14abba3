//! Steps of a sign-in.

use std::time::Duration;

use super::{
    RedisStore,
    script::{self, Reply, millis, unexpected},
};
use crate::{
    keys::Sealed,
    model::{
        Flow, FlowId, FlowRequest, FlowState, Grant, GrantId, Hash32, Session, UserId,
        user::IDENTITY_CREDENTIAL,
    },
    store::{Approval, CallbackClaim, CodeStanding, Completion, Ending, Result, TakenBack, UserUpdate, keys},
};

impl RedisStore {
    pub(super) async fn write_flow(&self, request: &FlowRequest, life: Duration) -> Result<()> {
        let key = keys::flow(&request.id);
        let (text, mac) = self.sealed_json(&key, request);
        let step = self.step(&script::CREATE_FLOW).arg(key).arg(text).arg(mac).arg(millis(life));
        self.run(step).await.map(drop)
    }

    pub(super) async fn read_one_flow(&self, id: &FlowId) -> Result<Option<Flow>> {
        let mut hmget = redis::cmd("HMGET");
        let fields = ["r", "m", "at", "attempt", "claimed", "pin", "pm", "redirect", "code"];
        hmget.arg(self.full(&keys::flow(id))).arg(&fields);
        let mut reply = Reply::of(self.main.command(hmget).await?)?;
        Ok(self.read_flow(id, &mut reply))
    }

    pub(super) async fn sign_in_step(
        &self,
        flow: &FlowId,
        user: &UserUpdate,
        credential: Option<&Sealed>,
        (id, session, life): (&Hash32, &Session, Duration),
    ) -> Result<bool> {
        let (pin, pin_mac) = self.pin_args(flow, &user.id, id);
        let (user_key, profile, user_mac) = self.user_args(user);
        let session_key = keys::session(id);
        let (text, mac) = self.sealed_json(&session_key, session);
        let step = self.step(&script::SIGN_IN).arg(keys::flow(flow)).arg(pin).arg(pin_mac);
        let step = step.arg(user_key).arg(&user.identity).arg(profile).arg(user_mac);
        let step = step
            .arg(keys::credential(&user.id, IDENTITY_CREDENTIAL))
            .optional(credential.map(Sealed::as_bytes));
        let step = step.arg(session_key).arg(text).arg(mac).arg(millis(life));
        self.run(step).await?.yes()
    }

    pub(super) async fn pin_step(&self, flow: &FlowId, user: &UserId, session: &Hash32) -> Result<bool> {
        if self.read_one_session(session).await?.is_none_or(|session| session.user != *user) {
            return Ok(false);
        }
        let (pin, mac) = self.pin_args(flow, user, session);
        let step = self.step(&script::PIN).arg(keys::flow(flow)).arg(pin).arg(mac);
        self.run(step.arg(keys::session(session))).await?.yes()
    }

    pub(super) async fn read_one_session(&self, id: &Hash32) -> Result<Option<Session>> {
        let mut hmget = redis::cmd("HMGET");
        hmget.arg(self.full(&keys::session(id))).arg("s").arg("m");
        let mut reply = Reply::of(self.main.command(hmget).await?)?;
        Ok(self.read_session(id, &mut reply))
    }

    pub(super) async fn approve(
        &self,
        id: &FlowId,
        nonce: &Hash32,
        cookie: &Hash32,
        life: Duration,
    ) -> Result<Approval> {
        let step = self.step(&script::APPROVE).arg(keys::flow(id)).arg(nonce.to_string());
        let mut reply = self.open_claim(step.arg(cookie.to_string()).arg(millis(life))).await?;
        let tag = reply.tag()?;
        let Some(flow) = self.read_flow(id, &mut reply) else {
            return Ok(Approval::Unknown);
        };
        Ok(match (tag.as_str(), &flow.state) {
            ("approved", FlowState::Approved { attempt, .. }) => {
                Approval::Approved { attempt: *attempt, flow: Box::new(flow) }
            }
            _ => Approval::Over(Box::new(flow)),
        })
    }

    pub(super) async fn deny(
        &self,
        id: &FlowId,
        nonce: &Hash32,
        cookie: &Hash32,
    ) -> Result<Option<TakenBack>> {
        let step = self.step(&script::DENY).arg(keys::flow(id)).arg(nonce.to_string());
        let mut reply = self.open_claim(step.arg(cookie.to_string())).await?;
        match reply.tag()?.as_str() {
            "unknown" => Ok(None),
            "pending" => Ok(Some(TakenBack::Nothing)),
            "approved" => Ok(Some(TakenBack::Approval)),
            "done" => {
                let grant =
                    reply.text().and_then(|key| key.strip_prefix(keys::GRANT).and_then(GrantId::parse));
                grant.map(|grant| Some(TakenBack::Code(grant))).ok_or_else(unexpected)
            }
            _ => Err(unexpected()),
        }
    }

    pub(super) async fn again(
        &self,
        id: &FlowId,
        cookie: &Hash32,
        after: u32,
        life: Duration,
    ) -> Result<Option<u32>> {
        let step = self.step(&script::NEXT_ATTEMPT).arg(keys::flow(id)).arg(cookie.to_string()).arg(after);
        let mut reply = self.run(step.arg(millis(life))).await?;
        reply.tag()?;
        let flow = self.read_flow(id, &mut reply);
        Ok(flow.and_then(|flow| match flow.state {
            FlowState::Approved { attempt, .. } => Some(attempt),
            _ => None,
        }))
    }

    pub(super) async fn claim_answer(
        &self,
        id: &FlowId,
        cookie: &Hash32,
        attempt: u32,
    ) -> Result<CallbackClaim> {
        let step = self.step(&script::CLAIM_CALLBACK).arg(keys::flow(id)).arg(cookie.to_string());
        let mut reply = self.open_claim(step.arg(attempt)).await?;
        let tag = reply.tag()?;
        let Some(flow) = self.read_flow(id, &mut reply).map(Box::new) else {
            return Ok(CallbackClaim::Unknown);
        };
        match tag.as_str() {
            "claimed" => Ok(CallbackClaim::Claimed(flow)),
            "spent" => Ok(CallbackClaim::Spent(flow)),
            "over" => Ok(CallbackClaim::Over(flow)),
            _ => Err(unexpected()),
        }
    }

    pub(super) async fn complete(&self, done: &Completion) -> Ending<Option<Vec<Grant>>> {
        let (user_key, profile, user_mac) = self.user_args(&done.user);
        let grant_key = keys::grant(&done.grant.id);
        let (grant, grant_mac) = self.sealed_json(&grant_key, &done.grant);
        let code_key = keys::code(&done.code);
        let code_mac = self.mac(&code_key, &code_parts(&grant_key, &done.grant.client_id, &done.challenge));
        let step = self.step(&script::COMPLETE).arg(keys::flow(&done.flow)).arg(done.attempt);
        let step = step.arg(&done.sealed_redirect);
        let step = step.arg(user_key).arg(&done.user.identity).arg(profile).arg(user_mac);
        let step = step
            .arg(keys::credential(&done.user.id, IDENTITY_CREDENTIAL))
            .optional(done.identity_credential.as_ref().map(Sealed::as_bytes));
        let step = step.arg(grant_key).arg(grant).arg(grant_mac);
        let step = step.arg(code_key).arg(code_mac).arg(millis(done.code_life));
        let step = step.arg(keys::client(&done.grant.client_id)).arg(millis(done.client_life));
        let step = step.arg(keys::consent(&done.user.id, &done.consent)).arg(done.rules.to_string());
        let step = match &done.session {
            None => step.arg(""),
            Some((id, session, life)) => {
                let key = keys::session(id);
                let (text, mac) = self.sealed_json(&key, session);
                step.arg(key).arg(text).arg(mac).arg(millis(*life))
            }
        };
        let read = |reply: &mut Reply| {
            let written = reply.tag()? == "yes";
            written.then(|| self.ended_grants(&done.user.id, reply)).transpose()
        };
        self.ending(step, read, |ended| ended).await
    }

    pub(super) async fn standing_of_code(&self, code: &Hash32) -> Result<CodeStanding> {
        let step = self.step(&script::CODE_STANDING).arg(keys::code(code)).arg(keys::spent_code(code));
        match self.run(step).await?.tag()?.as_str() {
            "waits" => Ok(CodeStanding::Waits),
            "redeemed" => Ok(CodeStanding::Redeemed),
            "gone" => Ok(CodeStanding::Gone),
            _ => Err(unexpected()),
        }
    }
}

/// What a code's MAC covers: all that its redemption must show.
pub(super) fn code_parts<'a>(grant: &'a str, client_id: &'a str, challenge: &'a str) -> [&'a [u8]; 3] {
    [grant.as_bytes(), client_id.as_bytes(), challenge.as_bytes()]
}
