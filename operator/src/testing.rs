//! An API server of a few lines, and a context on it, for the tests of what talks to one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use http::{Method, Request, Response};
use kube::{
    Client,
    client::Body,
    runtime::reflector::{store, store::Writer},
};
use serde_json::{Value, json};
use tower::service_fn;

use crate::{
    config::OperatorConfig,
    metrics::Metrics,
    policy::GuardedPolicy,
    redis_users::Redis,
    server::{
        context::Context,
        guarded::GuardedServer,
        scope::{Queue, Scope},
    },
};

/// A request, as a test looks at it.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The method.
    pub(crate) method: Method,
    /// The path.
    pub(crate) path: String,
    /// The query.
    pub(crate) query: String,
    /// The body.
    pub(crate) body: Value,
}

/// A client of whatever `answer` plays: a status and a body, or no answer at all.
pub(crate) fn client(answer: impl Fn(Asked) -> Option<(u16, Value)> + Send + Sync + 'static) -> Client {
    let answer = Arc::new(answer);
    let service = service_fn(move |request: Request<Body>| {
        let answer = answer.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await?;
            let asked = Asked {
                method: parts.method,
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            };
            let Some((code, value)) = answer(asked) else { return std::future::pending().await };
            let response = Response::builder().status(code).body(Body::from(value.to_string().into_bytes()));
            Ok::<_, tower::BoxError>(response?)
        }
    });
    Client::new(service, "default")
}

/// An error as the API server words it.
pub(crate) fn failure(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason,
        "message": message });
    (code, status)
}

/// Where the events of the namespace of most tests are.
pub(crate) const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/a/events/";

/// Objects by their paths, each as it was last written. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Objects(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Value>,
    forbidden: BTreeSet<String>,
    broken: BTreeSet<String>,
    stalled: BTreeSet<String>,
    version: u64,
}

impl Objects {
    /// A client that reads and writes them. Every patch is merged.
    pub(crate) fn client(&self) -> Client {
        let this = self.clone();
        client(move |asked| {
            let mut state = this.lock();
            let stalled = state.stalled.contains(&asked.path);
            (!stalled).then(|| state.answer(asked))
        })
    }

    /// Puts an object there.
    pub(crate) fn put(&self, path: &str, object: Value) {
        self.lock().objects.insert(path.to_owned(), object);
    }

    /// Takes an object away.
    pub(crate) fn remove(&self, path: &str) {
        self.lock().objects.remove(path);
    }

    /// Answers 403 to whatever concerns a path.
    pub(crate) fn forbid(&self, path: &str) {
        self.lock().forbidden.insert(path.to_owned());
    }

    /// Fails at whatever concerns a path.
    pub(crate) fn break_down(&self, path: &str) {
        self.lock().broken.insert(path.to_owned());
    }

    /// Gives no answer to whatever concerns a path.
    pub(crate) fn stall(&self, path: &str) {
        self.lock().stalled.insert(path.to_owned());
    }

    /// Answers again.
    pub(crate) fn answer(&self, path: &str) {
        self.lock().stalled.remove(path);
    }

    /// The objects whose paths begin so.
    pub(crate) fn under(&self, path: &str) -> Vec<Value> {
        let state = self.lock();
        let found = state.objects.iter().filter(|(at, _)| at.starts_with(path));
        found.map(|(_, object)| object.clone()).collect()
    }

    /// An object; null when there is none.
    pub(crate) fn get(&self, path: &str) -> Value {
        self.lock().objects.get(path).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn answer(&mut self, asked: Asked) -> (u16, Value) {
        let Asked { method, path, query: _, body } = asked;
        let path = match method {
            Method::POST => format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or_default()),
            _ => path.trim_end_matches("/status").to_owned(),
        };
        if self.forbidden.contains(&path) {
            return failure(403, "Forbidden", "quota exceeded");
        }
        if self.broken.contains(&path) {
            return failure(500, "InternalError", "etcd is away");
        }
        if method == Method::GET {
            let missing = || failure(404, "NotFound", "not found");
            return self.objects.get(&path).map_or_else(missing, |object| (200, object.clone()));
        }
        self.version += 1;
        let object = self.objects.entry(path).or_default();
        if method == Method::PATCH {
            merge(object, body);
        } else {
            *object = body;
        }
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        (200, object.clone())
    }
}

fn merge(into: &mut Value, patch: Value) {
    match patch {
        Value::Object(fields) => {
            for (name, field) in fields {
                merge(&mut into[name], field);
            }
        }
        other => *into = other,
    }
}

/// A scope of all namespaces, and what fills its caches.
pub(crate) fn scope() -> (Scope, Writer<GuardedServer>, Writer<GuardedPolicy>) {
    let ((servers, server_writer), (policies, policy_writer)) = (store(), store());
    let (server_queue, policy_queue) = (Queue::default(), Queue::default());
    let scope = Scope { namespace: None, servers, policies, server_queue, policy_queue };
    (scope, server_writer, policy_writer)
}

/// A context of one scope.
pub(crate) fn context(client: Client, config: OperatorConfig, scope: &Scope) -> Context {
    Context::new(client, config, vec![scope.clone()], Redis::default(), Metrics::default(), "test")
}
