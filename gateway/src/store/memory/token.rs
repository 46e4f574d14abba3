//! Codes and tokens.

use std::time::Duration;

use super::{
    super::{
        CallRecord, CodeProof, Event, NewTokens, Redemption, Replay, Rotated, Rotation,
        keys::{SPENT_ASSERTION_LIFE, SPENT_CODE_LIFE},
    },
    State,
};
use crate::{
    keys::Sealed,
    model::{
        CodeState, FamilyState, Grant, GrantId, Hash32, IdentityState, UserRecord,
        family::{Held, Shown, Turn},
        user::IDENTITY_CREDENTIAL,
    },
};

/// A code; the rest stands in its grant.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) state: CodeState,
    pub(super) grant: GrantId,
    pub(super) client_id: String,
    pub(super) challenge: String,
}

/// What a refresh token's hash leads to.
#[derive(Debug, Clone)]
pub(super) enum Refresh {
    /// It can be used.
    Live { grant: GrantId, generation: u32 },
    /// It was replaced a moment ago.
    Spent { grant: GrantId, successor: Sealed },
}

impl Refresh {
    fn grant(&self) -> GrantId {
        match self {
            Self::Live { grant, .. } | Self::Spent { grant, .. } => *grant,
        }
    }

    fn held(&self) -> Held {
        match self {
            Self::Live { generation, .. } => Held::Live(*generation),
            Self::Spent { .. } => Held::Successor,
        }
    }
}

/// Whether what a request names is what was granted; naming nothing matches.
fn matches(named: Option<&String>, granted: &str) -> bool {
    named.is_none_or(|named| named == granted)
}

/// Whether a token request names the redirect URI that the authorization request named.
fn returns_to(named: Option<&String>, grant: &Grant) -> bool {
    named.map_or(grant.redirect_uri_implied, |named| *named == grant.redirect_uri)
}

impl State {
    pub(super) fn redeem_code(&mut self, proof: &CodeProof, tokens: &NewTokens) -> Redemption {
        let now = self.now;
        let theirs = |code: &&Code| {
            code.grant == proof.grant
                && code.client_id == proof.client_id
                && code.challenge == proof.challenge
        };
        let Some(code) = self.codes.get(&proof.code, now).filter(theirs) else {
            return Redemption::Refused;
        };
        match code.state.show(now) {
            Shown::Redeemed(spent) => self.redeem_live(proof, tokens, spent),
            Shown::Parallel => Redemption::Replayed(Replay::Parallel),
            Shown::Replayed if self.revoke(&proof.grant) => Redemption::Replayed(Replay::Ended),
            Shown::Replayed => Redemption::Replayed(Replay::EndedBefore),
        }
    }

    fn redeem_live(&mut self, proof: &CodeProof, tokens: &NewTokens, spent: CodeState) -> Redemption {
        let now = self.now;
        let family = self.grants.get(&proof.grant, now);
        let Some((grant, state)) = family.and_then(|f| Some((f.grant.clone(), f.state.redeem(now)?))) else {
            return Redemption::Refused;
        };
        if grant.by_assertion != proof.assertion.is_some()
            || !returns_to(proof.redirect_uri.as_ref(), &grant)
            || !matches(proof.resource.as_ref(), &grant.resource)
        {
            return Redemption::Refused;
        }
        let Some(user) = self.user(&grant.user) else {
            return Redemption::Refused;
        };
        if user.state != IdentityState::Live {
            return Redemption::Dead(Box::new(user));
        }
        let judged = self.is_judged(&grant.id, (&proof.rules, proof.judged.as_ref()), &user);
        if proof.heard != self.heard.mark || !judged {
            return Redemption::JudgementDue { grant: Box::new(grant), user: Box::new(user) };
        }
        if !self.spend(proof.assertion.as_ref()) {
            return Redemption::AssertionSpent;
        }
        if let Some(family) = self.grants.get_mut(&proof.grant, now) {
            family.code = None;
            family.judged = Some((proof.rules, user.profile));
        }
        if let Some(code) = self.codes.get_mut(&proof.code, now) {
            code.state = spent;
        }
        self.codes.renew(&proof.code, now, SPENT_CODE_LIFE);
        let access_life = self.write_tokens(&proof.grant, state, tokens, tokens.sign_in_life);
        Redemption::Redeemed { grant: Box::new(grant), access_life }
    }

    /// Makes `tokens` the family's live pair, for at most `left`; the access token's life as written.
    fn write_tokens(
        &mut self,
        id: &GrantId,
        state: FamilyState,
        tokens: &NewTokens,
        left: Duration,
    ) -> Duration {
        let now = self.now;
        let (access_life, refresh_life) = (tokens.access_life.min(left), tokens.refresh_life.min(left));
        self.access.put(tokens.access, *id, now + access_life);
        let live = Refresh::Live { grant: *id, generation: state.generation() };
        self.refresh.put(tokens.refresh, live, now + refresh_life);
        if let Some(family) = self.grants.get_mut(id, now) {
            family.state = state;
            family.used = now;
            family.access = Some(tokens.access);
            family.refresh = Some(tokens.refresh);
        }
        self.grants.renew(id, now, refresh_life);
        access_life
    }

    pub(super) fn rotate_refresh(&mut self, rotation: &Rotation) -> Rotated {
        let now = self.now;
        let Some(family) = self.grants.get(&rotation.grant, now) else {
            return Rotated::Refused;
        };
        let (grant, state, access) = (family.grant.clone(), family.state, family.access);
        let presented = self.refresh.get(&rotation.presented, now).filter(|r| r.grant() == grant.id).cloned();
        let turn =
            state.present(rotation.generation, presented.as_ref().map_or(Held::Nothing, Refresh::held));
        if turn == Turn::Reuse {
            // Whoever presents it, as whichever client.
            self.revoke(&grant.id);
            return Rotated::Reused;
        }
        if grant.client_id != rotation.client_id
            || grant.by_assertion != rotation.assertion.is_some()
            || grant.identity != rotation.identity
            || !matches(rotation.resource.as_ref(), &grant.resource)
        {
            return Rotated::Refused;
        }
        match (turn, presented) {
            (Turn::Rotate(next), _) => {
                let left = state.left(rotation.next.sign_in_life, now);
                self.rotate_live(rotation, grant, next, left)
            }
            (Turn::Repeat, Some(Refresh::Spent { successor, .. })) => match self.user(&grant.user) {
                None => Rotated::Refused,
                Some(user) if user.state != IdentityState::Live => Rotated::Dead(Box::new(user)),
                Some(_) if !self.spend(rotation.assertion.as_ref()) => Rotated::AssertionSpent,
                Some(user) => Rotated::Successor {
                    grant: Box::new(grant),
                    user: Box::new(user),
                    sealed: successor,
                    access_life: access.map_or(Duration::ZERO, |a| self.access.life(&a, now)),
                },
            },
            _ => Rotated::Refused,
        }
    }

    fn rotate_live(
        &mut self,
        rotation: &Rotation,
        grant: Grant,
        next: FamilyState,
        left: Duration,
    ) -> Rotated {
        let (now, id) = (self.now, grant.id);
        let Some(user) = self.user(&grant.user).filter(|_| !left.is_zero()) else {
            return Rotated::Refused;
        };
        if user.state != IdentityState::Live {
            return Rotated::Dead(Box::new(user));
        }
        let old = rotation.recheck_every.is_some_and(|every| user.checked_ago >= every);
        let judged = self.is_judged(&id, (&rotation.rules, rotation.judged.as_ref()), &user);
        if old || rotation.heard != self.heard.mark || !judged {
            return Rotated::CheckDue { grant: Box::new(grant), user: Box::new(user) };
        }
        if !self.spend(rotation.assertion.as_ref()) {
            return Rotated::AssertionSpent;
        }
        self.end_grace(&id);
        let successor = Refresh::Spent { grant: id, successor: rotation.successor.clone() };
        // With no grace this ends now, which is as good as deleted.
        self.refresh.put(rotation.presented, successor, now + rotation.grace);
        if let Some(family) = self.grants.get_mut(&id, now) {
            family.blob = Some(rotation.presented);
            family.judged = Some((rotation.rules, user.profile.clone()));
            family.replaced = family.access;
            match family.replaced {
                Some(replaced) if rotation.grace.is_zero() => self.end_access(&replaced),
                Some(replaced) => self.access.cut(&replaced, now, rotation.grace),
                None => {}
            }
        }
        let access_life = self.write_tokens(&id, next, &rotation.next, left);
        Rotated::Rotated { grant: Box::new(grant), user: Box::new(user), access_life }
    }

    /// Whether the user was admitted with this profile, by these rules, or just now.
    fn is_judged(
        &self,
        grant: &GrantId,
        (rules, just): (&Hash32, Option<&Sealed>),
        user: &UserRecord,
    ) -> bool {
        let family = self.grants.get(grant, self.now);
        let before = family.and_then(|family| family.judged.as_ref());
        just == Some(&user.profile)
            || before.is_some_and(|(known, profile)| known == rules && *profile == user.profile)
    }

    /// Redeeming the successor ends the grace of what came before at once.
    fn end_grace(&mut self, id: &GrantId) {
        let now = self.now;
        let Some(family) = self.grants.get_mut(id, now) else { return };
        if let Some(blob) = family.blob.take() {
            self.refresh.take(&blob, now);
        }
        if let Some(replaced) = family.replaced.take() {
            self.end_access(&replaced);
        }
    }

    /// Ends an access token before its time.
    fn end_access(&mut self, access: &Hash32) {
        if self.access.take(access, self.now).is_some() {
            self.events.push(Event::Access(*access));
        }
    }

    /// Spends an assertion; `false`: it was spent before. Where there is none, there is nothing to spend.
    pub(super) fn spend(&mut self, assertion: Option<&Hash32>) -> bool {
        let Some(id) = assertion else { return true };
        if self.assertions.get(id, self.now).is_some() {
            return false;
        }
        self.assertions.put(*id, (), self.now + SPENT_ASSERTION_LIFE);
        true
    }

    pub(super) fn call(&mut self, access: &Hash32) -> Option<CallRecord> {
        let now = self.now;
        let id = *self.access.get(access, now)?;
        let grant = self.grants.get(&id, now)?.grant.clone();
        let user = self.user(&grant.user)?;
        if let Some(family) = self.grants.get_mut(&id, now) {
            family.used = now;
        }
        self.renew_user(&grant.user);
        let credential = self.credential(&grant.user, IDENTITY_CREDENTIAL);
        let life = self.access.life(access, now);
        Some(CallRecord { scope: grant.scope.clone(), grant, user, credential, life })
    }
}
