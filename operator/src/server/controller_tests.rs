use std::sync::Mutex;

use base64::{Engine, engine::general_purpose::STANDARD};
use gatehouse_gateway_config::{KEYRING_KEY, keys::Keyring};
use kube::runtime::{reflector::store::Writer, watcher::Event};
use serde_json::{Value, json};

use super::*;
use crate::{
    clock::{Clock, Entropy},
    config::{OperatorConfig, RedisUsers},
    server::context::backoff,
    testing::{self, EVENTS, Objects},
};

const SERVER: &str = "/apis/gatehouse.dev/v1alpha1/namespaces/a/mcpservers/s";
const KEYS: &str = "/api/v1/namespaces/a/secrets/s-gateway-keys";
const USERS: &str = "/api/v1/namespaces/a/secrets/users";
const SERVICE: &str = "/api/v1/namespaces/a/services/tools";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/a/deployments/s-gateway";
const PROVIDED: &str = "/api/v1/namespaces/a/secrets/gatehouse-redis";
const REDIS: &str = "/api/v1/namespaces/a/secrets/s-gateway-redis";

fn server() -> Value {
    json!({
        "apiVersion": "gatehouse.dev/v1alpha1", "kind": "McpServer",
        "metadata": { "name": "s", "namespace": "a", "uid": "uid-of-s", "generation": 1 },
        "spec": {
            "url": "https://h.example.com/mcp",
            "identity": { "local": { "usersSecretRef": { "name": "users", "key": "users.yaml" } } },
            "access": { "everyone": {} },
            "backends": [{ "name": "tools", "service": { "name": "tools", "port": 80 } }],
        },
    })
}

/// One process, from its start on.
struct Process {
    objects: Objects,
    context: Arc<Context>,
    /// What the watch knows.
    servers: Mutex<Writer<GuardedServer>>,
}

impl Process {
    fn start(objects: &Objects, config: OperatorConfig) -> Self {
        let (scope, servers, _) = testing::scope();
        let context = Arc::new(testing::context(objects.client(), config, &scope));
        Self { objects: objects.clone(), context, servers: Mutex::new(servers) }
    }

    /// The server as the watch shows it from now on.
    fn cached(&self) -> Arc<GuardedServer> {
        let cached: GuardedServer = serde_json::from_value(self.objects.get(SERVER)).unwrap();
        self.servers.lock().unwrap().apply_watcher_event(&Event::Apply(cached.clone()));
        Arc::new(cached)
    }

    /// A pass over the server as it is now.
    async fn look(&self) -> Result<Action, ReconcileError> {
        Box::pin(reconcile(self.cached(), self.context.clone())).await
    }

    /// The same; gives its status after that.
    async fn pass(&self) -> Value {
        self.look().await.unwrap();
        self.objects.get(SERVER)["status"].clone()
    }

    fn users(&self) -> Vec<String> {
        self.context.redis.wanted()
    }
}

/// What the server names.
fn references(objects: &Objects) {
    let hash =
        "$argon2id$v=19$m=19456,t=2,p=1$mFHYlGtXagusfD3r4lRY6A$SglUPcYqNsymz6bTWMuX19dHnAF+EHAEpkqtva7g8aA";
    let users = format!("- {{ name: alice, uid: 5d0cf1c4b7d84a0e, passwordHash: \"{hash}\" }}\n");
    let secret = json!({ "metadata": { "name": "users" }, "data": { "users.yaml": STANDARD.encode(users) } });
    objects.put(USERS, secret);
    let spec = json!({ "selector": { "app": "tools" }, "ports": [{ "port": 80, "targetPort": 8080 }] });
    objects.put(SERVICE, json!({ "metadata": { "name": "tools" }, "spec": spec }));
}

/// A cluster with the server in it, and a process that made its first pass.
async fn begun() -> (Objects, Process, Value) {
    let objects = Objects::default();
    references(&objects);
    objects.put(SERVER, server());
    let process = Process::start(&objects, OperatorConfig::offline());
    let status = process.pass().await;
    (objects, process, status)
}

fn condition<'a>(status: &'a Value, type_: &str) -> &'a Value {
    let all = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().find(|c| c["type"] == type_).unwrap_or(&Value::Null)
}

/// The keys Secret, changed.
fn edit_keys(objects: &Objects, edit: impl FnOnce(&mut Value)) {
    let mut keys = objects.get(KEYS);
    edit(&mut keys);
    objects.put(KEYS, keys);
}

#[tokio::test]
async fn a_refusal_is_told_alone_and_keys_that_were_made_are_noted() {
    let objects = Objects::default();
    let condition_of = |type_: &str| {
        json!({ "type": type_, "status": "True", "reason": type_, "message": "was good", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    let before = ["Accepted", "ResolvedRefs", "Available", "Ready"].map(condition_of);
    let mut known = server();
    known["metadata"]["generation"] = json!(2);
    known["status"] = json!({ "observedGeneration": 1, "conditions": before });
    objects.put(SERVER, known);
    objects.forbid(USERS);
    let process = Process::start(&objects, OperatorConfig::offline());
    let status = process.pass().await;
    for type_ in ["Accepted", "ResolvedRefs", "Available"] {
        assert_eq!(*condition(&status, type_), condition_of(type_), "nothing is known of it");
    }
    for (type_, is) in [("Programmed", "False"), ("Ready", "False"), ("Stalled", "True")] {
        let told = condition(&status, type_);
        assert_eq!((&told["status"], &told["reason"]), (&json!(is), &json!("ApplyFailed")), "{type_}");
        assert!(told["message"].as_str().unwrap().contains("quota exceeded"), "{told}");
    }
    assert_eq!(status["observedGeneration"], 2, "else whoever waits by kstatus waits on: {status}");
    assert!(status["keys"]["instance"].is_string(), "{status}");
    assert!(objects.get(KEYS).is_object());
}

#[tokio::test]
async fn a_problem_of_the_operator_ends_no_redis_user() {
    let objects = Objects::default();
    objects.put(SERVER, server());
    let password = tempfile::NamedTempFile::new().unwrap();
    let mut config = OperatorConfig::offline();
    config.redis.password_file = Some(password.path().to_path_buf());
    let process = Process::start(&objects, config);
    process.pass().await;
    let users = process.users();
    assert_eq!(users.len(), 1, "{users:?}");
    drop(password);
    let status = process.pass().await;
    assert_eq!(condition(&status, "ResolvedRefs")["reason"], "InvalidRef", "{status}");
    assert_eq!(process.users(), users, "its pods still use it");

    // Other keys, whose user takes its place.
    process.context.uses_redis_user(&name(), "another");
    assert!(process.users().is_empty());
}

#[tokio::test]
async fn a_new_leader_keeps_the_redis_user_of_a_server_whose_keys_are_lost() {
    let (objects, first, _) = begun().await;
    objects.remove(KEYS);
    let second = Process::start(&objects, OperatorConfig::offline());
    let status = second.pass().await;
    assert_eq!(condition(&status, "ResolvedRefs")["reason"], "KeysLost", "{status}");
    assert_eq!(second.users(), first.users());
}

#[tokio::test]
async fn a_new_leader_keeps_the_redis_user_of_a_server_that_cannot_be_read() {
    let (objects, first, _) = begun().await;
    let mut broken = objects.get(SERVER);
    broken["spec"]["backends"] = json!("tools");
    objects.put(SERVER, broken);
    let second = Process::start(&objects, OperatorConfig::offline());
    second.pass().await;
    assert_eq!(second.users(), first.users());

    // Whoever can write the Secret cannot have the records of another instance.
    let mut secret = objects.get(REDIS);
    secret["data"]["username"] = json!(STANDARD.encode("gatehouse:a/s.0123456789abcdef"));
    objects.put(REDIS, secret);
    let third = Process::start(&objects, OperatorConfig::offline());
    third.pass().await;
    assert!(third.users().is_empty(), "{:?}", third.users());
}

#[tokio::test]
async fn other_keys_in_the_place_of_the_known_ones_are_not_taken_before_a_person_accepts_it() {
    let (objects, process, status) = begun().await;
    let known = status["keys"]["instance"].as_str().unwrap().to_owned();
    let other = process.context.entropy.with(Keyring::generate);
    edit_keys(&objects, |keys| keys["data"][KEYRING_KEY] = json!(STANDARD.encode(other.to_json())));
    let secret = objects.get(KEYS);
    let status = process.pass().await;
    let told = condition(&status, "ResolvedRefs");
    assert_eq!(told["reason"], "KeysLost", "{status}");
    let message = told["message"].as_str().unwrap();
    assert!(message.contains(&known) && message.contains(&other.instance), "{message}");
    assert_eq!(status["keys"]["instance"], json!(known));
    assert_eq!(objects.get(KEYS), secret, "it is left as it is");
    assert_eq!(condition(&status, "Programmed")["reason"], "Blocked", "{status}");

    let mut accepting = objects.get(SERVER);
    accepting["metadata"]["annotations"] = json!({ "gatehouse.dev/accept-key-loss": known });
    objects.put(SERVER, accepting);
    let status = process.pass().await;
    assert_eq!(status["keys"]["instance"], json!(other.instance));
    assert_eq!(condition(&status, "ResolvedRefs")["status"], "True");
}

#[tokio::test]
async fn other_owners_of_the_keys_stay_owners() {
    let (objects, process, _) = begun().await;
    let other = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "backup", "uid": "uid-of-backup" });
    let ours = objects.get(KEYS)["metadata"]["ownerReferences"][0].clone();
    assert_eq!(ours["uid"], "uid-of-s");
    edit_keys(&objects, |keys| {
        keys["metadata"]["ownerReferences"] = json!([other, ours]);
        keys["metadata"]["labels"] = json!({});
    });
    process.pass().await;
    let kept = objects.get(KEYS)["metadata"].clone();
    assert_eq!(kept["ownerReferences"], json!([other, ours]));
    assert_ne!(kept["labels"], json!({}), "it was written");

    let mut retained = objects.get(SERVER);
    retained["spec"]["keys"] = json!({ "deletionPolicy": "Retain" });
    objects.put(SERVER, retained);
    process.pass().await;
    assert_eq!(objects.get(KEYS)["metadata"]["ownerReferences"], json!([other]));
}

/// A server of another namespace on the same host, which is older, and which the operator accepted and cannot read now.
#[tokio::test]
async fn an_incumbent_that_cannot_be_read_keeps_its_host() {
    let objects = Objects::default();
    objects.put(SERVER, server());
    let (scope, mut servers, _) = testing::scope();
    let mut config = OperatorConfig::offline();
    config.redis.users = RedisUsers::Provided;
    let context = Arc::new(testing::context(objects.client(), config, &scope));
    let mut holder = server();
    holder["metadata"] = json!({ "name": "holder", "namespace": "b", "uid": "uid-of-holder",
        "creationTimestamp": "2026-02-01T00:00:00Z" });
    holder["spec"] = json!({ "url": "https://h.example.com/t/mcp", "backends": "tools" });
    holder["status"] = json!({ "issuer": "https://h.example.com/t", "issuerSince": "2026-02-01T00:00:00Z" });
    let holder: GuardedServer = serde_json::from_value(holder).unwrap();
    assert!(holder.0.is_err());
    context.peers.moved(&name_of(&holder), peers::Claim::of_guarded(&holder).host);
    servers.apply_watcher_event(&Event::Apply(holder));

    let mut older = server();
    older["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    objects.put(SERVER, older);
    let process = Process { objects: objects.clone(), context, servers: Mutex::new(servers) };
    let status = process.pass().await;
    let told = condition(&status, "Accepted");
    assert_eq!(told["reason"], "HostConflict", "{status}");
    assert!(told["message"].as_str().unwrap().contains("b/holder"), "{told}");
}

/// The status when a pass was cut off: what it would have found is unknown, and what runs is untouched.
fn says_interrupted(objects: &Objects, words: &str) {
    let status = objects.get(SERVER)["status"].clone();
    let ready = condition(&status, "Ready");
    let message = ready["message"].as_str().unwrap_or_default();
    assert!(ready["status"] != "True" && message.contains(words), "{status:#}");
}

#[tokio::test]
async fn a_pass_that_hangs_ends_says_so_and_is_tried_again() {
    let (objects, mut process, _) = begun().await;
    let expected = Entropy::seeded(1);
    Arc::get_mut(&mut process.context).unwrap().deadline = Duration::from_millis(50);
    objects.stall(USERS);
    let cached: Arc<GuardedServer> = Arc::new(serde_json::from_value(objects.get(SERVER)).unwrap());
    let error = Box::pin(reconcile(cached.clone(), process.context.clone())).await.unwrap_err();
    assert!(matches!(error, ReconcileError::Deadline(_)), "{error}");
    says_interrupted(&objects, "not done within 50ms");
    Arc::get_mut(&mut process.context).unwrap().entropy = Entropy::seeded(1);
    for failures in 1..8 {
        let pause = error_policy(cached.clone(), &error, process.context.clone());
        assert_eq!(pause, Action::requeue(backoff(failures, expected.fraction())));
    }
    objects.answer(USERS);
    Arc::get_mut(&mut process.context).unwrap().deadline = Duration::from_secs(60);
    let status = process.pass().await;
    let message = condition(&status, "Ready")["message"].as_str().unwrap_or_default().to_owned();
    assert!(!message.contains("not done within"), "{message}");
}

#[tokio::test]
async fn a_panic_ends_its_pass_and_no_other() {
    let (objects, mut process, _) = begun().await;
    let now = jiff::Timestamp::UNIX_EPOCH;
    let panics = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let armed = panics.clone();
    let clock = Clock::from_fn(move || {
        // Once: what is said of the panic needs the time, too.
        assert!(!armed.swap(false, std::sync::atomic::Ordering::Relaxed), "the clock broke");
        now
    });
    Arc::get_mut(&mut process.context).unwrap().clock = clock;
    let cached: GuardedServer = serde_json::from_value(objects.get(SERVER)).unwrap();
    let error = Box::pin(reconcile(Arc::new(cached), process.context.clone())).await.unwrap_err();
    assert!(matches!(&error, ReconcileError::Panic(why) if why.contains("the clock broke")), "{error}");
    says_interrupted(&objects, "the clock broke");
    let status = process.pass().await;
    assert!(
        !condition(&status, "Ready")["message"].as_str().unwrap_or_default().contains("broke"),
        "{status:#}"
    );
}

/// A pass over the server as it is now; gives the seconds until the next look.
async fn pause(process: &Process) -> f64 {
    look_at(&name(), &process.cached(), &process.context).await.unwrap().as_secs_f64()
}

/// Secrets are not watched: what is edited or deleted is found by looking.
#[tokio::test]
async fn every_server_is_looked_at_again_and_a_secret_that_went_is_found() {
    let objects = Objects::default();
    references(&objects);
    objects.put(SERVER, server());
    let mut config = OperatorConfig::offline();
    config.redis.users = RedisUsers::Provided;
    let process = Process::start(&objects, config);
    objects.put(
        PROVIDED,
        json!({ "metadata": { "name": "gatehouse-redis" },
        "data": { "username": STANDARD.encode("u"), "password": STANDARD.encode("p") } }),
    );
    let awaited = pause(&process).await;
    assert!((270.0..=330.0).contains(&awaited), "of its pods the watch tells: {awaited}");

    let mut pods = objects.get(DEPLOYMENT);
    pods["status"] = json!({ "observedGeneration": 0, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2,
        "availableReplicas": 2 });
    objects.put(DEPLOYMENT, pods);
    let mut pauses = Vec::new();
    for _ in 0..20 {
        pauses.push(pause(&process).await);
    }
    assert!(pauses.iter().all(|pause| (27.0 * 60.0..=33.0 * 60.0).contains(pause)), "{pauses:?}");
    let widest = pauses.iter().fold(0.0, |widest: f64, pause| widest.max((pause - pauses[0]).abs()));
    assert!(widest > 60.0, "not all at once for ever: {pauses:?}");
    let status = objects.get(SERVER)["status"].clone();
    assert_eq!(condition(&status, "ResolvedRefs")["status"], "True", "{status:#}");

    let running = objects.get(DEPLOYMENT);
    assert!(running.is_object());
    objects.remove(USERS);
    let unresolved = pause(&process).await;
    assert!((13.5..=16.5).contains(&unresolved), "{unresolved}");
    let status = objects.get(SERVER)["status"].clone();
    assert_eq!(condition(&status, "ResolvedRefs")["reason"], "RefNotFound", "{status:#}");
    assert_eq!(condition(&status, "Available")["status"], "True", "{status:#}");
    assert_eq!(objects.get(DEPLOYMENT), running, "what ran stays");

    assert!((13.5..=16.5).contains(&pause(&process).await));
    let waited = [0, 599, 600].map(|seconds| unresolved_pause(Duration::from_secs(seconds)).as_secs());
    assert_eq!(waited, [15, 15, 300]);
    // What is wrong with the server itself ends by an edit.
    let mut broken = objects.get(SERVER);
    broken["spec"]["backends"][0]["inject"] = json!([{ "credential": "nobody", "header": "Authorization" }]);
    objects.put(SERVER, broken);
    assert!((270.0..=330.0).contains(&pause(&process).await));
}

fn name() -> ServerName {
    ServerName { namespace: "a".to_owned(), name: "s".to_owned() }
}

#[tokio::test]
async fn keys_that_were_made_are_told_once_whatever_becomes_of_the_pass() {
    let told = |objects: &Objects| {
        let events = objects.under(EVENTS);
        events.iter().filter(|event| event["reason"] == "KeysCreated").count()
    };
    for path in [USERS, SERVICE, DEPLOYMENT] {
        let objects = Objects::default();
        references(&objects);
        objects.put(SERVER, server());
        objects.break_down(path);
        let process = Process::start(&objects, OperatorConfig::offline());
        process.look().await.unwrap_err();
        assert!(objects.get(KEYS).is_object());
        assert_eq!(told(&objects), 1, "{path}");
        process.look().await.unwrap_err();
        assert_eq!(told(&objects), 1, "{path}");
    }
}

#[tokio::test]
async fn a_pass_that_failed_after_its_server_went_leaves_nothing() {
    let (objects, process, _) = begun().await;
    let cached = process.cached();
    objects.break_down(USERS);
    process.servers.lock().unwrap().apply_watcher_event(&Event::Delete(GuardedServer::clone(&cached)));
    let error = Box::pin(reconcile(cached.clone(), process.context.clone())).await.unwrap_err();
    error_policy(cached, &error, process.context.clone());
    assert!(!process.context.remembers(&name()), "no watch tells again that it is gone");
}

#[tokio::test]
async fn who_can_go_no_further_holds_up_no_roll_out() {
    let other = ServerName { namespace: "a".to_owned(), name: "other".to_owned() };
    let begins = async |break_it: &dyn Fn(&Objects)| {
        let objects = Objects::default();
        references(&objects);
        objects.put(SERVER, server());
        let mut config = OperatorConfig::offline();
        config.rollouts.max_concurrent = 1;
        let process = Process::start(&objects, config);
        assert_eq!(process.context.may_roll(&name(), true), Turn::Now);
        assert_eq!(process.context.may_roll(&other, true), Turn::After(vec![name()]));
        break_it(&objects);
        process.pass().await;
        process.context.may_roll(&other, true)
    };
    assert_eq!(begins(&|objects| objects.forbid(USERS)).await, Turn::Now, "it is refused");
    let unreadable = |objects: &Objects| {
        let mut broken = objects.get(SERVER);
        broken["spec"]["backends"] = json!("tools");
        objects.put(SERVER, broken);
    };
    assert_eq!(begins(&unreadable).await, Turn::Now, "it cannot be read");
}

/// The fields of a JSON object in their order, each as often as it stands there.
struct Fields(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Fields {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

/// What the log says while something runs, as it stands there.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct Line {
    message: String,
    span: Option<Fields>,
}

impl Log {
    /// Each line: what it says, and the names of all its fields, those of its span with a dot before them.
    fn lines(&self) -> Vec<(String, Vec<String>, Value)> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let line = |line: &str| {
            let Fields(fields) = serde_json::from_str(line).unwrap();
            let mut names: Vec<String> = fields.iter().map(|(name, _)| name.clone()).collect();
            let Line { message, span } = serde_json::from_str(line).unwrap();
            names.extend(span.iter().flat_map(|span| &span.0).map(|(name, _)| format!(".{name}")));
            (message, names, serde_json::from_str::<Value>(line).unwrap())
        };
        text.lines().map(line).collect()
    }
}

#[tokio::test]
async fn every_line_of_a_pass_names_its_object_once() {
    for asked in [None, Some("warn"), Some("info,kube_runtime=info")] {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = crate::telemetry::subscriber(asked, move || writer.clone());
        let _logs = tracing::subscriber::set_default(subscriber);
        let objects = Objects::default();
        references(&objects);
        objects.put(SERVER, server());
        let process = Process::start(&objects, OperatorConfig::offline());
        process.look().await.unwrap();
        objects.break_down(USERS);
        let cached = process.cached();
        let error = process.look().await.unwrap_err();
        error_policy(cached, &error, process.context.clone());
        let lines = log.lines();
        let said = |what: &str| lines.iter().filter(|(message, ..)| message == what).count();
        assert_eq!(said("a pass failed"), 1, "{lines:#?}");
        assert_eq!(said("applied") > 0, asked != Some("warn"), "{lines:#?}");
        for (message, mut names, line) in lines {
            let span = &line["span"];
            let object = (&span["controller"], &span["namespace"], &span["object"]);
            assert_eq!(object, (&json!("mcpserver"), &json!("a"), &json!("s")), "{message}: {line}");
            names.sort();
            let once = names.windows(2).all(|pair| pair[0] != pair[1]);
            assert!(once && !names.iter().any(|name| name == "server"), "{message}: {names:?}");
        }
    }
}
