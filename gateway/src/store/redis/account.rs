//! Steps of a user's own page.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    RedisStore,
    script::{self, Reply, millis, unexpected},
};
use crate::{
    keys::Sealed,
    model::{FlowId, Grant, GrantId, Hash32, Session, UserId, user::IDENTITY_CREDENTIAL},
    store::{
        AccountRecord, AccountSteps, EndedSessions, GRANTS_LISTED, ListedGrant, ListedSession, Result,
        SESSIONS_LISTED, UserUpdate, keys,
    },
};

/// What a script says that ended a batch and left some.
pub(super) const MORE: &str = "more";

#[async_trait]
impl AccountSteps for RedisStore {
    async fn sign_in_at_provider(
        &self,
        (flow, attempt): (&FlowId, u32),
        user: &UserUpdate,
        credential: Option<&Sealed>,
        (id, session, life): (&Hash32, &Session, Duration),
    ) -> Result<bool> {
        let (user_key, profile, user_mac) = self.user_args(user);
        let session_key = keys::session(id);
        let (text, mac) = self.sealed_json(&session_key, session);
        let step = self.step(&script::SIGN_IN_AT_PROVIDER).arg(keys::flow(flow)).arg(attempt);
        let step = step.arg(user_key).arg(&user.identity).arg(profile).arg(user_mac);
        let step = step
            .arg(keys::credential(&user.id, IDENTITY_CREDENTIAL))
            .optional(credential.map(Sealed::as_bytes));
        self.run(step.arg(session_key).arg(text).arg(mac).arg(millis(life))).await?.yes()
    }

    async fn account(&self, user: &UserId) -> Result<AccountRecord> {
        let step = self.step(&script::ACCOUNT).arg(keys::user(user));
        let mut reply = self.run(step.arg(GRANTS_LISTED).arg(SESSIONS_LISTED)).await?;
        let grants = reply.number::<usize>().ok_or_else(unexpected)?;
        let mut record = AccountRecord::default();
        for _ in 0..grants {
            let (grant, used_ago) = (self.named_grant(user, &mut reply), reply.millis());
            record
                .grants
                .extend(grant.zip(used_ago).map(|(grant, used_ago)| ListedGrant { grant, used_ago }));
        }
        record.grants.sort_by_key(|listed| listed.used_ago);
        while let Some(key) = reply.text() {
            let id = key.strip_prefix(keys::SESSION).and_then(Hash32::parse);
            let session =
                id.and_then(|id| Some(ListedSession { id, session: self.read_session(&id, &mut reply)? }));
            record.sessions.extend(session.filter(|listed| listed.session.user == *user));
        }
        Ok(record)
    }

    async fn revoke_for_user(&self, user: &UserId, grant: Option<&GrantId>) -> Result<Vec<Grant>> {
        let mut all = Vec::new();
        loop {
            let step = self.step(&script::REVOKE_FOR_USER).arg(keys::user(user));
            let mut reply = self.claim(step.arg(grant.map(keys::grant).unwrap_or_default())).await?;
            all.extend(self.ended_grants(user, &mut reply)?);
            if reply.tag()? != MORE {
                return Ok(all);
            }
        }
    }

    async fn end_sessions(&self, user: &UserId, which: EndedSessions) -> Result<u64> {
        let (only, kept) = match which {
            EndedSessions::One(one) => (keys::session(&one), String::new()),
            EndedSessions::AllBut(kept) => (String::new(), keys::session(&kept)),
        };
        let mut ended = 0;
        loop {
            let step = self.step(&script::END_SESSIONS).arg(keys::user(user)).arg(&only).arg(&kept);
            let mut reply = self.claim(step).await?;
            ended += reply.number::<u64>().ok_or_else(unexpected)?;
            if reply.tag()? != MORE {
                return Ok(ended);
            }
        }
    }
}

impl RedisStore {
    /// Reads what `revoke_all` in the prelude returns.
    pub(super) fn ended_grants(&self, user: &UserId, reply: &mut Reply) -> Result<Vec<Grant>> {
        let count = reply.number::<usize>().ok_or_else(unexpected)?;
        Ok((0..count).filter_map(|_| self.named_grant(user, reply)).collect())
    }

    /// Reads a grant's key, content and MAC. An index is not under a MAC, so the grant itself says whose it is.
    fn named_grant(&self, user: &UserId, reply: &mut Reply) -> Option<Grant> {
        let id = reply.text().and_then(|key| key.strip_prefix(keys::GRANT).and_then(GrantId::parse));
        // Read in any case: what follows is the next one's.
        let grant = self.read_grant(&id.unwrap_or(GrantId::from_bytes([0; 16])), reply);
        grant.filter(|grant| grant.user == *user)
    }
}
