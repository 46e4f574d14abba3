//! The children in the cluster, as the watches saw them: for each a few words and a digest, never the object.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};
use kube::{ResourceExt, api::DynamicObject};
use serde_json::Value;

use super::{
    fetch::ServerName,
    names::{DEFAULTS_ANNOTATION, EDIT_ANNOTATION, FIELD_MANAGER, SERVER_LABEL},
    project::{self, Digest},
};

/// The annotations of a Deployment that say what it was made of.
pub(super) const CAUSES: [&str; 2] = [DEFAULTS_ANNOTATION, EDIT_ANNOTATION];
/// The condition with which a Deployment says that its pods cannot be made.
const NO_PODS: (&str, &str) = ("ReplicaFailure", "True");
/// The condition with which a Deployment says that its roll-out has stood still for too long.
const STANDS_STILL: (&str, &str) = ("Progressing", "False");

/// The kinds of children that are applied and watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    /// `apps/v1`.
    Deployment,
    /// `v1`.
    Service,
    /// `v1`.
    ConfigMap,
    /// `v1`.
    ServiceAccount,
}

impl ChildKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Deployment, Self::Service, Self::ConfigMap, Self::ServiceAccount];

    /// The plural as URLs and metrics have it.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::Service => "services",
            Self::ConfigMap => "configmaps",
            Self::ServiceAccount => "serviceaccounts",
        }
    }
}

/// One child as it was last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Its own UID.
    pub uid: String,
    /// The UID of the controller that owns it.
    pub owner: Option<String>,
    /// The server that its label names.
    pub server: ServerName,
    /// Our part of it; `None` when we never applied it.
    pub digest: Option<Digest>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// A Deployment's progress.
    pub rollout: Option<Rollout>,
    /// What a Deployment was made of: the operator's defaults, and the edit.
    pub causes: [Option<String>; 2],
    /// Orders two sightings of one object.
    version: u64,
}

/// How far a Deployment has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rollout {
    /// The generation of its spec.
    pub generation: i64,
    /// The generation that its controller has seen.
    pub observed: i64,
    /// Pods asked for.
    pub wanted: i32,
    /// Pods that exist.
    pub replicas: i32,
    /// Pods of the newest template.
    pub updated: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Pods that have been ready for long enough.
    pub available: i32,
    /// What stands in the way, in the controller's words.
    pub failure: Option<String>,
    /// Whether that is the namespace, where no pod can be made: a quota, or what admission refuses.
    pub is_refused: bool,
    /// The image of the newest template.
    pub image: Option<String>,
}

impl Rollout {
    /// Whether the roll-out does not get on, as its controller says of the newest template.
    pub fn has_failed(&self) -> bool {
        self.failure.is_some() && self.observed >= self.generation
    }

    /// Whether all pods run the newest template, and no other.
    pub fn is_complete(&self) -> bool {
        self.observed >= self.generation
            && self.updated >= self.wanted
            && self.replicas == self.updated
            && self.available >= self.wanted
    }

    fn of(object: &DynamicObject) -> Self {
        let status: DeploymentStatus = object
            .data
            .get("status")
            .and_then(|s| serde_json::from_value(s.clone()).ok())
            .unwrap_or_default();
        let spec = object.data.get("spec");
        let wanted = spec.and_then(|s| s.get("replicas")).and_then(Value::as_i64).unwrap_or(1);
        let image = spec.and_then(|s| s.pointer("/template/spec/containers/0/image"));
        Self {
            generation: object.metadata.generation.unwrap_or_default(),
            observed: status.observed_generation.unwrap_or_default(),
            wanted: i32::try_from(wanted).unwrap_or(i32::MAX),
            replicas: status.replicas.unwrap_or_default(),
            updated: status.updated_replicas.unwrap_or_default(),
            ready: status.ready_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
            failure: condition(&status, NO_PODS).or_else(|| condition(&status, STANDS_STILL)),
            is_refused: condition(&status, NO_PODS).is_some(),
            image: image.and_then(Value::as_str).map(str::to_owned),
        }
    }
}

/// What a condition of a Deployment says, where it has this status.
fn condition(status: &DeploymentStatus, (type_, holds): (&str, &str)) -> Option<String> {
    let is =
        |c: &&DeploymentCondition| c.type_.as_deref() == Some(type_) && c.status.as_deref() == Some(holds);
    let found = status.conditions.iter().flatten().find(is)?;
    Some(found.message.clone().or_else(|| found.reason.clone()).unwrap_or_default())
}

impl Child {
    /// What is kept of an object; `None` when it carries no label of ours.
    pub fn of(kind: ChildKind, mut object: DynamicObject) -> Option<(String, Self)> {
        let namespace = object.namespace()?;
        let server = ServerName { namespace, name: object.labels().get(SERVER_LABEL)?.clone() };
        let fields = object.metadata.managed_fields.take().unwrap_or_default();
        let owner = object.owner_references().iter().find(|o| o.controller == Some(true));
        let owner = owner.map(|o| o.uid.clone());
        let digest = as_value(&object).and_then(|v| project::of_live(&v, &fields, FIELD_MANAGER));
        let child = Self {
            uid: object.uid().unwrap_or_default(),
            owner,
            server,
            digest,
            deleting: object.metadata.deletion_timestamp.is_some(),
            rollout: (kind == ChildKind::Deployment).then(|| Rollout::of(&object)),
            causes: CAUSES.map(|annotation| object.annotations().get(annotation).cloned()),
            version: object.resource_version().and_then(|v| v.parse().ok()).unwrap_or_default(),
        };
        Some((object.name_any(), child))
    }
}

/// The object with its metadata as JSON; `data` holds the rest.
fn as_value(object: &DynamicObject) -> Option<Value> {
    serde_json::to_value(object).ok()
}

/// Identifies a child.
type Key = (ChildKind, String, String);

/// All children. Clones share the state.
#[derive(Debug, Clone, Default)]
pub struct Children {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    children: HashMap<Key, Child>,
    by_server: HashMap<ServerName, HashSet<Key>>,
    /// The lists that are in progress, by kind and scope of their watches.
    listing: HashMap<(ChildKind, String), Listing>,
}

/// A list that is in progress.
#[derive(Debug, Default)]
struct Listing {
    /// What it has named so far.
    named: HashSet<Key>,
    /// What was seen since it began, in it or in an answer to a write of our own.
    seen: HashSet<Key>,
}

impl Children {
    /// A child was seen. Returns the server to look at, if this changed anything.
    pub fn saw(&self, kind: ChildKind, object: DynamicObject) -> Option<ServerName> {
        let namespace = object.namespace().unwrap_or_default();
        let name = object.name_any();
        let Some((name, child)) = Child::of(kind, object) else {
            // Somebody took our label off: the watch no longer speaks of it.
            return self.gone(kind, &namespace, &name);
        };
        let key = (kind, namespace, name);
        let mut state = self.lock();
        let is_first = state.is_first_since_list(&key);
        state.insert(key, child, is_first)
    }

    /// A child is gone. Returns the server to look at.
    pub fn gone(&self, kind: ChildKind, namespace: &str, name: &str) -> Option<ServerName> {
        self.lock().remove(&(kind, namespace.to_owned(), name.to_owned()))
    }

    /// A list begins; `scope` names the watch among those of its kind.
    pub fn list_begins(&self, kind: ChildKind, scope: &str) {
        self.lock().listing.insert((kind, scope.to_owned()), Listing::default());
    }

    /// A list names a child. Returns the server to look at, if this changed anything.
    pub fn listed(&self, kind: ChildKind, scope: &str, object: DynamicObject) -> Option<ServerName> {
        let key = (kind, object.namespace().unwrap_or_default(), object.name_any());
        // Lists of Services name everybody's.
        if object.labels().contains_key(SERVER_LABEL)
            && let Some(listing) = self.lock().listing.get_mut(&(kind, scope.to_owned()))
        {
            listing.named.insert(key);
        }
        self.saw(kind, object)
    }

    /// A list is complete: what it did not name is gone, although no event said so. Returns the servers to look at.
    pub fn list_ends(&self, kind: ChildKind, scope: &str) -> Vec<ServerName> {
        let mut state = self.lock();
        let Some(list) = state.listing.remove(&(kind, scope.to_owned())) else { return Vec::new() };
        let is_gone = |key: &&Key| covers(kind, scope, key) && !list.named.contains(*key);
        let vanished: Vec<Key> = state.children.keys().filter(is_gone).cloned().collect();
        vanished.iter().filter_map(|key| state.remove(key)).collect()
    }

    /// One child.
    pub fn get(&self, kind: ChildKind, namespace: &str, name: &str) -> Option<Child> {
        self.lock().children.get(&(kind, namespace.to_owned(), name.to_owned())).cloned()
    }

    /// The children of a server of one kind, by name.
    pub fn of_server(&self, kind: ChildKind, server: &ServerName) -> BTreeMap<String, Child> {
        let state = self.lock();
        let keys = state.by_server.get(server).into_iter().flatten().filter(|key| key.0 == kind);
        keys.filter_map(|key| Some((key.2.clone(), state.children.get(key)?.clone()))).collect()
    }

    /// How many children of a kind are known.
    pub fn count(&self, kind: ChildKind) -> usize {
        self.lock().children.keys().filter(|key| key.0 == kind).count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a watch tells of an object.
fn covers(kind: ChildKind, scope: &str, key: &Key) -> bool {
    key.0 == kind && (scope.is_empty() || key.1 == scope)
}

impl State {
    /// Notes that an object is seen. Whether that is the first sighting since a list began.
    fn is_first_since_list(&mut self, key: &Key) -> bool {
        let lists = self.listing.iter_mut().filter(|((kind, scope), _)| covers(*kind, scope, key));
        lists.fold(false, |is_first, (_, list)| list.seen.insert(key.clone()) || is_first)
    }

    /// Takes a sighting. The first since a list began is newer than what was known before, whatever its version: an etcd that
    /// was restored counts on from an earlier one.
    fn insert(&mut self, key: Key, child: Child, is_first: bool) -> Option<ServerName> {
        let server = child.server.clone();
        if let Some(known) = self.children.get(&key) {
            // An answer to our own write may be ahead of the watch.
            if !is_first && known.uid == child.uid && known.version >= child.version {
                return None;
            }
            let same = Child { version: child.version, ..known.clone() } == child;
            if known.server != server
                && let Some(keys) = self.by_server.get_mut(&known.server)
            {
                keys.remove(&key);
            }
            if same {
                self.children.insert(key, child);
                return None;
            }
        }
        self.by_server.entry(server.clone()).or_default().insert(key.clone());
        self.children.insert(key, child);
        Some(server)
    }

    fn remove(&mut self, key: &Key) -> Option<ServerName> {
        let child = self.children.remove(key)?;
        if let Some(keys) = self.by_server.get_mut(&child.server) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_server.remove(&child.server);
            }
        }
        Some(child.server)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, version: u64, replicas: i32) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": name, "namespace": "a", "uid": name, "resourceVersion": version.to_string(),
                "generation": 1, "labels": { SERVER_LABEL: "s" } },
            "spec": { "replicas": replicas, "template": { "spec": { "containers": [{ "image": "i" }] } } },
            "status": { "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2 }
        }))
        .unwrap()
    }

    fn server() -> ServerName {
        ServerName { namespace: "a".to_owned(), name: "s".to_owned() }
    }

    const KIND: ChildKind = ChildKind::Deployment;

    #[test]
    fn an_older_sighting_and_an_equal_one_change_nothing() {
        let children = Children::default();
        assert_eq!(children.saw(KIND, object("d", 5, 2)), Some(server()));
        assert_eq!(children.saw(KIND, object("d", 6, 2)), None, "nothing that matters changed");
        assert_eq!(children.saw(KIND, object("d", 4, 9)), None, "it is older");
        assert_eq!(children.get(KIND, "a", "d").unwrap().rollout.unwrap().wanted, 2);
        assert_eq!(children.saw(KIND, object("d", 7, 9)), Some(server()));
    }

    #[test]
    fn a_delete_that_no_event_told_is_found_by_the_list() {
        let children = Children::default();
        children.saw(KIND, object("one", 1, 1));
        children.saw(KIND, object("other", 2, 1));
        children.list_begins(KIND, "");
        children.listed(KIND, "", object("one", 1, 1));
        assert_eq!(children.list_ends(KIND, ""), [server()]);
        assert_eq!(children.of_server(KIND, &server()).into_keys().collect::<Vec<_>>(), ["one"]);
    }

    fn wanted(children: &Children, name: &str) -> i32 {
        children.get(KIND, "a", name).unwrap().rollout.unwrap().wanted
    }

    #[test]
    fn after_a_restore_the_list_wins_although_its_versions_are_lower() {
        let children = Children::default();
        children.saw(KIND, object("d", 1000, 2));
        children.list_begins(KIND, "");
        assert_eq!(children.listed(KIND, "", object("d", 400, 9)), Some(server()));
        assert!(children.list_ends(KIND, "").is_empty());
        assert_eq!(wanted(&children, "d"), 9);
        assert_eq!(children.saw(KIND, object("d", 399, 2)), None, "from there on the versions count again");
        assert_eq!(children.saw(KIND, object("d", 401, 3)), Some(server()));
    }

    #[test]
    fn an_answer_during_a_list_is_not_undone_by_it() {
        for answer_first in [true, false] {
            let children = Children::default();
            children.saw(KIND, object("d", 1000, 2));
            children.list_begins(KIND, "");
            if answer_first {
                assert_eq!(children.saw(KIND, object("d", 405, 3)), Some(server()));
                assert_eq!(children.listed(KIND, "", object("d", 400, 9)), None, "it was read before");
            } else {
                children.listed(KIND, "", object("d", 400, 9));
                assert_eq!(children.saw(KIND, object("d", 405, 3)), Some(server()));
            }
            assert!(children.list_ends(KIND, "").is_empty());
            assert_eq!(wanted(&children, "d"), 3);
        }
    }

    #[test]
    fn a_list_of_another_namespace_lets_nothing_older_in() {
        let children = Children::default();
        children.saw(KIND, object("d", 5, 2));
        children.list_begins(KIND, "b");
        children.list_begins(ChildKind::Service, "");
        assert_eq!(children.saw(KIND, object("d", 4, 9)), None);
    }

    #[test]
    fn a_list_of_one_namespace_says_nothing_of_another() {
        let children = Children::default();
        children.saw(KIND, object("one", 1, 1));
        children.list_begins(KIND, "b");
        assert!(children.list_ends(KIND, "b").is_empty());
        assert_eq!(children.count(KIND), 1);
    }

    #[test]
    fn complete_means_that_no_old_pod_is_left() {
        let children = Children::default();
        children.saw(KIND, object("d", 1, 2));
        let complete = children.get(KIND, "a", "d").unwrap().rollout.unwrap();
        assert!(complete.is_complete());
        assert!(!Rollout { replicas: 3, ..complete.clone() }.is_complete(), "an old pod is left");
        assert!(
            !Rollout { generation: 2, ..complete.clone() }.is_complete(),
            "its controller has not looked"
        );
        assert!(!Rollout { available: 1, ..complete }.is_complete());
    }

    #[test]
    fn a_child_without_our_label_is_forgotten() {
        let children = Children::default();
        children.saw(KIND, object("d", 1, 2));
        let mut bare = object("d", 2, 2);
        bare.metadata.labels = None;
        assert_eq!(children.saw(KIND, bare), Some(server()));
        assert_eq!(children.count(KIND), 0);
    }
}
