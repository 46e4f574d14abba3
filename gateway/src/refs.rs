//! The values of referenced Secrets and ConfigMaps.
//!
//! In a pod they are mounted files, polled every five seconds, and the last good value is kept when one vanishes: what a
//! gateway needs for its work outlives a slip, what proves somebody does not ([`Refs::present`]). In `gatehouse dev` they
//! come from the manifests.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
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

    /// The value, unless it was taken away: for a secret that others prove themselves with, which whoever takes it away
    /// means to end.
    fn present(&self, key: &KeyRef) -> Option<Value> {
        self.get(key)
    }
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
    seen: RwLock<BTreeMap<KeyRef, Slot>>,
}

/// What is known of one key.
#[derive(Debug, Clone, Default)]
struct Slot {
    /// The last good value.
    last: Option<HiddenValue>,
    /// Whether there was no such file when it was last looked for.
    gone: bool,
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

    /// Reads every value that was asked for again; returns the keys whose value changed, came or went.
    pub fn poll(&self) -> Vec<KeyRef> {
        let keys: Vec<KeyRef> =
            self.seen.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        keys.into_iter().filter(|key| self.reload(key)).collect()
    }

    /// Reads one value; keeps the last good one when the file cannot be read. Whether it changed, came or went.
    fn reload(&self, key: &KeyRef) -> bool {
        let path = key.path_under(&self.root);
        // The kubelet swaps the directory behind the path: whoever looks in that moment finds neither, and looks again.
        let read = std::fs::read(&path).or_else(|_| std::fs::read(&path));
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        let slot = seen.entry(key.clone()).or_default();
        match read {
            Ok(new) => {
                let same = !slot.gone && slot.last.as_ref().is_some_and(|last| **last.0 == new);
                if !same {
                    *slot = Slot { last: Some(HiddenValue(Arc::new(Zeroizing::new(new)))), gone: false };
                }
                !same
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let went = slot.last.is_some() && !slot.gone;
                slot.gone = true;
                went
            }
            Err(_) => false,
        }
    }

    fn slot(&self, key: &KeyRef) -> Slot {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned().unwrap_or_default()
    }
}

impl Refs for MountedRefs {
    fn get(&self, key: &KeyRef) -> Option<Value> {
        if let Some(value) = self.slot(key).last {
            return Some(value.0);
        }
        self.reload(key);
        self.slot(key).last.map(|value| value.0)
    }

    fn present(&self, key: &KeyRef) -> Option<Value> {
        self.get(key).filter(|_| !self.slot(key).gone)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// A mounted Secret with the key `token`.
    struct Mount {
        refs: MountedRefs,
        key: KeyRef,
        file: PathBuf,
        _root: TempDir,
    }

    impl Mount {
        fn new() -> Self {
            let root = TempDir::new().unwrap();
            let key = KeyRef::secret("api", "token");
            fs::create_dir_all(key.dir_under(root.path())).unwrap();
            let file = key.path_under(root.path());
            Self { refs: MountedRefs::new(root.path()), key, file, _root: root }
        }

        /// The value that is needed, and the one that proves.
        fn values(&self) -> [Option<String>; 2] {
            let text = |value: Value| String::from_utf8(value.to_vec()).unwrap();
            [self.refs.get(&self.key).map(text), self.refs.present(&self.key).map(text)]
        }

        fn changed(&self) -> bool {
            let keys = self.refs.poll();
            assert!(keys.is_empty() || keys == [self.key.clone()], "{keys:?}");
            !keys.is_empty()
        }
    }

    fn both(value: &str) -> [Option<String>; 2] {
        [Some(value.to_owned()), Some(value.to_owned())]
    }

    #[test]
    fn a_changed_value_is_read_at_the_next_poll() {
        let mount = Mount::new();
        fs::write(&mount.file, "first").unwrap();
        assert!(!mount.changed(), "nobody asked for it yet");
        assert_eq!(mount.values(), both("first"));
        assert!(!mount.changed());
        fs::write(&mount.file, "second").unwrap();
        assert_eq!(mount.values(), both("first"), "a call reads no file");
        assert!(mount.changed());
        assert_eq!(mount.values(), both("second"));
    }

    #[test]
    fn one_that_appears_later_is_read_when_it_is_asked_for() {
        let mount = Mount::new();
        assert_eq!(mount.values(), [None, None]);
        assert!(!mount.changed());
        fs::write(&mount.file, "late").unwrap();
        assert_eq!(mount.values(), both("late"));
        assert!(!mount.changed(), "it is known");
    }

    #[test]
    fn one_that_cannot_be_read_stays() {
        let mount = Mount::new();
        fs::write(&mount.file, "good").unwrap();
        assert_eq!(mount.values(), both("good"));
        // Something is there, and is no file.
        fs::remove_file(&mount.file).unwrap();
        fs::create_dir(&mount.file).unwrap();
        assert!(!mount.changed());
        assert_eq!(mount.values(), both("good"));
    }

    #[test]
    fn one_that_is_taken_away_is_kept_and_proves_nothing() {
        let mount = Mount::new();
        fs::write(&mount.file, "good").unwrap();
        assert_eq!(mount.values(), both("good"));
        fs::remove_file(&mount.file).unwrap();
        assert!(mount.changed());
        assert_eq!(mount.values(), [Some("good".to_owned()), None]);
        assert!(!mount.changed(), "it is said once");
        fs::write(&mount.file, "good").unwrap();
        assert!(mount.changed());
        assert_eq!(mount.values(), both("good"));
    }
}
