//! The memory of what was written: a watch tells it late, and whoever looks meanwhile would write and tell it again.

use kube::api::ObjectMeta;

/// The version of what the API server refuses for good: newer than any, so that the same is not told again.
pub const REFUSED: u64 = u64::MAX;

/// The status that was written last of one object.
#[derive(Debug, Clone)]
pub struct Written<S>(Option<Entry<S>>);

#[derive(Debug, Clone)]
struct Entry<S> {
    uid: Option<String>,
    /// The version that it made.
    version: u64,
    status: S,
    /// Whether a list of the objects began since.
    precedes_list: bool,
}

impl<S> Default for Written<S> {
    fn default() -> Self {
        Self(None)
    }
}

impl<S: Clone> Written<S> {
    /// Notes what was written, and the version that it made.
    pub fn note(&mut self, meta: &ObjectMeta, version: u64, status: S) {
        self.0 = Some(Entry { uid: meta.uid.clone(), version, status, precedes_list: false });
    }

    /// A list of the objects begins.
    pub fn list_begins(&mut self) {
        if let Some(written) = &mut self.0 {
            written.precedes_list = true;
        }
    }

    /// It is complete, and the cache has it. What was written before it began is in there, whatever the versions say: an etcd
    /// that was restored counts on from an earlier one. Whether the cache has something else.
    pub fn list_ends(&mut self, cached: Option<&S>) -> bool
    where
        S: PartialEq,
    {
        // What was refused is in no list.
        let written = self.0.take_if(|written| written.precedes_list && written.version != REFUSED);
        written.is_some_and(|written| cached != Some(&written.status))
    }

    /// The status as it is now: the cached one, or the one that was written since.
    pub fn or_cached(&self, meta: &ObjectMeta, cached: Option<&S>) -> Option<S> {
        self.ahead_of(meta).map_or(cached.cloned(), |written| Some(written.status.clone()))
    }

    /// The version of that one.
    pub fn version_or_cached(&self, meta: &ObjectMeta) -> Option<String> {
        let written = self.ahead_of(meta).filter(|written| written.version != REFUSED);
        written.map_or(meta.resource_version.clone(), |written| Some(written.version.to_string()))
    }

    fn ahead_of(&self, meta: &ObjectMeta) -> Option<&Entry<S>> {
        let version: u64 =
            meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default();
        self.0.as_ref().filter(|written| written.version > version && written.uid == meta.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_counts_until_the_cache_has_it_or_something_newer() {
        let meta = |uid: &str, version: &str| ObjectMeta {
            uid: Some(uid.to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        };
        let mut written = Written::default();
        assert_eq!(written.or_cached(&meta("a", "3"), Some(&"cached")), Some("cached"));
        written.note(&meta("a", "3"), 4, "written");
        assert_eq!(written.or_cached(&meta("a", "3"), Some(&"cached")), Some("written"));
        assert_eq!(written.or_cached(&meta("a", "3"), None), Some("written"));
        assert_eq!(written.version_or_cached(&meta("a", "3")).as_deref(), Some("4"));
        assert_eq!(written.version_or_cached(&meta("a", "5")).as_deref(), Some("5"));
        written.note(&meta("a", "5"), REFUSED, "refused");
        assert_eq!(written.or_cached(&meta("a", "5"), Some(&"cached")), Some("refused"));
        assert_eq!(written.version_or_cached(&meta("a", "5")).as_deref(), Some("5"));
        written.note(&meta("a", "3"), 4, "written");
        assert_eq!(written.or_cached(&meta("a", "4"), Some(&"cached")), Some("cached"));
        assert_eq!(written.or_cached(&meta("b", "3"), None), None, "another of the same name");
    }

    #[test]
    fn after_a_restore_a_list_wins_although_its_versions_are_lower() {
        let meta = ObjectMeta { resource_version: Some("3".to_owned()), ..ObjectMeta::default() };
        let mut written = Written::default();
        written.list_begins();
        assert!(!written.list_ends(Some(&"cached")), "nothing was written");
        written.note(&meta, 1000, "written");
        assert!(!written.list_ends(Some(&"cached")), "it was written during the list");
        written.list_begins();
        assert_eq!(written.or_cached(&meta, Some(&"cached")), Some("written"), "the list is not complete");
        assert!(written.list_ends(Some(&"cached")));
        assert_eq!(written.or_cached(&meta, Some(&"cached")), Some("cached"));
        written.note(&meta, 1001, "same");
        written.list_begins();
        assert!(!written.list_ends(Some(&"same")));
        written.note(&meta, REFUSED, "refused");
        written.list_begins();
        assert!(!written.list_ends(Some(&"cached")), "it is refused again");
        assert_eq!(written.or_cached(&meta, Some(&"cached")), Some("refused"));
    }
}
