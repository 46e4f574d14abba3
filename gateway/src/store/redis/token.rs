//! Codes, tokens and the families they belong to.

use super::{
    RedisStore,
    flow::code_parts,
    record::read_credential,
    script::{self, Reply, Step, millis, unexpected},
};
use crate::{
    keys::Sealed,
    model::{Grant, GrantId, Hash32, UserRecord, user::IDENTITY_CREDENTIAL},
    store::{
        CallRecord, CodeProof, Ending, GrantEnd, NewTokens, Redemption, Replay, Result, Revocation,
        RobotGrant, Rotated, Rotation, StoreError, Unfinished, keys,
    },
};

impl RedisStore {
    /// The arguments of `write_pair` in the prelude, and the sign-in's life.
    fn pair(&self, step: Step, grant: &GrantId, generation: u32, tokens: &NewTokens) -> Step {
        let (access, refresh) = (keys::access(&tokens.access), keys::refresh(&tokens.refresh));
        let grant = keys::grant(grant);
        let access_mac = self.mac(&access, &[grant.as_bytes()]);
        let refresh_mac = self.mac(&refresh, &[grant.as_bytes(), &generation.to_be_bytes()]);
        let step = step.arg(access).arg(access_mac).arg(millis(tokens.access_life));
        let step = step.arg(refresh).arg(refresh_mac).arg(millis(tokens.refresh_life));
        step.arg(millis(tokens.sign_in_life))
    }

    pub(super) async fn redeem(
        &self,
        proof: &CodeProof,
        tokens: &NewTokens,
    ) -> Ending<Redemption, Option<GrantEnd>> {
        let (code, spent, grant) =
            (keys::code(&proof.code), keys::spent_code(&proof.code), keys::grant(&proof.grant));
        let parts = code_parts(&grant, &proof.client_id, &proof.challenge);
        let step = self.step(&script::REDEEM).arg(&code).arg(&grant).arg(self.macs(&code, &parts));
        let step = step.arg(&proof.client_id);
        let step = step.optional(proof.redirect_uri.as_deref().map(str::as_bytes));
        let step = step.optional(proof.resource.as_deref().map(str::as_bytes));
        let step = step.arg(&spent).arg(self.mac(&spent, &parts)).arg(self.macs(&spent, &parts));
        let step = self.pair(step, &proof.grant, 1, tokens).arg(spent_key(proof.assertion.as_ref()));
        let judged = proof.judged.as_ref().map_or_else(String::new, Sealed::to_text);
        let step = step.arg(&proof.heard).arg(proof.rules.to_string()).arg(judged);
        let read = |reply: &mut Reply| {
            Ok(match reply.tag()?.as_str() {
                "refused" => Redemption::Refused,
                "spent" => Redemption::AssertionSpent,
                "parallel" => Redemption::Replayed(Replay::Parallel),
                "ended" => Redemption::Replayed(Replay::Ended),
                "ended before" => Redemption::Replayed(Replay::EndedBefore),
                tag => self.read_redeemed(tag, &proof.grant, reply).unwrap_or(Redemption::Forged),
            })
        };
        let why = |redemption: &Redemption| match redemption {
            Redemption::Replayed(Replay::Ended) => Some(GrantEnd::Reuse),
            Redemption::Forged => Some(GrantEnd::Forged),
            _ => None,
        };
        self.ending_grant(&proof.grant, step, read, why).await
    }

    /// Runs a step that may end this grant; `why` says whether an answer means so.
    ///
    /// That a record of the family was not ours only shows after the step: what it may have written goes again, and
    /// nobody has seen it.
    async fn ending_grant<T>(
        &self,
        grant: &GrantId,
        step: Step,
        read: impl FnOnce(&mut Reply) -> Result<T>,
        why: impl FnOnce(&T) -> Option<GrantEnd>,
    ) -> Ending<T, Option<GrantEnd>> {
        let (mut reply, acknowledged) = self.try_claim(step).await.map_err(nothing)?;
        let answer = read(&mut reply).map_err(nothing)?;
        let done = why(&answer);
        if done == Some(GrantEnd::Forged) {
            tracing::warn!(%grant, "a record in Redis has a wrong MAC: the grant is ended");
            let step = self.step(&script::REVOKE).arg(keys::grant(grant));
            // Acknowledged with all that came before it.
            return self.ending(step, |_| Ok(answer), |_| done).await;
        }
        acknowledged.map_or_else(|error| Err(Unfinished { done, error }), |()| Ok(answer))
    }

    /// Reads an answer that holds the grant; `None` when it, or the user, is not ours.
    fn read_redeemed(&self, tag: &str, grant: &GrantId, reply: &mut Reply) -> Option<Redemption> {
        let grant = Box::new(self.read_grant(grant, reply)?);
        if tag == "redeemed" {
            return Some(Redemption::Redeemed { grant, access_life: reply.millis()? });
        }
        let user = Box::new(self.read_judged(&grant, reply)?);
        match tag {
            "due" => Some(Redemption::JudgementDue { grant, user }),
            "dead" => Some(Redemption::Dead(user)),
            _ => None,
        }
    }

    pub(super) async fn read_one_grant(&self, id: &GrantId) -> Result<Option<Grant>> {
        let mut get = redis::cmd("HMGET");
        get.arg(self.full(&keys::grant(id))).arg("g").arg("m");
        let mut reply = Reply::of(self.main.command(get).await?)?;
        Ok(self.read_grant(id, &mut reply))
    }

    pub(super) async fn rotate(&self, rotation: &Rotation) -> Ending<Rotated, Option<GrantEnd>> {
        let (presented, grant) = (keys::refresh(&rotation.presented), keys::grant(&rotation.grant));
        let macs = self.macs(&presented, &[grant.as_bytes(), &rotation.generation.to_be_bytes()]);
        let step = self.step(&script::ROTATE).arg(presented).arg(grant).arg(rotation.generation).arg(macs);
        let step = step.arg(&rotation.client_id).arg(&rotation.identity);
        let step = step.optional(rotation.resource.as_deref().map(str::as_bytes));
        let Some(next) = rotation.generation.checked_add(1) else {
            return Ok(Rotated::Refused);
        };
        let step = self.pair(step, &rotation.grant, next, &rotation.next);
        let step = step.arg(rotation.successor.as_bytes()).arg(millis(rotation.grace));
        let recheck = rotation.recheck_every.map_or_else(String::new, |every| millis(every).to_string());
        let judged = rotation.judged.as_ref().map_or_else(String::new, Sealed::to_text);
        let step = step.arg(recheck).arg(spent_key(rotation.assertion.as_ref()));
        let step = step.arg(&rotation.heard).arg(rotation.rules.to_string()).arg(judged);
        let read = |reply: &mut Reply| {
            Ok(match reply.tag()?.as_str() {
                "refused" => Rotated::Refused,
                "spent" => Rotated::AssertionSpent,
                "reused" => Rotated::Reused,
                tag => match self.read_rotated(tag, rotation, reply) {
                    Some(rotated) => rotated,
                    None if matches!(tag, "rotated" | "due") => Rotated::Forged,
                    None => Rotated::Refused,
                },
            })
        };
        let why = |rotated: &Rotated| match rotated {
            Rotated::Reused => Some(GrantEnd::Reuse),
            Rotated::Forged => Some(GrantEnd::Forged),
            _ => None,
        };
        self.ending_grant(&rotation.grant, step, read, why).await
    }

    /// Reads an answer that holds grant and user; `None` when one of them is not ours.
    fn read_rotated(&self, tag: &str, rotation: &Rotation, reply: &mut Reply) -> Option<Rotated> {
        let grant = Box::new(self.read_grant(&rotation.grant, reply)?);
        let (access_life, sealed) = (reply.millis()?, reply.bytes());
        let user = Box::new(self.read_judged(&grant, reply)?);
        Some(match tag {
            "rotated" => Rotated::Rotated { grant, user, access_life },
            "successor" => {
                Rotated::Successor { grant, user, sealed: Sealed::from_bytes(sealed?), access_life }
            }
            "due" => Rotated::CheckDue { grant, user },
            "dead" => Rotated::Dead(user),
            _ => return None,
        })
    }

    /// Reads the user of a grant, and the operator's word behind it, where that is news.
    fn read_judged(&self, grant: &Grant, reply: &mut Reply) -> Option<UserRecord> {
        let user = self.read_user(&grant.user, reply)?;
        if reply.text().is_some() {
            self.hear_denial(reply);
        }
        Some(user)
    }

    pub(super) async fn write_robot(&self, robot: &RobotGrant) -> Result<Option<Vec<Grant>>> {
        let (user, profile, user_mac) = self.user_args(&robot.user);
        let (grant_key, access) = (keys::grant(&robot.grant.id), keys::access(&robot.access));
        let (grant, grant_mac) = self.sealed_json(&grant_key, &robot.grant);
        let access_mac = self.mac(&access, &[grant_key.as_bytes()]);
        let step = self.step(&script::GRANT_ROBOT);
        let step = step.arg(user).arg(&robot.user.identity).arg(profile).arg(user_mac);
        let step = step.arg(grant_key).arg(grant).arg(grant_mac).arg(access).arg(access_mac);
        let mut reply = self.run(step.arg(millis(robot.life)).arg(&robot.heard)).await?;
        if reply.tag()? == "yes" {
            return self.ended_grants(&robot.user.id, &mut reply).map(Some);
        }
        self.hear_denial(&mut reply);
        Ok(None)
    }

    pub(super) async fn revoke_as_client(
        &self,
        id: &GrantId,
        client_id: &str,
        assertion: Option<&Hash32>,
    ) -> Ending<Revocation, Option<Box<Grant>>> {
        let step = self.step(&script::REVOKE_FOR_CLIENT).arg(keys::grant(id)).arg(client_id);
        let step = step.arg(spent_key(assertion));
        let read = |reply: &mut Reply| match reply.tag()?.as_str() {
            "unknown" => Ok(Revocation::Unknown),
            "other" => Ok(Revocation::OtherClient),
            "spent" => Ok(Revocation::AssertionSpent),
            "revoked" => {
                let grant = self.read_grant(id, reply);
                Ok(grant.map_or(Revocation::Unknown, |grant| Revocation::Revoked(Box::new(grant))))
            }
            _ => Err(unexpected()),
        };
        let done = |revocation| match revocation {
            Revocation::Revoked(grant) => Some(grant),
            Revocation::OtherClient | Revocation::AssertionSpent | Revocation::Unknown => None,
        };
        // A claim: whoever reads that it is done must be able to rely on it.
        self.ending(step, read, done).await
    }

    pub(super) async fn read_call(&self, access: &Hash32) -> Result<Option<CallRecord>> {
        let key = keys::access(access);
        let step = self.step(&script::CALL).arg(&key).arg(format!(":{IDENTITY_CREDENTIAL}"));
        let mut reply = self.run(step).await?;
        if reply.tag()? != "yes" {
            return Ok(None);
        }
        Ok(self.parse_call(&key, &mut reply))
    }

    fn parse_call(&self, key: &str, reply: &mut Reply) -> Option<CallRecord> {
        let (named, mac, life) = (reply.text()?, reply.text(), reply.millis()?);
        if !self.authentic(key, &[named.as_bytes()], mac.as_deref()) {
            return None;
        }
        let grant = self.read_grant(&GrantId::parse(named.strip_prefix(keys::GRANT)?)?, reply)?;
        let user = self.read_user(&grant.user, reply)?;
        let credential = read_credential(reply);
        Some(CallRecord { scope: grant.scope.clone(), grant, user, credential, life })
    }
}

/// A failure of which nothing is known to have happened.
fn nothing<T>(error: StoreError) -> Unfinished<Option<T>> {
    Unfinished { done: None, error }
}

/// The key that an assertion leaves when it is spent; nothing where there is none.
fn spent_key(assertion: Option<&Hash32>) -> String {
    assertion.map(keys::spent_assertion).unwrap_or_default()
}
