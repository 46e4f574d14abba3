//! Users and their state.

use std::time::Duration;

use super::{
    super::{EndedSignIns, Event, IdentityRefusal, UserUpdate, keys::USER_LIFE},
    State,
};
use crate::{
    keys::Sealed,
    model::{IdentityState, UserId, UserRecord, user::IDENTITY_CREDENTIAL},
};

/// A user; the times are the clock's monotonic time.
#[derive(Debug)]
pub(super) struct User {
    identity: String,
    profile: Sealed,
    state: IdentityState,
    checked: Duration,
}

impl State {
    pub(super) fn user(&self, id: &UserId) -> Option<UserRecord> {
        let user = self.users.get(id, self.now)?;
        Some(UserRecord {
            id: *id,
            identity: user.identity.clone(),
            profile: user.profile.clone(),
            state: user.state.clone(),
            checked_ago: self.now.saturating_sub(user.checked),
        })
    }

    /// Writes a user who has just signed in.
    pub(super) fn write_user(&mut self, update: &UserUpdate) {
        let user = User {
            identity: update.identity.clone(),
            profile: update.profile.clone(),
            state: IdentityState::Live,
            checked: self.now,
        };
        self.users.put(update.id, user, self.now + USER_LIFE);
    }

    pub(super) fn renew_user(&mut self, id: &UserId) {
        self.users.renew(id, self.now, USER_LIFE);
    }

    pub(super) fn user_checked(&mut self, update: &UserUpdate) {
        let now = self.now;
        let Some(user) = self.users.get_mut(&update.id, now) else { return };
        user.identity.clone_from(&update.identity);
        user.profile = update.profile.clone();
        user.checked = now;
        self.renew_user(&update.id);
        self.events.push(Event::User(update.id));
    }

    pub(super) fn set_identity_state(&mut self, id: &UserId, state: &IdentityState) -> bool {
        let now = self.now;
        let Some(user) = self.users.get_mut(id, now) else { return false };
        let told = matches!(state, IdentityState::Dead { told: true, .. });
        if user.state == *state || (told && user.state == IdentityState::Live) {
            return false;
        }
        user.state = state.clone();
        if !told {
            user.checked = now;
        }
        self.events.push(Event::User(*id));
        true
    }

    pub(super) fn refuse_identity(&mut self, id: &UserId, version: u64, reason: &str) -> IdentityRefusal {
        if self.credential(id, IDENTITY_CREDENTIAL).is_some_and(|c| c.version != version) {
            return IdentityRefusal::Stale;
        }
        let now = self.now;
        let Some(user) = self.users.get_mut(id, now) else { return IdentityRefusal::Stale };
        if user.state != IdentityState::Live {
            return IdentityRefusal::WasDead;
        }
        user.state = IdentityState::Dead { reason: reason.to_owned(), told: false };
        user.checked = now;
        self.events.push(Event::User(*id));
        IdentityRefusal::Died
    }

    pub(super) fn end_sign_ins(&mut self, id: &UserId) -> EndedSignIns {
        let mut ended = EndedSignIns { grants: self.revoke_for_user(id, None), sessions: 0 };
        self.sessions.retain(self.now, |_, session| {
            let ends = session.user == *id;
            ended.sessions += u64::from(ends);
            !ends
        });
        ended
    }

    pub(super) fn purge_user(&mut self, id: &UserId) -> bool {
        self.end_sign_ins(id);
        let now = self.now;
        self.credentials.retain(now, |(user, _), _| user != id);
        self.consents.retain(now, |(user, _), _| user != id);
        let known = self.users.take(id, now).is_some();
        self.events.push(Event::User(*id));
        known
    }
}
