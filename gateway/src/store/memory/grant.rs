//! Grants, and their ends.

use std::time::Duration;

use super::{
    super::{
        Event, ListedGrant, Revocation, RobotGrant,
        keys::{BATCH, GRANTS_KEPT, ROBOT_GRANTS_KEPT},
    },
    State,
};
use crate::{
    keys::Sealed,
    model::{FamilyState, Grant, GrantId, Hash32, UserId},
};

/// A grant and everything that lives of it.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) grant: Grant,
    pub(super) state: FamilyState,
    /// When one of its tokens was last used or replaced, or it was made.
    pub(super) used: Duration,
    pub(super) code: Option<Hash32>,
    pub(super) access: Option<Hash32>,
    /// The access token before, in its grace.
    pub(super) replaced: Option<Hash32>,
    pub(super) refresh: Option<Hash32>,
    /// The refresh token before, which answers with the successor during the grace.
    pub(super) blob: Option<Hash32>,
    /// The rules by which the user was admitted, and with which profile.
    pub(super) judged: Option<(Hash32, Sealed)>,
    /// What its user consented to, and when, in seconds since 1970.
    pub(super) consent: Option<(Hash32, i64)>,
}

impl Family {
    /// A grant that waits for its code to be redeemed.
    pub(super) fn new(
        grant: Grant,
        code: Hash32,
        judged: (Hash32, Sealed),
        consent: (Hash32, i64),
        now: Duration,
    ) -> Self {
        Self {
            grant,
            state: FamilyState::Issued,
            used: now,
            code: Some(code),
            access: None,
            replaced: None,
            refresh: None,
            blob: None,
            judged: Some(judged),
            consent: Some(consent),
        }
    }

    /// The grant of a robot: an access token and nothing else.
    fn of_robot(grant: Grant, now: Duration, access: Hash32) -> Self {
        Self {
            grant,
            state: FamilyState::Live { since: now, generation: 0 },
            used: now,
            code: None,
            access: Some(access),
            replaced: None,
            refresh: None,
            blob: None,
            judged: None,
            consent: None,
        }
    }
}

impl State {
    /// The grants of a user that were redeemed.
    pub(super) fn listed_grants(&self, user: &UserId) -> impl Iterator<Item = ListedGrant> {
        let families = self.grants.iter(self.now).map(|(_, family)| family);
        families.filter(|f| f.grant.user == *user && f.state != FamilyState::Issued).map(|family| {
            ListedGrant { grant: family.grant.clone(), used_ago: self.now.saturating_sub(family.used) }
        })
    }

    /// Ends a grant and all its tokens; whether there was one.
    pub(super) fn revoke(&mut self, id: &GrantId) -> bool {
        let now = self.now;
        let Some(family) = self.grants.take(id, now) else {
            return false;
        };
        for access in family.access.iter().chain(&family.replaced) {
            self.access.take(access, now);
        }
        for refresh in family.refresh.iter().chain(&family.blob) {
            self.refresh.take(refresh, now);
        }
        if let Some(code) = family.code {
            self.codes.take(&code, now);
        }
        self.events.push(Event::Grant(*id));
        true
    }

    pub(super) fn grant_robot(&mut self, robot: &RobotGrant) -> Option<Vec<Grant>> {
        if robot.heard != self.heard.mark {
            return None;
        }
        let (id, until) = (robot.grant.id, self.now + robot.life);
        self.signed_in(&robot.user);
        let ended =
            self.end_first(&robot.user.id, None, ROBOT_GRANTS_KEPT - 1, |family| family.state.since());
        self.grants.put(id, Family::of_robot(robot.grant.clone(), self.now, robot.access), until);
        self.access.put(robot.access, id, until);
        Some(ended)
    }

    /// Ends what a user has beyond [`GRANTS_KEPT`]: the ones used longest ago, but never `new`.
    pub(super) fn make_room(&mut self, user: &UserId, new: &GrantId) -> Vec<Grant> {
        self.end_first(user, Some(new), GRANTS_KEPT - 1, |family| Some(family.used))
    }

    /// Ends the first of a user's grants, but for `new`, until there are `most`.
    fn end_first(
        &mut self,
        user: &UserId,
        new: Option<&GrantId>,
        most: usize,
        order: impl Fn(&Family) -> Option<Duration>,
    ) -> Vec<Grant> {
        let families = self.grants.iter(self.now).map(|(_, family)| family);
        let own = families.filter(|family| family.grant.user == *user && Some(&family.grant.id) != new);
        let mut own: Vec<_> = own.map(|family| (order(family), family.grant.clone())).collect();
        own.sort_by_key(|(place, _)| *place);
        own.truncate(own.len().saturating_sub(most).min(BATCH));
        let ended: Vec<Grant> = own.into_iter().map(|(_, grant)| grant).collect();
        for grant in &ended {
            self.revoke(&grant.id);
        }
        ended
    }

    pub(super) fn revoke_for_client(
        &mut self,
        id: &GrantId,
        client_id: &str,
        assertion: Option<&Hash32>,
    ) -> Revocation {
        let Some(grant) = self.grants.get(id, self.now).map(|family| family.grant.clone()) else {
            return Revocation::Unknown;
        };
        if grant.client_id != client_id || grant.by_assertion != assertion.is_some() {
            return Revocation::OtherClient;
        }
        if !self.spend(assertion) {
            return Revocation::AssertionSpent;
        }
        self.revoke(id);
        Revocation::Revoked(Box::new(grant))
    }
}
