//! What a watch has told of, so that what is new or vanished while it was interrupted is found by the next list.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

/// The objects of one watch by their names, each with a hash of what of it a pass looks at.
#[derive(Debug)]
pub(super) struct Listing<K> {
    known: HashMap<K, u64>,
    /// Those of the list that is being read: one that is interrupted tells nothing.
    listed: HashMap<K, u64>,
}

/// What a complete list told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed<K> {
    /// Those that are new, or other than they were.
    pub(super) news: Vec<K>,
    /// Those that are gone, although no event said so.
    pub(super) gone: Vec<K>,
}

impl<K> Default for Listing<K> {
    fn default() -> Self {
        Self { known: HashMap::new(), listed: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash> Listing<K> {
    /// A list begins.
    pub(super) fn begins(&mut self) {
        self.listed.clear();
    }

    /// An object is in the list. Whether it is new is told at the end: not before has the cache the list's objects, and a
    /// pass would find the old one, or none.
    pub(super) fn lists(&mut self, object: K, fingerprint: u64) {
        self.listed.insert(object, fingerprint);
    }

    /// The list is complete.
    pub(super) fn ends(&mut self) -> Listed<K> {
        let before = std::mem::replace(&mut self.known, std::mem::take(&mut self.listed));
        let news = self.known.iter().filter(|(object, now)| before.get(*object) != Some(now));
        let news = news.map(|(object, _)| object.clone()).collect();
        let now: HashSet<&K> = self.known.keys().collect();
        let gone = before.keys().filter(|object| !now.contains(object)).cloned().collect();
        Listed { news, gone }
    }

    /// An object was seen; whether there is anything new about it.
    pub(super) fn is_news(&mut self, object: K, fingerprint: u64) -> bool {
        self.known.insert(object, fingerprint) != Some(fingerprint)
    }

    /// An object is gone.
    pub(super) fn gone(&mut self, object: &K) {
        self.known.remove(object);
    }
}

/// A hash.
pub(super) fn fingerprint(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(listing: &mut Listing<&'static str>, objects: &[(&'static str, u64)]) -> Listed<&'static str> {
        listing.begins();
        for (object, fingerprint) in objects {
            listing.lists(object, *fingerprint);
        }
        let Listed { mut news, mut gone } = listing.ends();
        news.sort_unstable();
        gone.sort_unstable();
        Listed { news, gone }
    }

    #[test]
    fn what_is_new_and_what_vanished_between_two_lists_is_told_once() {
        let mut listing = Listing::default();
        assert_eq!(
            list(&mut listing, &[("one", 1), ("two", 1)]),
            Listed { news: vec!["one", "two"], gone: vec![] }
        );
        assert!(listing.is_news("later", 1));
        assert!(!listing.is_news("later", 1), "a status of our own");
        let told = list(&mut listing, &[("one", 2), ("three", 1)]);
        assert_eq!(told, Listed { news: vec!["one", "three"], gone: vec!["later", "two"] });
        assert_eq!(list(&mut listing, &[("one", 2), ("three", 1)]), Listed { news: vec![], gone: vec![] });
        listing.gone(&"three");
        assert!(listing.is_news("three", 1));
    }

    #[test]
    fn a_list_that_was_interrupted_takes_no_news_away() {
        let mut listing = Listing::default();
        listing.begins();
        listing.lists("one", 1);
        assert_eq!(list(&mut listing, &[("one", 1)]).news, ["one"]);
        listing.begins();
        listing.lists("one", 2);
        assert_eq!(list(&mut listing, &[("one", 2)]), Listed { news: vec!["one"], gone: vec![] });
    }
}
