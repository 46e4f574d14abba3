//! Every rule of the CRDs, on the real server: what it lets in, and what it says when it does not.

use e2e::{apiserver::ApiServer, operator::server};
use gatehouse_operator::crd::{McpServer, OAuthClientPolicy};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Applies without effect; the server's words when it refuses.
async fn verdict(
    client: &Client,
    namespace: &str,
    resource: &ApiResource,
    object: &Value,
) -> Result<(), String> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, resource);
    let name = object["metadata"]["name"].as_str().unwrap();
    let params = PatchParams { dry_run: true, ..PatchParams::apply("user").validation_strict() };
    match api.patch(name, &params, &Patch::Apply(object)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("{error}"),
    }
}

/// The object with `value` at a path such as `spec.backends.0.name`; a null takes the field away.
fn with(mut object: Value, path: &str, value: &Value) -> Value {
    let (parents, last) = path.rsplit_once('.').unwrap();
    let mut place = &mut object;
    for part in parents.split('.') {
        place = match part.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[part],
        };
    }
    if value.is_null() {
        place.as_object_mut().unwrap().remove(last);
    } else if let Ok(index) = last.parse::<usize>() {
        place[index] = value.clone();
    } else {
        place[last] = value.clone();
    }
    object
}

/// A change to a good server, and a part of the refusal; empty: it is let in.
type Case = (String, Value, String);

async fn check(resource: &ApiResource, good: &Value, cases: Vec<Case>) {
    let api = ApiServer::shared().await;
    let _generated = crate::SCHEMA.read().await;
    let client = api.client();
    let namespace = api.namespace("rules").await;
    verdict(&client, &namespace, resource, good).await.unwrap_or_else(|e| panic!("the good object: {e}"));
    let mut wrong = Vec::new();
    for (path, value, words) in cases {
        let object = with(good.clone(), &path, &value);
        match verdict(&client, &namespace, resource, &object).await {
            Ok(()) if words.is_empty() => {}
            Err(message) if !words.is_empty() && message.contains(&words) => {}
            other => wrong.push(format!("{path} = {value}: expected {words:?}, got {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn server_resource() -> ApiResource {
    ApiResource::erase::<McpServer>(&())
}

/// The table that the offline checks are tested with too: the two must not part.
#[derive(Deserialize)]
struct Rules {
    good: Vec<Value>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    kind: String,
    at: String,
    value: Value,
    message: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cel_rule_refuses_what_breaks_it() {
    let rules: Rules = serde_saphyr::from_str(include_str!("../../../operator/tests/rules.yaml")).unwrap();
    for good in &rules.good {
        let resource = if good["kind"] == "McpServer" {
            server_resource()
        } else {
            ApiResource::erase::<OAuthClientPolicy>(&())
        };
        let refused = rules.refused.iter().filter(|r| good["kind"] == r.kind);
        let cases = refused
            .map(|r| (r.at.trim_start_matches('/').replace('/', "."), r.value.clone(), r.message.clone()));
        check(&resource, good, cases.collect()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_lets_in_what_is_meant_and_nothing_else() {
    let resource = server_resource();
    let oauth2 =
        json!({ "provider": "GitHub", "clientId": "x", "clientSecretRef": { "name": "s", "key": "k" } });
    let twice = json!([{ "name": "me", "fromIdentity": {} }, { "name": "me", "fromIdentity": {} }]);
    let spread = |when: &str| json!({ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": when });
    let pulled = json!({ "imagePullSecrets": [{ "name": "a" }, { "name": "a" }] });
    let spread_twice =
        json!({ "topologySpreadConstraints": [spread("DoNotSchedule"), spread("DoNotSchedule")] });
    let spread_apart =
        json!({ "topologySpreadConstraints": [spread("DoNotSchedule"), spread("ScheduleAnyway")] });
    let cases = [
        ("metadata.name", json!("a".repeat(48)), ""),
        ("spec.url", json!("http://localhost:8080/mcp"), ""),
        ("spec.url", json!("https://h.example.com:8443/mcp"), ""),
        ("spec.url", json!("https://h.example.com/oauthx/mcp"), ""),
        ("spec.issuer", json!("https://github.example.com"), ""),
        ("spec.identity", json!({ "oauth2": oauth2 }), ""),
        ("spec.access", json!({ "allow": [{ "groups": ["g"] }] }), ""),
        ("spec.access.recheck", json!({ "every": "1h30m" }), ""),
        ("spec.backends.0.inject", json!([{ "credential": "me", "header": "X-Key" }]), ""),
        ("spec.backends.0.headers", json!([{ "name": "X-A", "value": "x" }]), ""),
        ("spec.backends.0.timeouts", json!({ "connect": "5s" }), ""),
        ("spec.gateway", json!({ "replicas": 0, "drainPeriod": "30s" }), ""),
        ("spec.gateway", json!({ "pod": spread_apart }), ""),
        ("spec.gateway", json!({ "pod": spread_twice }), "uplicate"),
        ("spec.gateway", json!({ "pod": pulled }), "uplicate"),
        ("spec.unknown", json!(1), "unknown"),
        ("spec.access", json!({ "allow": [] }), "spec.access.allow"),
        ("spec.access.recheck", json!({ "every": "1.5h" }), "spec.access.recheck.every"),
        ("spec.credentials", twice, "uplicate"),
        ("spec.backends", json!([]), "spec.backends"),
        ("spec.gateway", json!({ "replicas": -1 }), "replicas"),
    ];
    let cases = cases.map(|(path, value, words)| (path.to_owned(), value, words.to_owned()));
    check(&resource, &server("github"), cases.into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_is_accepted() {
    let api = ApiServer::shared().await;
    let _generated = crate::SCHEMA.read().await;
    let client = api.client();
    let namespace = api.namespace("examples").await;
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/examples");
    let mut applied = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for document in text.split("\n---").filter(|d| d.lines().any(|line| line.starts_with("kind:"))) {
            let mut value: Value = serde_saphyr::from_str(document).unwrap();
            value["metadata"].as_object_mut().unwrap().remove("namespace");
            let object: DynamicObject = serde_json::from_value(value.clone()).unwrap();
            let gvk = GroupVersionKind::try_from(&object.types.unwrap()).unwrap();
            let said = verdict(&client, &namespace, &ApiResource::from_gvk(&gvk), &value).await;
            said.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            applied += 1;
        }
    }
    assert!(applied >= 9, "{applied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_fills_in_the_defaults_and_shows_the_columns() {
    let api = ApiServer::shared().await;
    let client = api.client();
    let namespace = api.namespace("defaults").await;
    let made: DynamicObject = {
        let objects: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &namespace, &server_resource());
        objects.patch("github", &PatchParams::apply("user"), &Patch::Apply(server("github"))).await.unwrap()
    };
    assert_eq!(made.data["spec"]["backends"][0]["inject"][0]["format"], "Bearer {token}");
    assert_eq!(made.data["spec"]["backends"][0]["inject"][0]["header"], "Authorization");
    let servers = columns(&client, &namespace, "mcpservers").await;
    assert_eq!(
        servers,
        ["Name", "Ready", "Reason", "URL", "Replicas", "Age", "Policy", "Version", "Message"]
    );
    let policies = columns(&client, &namespace, "oauthclientpolicies").await;
    assert_eq!(policies, ["Name", "Accepted", "Programmed", "Matched", "Age", "Message"]);
}

/// What `kubectl get -o wide` heads its columns with.
async fn columns(client: &Client, namespace: &str, plural: &str) -> Vec<String> {
    let path = format!("/apis/gatehouse.dev/v1alpha1/namespaces/{namespace}/{plural}");
    let request = http::Request::get(path).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let text = client.request_text(request.body(Vec::new()).unwrap()).await.unwrap();
    let table: Value = serde_json::from_str(&text).unwrap();
    let name = |column: &Value| column["name"].as_str().unwrap().to_owned();
    table["columnDefinitions"].as_array().unwrap().iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kinds_have_short_names_and_a_category() {
    let client = ApiServer::shared().await.client();
    let found = client.list_api_group_resources("gatehouse.dev/v1alpha1").await.unwrap().resources;
    let names = |kind: &str| {
        let resource = found.iter().find(|r| r.kind == kind && !r.name.contains('/')).unwrap();
        (resource.short_names.clone().unwrap_or_default(), resource.categories.clone().unwrap_or_default())
    };
    let gatehouse = vec!["gatehouse".to_owned()];
    assert_eq!(names("McpServer"), (vec!["mcps".to_owned()], gatehouse.clone()));
    assert_eq!(names("OAuthClientPolicy"), (vec!["ocpol".to_owned()], gatehouse));
}
