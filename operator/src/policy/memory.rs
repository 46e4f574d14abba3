//! A few words of memory about each policy between two passes.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::{Resource, ResourceExt};

use super::GuardedPolicy;

/// What is remembered, by UID.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<String, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    /// The generation of which was said that it cannot be read.
    unreadable: Option<i64>,
    /// Failures in a row.
    failures: u32,
}

impl Memory {
    /// Whether it was said of a policy that it cannot be read.
    pub fn told_unreadable(&self, policy: &GuardedPolicy) -> bool {
        let generation = policy.meta().generation.unwrap_or_default();
        self.entries().get(&uid(policy)).is_some_and(|entry| entry.unreadable == Some(generation))
    }

    /// Notes that it was said.
    pub fn tells_unreadable(&self, policy: &GuardedPolicy) {
        let generation = policy.meta().generation.unwrap_or_default();
        self.entries().entry(uid(policy)).or_default().unreadable = Some(generation);
    }

    /// Notes that a pass failed. How many did in a row.
    pub fn failed(&self, policy: &GuardedPolicy) -> u32 {
        let mut entries = self.entries();
        let entry = entries.entry(uid(policy)).or_default();
        entry.failures = entry.failures.saturating_add(1);
        entry.failures
    }

    /// Notes that a pass went through.
    pub fn succeeded(&self, policy: &GuardedPolicy) {
        if let Some(entry) = self.entries().get_mut(&uid(policy)) {
            entry.failures = 0;
        }
    }

    /// Forgets a policy that is gone.
    pub fn forget(&self, policy: &GuardedPolicy) {
        self.entries().remove(&uid(policy));
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn uid(policy: &GuardedPolicy) -> String {
    policy.uid().unwrap_or_default()
}
