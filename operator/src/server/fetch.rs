//! What a server's pipeline knows of the world around the spec: plain data, read once.

pub mod live;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Service;

use crate::{crd::OAuthClientPolicy, policy::UnreadablePolicy, redis_users::Instance};

/// Everything that `validate` looks at besides the spec and the operator's configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fetched {
    /// The Secrets that the spec names and that exist, with the keys of their data.
    pub secrets: BTreeMap<String, BTreeSet<String>>,
    /// The ConfigMaps that the spec names and that exist, with the keys of their data.
    pub config_maps: BTreeMap<String, BTreeSet<String>>,
    /// The Services that the spec names and that exist.
    pub services: BTreeMap<String, Service>,
    /// Every OAuthClientPolicy of the namespace.
    pub policies: Policies,
    /// The sealing keys.
    pub keys: Keys,
    /// The server that had this server's issuer first, if it is another one.
    pub issuer_holder: Option<ServerName>,
    /// The server in another namespace that had this server's host first.
    pub host_holder: Option<ServerName>,
    /// What is wrong with the content of Secrets that the operator reads (the users of `identity.local`), by Secret
    /// and key. Never holds any of the content.
    pub bad_content: BTreeMap<(String, String), String>,
    /// URLs that stand for Service backends, by the backend's name: `gatehouse dev --backend NAME=URL`.
    pub backend_urls: BTreeMap<String, String>,
    /// What is not here is taken to exist: `gatehouse render`, whose manifests seldom hold Secrets and Services.
    pub assume_refs: bool,
}

/// The policies of a namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policies {
    /// Those that can be read.
    pub readable: Vec<OAuthClientPolicy>,
    /// Those that cannot, of which a server may not be freed by mistake.
    pub unreadable: Vec<UnreadablePolicy>,
}

/// The sealing keys of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Keys {
    /// They were not looked for: `dev` and `render` have no cluster.
    #[default]
    Offline,
    /// They exist.
    Present {
        /// The random id of the set.
        instance: String,
    },
    /// The status knows an instance and the Secret is gone.
    Lost {
        /// The instance that was lost.
        instance: String,
    },
    /// The status knows an instance and the Secret holds another.
    Replaced {
        /// The instance that is missing.
        instance: String,
        /// The instance that is there.
        found: String,
    },
    /// A Secret of this name is not ours, or cannot be read as keys.
    Unusable {
        /// What is wrong with it.
        why: String,
    },
}

impl Keys {
    /// The set of keys of a server, where it has one.
    pub fn instance_of(&self, server: &ServerName) -> Option<Instance> {
        let Self::Present { instance } = self else { return None };
        let (namespace, name) = (server.namespace.clone(), server.name.clone());
        Some(Instance { namespace, name, id: instance.clone() })
    }
}

/// A server by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ServerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
