//! Which servers name which Services as their backends, so that an edit of one is looked at at once. Of a Service a digest
//! is kept, and only while a server names it: a cluster has many.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::fetch::ServerName;

/// The Services that servers name.
#[derive(Debug, Default)]
pub struct Backends(Mutex<State>);

/// A Service by namespace and name.
type Key = (String, String);

#[derive(Debug, Default)]
struct State {
    services: HashMap<Key, Service>,
    of_server: HashMap<ServerName, BTreeSet<String>>,
    /// What a list that is in progress has named so far, by the scope of its watch.
    listing: HashMap<String, HashSet<Key>>,
}

#[derive(Debug, Default)]
struct Service {
    /// The servers that name it, by their names: they are in its namespace.
    servers: BTreeSet<String>,
    seen: Seen,
}

/// What the watch told of a Service last.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Nothing since a server names it: whatever comes next may be news to a pass that has read it.
    #[default]
    Nothing,
    Absent,
    Present(Sighting),
}

/// What is kept of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// A digest of what a pass reads.
    pub digest: u64,
    /// A digest of its version.
    pub version: u64,
}

impl Backends {
    /// A server names these Services, and no others.
    pub fn names(&self, server: &ServerName, services: BTreeSet<String>) {
        let mut state = self.lock();
        let key = |service: &String| (server.namespace.clone(), service.clone());
        let before = state.of_server.remove(server).unwrap_or_default();
        for service in before.difference(&services) {
            let key = key(service);
            if let Some(named) = state.services.get_mut(&key) {
                named.servers.remove(&server.name);
                if named.servers.is_empty() {
                    state.services.remove(&key);
                }
            }
        }
        for service in services.difference(&before) {
            let key = key(service);
            let named = state.services.entry(key.clone()).or_default();
            named.servers.insert(server.name.clone());
            if named.seen == Seen::Nothing {
                // A list in progress may have been past it, unasked, so its end says nothing of it.
                for (_, listed) in state.listing.iter_mut().filter(|(scope, _)| covers(scope, &key)) {
                    listed.insert(key.clone());
                }
            }
        }
        if !services.is_empty() {
            state.of_server.insert(server.clone(), services);
        }
    }

    /// A Service was seen. Returns the servers to look at, if this changed anything.
    pub fn saw(&self, namespace: &str, name: &str, now: Sighting) -> Vec<ServerName> {
        let key = (namespace.to_owned(), name.to_owned());
        let mut state = self.lock();
        if let Some(Service { seen: Seen::Present(before), .. }) = state.services.get_mut(&key)
            && before.digest == now.digest
        {
            *before = now;
            return Vec::new();
        }
        state.sees(&key, Seen::Present(now))
    }

    /// A Service is gone. Returns the servers to look at.
    pub fn gone(&self, namespace: &str, name: &str) -> Vec<ServerName> {
        self.lock().sees(&(namespace.to_owned(), name.to_owned()), Seen::Absent)
    }

    /// A list begins; `scope` is the namespace of the watch, or empty for all.
    pub fn list_begins(&self, scope: &str) {
        self.lock().listing.insert(scope.to_owned(), HashSet::new());
    }

    /// A list names a Service. Returns the servers to look at, if it is of another version: what it was between the two, a
    /// pass may have read.
    pub fn listed(&self, scope: &str, namespace: &str, name: &str, now: Sighting) -> Vec<ServerName> {
        let mut state = self.lock();
        let key = (namespace.to_owned(), name.to_owned());
        if state.services.contains_key(&key)
            && let Some(listed) = state.listing.get_mut(scope)
        {
            listed.insert(key.clone());
        }
        state.sees(&key, Seen::Present(now))
    }

    /// A list is complete: what it did not name does not exist, although no event said so. Returns the servers to look at.
    pub fn list_ends(&self, scope: &str) -> Vec<ServerName> {
        let mut state = self.lock();
        let Some(listed) = state.listing.remove(scope) else { return Vec::new() };
        let missing = state.services.keys().filter(|key| covers(scope, key) && !listed.contains(*key));
        let missing: Vec<Key> = missing.cloned().collect();
        missing.iter().flat_map(|key| state.sees(key, Seen::Absent)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn sees(&mut self, key: &Key, seen: Seen) -> Vec<ServerName> {
        let Some(service) = self.services.get_mut(key) else { return Vec::new() };
        if std::mem::replace(&mut service.seen, seen) == seen {
            return Vec::new();
        }
        let name = |name: &String| ServerName { namespace: key.0.clone(), name: name.clone() };
        service.servers.iter().map(name).collect()
    }
}

fn covers(scope: &str, key: &Key) -> bool {
    scope.is_empty() || key.0 == scope
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str) -> ServerName {
        ServerName { namespace: "a".to_owned(), name: name.to_owned() }
    }

    fn backends(named: &[(&str, &str)]) -> Backends {
        let backends = Backends::default();
        for (name, service) in named {
            backends.names(&server(name), [(*service).to_owned()].into());
        }
        backends
    }

    fn at(version: u64, digest: u64) -> Sighting {
        Sighting { digest, version }
    }

    #[test]
    fn an_edit_concerns_those_that_name_it_and_only_what_changed_is_one() {
        let backends = backends(&[("one", "tools"), ("two", "tools"), ("three", "other")]);
        let both = [server("one"), server("two")];
        assert_eq!(backends.saw("a", "tools", at(1, 1)), both, "they may have read another");
        assert_eq!(backends.saw("a", "tools", at(2, 1)), [], "an annotation");
        assert_eq!(backends.saw("b", "tools", at(3, 2)), [], "of another namespace");
        assert_eq!(backends.saw("a", "tools", at(4, 2)), both);
        assert_eq!(backends.gone("a", "tools"), both);
        assert_eq!(backends.gone("a", "tools"), []);
        assert_eq!(backends.saw("a", "tools", at(5, 2)), both, "it is back");
    }

    #[test]
    fn what_nobody_names_is_not_kept() {
        let backends = backends(&[("one", "tools")]);
        backends.list_begins("");
        for name in ["tools", "nobodys"] {
            backends.listed("", "a", name, at(1, 1));
        }
        assert_eq!(backends.lock().listing[""].len(), 1);
        backends.list_ends("");
        backends.names(&server("one"), ["other".to_owned()].into());
        assert_eq!(backends.saw("a", "tools", at(2, 2)), []);
        assert_eq!(backends.saw("a", "other", at(3, 1)), [server("one")]);
        backends.names(&server("one"), BTreeSet::new());
        let state = backends.lock();
        assert!(state.services.is_empty() && state.of_server.is_empty() && state.listing.is_empty());
    }

    #[test]
    fn what_happened_while_no_watch_told_is_found_by_the_list() {
        let backends =
            backends(&[("one", "vanishes"), ("two", "changes"), ("three", "stays"), ("four", "returns")]);
        let list = |scope: &str, services: &[(&str, Sighting)]| {
            backends.list_begins(scope);
            let listed = |(name, now): &(&str, Sighting)| backends.listed(scope, "a", name, *now);
            let mut touched: Vec<ServerName> = services.iter().flat_map(listed).collect();
            touched.extend(backends.list_ends(scope));
            touched
        };
        let all = ["vanishes", "changes", "stays", "returns"].map(|name| (name, at(1, 1)));
        assert_eq!(list("", &all).len(), 4);
        assert_eq!(list("", &all), []);
        assert_eq!(list("b", &[]), [], "a list of another namespace says nothing of this one");
        // The last was another in between.
        let later = [("changes", at(2, 2)), ("stays", at(1, 1)), ("returns", at(3, 1))];
        assert_eq!(list("", &later), [server("two"), server("four"), server("one")]);
        assert_eq!(list("a", &later), []);
    }

    #[test]
    fn what_is_named_while_a_list_is_read_is_not_taken_for_absent() {
        let backends = backends(&[]);
        backends.list_begins("");
        assert_eq!(backends.listed("", "a", "tools", at(1, 1)), []);
        backends.names(&server("one"), ["tools".to_owned()].into());
        assert_eq!(backends.list_ends(""), []);
        assert_eq!(backends.gone("a", "tools"), [server("one")], "it was there, as far as its pass knows");
    }
}
