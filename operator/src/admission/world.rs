//! What `fetch` would have found in a cluster that holds the manifests and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use gatehouse_gateway_config::users::Users;
use kube::ResourceExt;

use super::Manifests;
use crate::{
    crd::McpServer,
    server::{
        fetch::{Fetched, Policies, ServerName},
        refs,
    },
};

impl Manifests {
    /// What is known of the world around one of the servers.
    pub fn fetched(&self, server: &McpServer) -> Fetched {
        let here = |namespace: Option<String>| namespace == server.namespace();
        let secrets: BTreeMap<String, BTreeSet<String>> = self
            .secrets
            .iter()
            .filter(|s| here(s.object.namespace()))
            .map(|s| {
                (s.object.name_any(), s.object.data.iter().flatten().map(|(key, _)| key.clone()).collect())
            })
            .collect();
        let config_maps = self
            .config_maps
            .iter()
            .filter(|m| here(m.object.namespace()))
            .map(|m| {
                let texts = m.object.data.iter().flatten().map(|(key, _)| key.clone());
                let binary = m.object.binary_data.iter().flatten().map(|(key, _)| key.clone());
                (m.object.name_any(), texts.chain(binary).collect())
            })
            .collect();
        let services = self.services.iter().filter(|s| here(s.object.namespace()));
        let policies = self.policies.iter().filter(|p| here(p.object.namespace()));
        Fetched {
            secrets,
            config_maps,
            services: services.map(|s| (s.object.name_any(), s.object.clone())).collect(),
            policies: Policies {
                readable: policies.map(|p| p.object.clone()).collect(),
                unreadable: Vec::new(),
            },
            issuer_holder: self.holder(server, |a, b| refs::issuer(a) == refs::issuer(b)),
            host_holder: self
                .holder(server, |a, b| refs::host(a) == refs::host(b) && a.namespace() != b.namespace()),
            bad_content: self.bad_users(server),
            ..Fetched::default()
        }
    }

    /// The first server of the files that conflicts with this one: offline, order is age.
    fn holder(
        &self,
        server: &McpServer,
        conflicts: fn(&McpServer, &McpServer) -> bool,
    ) -> Option<ServerName> {
        self.servers
            .iter()
            .map(|s| &s.object)
            .take_while(|s| s.name_any() != server.name_any() || s.namespace() != server.namespace())
            .find(|other| conflicts(other, server))
            .map(|s| ServerName { namespace: s.namespace().unwrap_or_default(), name: s.name_any() })
    }

    fn bad_users(&self, server: &McpServer) -> BTreeMap<(String, String), String> {
        let Some(local) = &server.spec.identity.local else { return BTreeMap::new() };
        let reference = &local.users_secret_ref;
        let same = |s: &&super::Located<k8s_openapi::api::core::v1::Secret>| {
            s.object.name_any() == reference.name && s.object.namespace() == server.namespace()
        };
        let value = self.secrets.iter().find(same).and_then(|s| s.object.data.as_ref()?.get(&reference.key));
        let bad = value.and_then(|v| Users::parse(&v.0).err());
        bad.map(|why| ((reference.name.clone(), reference.key.clone()), why.to_string()))
            .into_iter()
            .collect()
    }
}
