//! Which servers share a host, and which of them had it first.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use url::{Host, Url};

use super::fetch::ServerName;
use crate::crd::McpServer;

/// The host of a spec's URL. `None` when it is the machine itself, which every port-forward shares, or no URL.
pub fn host(server: &McpServer) -> Option<String> {
    host_of(&server.spec.url)
}

/// The host of a URL, under the same exception.
pub fn host_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let host = url.host()?;
    let loopback = match &host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    (!loopback).then(|| host.to_string())
}

/// Servers by host. Clones share the state.
#[derive(Debug, Clone, Default)]
pub struct Peers {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    host_of: HashMap<ServerName, String>,
    on_host: HashMap<String, BTreeSet<ServerName>>,
}

impl Peers {
    /// A server was seen with this host, or is gone. Returns the other servers of its old and its new host, when the
    /// two differ: each of them may have become, or no longer be, the incumbent.
    pub fn moved(&self, server: &ServerName, host: Option<String>) -> Vec<ServerName> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let old = state.host_of.get(server).cloned();
        if old == host {
            return Vec::new();
        }
        let mut touched = BTreeSet::new();
        if let Some(old) = old {
            state.host_of.remove(server);
            if let Some(on_host) = state.on_host.get_mut(&old) {
                on_host.remove(server);
                touched.extend(on_host.iter().cloned());
                if on_host.is_empty() {
                    state.on_host.remove(&old);
                }
            }
        }
        if let Some(new) = host {
            state.host_of.insert(server.clone(), new.clone());
            let on_host = state.on_host.entry(new).or_default();
            touched.extend(on_host.iter().cloned());
            on_host.insert(server.clone());
        }
        touched.into_iter().collect()
    }

    /// The other servers of a host.
    pub fn on_host(&self, host: &str, except: &ServerName) -> Vec<ServerName> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.on_host.get(host).into_iter().flatten().filter(|name| *name != except).cloned().collect()
    }
}

/// One of several servers that want the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The server.
    pub name: ServerName,
    /// Whether its status says that it has it. Only the operator writes that, and only of a server that it accepted.
    pub holds: bool,
    /// Whether its keys say that it has had it: this survives a restore, which makes every creation time new.
    pub recorded: bool,
    /// When it was made.
    pub created: Option<Timestamp>,
}

impl Candidate {
    /// A server as a candidate.
    pub fn of(server: &McpServer, holds: bool) -> Self {
        let name = ServerName { namespace: server.namespace().unwrap_or_default(), name: server.name_any() };
        Self {
            name,
            holds,
            recorded: false,
            created: server.metadata.creation_timestamp.as_ref().map(|time| time.0),
        }
    }
}

/// The one that had it first. What a tenant could write, the annotation of its keys and the age of an object whose URL
/// was changed since, counts only where no status tells: after a restore, and for what nobody has had.
pub fn incumbent(candidates: &[Candidate]) -> Option<&ServerName> {
    let order = |c: &&Candidate| (!c.holds, !c.recorded, c.created.is_none(), c.created, c.name.clone());
    candidates.iter().min_by_key(order).map(|candidate| &candidate.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ServerName {
        ServerName { namespace: "a".to_owned(), name: name.to_owned() }
    }

    fn candidate(text: &str, recorded: bool, second: i64) -> Candidate {
        Candidate {
            name: name(text),
            holds: false,
            recorded,
            created: Some(Timestamp::from_second(second).unwrap()),
        }
    }

    #[test]
    fn a_record_beats_age_and_age_beats_the_name() {
        let order = |candidates: &[Candidate]| incumbent(candidates).map(|n| n.name.clone()).unwrap();
        assert_eq!(order(&[candidate("a", false, 5), candidate("b", false, 3)]), "b");
        assert_eq!(order(&[candidate("a", true, 5), candidate("b", false, 3)]), "a");
        assert_eq!(order(&[candidate("b", false, 3), candidate("a", false, 3)]), "a");
    }

    #[test]
    fn what_the_operator_wrote_beats_what_a_tenant_can_write() {
        let forged = candidate("a", true, 3);
        let holder = Candidate { holds: true, ..candidate("b", false, 5) };
        assert_eq!(incumbent(&[forged, holder]).map(|n| n.name.as_str()), Some("b"));
    }

    #[test]
    fn the_servers_of_the_old_and_of_the_new_host_are_touched() {
        let peers = Peers::default();
        let on = |host: &str| Some(host.to_owned());
        assert!(peers.moved(&name("one"), on("x")).is_empty());
        assert_eq!(peers.moved(&name("two"), on("x")), [name("one")]);
        peers.moved(&name("three"), on("y"));
        assert!(peers.moved(&name("two"), on("x")).is_empty(), "nothing moved");
        assert_eq!(peers.moved(&name("two"), on("y")), [name("one"), name("three")]);
        assert_eq!(peers.moved(&name("three"), None), [name("two")]);
        assert_eq!(peers.on_host("y", &name("two")), []);
    }

    #[test]
    fn loopback_hosts_belong_to_nobody() {
        for url in ["http://localhost:8080/mcp", "http://127.0.0.1/mcp", "http://[::1]:1/mcp"] {
            assert_eq!(host_of(url), None, "{url}");
        }
        assert_eq!(host_of("https://h.example.com:8443/mcp").as_deref(), Some("h.example.com"));
    }
}
