//! A few words of memory about each policy between two passes.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};

use super::GuardedPolicy;

/// What is remembered.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<ObjectRef<GuardedPolicy>, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    /// The object, by UID and generation, of which was said that it cannot be read.
    unreadable: Option<(String, i64)>,
    /// Failures in a row.
    failures: u32,
}

impl Memory {
    /// Whether it was said of a policy that it cannot be read.
    pub fn told_unreadable(&self, policy: &GuardedPolicy) -> bool {
        let entries = self.entries();
        entries.get(&name(policy)).is_some_and(|entry| entry.unreadable == Some(version(policy)))
    }

    /// Notes that it was said.
    pub fn tells_unreadable(&self, policy: &GuardedPolicy) {
        self.entries().entry(name(policy)).or_default().unreadable = Some(version(policy));
    }

    /// Notes that a pass failed. How many did in a row.
    pub fn failed(&self, policy: &GuardedPolicy) -> u32 {
        let mut entries = self.entries();
        let entry = entries.entry(name(policy)).or_default();
        entry.failures = entry.failures.saturating_add(1);
        entry.failures
    }

    /// Notes that a pass went through.
    pub fn succeeded(&self, policy: &GuardedPolicy) {
        if let Some(entry) = self.entries().get_mut(&name(policy)) {
            entry.failures = 0;
        }
    }

    /// Forgets a policy that is gone.
    pub fn forget(&self, policy: &ObjectRef<GuardedPolicy>) {
        self.entries().remove(policy);
    }

    /// Whether nothing is remembered.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<ObjectRef<GuardedPolicy>, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(policy: &GuardedPolicy) -> ObjectRef<GuardedPolicy> {
    ObjectRef::from_obj(policy)
}

fn version(policy: &GuardedPolicy) -> (String, i64) {
    (policy.uid().unwrap_or_default(), policy.meta().generation.unwrap_or_default())
}
