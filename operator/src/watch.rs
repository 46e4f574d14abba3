//! The watches: they fill the caches and ask for passes. All of them run on a standby too, so that it leads at once.

mod hourly;
mod listing;
mod services;
mod vanished;

use std::{collections::BTreeSet, fmt::Debug, sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service, ServiceAccount},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DynamicObject},
    core::NamespaceResourceScope,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, store::Writer},
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::unbounded_channel;

use self::{
    listing::{Listing, fingerprint},
    vanished::{Vanished, confirm},
};
use crate::{
    admin::Health,
    policy::GuardedPolicy,
    server::{
        children::ChildKind, context::Context, controller::name_of, fetch::ServerName,
        guarded::GuardedServer, names::SERVER_LABEL, peers::Claim, refs, scope::Scope,
    },
};

/// How many objects a page of a list has: children are read in full once, all kinds at a time, and pages bound what that
/// takes.
const PAGE: u32 = 50;
/// How long after a watch could not go on it is begun anew.
const ANEW_AFTER: Duration = Duration::from_secs(1);

/// Runs all watches of a scope until the future is dropped. `health` learns when each has listed once.
pub async fn run(
    context: Arc<Context>,
    scope: Scope,
    servers: Writer<GuardedServer>,
    policies: Writer<GuardedPolicy>,
    health: Health,
) {
    let children = ChildKind::ALL.map(|kind| {
        let (context, scope, health) = (context.clone(), scope.clone(), health.clone());
        async move { watch_children(kind, &context, &scope, &health).await }
    });
    tokio::join!(
        watch_servers(&context, &scope, servers, &health),
        watch_policies(&context, &scope, policies, &health),
        futures::future::join_all(children),
        hourly::enqueue(&scope, tokio::time::sleep),
    );
}

/// What readiness waits for in a scope.
pub fn lists(namespace: Option<&str>) -> Vec<String> {
    let children = ChildKind::ALL.map(ChildKind::plural);
    let resources = ["mcpservers", "oauthclientpolicies"].into_iter().chain(children);
    resources.map(|resource| list(resource, namespace)).collect()
}

fn list(resource: &str, namespace: Option<&str>) -> String {
    let place = namespace.map(|n| format!(" of namespace {n}")).unwrap_or_default();
    format!("the list of {resource}{place}")
}

async fn watch_servers(context: &Context, scope: &Scope, mut writer: Writer<GuardedServer>, health: &Health) {
    let api: Api<GuardedServer> = api(context, scope);
    let mut config = watcher::Config::default().page_size(PAGE);
    if let Some(selector) = &context.config.watch.label_selector {
        config = config.labels(selector);
    }
    let (vanished, to_confirm) = unbounded_channel();
    let gone = |name: &ServerName| {
        if let Some(user) = server_gone(context, name) {
            // The receiver is in this same function.
            let _ = vanished.send(Vanished { server: name.clone(), user });
        }
    };
    let mut listing = Listing::default();
    let seen = |event: Event<GuardedServer>| {
        let event = event.modify(prune);
        writer.apply_watcher_event(&event);
        match &event {
            Event::Init => {
                listing.begins();
                context.list_begins(scope);
            }
            Event::InitApply(server) => listing.lists(name_of(server), looked_at(server)),
            Event::InitDone => {
                let listed = listing.ends();
                listed.gone.iter().for_each(gone);
                listed.news.iter().for_each(|name| server_seen(context, scope, name));
                context.list_ends(scope);
                context.enqueue_all_policies();
                health.done(&list("mcpservers", scope.namespace.as_deref()));
            }
            Event::Apply(server) => {
                // Our own writes of its status are no news to its own pass, only to the policies.
                if listing.is_news(name_of(server), looked_at(server)) {
                    server_seen(context, scope, &name_of(server));
                }
                context.enqueue_policies_of(&server.namespace().unwrap_or_default());
            }
            Event::Delete(server) => {
                listing.gone(&name_of(server));
                gone(&name_of(server));
            }
        }
        context.metrics.cached("mcpservers", scope.servers.len());
    };
    tokio::join!(forever(context, "mcpservers", api, config, seen), confirm(context, to_confirm));
}

/// A server is new, or other than it was; the cache has it.
fn server_seen(context: &Context, scope: &Scope, name: &ServerName) {
    let object = ObjectRef::new(&name.name).within(&name.namespace);
    let Some(server) = scope.servers.get(&object) else { return };
    // Before the pass, so that of what it reads no later edit is missed.
    context.backends.names(name, server.0.as_ref().map(refs::services).unwrap_or_default());
    scope.server_queue.push(object);
    let host = Claim::of_guarded(&server).host;
    context.peers.moved(name, host).iter().for_each(|rival| context.enqueue(rival));
}

/// What of an object a pass looks at, besides its status.
fn looked_at(server: &GuardedServer) -> u64 {
    let meta = server.meta();
    let deleted = meta.deletion_timestamp.is_some();
    fingerprint(&(&meta.uid, meta.generation, &meta.labels, &meta.annotations, deleted))
}

/// Forgets a server that the watch does not show any more. Gives its Redis user when it is not sure that the server was
/// deleted: what leaves a label selector vanishes in the same way.
fn server_gone(context: &Context, name: &ServerName) -> Option<String> {
    let user = context.forget(name);
    context.peers.moved(name, None).iter().for_each(|rival| context.enqueue(rival));
    context.enqueue_policies_of(&name.namespace);
    if context.config.watch.label_selector.is_some() {
        return user;
    }
    if let Some(user) = &user {
        context.redis.forget(user);
    }
    None
}

async fn watch_policies(
    context: &Context,
    scope: &Scope,
    mut writer: Writer<GuardedPolicy>,
    health: &Health,
) {
    let api: Api<GuardedPolicy> = api(context, scope);
    let mut listing = Listing::default();
    let touched = |namespace: &str| {
        context.enqueue_servers_of(namespace);
        context.enqueue_policies_of(namespace);
    };
    let name = |policy: &GuardedPolicy| (policy.namespace().unwrap_or_default(), policy.name_any());
    // Our own writes of its status are no news to the servers.
    let looked_at = |policy: &GuardedPolicy| fingerprint(&(policy.uid(), policy.meta().generation));
    let seen = |event: Event<GuardedPolicy>| {
        let event = event.modify(prune);
        writer.apply_watcher_event(&event);
        match &event {
            Event::Init => {
                listing.begins();
                context.policies.list_begins(scope);
            }
            Event::InitApply(policy) => listing.lists(name(policy), looked_at(policy)),
            Event::InitDone => {
                let listed = listing.ends();
                for (namespace, name) in &listed.gone {
                    context.policies.forget(&ObjectRef::new(name).within(namespace));
                }
                let changed: BTreeSet<_> = listed.news.iter().chain(&listed.gone).map(|(n, _)| n).collect();
                for namespace in changed {
                    touched(namespace);
                }
                for policy in context.policies.list_ends(scope) {
                    scope.policy_queue.push(policy);
                }
                health.done(&list("oauthclientpolicies", scope.namespace.as_deref()));
            }
            Event::Apply(policy) => {
                if listing.is_news(name(policy), looked_at(policy)) {
                    touched(&name(policy).0);
                }
            }
            Event::Delete(policy) => {
                listing.gone(&name(policy));
                context.policies.forget(&ObjectRef::from_obj(policy));
                touched(&name(policy).0);
            }
        }
        context.metrics.cached("oauthclientpolicies", scope.policies.len());
    };
    forever(context, "oauthclientpolicies", api, watcher::Config::default().page_size(PAGE), seen).await;
}

async fn watch_children(kind: ChildKind, context: &Context, scope: &Scope, health: &Health) {
    let resource = match kind {
        ChildKind::Deployment => ApiResource::erase::<Deployment>(&()),
        ChildKind::Service => ApiResource::erase::<Service>(&()),
        ChildKind::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
        ChildKind::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
    };
    let client = context.client.clone();
    let api: Api<DynamicObject> = match &scope.namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    let in_scope = scope.namespace.clone().unwrap_or_default();
    let config = watcher::Config::default().page_size(PAGE);
    let config = match kind {
        // Any may be a backend.
        ChildKind::Service => config,
        ChildKind::Deployment | ChildKind::ConfigMap | ChildKind::ServiceAccount => {
            config.labels(SERVER_LABEL)
        }
    };
    let seen = |event: Event<DynamicObject>| {
        let naming = match kind {
            ChildKind::Service => services::seen(&context.backends, &in_scope, &event),
            ChildKind::Deployment | ChildKind::ConfigMap | ChildKind::ServiceAccount => Vec::new(),
        };
        let touched = match event {
            Event::Init => {
                context.children.list_begins(kind, &in_scope);
                Vec::new()
            }
            Event::InitApply(child) => context.children.listed(kind, &in_scope, child).into_iter().collect(),
            Event::Apply(child) => context.children.saw(kind, child).into_iter().collect(),
            Event::Delete(child) => {
                let namespace = child.namespace().unwrap_or_default();
                context.children.gone(kind, &namespace, &child.name_any()).into_iter().collect()
            }
            Event::InitDone => {
                health.done(&list(kind.plural(), scope.namespace.as_deref()));
                context.children.list_ends(kind, &in_scope)
            }
        };
        for server in touched.iter().chain(&naming) {
            context.enqueue(server);
        }
        context.metrics.cached(kind.plural(), context.children.count(kind));
    };
    forever(context, kind.plural(), api, config, seen).await;
}

/// One watch, resumed for ever.
async fn forever<K>(
    context: &Context,
    resource: &'static str,
    api: Api<K>,
    config: watcher::Config,
    mut seen: impl FnMut(Event<K>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    loop {
        let mut events = std::pin::pin!(watcher(api.clone(), config.clone()).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => seen(event),
                Err(error) => {
                    context.metrics.watch_failed(resource);
                    tracing::warn!(resource, %error, "a watch failed and is resumed");
                    if is_stuck(&error) {
                        break;
                    }
                }
            }
        }
        tokio::time::sleep(ANEW_AFTER).await;
    }
}

/// A 410 as the answer to the start of a watch: kube tries the same version again for ever, so it is begun anew.
fn is_stuck(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

/// What nobody reads is not kept: half of an object's metadata.
fn prune<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
    if let Some(annotations) = &mut object.meta_mut().annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

fn api<K>(context: &Context, scope: &Scope) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match &scope.namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    }
}

#[cfg(test)]
mod tests;
