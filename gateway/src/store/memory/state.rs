//! Everything there is, and the time of the step that holds it.

use std::time::Duration;

use super::{
    super::{Heard, Quota},
    credential,
    events::EventLog,
    grant,
    table::Table,
    token, user,
};
use crate::model::{Flow, FlowId, GrantId, Hash32, Session, UserId};

const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The tables, and the time of the step that holds them.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) now: Duration,
    pub(super) unix: i64,
    pub(super) flows: Table<FlowId, Flow>,
    /// Until when a flow can be renewed.
    pub(super) flow_ends: Table<FlowId, ()>,
    pub(super) sessions: Table<Hash32, Session>,
    pub(super) consents: Table<(UserId, Hash32), i64>,
    pub(super) codes: Table<Hash32, token::Code>,
    pub(super) assertions: Table<Hash32, ()>,
    pub(super) access: Table<Hash32, GrantId>,
    pub(super) refresh: Table<Hash32, token::Refresh>,
    pub(super) grants: Table<GrantId, grant::Family>,
    pub(super) users: Table<UserId, user::User>,
    pub(super) credentials: Table<(UserId, String), credential::Credential>,
    /// The last version given to a credential; never used twice.
    pub(super) versions: u64,
    pub(super) hits: Table<String, u64>,
    /// What the operator says; tests do it in its place.
    pub(super) heard: Heard,
    pub(super) events: EventLog,
    swept: Duration,
}

impl State {
    /// Sets the time of the step that begins, and sweeps when it is time to.
    pub(super) fn begin(&mut self, now: Duration, unix: i64) {
        (self.now, self.unix) = (now, unix);
        if now >= self.swept + SWEEP_EVERY {
            self.sweep();
        }
    }

    /// Empties the tables. Versions and places in the list of events are still never used twice.
    pub(super) fn flush(&mut self) {
        let (versions, events) = (self.versions, self.events.after_flush());
        *self = Self { versions, events, ..Self::default() };
    }

    /// Counts a hit in a fixed window.
    pub(super) fn hit(&mut self, key: &str, window: Duration) -> (u64, Duration) {
        let now = self.now;
        if let Some(count) = self.hits.get_mut(key, now) {
            *count += 1;
            let count = *count;
            return (count, self.hits.life(key, now));
        }
        self.hits.put(key.to_owned(), 1, now + window);
        (1, window)
    }

    /// Counts a request in each window, if none is full.
    pub(super) fn admit(&mut self, quotas: &[Quota]) -> Option<Duration> {
        let now = self.now;
        let full = |quota: &&Quota| self.hits.get(&quota.key, now).is_some_and(|count| *count >= quota.count);
        if let Some(full) = quotas.iter().find(full) {
            return Some(self.hits.life(&full.key, now));
        }
        for quota in quotas {
            self.hit(&quota.key, quota.window);
        }
        None
    }

    fn sweep(&mut self) {
        let now = self.now;
        self.swept = now;
        self.flows.retain(now, |_, _| true);
        self.flow_ends.retain(now, |_, ()| true);
        self.sessions.retain(now, |_, _| true);
        self.consents.retain(now, |_, _| true);
        self.codes.retain(now, |_, _| true);
        self.assertions.retain(now, |_, ()| true);
        self.access.retain(now, |_, _| true);
        self.refresh.retain(now, |_, _| true);
        self.grants.retain(now, |_, _| true);
        self.users.retain(now, |_, _| true);
        self.credentials.retain(now, |_, _| true);
        self.hits.retain(now, |_, _| true);
    }
}
