//! A few words of memory about each policy between two passes.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};

use super::GuardedPolicy;
use crate::{
    crd::OAuthClientPolicyStatus,
    server::{scope::Scope, status::written::Written},
};

/// What is remembered.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<ObjectRef<GuardedPolicy>, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    /// The status that was written last.
    written: Written<OAuthClientPolicyStatus>,
    /// Failures in a row.
    failures: u32,
}

impl Memory {
    /// The status of a policy as it is now: the cached one, or the one that was written since.
    pub fn current_status(&self, policy: &GuardedPolicy) -> OAuthClientPolicyStatus {
        let cached = policy.status();
        let entries = self.entries();
        let written = entries.get(&name(policy)).map(|entry| &entry.written);
        let current = written.map_or(cached.cloned(), |written| written.or_cached(policy.meta(), cached));
        current.unwrap_or_default()
    }

    /// The version of that status.
    pub fn current_version(&self, policy: &GuardedPolicy) -> Option<String> {
        let entries = self.entries();
        let written = entries.get(&name(policy)).map(|entry| &entry.written);
        written.map_or(policy.resource_version(), |written| written.version_or_cached(policy.meta()))
    }

    /// Notes what was written of a policy, and the version that it made.
    pub fn wrote_status(&self, policy: &GuardedPolicy, version: u64, status: OAuthClientPolicyStatus) {
        self.entries().entry(name(policy)).or_default().written.note(policy.meta(), version, status);
    }

    /// A list of the policies of a scope begins.
    pub fn list_begins(&self, scope: &Scope) {
        for (_, entry) in self.entries().iter_mut().filter(|(policy, _)| is_in(scope, policy)) {
            entry.written.list_begins();
        }
    }

    /// It is complete, and the cache has it. Gives those that have another status than the one written last.
    pub fn list_ends(&self, scope: &Scope) -> Vec<ObjectRef<GuardedPolicy>> {
        let mut entries = self.entries();
        let differs = |(policy, entry): (&ObjectRef<GuardedPolicy>, &mut Entry)| {
            let cached = scope.policies.get(policy);
            let cached = cached.as_ref().and_then(|policy| policy.status());
            entry.written.list_ends(cached).then(|| policy.clone())
        };
        entries.iter_mut().filter(|(policy, _)| is_in(scope, policy)).filter_map(differs).collect()
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

fn is_in(scope: &Scope, policy: &ObjectRef<GuardedPolicy>) -> bool {
    policy.namespace.as_deref().is_some_and(|namespace| scope.covers(namespace))
}

fn name(policy: &GuardedPolicy) -> ObjectRef<GuardedPolicy> {
    ObjectRef::from_obj(policy)
}
