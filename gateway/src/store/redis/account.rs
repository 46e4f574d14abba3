//! Steps of a user's own page.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    RedisStore,
    script::{self, Reply, Step, millis, unexpected},
};
use crate::{
    keys::Sealed,
    model::{FlowId, Grant, GrantId, Hash32, Session, UserId, user::IDENTITY_CREDENTIAL},
    store::{
        AccountRecord, AccountSteps, EndedSessions, Ending, GRANTS_LISTED, ListedGrant, ListedSession,
        Result, SESSIONS_LISTED, Unfinished, UserUpdate, keys,
    },
};

/// What a script says that ended a batch and left some.
pub(super) const MORE: &str = "more";

impl Reply {
    /// Whether a batch left some.
    pub(super) fn more(&mut self) -> Result<bool> {
        Ok(self.tag()? == MORE)
    }
}

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

    async fn revoke_for_user(&self, user: &UserId, grant: Option<&GrantId>) -> Ending<Vec<Grant>> {
        let step = || {
            let step = self.step(&script::REVOKE_FOR_USER).arg(keys::user(user));
            step.arg(grant.map(keys::grant).unwrap_or_default())
        };
        let read = |all: &mut Vec<Grant>, reply: &mut Reply| {
            all.extend(self.ended_grants(user, reply)?);
            reply.more()
        };
        self.in_batches(step, read).await
    }

    async fn end_sessions(&self, user: &UserId, which: EndedSessions) -> Ending<u64> {
        let (only, kept) = match which {
            EndedSessions::One(one) => (keys::session(&one), String::new()),
            EndedSessions::AllBut(kept) => (String::new(), keys::session(&kept)),
        };
        let step = || self.step(&script::END_SESSIONS).arg(keys::user(user)).arg(&only).arg(&kept);
        let read = |ended: &mut u64, reply: &mut Reply| {
            *ended += reply.number::<u64>().ok_or_else(unexpected)?;
            reply.more()
        };
        self.in_batches(step, read).await
    }
}

impl RedisStore {
    /// Sends a step until it leaves nothing. `read` adds what an answer says, and says whether some is left. A batch that
    /// too few replicas acknowledge keeps the next from nothing: it did happen.
    pub(super) async fn in_batches<T: Default>(
        &self,
        step: impl Fn() -> Step,
        read: impl Fn(&mut T, &mut Reply) -> Result<bool>,
    ) -> Ending<T> {
        let (mut done, mut all) = (T::default(), Ok(()));
        loop {
            let batch = self.try_claim(step()).await.and_then(|(mut reply, acknowledged)| {
                let left = read(&mut done, &mut reply)?;
                Ok((left, acknowledged))
            });
            match batch {
                Ok((true, acknowledged)) => all = all.and(acknowledged),
                Ok((false, acknowledged)) => {
                    return match all.and(acknowledged) {
                        Ok(()) => Ok(done),
                        Err(error) => Err(Unfinished { done, error }),
                    };
                }
                Err(error) => return Err(Unfinished { done, error }),
            }
        }
    }

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
