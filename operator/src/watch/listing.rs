//! What a watch has told of, so that what vanished while it was interrupted is found by the next list.

use std::collections::{HashMap, HashSet};

use crate::server::fetch::ServerName;

/// The servers of one watch.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// What of each a pass looks at, as a hash.
    known: HashMap<ServerName, u64>,
    /// Those of the list that is being read.
    listed: HashSet<ServerName>,
}

impl Listing {
    /// A list begins.
    pub(super) fn begins(&mut self) {
        self.listed.clear();
    }

    /// A server is in the list.
    pub(super) fn lists(&mut self, server: ServerName) {
        self.listed.insert(server);
    }

    /// A server was seen; whether there is anything new about it.
    pub(super) fn is_news(&mut self, server: ServerName, fingerprint: u64) -> bool {
        self.known.insert(server, fingerprint) != Some(fingerprint)
    }

    /// A server is gone.
    pub(super) fn gone(&mut self, server: &ServerName) {
        self.known.remove(server);
    }

    /// The list is complete. Gives those that it did not name: they are gone, although no event said so.
    pub(super) fn ends(&mut self) -> Vec<ServerName> {
        let listed = std::mem::take(&mut self.listed);
        self.known.extract_if(|server, _| !listed.contains(server)).map(|(server, _)| server).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ServerName {
        ServerName { namespace: "a".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn what_vanished_between_two_lists_is_gone() {
        let mut listing = Listing::default();
        listing.begins();
        for server in ["one", "two"] {
            listing.lists(name(server));
            assert!(listing.is_news(name(server), 1));
        }
        assert!(listing.ends().is_empty());
        assert!(listing.is_news(name("later"), 1));
        assert!(!listing.is_news(name("later"), 1), "a status of our own");
        listing.begins();
        listing.lists(name("one"));
        let mut gone = listing.ends();
        gone.sort();
        assert_eq!(gone, [name("later"), name("two")]);
        listing.begins();
        listing.lists(name("one"));
        assert!(listing.ends().is_empty(), "each is told once");
    }
}
