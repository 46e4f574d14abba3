//! Reads what `validate` looks at: Secrets by name and live, never by list or watch.

use std::collections::{BTreeMap, BTreeSet};

use gatehouse_gateway_config::users::Users;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::{Api, Client, ResourceExt};

use super::{Fetched, Policies, ServerName};
use crate::{
    clock::{Clock, Entropy},
    config::OperatorConfig,
    crd::{ISSUER_ANNOTATION, McpServer, OAuthClientPolicy, condition::Problem},
    redis_users::Redis,
    server::{
        keys::{self, Ensured},
        names,
        peers::{self, Candidate, Claim},
        redis_login, refs,
        validate::host_matches,
    },
};

/// How many servers of one host have their keys read in a pass.
const MOST_RIVALS: usize = 16;

/// Where things are read.
#[expect(missing_debug_implementations, reason = "kube's client has none")]
pub struct Source<'a> {
    /// The client.
    pub client: &'a Client,
    /// The operator's configuration.
    pub config: &'a OperatorConfig,
    /// The Redis users that are kept.
    pub redis: &'a Redis,
    /// The wall clock.
    pub clock: &'a Clock,
    /// Where keys and passwords come from.
    pub entropy: &'a Entropy,
}

/// What a live read came to.
#[derive(Debug, Default)]
pub struct Gathered {
    /// What `validate` looks at.
    pub fetched: Fetched,
    /// What is wrong with the generated Secrets.
    pub problems: Vec<Problem>,
    /// Whether the keys were made just now.
    pub keys_created: bool,
    /// The name of the Redis user that the operator keeps, if it keeps one.
    pub redis_user: Option<String>,
    /// Why the API server let the operator read no further: nothing is known of what is not here.
    pub refused: Option<String>,
}

/// What there is to know of Secrets without knowing them.
#[derive(Debug, Default)]
struct Secrets {
    keys: BTreeMap<String, BTreeSet<String>>,
    bad_content: BTreeMap<(String, String), String>,
}

impl Source<'_> {
    /// Reads everything, and ensures the Secrets whose content is generated; what was found before an error is in
    /// `gathered` all the same. Whether the server is there, and is not another one of the same name.
    ///
    /// # Errors
    /// When the API server fails.
    pub async fn gather(
        &self,
        gathered: &mut Gathered,
        server: &McpServer,
        rivals: &[Claim],
        policies: Policies,
    ) -> Result<bool, kube::Error> {
        match self.gather_into(gathered, server, rivals, policies).await {
            // What waits for a person is a condition, not a loop; and what was made before it is not forgotten.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => {
                gathered.refused = Some(format!("the API server refused the operator: {}", status.message));
                Ok(true)
            }
            answer => answer,
        }
    }

    /// Whether the server is there.
    async fn gather_into(
        &self,
        gathered: &mut Gathered,
        server: &McpServer,
        rivals: &[Claim],
        policies: Policies,
    ) -> Result<bool, kube::Error> {
        let (issuer_holder, host_holder) = self.holders(server, rivals).await?;
        let holds_both = issuer_holder.is_none() && host_holder.is_none();
        let issuer = holds_both.then(|| refs::issuer(server));
        let ensured = keys::ensure_keys(self.client, server, issuer.as_deref(), self.entropy).await?;
        let Ensured::Keys { keys, created, ring } = ensured else { return Ok(false) };
        gathered.fetched = Fetched { keys, issuer_holder, host_holder, ..Fetched::default() };
        gathered.keys_created = created;
        if let Some(ring) = ring {
            match redis_login::ensure(self, server, &ring).await? {
                Ok(user) => gathered.redis_user = user,
                Err(problem) => gathered.problems.push(problem),
            }
        } else {
            let status = server.status.clone().unwrap_or_default();
            gathered.redis_user = redis_login::keep(self, &server.metadata, &status).await?;
        }
        let secrets = self.secrets(server, &policies.readable).await?;
        let fetched = &mut gathered.fetched;
        (fetched.secrets, fetched.bad_content) = (secrets.keys, secrets.bad_content);
        fetched.config_maps = self.config_maps(server).await?;
        fetched.services = self.services(server).await?;
        fetched.policies = policies;
        Ok(true)
    }

    async fn secrets(
        &self,
        server: &McpServer,
        policies: &[OAuthClientPolicy],
    ) -> Result<Secrets, kube::Error> {
        let api: Api<Secret> = self.api(server);
        let mut found = Secrets::default();
        let mut names = refs::secrets(server, self.config.redis.users);
        names.extend(refs::client_secrets(server, policies));
        for name in names {
            let Some(secret) = api.get_opt(&name).await? else { continue };
            let data = secret.data.unwrap_or_default();
            if let Some(local) = &server.spec.identity.local
                && local.users_secret_ref.name == name
                && let Some(users) = data.get(&local.users_secret_ref.key)
                && let Err(why) = Users::parse(&users.0)
            {
                found.bad_content.insert((name.clone(), local.users_secret_ref.key.clone()), why.to_string());
            }
            // Only the names of the keys leave this place.
            found.keys.insert(name, data.into_keys().collect());
        }
        Ok(found)
    }

    async fn config_maps(
        &self,
        server: &McpServer,
    ) -> Result<BTreeMap<String, BTreeSet<String>>, kube::Error> {
        let api: Api<ConfigMap> = self.api(server);
        let mut found = BTreeMap::new();
        for name in refs::config_maps(server) {
            if let Some(map) = api.get_opt(&name).await? {
                let text = map.data.into_iter().flatten().map(|(key, _)| key);
                let binary = map.binary_data.into_iter().flatten().map(|(key, _)| key);
                found.insert(name, text.chain(binary).collect());
            }
        }
        Ok(found)
    }

    async fn services(&self, server: &McpServer) -> Result<BTreeMap<String, Service>, kube::Error> {
        let api: Api<Service> = self.api(server);
        let mut found = BTreeMap::new();
        for name in refs::services(server) {
            if let Some(service) = api.get_opt(&name).await? {
                found.insert(name, service);
            }
        }
        Ok(found)
    }

    fn api<K>(&self, server: &McpServer) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &server.namespace().unwrap_or_default())
    }

    /// Who, if somebody else, had the issuer first, and who in another namespace the host. `rivals` are on its host.
    async fn holders(
        &self,
        server: &McpServer,
        rivals: &[Claim],
    ) -> Result<(Option<ServerName>, Option<ServerName>), kube::Error> {
        if rivals.is_empty() {
            return Ok((None, None));
        }
        let own = Claim::of(server);
        let wanted = refs::issuer(server);
        let host = own.host.clone();
        let (mut for_issuer, mut for_host) = (Vec::new(), Vec::new());
        // A server that is refused its host takes it from nobody.
        let admitted = |rival: &&Claim| {
            let (allow, namespace) = (&self.config.hosts.allow, &rival.name.namespace);
            let host = host.as_deref().unwrap_or_default();
            allow.is_empty() || allow.iter().any(|pattern| host_matches(pattern, host, namespace))
        };
        for claim in std::iter::once(&own).chain(rivals.iter().filter(admitted)) {
            let held = claim.held.as_deref();
            if claim.issuer.as_ref() == Some(&wanted) {
                for_issuer.push(claim.candidate(held == Some(wanted.as_str())));
            }
            for_host.push(claim.candidate(held.and_then(peers::host_of) == host));
        }
        let is_own = |recorded: &str| recorded == wanted;
        let for_issuer = self.with_records(for_issuer, is_own).await?;
        let for_host = self.with_records(for_host, |recorded| peers::host_of(recorded) == host).await?;
        let issuer = peers::incumbent(&for_issuer).filter(|holder| **holder != own.name).cloned();
        let host =
            peers::incumbent(&for_host).filter(|holder| holder.namespace != own.name.namespace).cloned();
        Ok((issuer, host))
    }

    /// Asks the keys for what they record, where no status tells who has it. Each costs a request, so only the oldest are
    /// asked: of those that are left out none is older.
    async fn with_records(
        &self,
        mut candidates: Vec<Candidate>,
        is_it: impl Fn(&str) -> bool,
    ) -> Result<Vec<Candidate>, kube::Error> {
        if !candidates.iter().any(|candidate| candidate.holds) {
            candidates.sort_by_key(|candidate| (candidate.created.is_none(), candidate.created));
            for candidate in candidates.iter_mut().take(MOST_RIVALS) {
                let recorded = self.recorded_issuer(&candidate.name).await?;
                candidate.recorded = recorded.as_deref().is_some_and(&is_it);
            }
        }
        Ok(candidates)
    }

    async fn recorded_issuer(&self, server: &ServerName) -> Result<Option<String>, kube::Error> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &server.namespace);
        let secret = api.get_opt(&names::keys_secret(&server.name)).await?;
        Ok(secret.and_then(|s| s.annotations().get(ISSUER_ANNOTATION).cloned()))
    }
}
