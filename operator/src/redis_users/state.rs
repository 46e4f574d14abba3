//! What the operator knows of Redis, and what servers say of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{index::Instance, info::kind, isolation::Door};

/// What is known of Redis.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisState {
    /// Why it does not work; `None` when it does.
    pub failure: Option<String>,
    /// Settings of it that would lose data or turn users away.
    pub warnings: Vec<String>,
    /// What the warnings are about.
    pub(super) warned_of: BTreeSet<String>,
    /// Whether whoever has no password gets in.
    pub(super) door: Door,
    /// The users that are in force on the present connection.
    pub(super) users: BTreeSet<String>,
    /// The users that Redis refused, with its reason.
    pub(super) refused: BTreeMap<String, String>,
    /// Whose `access.deny` Redis refused, with its reason.
    pub(super) denials: BTreeMap<Instance, String>,
}

impl RedisState {
    /// Whether a user is in force.
    ///
    /// # Errors
    /// Why not, in words for a condition.
    pub fn user(&self, name: &str) -> Result<(), String> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if let Some(reason) = self.refused.get(name) {
            return Err(format!("Redis refused the ACL user of this server: {reason}"));
        }
        if self.users.contains(name) { Ok(()) } else { Err("the ACL user is being made".to_owned()) }
    }

    /// What is to be said of the `access.deny` of an instance.
    pub fn denial(&self, instance: &Instance) -> Option<String> {
        let reason = self.denials.get(instance)?;
        Some(format!(
            "Redis refused to take access.deny: {reason}; until it does, an edit is in force only in pods of the new \
             configuration"
        ))
    }
}

/// What servers were told of Redis. Words that change are no news: thousands of servers would say them anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Whether Redis works, what is warned of, and whom it lets in.
    common: (Option<&'static str>, BTreeSet<String>, Door),
    /// Whose `access.deny` it refuses.
    refused: BTreeSet<Instance>,
}

/// Whom a change of Redis concerns.
#[derive(Debug, PartialEq, Eq)]
pub enum Concerned {
    /// Every server.
    All,
    /// The servers with these keys.
    These(BTreeSet<Instance>),
}

impl Told {
    pub(super) fn of(state: &RedisState) -> Self {
        let common = (state.failure.as_deref().map(kind), state.warned_of.clone(), state.door);
        Self { common, refused: state.denials.keys().cloned().collect() }
    }

    /// Whom it concerns that this is what is told now.
    pub(super) fn concerns(&self, now: &Self) -> Concerned {
        if self.common == now.common {
            Concerned::These(self.refused.symmetric_difference(&now.refused).cloned().collect())
        } else {
            Concerned::All
        }
    }
}
