use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use kube::runtime::reflector::Store;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc::UnboundedReceiver};

use super::*;
use crate::{
    config::OperatorConfig,
    testing::{self, Asked, client, failure},
};

/// More than two pages.
const MANY: usize = 120;

/// Serves each list in its turn, in pages, and says at the watch after each but the last that it is too old. Calls `look`
/// with the turn at every request.
fn serve(
    lists: Vec<Vec<Value>>,
    done: Arc<Notify>,
    look: impl FnMut(usize) + Send + 'static,
) -> kube::Client {
    let state = Mutex::new((0, look));
    client(move |Asked { query, .. }| {
        let mut state = state.lock().unwrap();
        let (turn, look) = &mut *state;
        look(*turn);
        if query.contains("watch=true") {
            *turn += 1;
            if *turn == lists.len() {
                done.notify_one();
                return None;
            }
            let (_, status) = failure(410, "Expired", "too old resource version");
            return Some((200, json!({ "type": "ERROR", "object": status })));
        }
        let page = usize::try_from(PAGE).unwrap();
        let token = query.split('&').find_map(|part| part.strip_prefix("continue="));
        let from: usize = token.map_or(0, |token| token.parse().unwrap());
        let all = &lists[*turn];
        let rest = if from + page < all.len() { (from + page).to_string() } else { String::new() };
        let items: Vec<&Value> = all.iter().skip(from).take(page).collect();
        Some((200, json!({ "metadata": { "resourceVersion": "1", "continue": rest }, "items": items })))
    })
}

/// What a reconciler would find that looked at once: the UID and generation of each object that was asked for.
type Found = BTreeMap<String, Vec<Option<(String, i64)>>>;

fn take<K>(queue: &mut UnboundedReceiver<ObjectRef<K>>, cache: &Store<K>, found: &mut Found)
where
    K: Resource<DynamicType = ()> + Clone,
{
    while let Ok(object) = queue.try_recv() {
        let now = cache.get(&object);
        let now = now.map(|o| (o.uid().unwrap_or_default(), o.meta().generation.unwrap_or_default()));
        found.entry(object.name).or_default().push(now);
    }
}

fn object(kind: &str, name: &str, uid: &str, generation: i64) -> Value {
    json!({
        "apiVersion": "gatehouse.dev/v1alpha1", "kind": kind,
        "metadata": { "name": name, "namespace": "a", "uid": uid, "generation": generation },
        "spec": { "url": format!("https://{name}.example.com/mcp"), "identity": {}, "access": {}, "backends": [],
            "targetRefs": [{ "selector": {} }] },
    })
}

fn many(kind: &str) -> Vec<Value> {
    (0..MANY).map(|n| object(kind, &format!("s-{n}"), "first", 1)).collect()
}

/// A list that comes after the first, with an object edited, one made anew under the same name, one new and one gone.
fn later(kind: &str) -> Vec<Value> {
    let mut all = many(kind);
    all[0] = object(kind, "s-0", "first", 2);
    all[1] = object(kind, "s-1", "second", 1);
    all[2] = object(kind, "new", "first", 1);
    all
}

/// Which objects a second list makes anyone look at, and what is found of them then: nothing before the cache has them.
fn news() -> Found {
    let one = |uid: &str, generation| vec![Some((uid.to_owned(), generation))];
    [("new", one("first", 1)), ("s-0", one("first", 2)), ("s-1", one("second", 1))]
        .map(|(name, found)| (name.to_owned(), found))
        .into()
}

#[tokio::test]
async fn servers_that_changed_before_a_new_list_are_looked_at_once_the_cache_has_them() {
    let (scope, writer, _policies) = testing::scope();
    let found = Arc::new(Mutex::new([Found::new(), Found::new()]));
    let (mut queue, cache, seen) = (scope.server_queue.open(), scope.servers.clone(), found.clone());
    let look = move |turn: usize| take(&mut queue, &cache, &mut seen.lock().unwrap()[turn]);
    let done = Arc::new(Notify::new());
    let mut second = later("McpServer");
    // Nobody but the cache knows of it.
    second[5]["spec"]["backends"] = json!("tools");
    let client = serve(vec![many("McpServer"), second], done.clone(), look);
    let context = testing::context(client, OperatorConfig::offline(), &scope);
    let health = Health::waiting_for(vec![list("mcpservers", None)]);
    tokio::select! {
        () = watch_servers(&context, &scope, writer, &health) => unreachable!("it never ends"),
        () = done.notified() => {}
    }
    health.until_ready().await;
    let [first, second] = &*found.lock().unwrap();
    assert_eq!(first.len(), MANY);
    assert_eq!(*second, news());
    assert!(context.server(&ServerName { namespace: "a".to_owned(), name: "s-2".to_owned() }).is_none());
    let nobody = ServerName { namespace: String::new(), name: String::new() };
    assert_eq!(
        context.peers.on_host("s-5.example.com", &nobody).len(),
        1,
        "it cannot be read and keeps its host"
    );
    assert!(context.peers.on_host("s-2.example.com", &nobody).is_empty());
}

#[tokio::test]
async fn policies_that_changed_before_a_new_list_are_looked_at_and_so_are_their_servers() {
    let (scope, mut servers, writer) = testing::scope();
    let server = serde_json::from_value(object("McpServer", "one", "first", 1)).unwrap();
    servers.apply_watcher_event(&Event::Apply(server));
    let found = Arc::new(Mutex::new([Found::new(), Found::new(), Found::new()]));
    let (mut queue, cache, seen) = (scope.policy_queue.open(), scope.policies.clone(), found.clone());
    let look = move |turn: usize| take(&mut queue, &cache, &mut seen.lock().unwrap()[turn]);
    let mut server_queue = scope.server_queue.open();
    let done = Arc::new(Notify::new());
    let lists = vec![many("OAuthClientPolicy"), later("OAuthClientPolicy"), later("OAuthClientPolicy")];
    let client = serve(lists, done.clone(), look);
    let context = testing::context(client, OperatorConfig::offline(), &scope);
    let vanishes = object("OAuthClientPolicy", "s-2", "first", 1);
    context.policies.failed(&serde_json::from_value(vanishes).unwrap());
    let health = Health::waiting_for(Vec::new());
    tokio::select! {
        () = watch_policies(&context, &scope, writer, &health) => unreachable!("it never ends"),
        () = done.notified() => {}
    }
    let [_, second, third] = &*found.lock().unwrap();
    // What changed for one may have changed what became of the others.
    assert_eq!(second.len(), MANY);
    assert!(second.values().flatten().all(Option::is_some), "{second:?}");
    for (name, now) in news() {
        assert_eq!(second[&name], now);
    }
    assert!(context.policies.is_empty(), "what a list does not show any more is forgotten");
    assert!(third.is_empty(), "the same list again tells nothing: {third:?}");
    let mut looks = 0;
    while server_queue.try_recv().is_ok() {
        looks += 1;
    }
    assert_eq!(looks, 2, "once for each list that told something");
}

/// The status of an object that speaks of this generation.
fn observed<S: DeserializeOwned>(generation: i64) -> S {
    serde_json::from_value(json!({ "observedGeneration": generation })).unwrap()
}

/// Serves one list, in which each object has the status of an older backup, and calls `write` between two of its pages.
fn restored(kind: &'static str, done: Arc<Notify>, write: impl Fn() + Send + 'static) -> kube::Client {
    let mut all = many(kind);
    for object in &mut all {
        object["metadata"]["resourceVersion"] = json!("5");
        object["status"] = json!({ "observedGeneration": 1 });
    }
    let mut requests = 0;
    let look = move |_| {
        requests += 1;
        if requests == 2 {
            write();
        }
    };
    serve(vec![all], done, look)
}

/// The names of those that are to be looked at.
fn names<K: Resource<DynamicType = ()>>(queue: &mut UnboundedReceiver<ObjectRef<K>>) -> Vec<String> {
    std::iter::from_fn(|| queue.try_recv().ok()).map(|object| object.name).collect()
}

#[tokio::test]
async fn what_was_written_before_a_restore_is_written_again_and_what_comes_after_it_is_not() {
    let (scope, writer, _policies) = testing::scope();
    let context: Arc<std::sync::OnceLock<Context>> = Arc::default();
    let (done, writes) = (Arc::new(Notify::new()), context.clone());
    let name = |name: &str| ServerName { namespace: "a".to_owned(), name: name.to_owned() };
    let meta = |uid: &str| kube::api::ObjectMeta { uid: Some(uid.to_owned()), ..Default::default() };
    let client = restored("McpServer", done.clone(), move || {
        let context = writes.get().unwrap();
        context.wrote_status(&name("s-1"), &meta("first"), 6, observed(7));
    });
    let context = context.get_or_init(|| testing::context(client, OperatorConfig::offline(), &scope));
    context.wrote_status(&name("s-0"), &meta("first"), 1000, observed(7));
    context.wrote_status(&name("s-2"), &meta("first"), 1000, observed(1));
    let mut queue = scope.server_queue.open();
    let health = Health::waiting_for(Vec::new());
    tokio::select! {
        () = watch_servers(context, &scope, writer, &health) => unreachable!("it never ends"),
        () = done.notified() => {}
    }
    let looked_at = names(&mut queue);
    let looks = |name: &str| looked_at.iter().filter(|looked| *looked == name).count();
    // All are new to the watch; one more look is for the status.
    assert_eq!([looks("s-0"), looks("s-1"), looks("s-2")], [2, 1, 1]);
    let status = |server: &str| {
        let cached = context.server(&name(server)).unwrap();
        context.current_status(&name(server), &cached).unwrap().observed_generation
    };
    assert_eq!([status("s-0"), status("s-1"), status("s-2")], [Some(1), Some(7), Some(1)]);
}

#[tokio::test]
async fn a_policys_status_from_before_a_restore_is_written_again() {
    let (scope, _servers, writer) = testing::scope();
    let done = Arc::new(Notify::new());
    let client = restored("OAuthClientPolicy", done.clone(), || {});
    let context = testing::context(client, OperatorConfig::offline(), &scope);
    let policy = |name: &str| -> GuardedPolicy {
        serde_json::from_value(object("OAuthClientPolicy", name, "first", 1)).unwrap()
    };
    context.policies.wrote_status(&policy("s-0"), 1000, observed(7));
    context.policies.wrote_status(&policy("s-2"), 1000, observed(1));
    let mut queue = scope.policy_queue.open();
    let health = Health::waiting_for(Vec::new());
    tokio::select! {
        () = watch_policies(&context, &scope, writer, &health) => unreachable!("it never ends"),
        () = done.notified() => {}
    }
    let looked_at = names(&mut queue);
    let looks = |name: &str| looked_at.iter().filter(|looked| *looked == name).count();
    assert_eq!([looks("s-0"), looks("s-2")], [2, 1]);
    let cached = scope.policies.get(&ObjectRef::from_obj(&policy("s-0"))).unwrap();
    assert_eq!(context.policies.current_status(&cached).observed_generation, Some(1));
}

fn service(name: &str, version: u64, selector: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name, "namespace": "a", "uid": name, "resourceVersion": version.to_string() },
        "spec": { "selector": { "app": selector }, "ports": [{ "port": 80 }] },
    })
}

#[tokio::test]
async fn servers_are_looked_at_when_a_service_that_they_name_is_made_edited_or_deleted() {
    let (scope, mut servers, _policies) = testing::scope();
    let looks = Arc::new(Mutex::new([const { Vec::new() }; 4]));
    let (mut queue, seen) = (scope.server_queue.open(), looks.clone());
    let look = move |turn: usize| {
        while let Ok(server) = queue.try_recv() {
            seen.lock().unwrap()[turn].push(server.name);
        }
    };
    // What nobody names fills pages, too.
    let nobodys = (0..MANY).map(|n| service(&format!("nobodys-{n}"), 1, "x"));
    let list = |tools: Option<Value>| nobodys.clone().chain(tools).collect::<Vec<_>>();
    let lists = vec![
        list(None),
        list(Some(service("tools", 2, "blue"))),
        list(Some(service("tools", 3, "green"))),
        list(None),
    ];
    let done = Arc::new(Notify::new());
    let context = testing::context(serve(lists, done.clone(), look), OperatorConfig::offline(), &scope);
    for (name, backend) in [("one", "tools"), ("two", "others")] {
        let mut server = object("McpServer", name, "first", 1);
        server["spec"]["backends"] = json!([{ "name": "b", "service": { "name": backend, "port": 80 } }]);
        let server: GuardedServer = serde_json::from_value(server).unwrap();
        servers.apply_watcher_event(&Event::Apply(server.clone()));
        server_seen(&context, &scope, &name_of(&server));
    }
    let health = Health::waiting_for(Vec::new());
    tokio::select! {
        () = watch_children(ChildKind::Service, &context, &scope, &health) => unreachable!("it never ends"),
        () = done.notified() => {}
    }
    let mut looks = looks.lock().unwrap().clone();
    // Their first pass, and once for a list that may tell of something else than they read.
    looks[0].sort();
    assert_eq!(looks[0], ["one", "one", "two", "two"]);
    assert_eq!(looks[1..], [["one"], ["one"], ["one"]]);
    assert_eq!(context.children.count(ChildKind::Service), 0, "none of them is a child");
}
