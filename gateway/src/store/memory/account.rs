//! Steps of a user's own page.

use std::{cmp::Reverse, time::Duration};

use async_trait::async_trait;

use super::{
    super::{
        AccountRecord, AccountSteps, EndedSessions, Ending, GRANTS_LISTED, ListedGrant, ListedSession,
        Result, SESSIONS_LISTED, UserUpdate,
    },
    MemoryStore, State,
};
use crate::{
    keys::Sealed,
    model::{Flow, FlowId, FlowState, Grant, GrantId, Hash32, Session, UserId, user::IDENTITY_CREDENTIAL},
};

#[async_trait]
impl AccountSteps for MemoryStore {
    async fn sign_in_at_provider(
        &self,
        flow: (&FlowId, u32),
        user: &UserUpdate,
        credential: Option<&Sealed>,
        session: (&Hash32, &Session, Duration),
    ) -> Result<bool> {
        Ok(self.step(|s| s.sign_in_at_provider(flow, user, credential, session)))
    }

    async fn account(&self, user: &UserId) -> Result<AccountRecord> {
        Ok(self.step(|s| s.account(user)))
    }

    async fn revoke_for_user(&self, user: &UserId, grant: Option<&GrantId>) -> Ending<Vec<Grant>> {
        Ok(self.step(|s| s.revoke_for_user(user, grant)))
    }

    async fn end_sessions(&self, user: &UserId, which: EndedSessions) -> Ending<u64> {
        Ok(self.step(|s| s.end_sessions(user, which)))
    }
}

impl State {
    fn sign_in_at_provider(
        &mut self,
        (flow, presented): (&FlowId, u32),
        user: &UserUpdate,
        credential: Option<&Sealed>,
        (id, session, life): (&Hash32, &Session, Duration),
    ) -> bool {
        let now = self.now;
        match self.flows.get(flow, now) {
            Some(Flow { state: FlowState::Approved { attempt, claimed: true, .. }, .. })
                if *attempt == presented => {}
            _ => return false,
        }
        self.flows.take(flow, now);
        self.signed_in(user);
        self.replace_credential(&user.id, IDENTITY_CREDENTIAL, credential);
        self.write_session(*id, session, life);
        true
    }

    fn account(&self, user: &UserId) -> AccountRecord {
        let mut grants: Vec<ListedGrant> = self.listed_grants(user).collect();
        grants.sort_by_key(|listed| listed.used_ago);
        grants.truncate(GRANTS_LISTED);
        let own = self.sessions.iter(self.now).filter(|(_, session)| session.user == *user);
        let mut sessions: Vec<ListedSession> =
            own.map(|(id, session)| ListedSession { id: *id, session: session.clone() }).collect();
        sessions.sort_by_key(|listed| Reverse(listed.session.auth_time));
        sessions.truncate(SESSIONS_LISTED);
        AccountRecord { grants, sessions }
    }

    pub(super) fn revoke_for_user(&mut self, user: &UserId, only: Option<&GrantId>) -> Vec<Grant> {
        let own = self.grants.iter(self.now).map(|(_, family)| &family.grant);
        let ended: Vec<Grant> =
            own.filter(|g| g.user == *user && only.is_none_or(|id| g.id == *id)).cloned().collect();
        for grant in &ended {
            self.revoke(&grant.id);
        }
        ended
    }

    fn end_sessions(&mut self, user: &UserId, which: EndedSessions) -> u64 {
        let mut ended = 0;
        self.sessions.retain(self.now, |id, session| {
            let named = match &which {
                EndedSessions::One(one) => id == one,
                EndedSessions::AllBut(kept) => id != kept,
            };
            let ends = named && session.user == *user;
            ended += u64::from(ends);
            !ends
        });
        ended
    }
}
