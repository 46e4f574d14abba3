//! The values of referenced Secrets and ConfigMaps.
//!
//! In a pod they are mounted files, polled every five seconds, and the last good value is kept when one vanishes. In
//! `gatehouse dev` they come from the manifests.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use gatehouse_gateway_config::KeyRef;
use zeroize::Zeroizing;

/// The bytes of one referenced key. Never displayed.
pub type Value = Arc<Zeroizing<Vec<u8>>>;

/// Where referenced values come from.
pub trait Refs: Send + Sync + std::fmt::Debug {
    /// The current value, or `None` when there has never been one.
    fn get(&self, key: &KeyRef) -> Option<Value>;
}

/// Values that are given once, for `gatehouse dev` and tests.
#[derive(Clone, Default)]
pub struct FixedRefs(BTreeMap<KeyRef, Value>);

impl FixedRefs {
    /// Adds a value.
    pub fn insert(&mut self, key: KeyRef, value: Vec<u8>) {
        self.0.insert(key, Arc::new(Zeroizing::new(value)));
    }
}

impl std::fmt::Debug for FixedRefs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Refs for FixedRefs {
    fn get(&self, key: &KeyRef) -> Option<Value> {
        self.0.get(key).cloned()
    }
}

/// Mounted files below a directory, read on first use and again at each [`MountedRefs::poll`].
#[derive(Debug)]
pub struct MountedRefs {
    root: PathBuf,
    seen: RwLock<BTreeMap<KeyRef, Option<HiddenValue>>>,
}

#[derive(Clone)]
struct HiddenValue(Value);

impl std::fmt::Debug for HiddenValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl MountedRefs {
    /// Values below `root`, see [`KeyRef::path_under`].
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), seen: RwLock::default() }
    }

    /// Reads every value that was asked for again; returns the keys whose value changed.
    pub fn poll(&self) -> Vec<KeyRef> {
        let keys: Vec<KeyRef> =
            self.seen.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        keys.into_iter().filter(|key| self.reload(key)).collect()
    }

    /// Reads one value; keeps the last good one when the file cannot be read. Whether it changed.
    fn reload(&self, key: &KeyRef) -> bool {
        let read = std::fs::read(key.path_under(&self.root)).ok();
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        let slot = seen.entry(key.clone()).or_default();
        match (read, slot.as_ref()) {
            (None, _) => false,
            (Some(new), Some(old)) if **old.0 == new => false,
            (Some(new), _) => {
                *slot = Some(HiddenValue(Arc::new(Zeroizing::new(new))));
                true
            }
        }
    }
}

impl Refs for MountedRefs {
    fn get(&self, key: &KeyRef) -> Option<Value> {
        let known = self.seen.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        if let Some(Some(value)) = known {
            return Some(value.0);
        }
        self.reload(key);
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.get(key).cloned().flatten().map(|v| v.0)
    }
}
