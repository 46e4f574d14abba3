//! Which servers share a host, and which of them had it first.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
use url::{Host, Url};

use super::{
    fetch::ServerName,
    guarded::{GuardedServer, UnreadableServer},
    refs,
};
use crate::crd::{McpServer, McpServerStatus};

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

/// What a server asks for of hosts and issuers, and what it has of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The server.
    pub name: ServerName,
    /// The host that it asks for, under the exception of [`host_of`].
    pub host: Option<String>,
    /// The issuer that it asks for.
    pub issuer: Option<String>,
    /// The issuer that its status says it has. Only the operator writes that, and only of a server that it accepted.
    pub held: Option<String>,
    /// Since when it has had that without a break.
    pub since: Option<Timestamp>,
    /// When it was made.
    pub created: Option<Timestamp>,
}

impl Claim {
    /// What a server claims.
    pub fn of(server: &McpServer) -> Self {
        let status = server.status.clone().unwrap_or_default();
        Self::new(&server.metadata, host(server), Some(refs::issuer(server)), &status)
    }

    /// What a server claims that perhaps cannot be read.
    pub fn of_guarded(server: &GuardedServer) -> Self {
        server.0.as_ref().map_or_else(Self::of_unreadable, Self::of)
    }

    /// The pods of one that cannot be read serve on what it was accepted with; else it asks for what its spec names.
    fn of_unreadable(server: &UnreadableServer) -> Self {
        let named = server.issuer.clone().or_else(|| server.url.as_deref().map(refs::origin));
        let issuer = server.status.issuer.clone().or(named);
        let host = issuer.as_deref().and_then(host_of);
        Self::new(&server.metadata, host, issuer, &server.status)
    }

    fn new(
        meta: &ObjectMeta,
        host: Option<String>,
        issuer: Option<String>,
        status: &McpServerStatus,
    ) -> Self {
        Self {
            name: ServerName {
                namespace: meta.namespace.clone().unwrap_or_default(),
                name: meta.name.clone().unwrap_or_default(),
            },
            host,
            issuer,
            held: status.issuer.clone(),
            since: status.issuer_since.as_ref().map(|time| time.0),
            created: meta.creation_timestamp.as_ref().map(|time| time.0),
        }
    }

    /// The server as a candidate for something, of which its status says whether it has it.
    pub fn candidate(&self, holds: bool) -> Candidate {
        Candidate {
            name: self.name.clone(),
            holds,
            since: self.since.filter(|_| holds),
            recorded: false,
            created: self.created,
        }
    }
}

/// One of several servers that want the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The server.
    pub name: ServerName,
    /// Whether its status says that it has it.
    pub holds: bool,
    /// Since when, if it has never asked for another meanwhile.
    pub since: Option<Timestamp>,
    /// Whether its keys say that it has had it: this survives a restore, which makes every creation time new.
    pub recorded: bool,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// The one that had it first. What a tenant could write, the annotation of its keys and the age of an object whose URL
/// was changed since, counts only where no status tells: after a restore, and for what nobody has had.
pub fn incumbent(candidates: &[Candidate]) -> Option<&ServerName> {
    let order = |c: &&Candidate| {
        let had = (!c.holds, c.since.is_none(), c.since);
        (had, !c.recorded, c.created.is_none(), c.created, c.name.clone())
    };
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
            since: None,
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
    fn of_two_that_have_it_the_first_to_be_accepted_keeps_it() {
        let since = |text: &str, created: i64, since: Option<i64>| Candidate {
            holds: true,
            since: since.map(|second| Timestamp::from_second(second).unwrap()),
            ..candidate(text, true, created)
        };
        let first = |candidates: &[Candidate]| incumbent(candidates).map(|n| n.name.clone()).unwrap();
        assert_eq!(first(&[since("old", 1, Some(9)), since("new", 5, Some(7))]), "new");
        assert_eq!(first(&[since("left", 1, None), since("stayed", 5, Some(7))]), "stayed");
        assert_eq!(first(&[candidate("never", true, 1), since("left", 5, None)]), "left");
    }

    #[test]
    fn one_that_cannot_be_read_claims_what_it_was_accepted_with() {
        let claim = |object: serde_json::Value| {
            Claim::of_guarded(&serde_json::from_value::<GuardedServer>(object).unwrap())
        };
        let mut object = serde_json::json!({
            "apiVersion": "gatehouse.dev/v1alpha1", "kind": "McpServer",
            "metadata": { "name": "one", "namespace": "a" },
            "spec": { "url": "https://new.example.com/mcp", "backends": "tools" },
            "status": { "issuer": "https://h.example.com", "issuerSince": "2026-01-01T00:00:00Z" },
        });
        let had = claim(object.clone());
        assert_eq!(had.host.as_deref(), Some("h.example.com"));
        assert_eq!(
            (had.issuer.as_deref(), had.held.as_deref()),
            (Some("https://h.example.com"), had.issuer.as_deref())
        );
        assert!(had.since.is_some());
        object["status"] = serde_json::json!({});
        let asks = claim(object);
        assert_eq!((asks.issuer.as_deref(), asks.held), (Some("https://new.example.com"), None));
        assert_eq!(asks.host.as_deref(), Some("new.example.com"));
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
