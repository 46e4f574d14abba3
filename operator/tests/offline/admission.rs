//! What the API server would refuse is refused offline, all of it at once, with file, line and field.

use gatehouse_operator::admission::{self, Finding, Source};

const GOOD: &str = "apiVersion: gatehouse.dev/v1alpha1
kind: McpServer
metadata:
  name: github
spec:
  url: https://github.mcp.example.com/mcp
  identity:
    local:
      usersSecretRef: { name: users, key: users.yaml }
  access:
    everyone: {}
  credentials:
    - name: me
      fromIdentity: {}
  backends:
    - name: tools
      service:
        name: tools
        port: 8080
      inject:
        - credential: me
";

fn read(text: &str) -> Result<admission::Manifests, Vec<Finding>> {
    admission::read(&[Source { name: "a.yaml".to_owned(), text: text.to_owned() }])
}

fn findings(text: &str) -> Vec<String> {
    read(text).unwrap_err().iter().map(ToString::to_string).collect()
}

/// What one replaced text makes wrong.
fn broken(from: &str, to: &str) -> Vec<String> {
    assert!(GOOD.contains(from), "{from}");
    findings(&GOOD.replace(from, to))
}

#[test]
fn a_good_server_has_defaults_and_a_namespace() {
    let manifests = read(GOOD).unwrap();
    let server = &manifests.servers[0].object;
    assert_eq!(server.metadata.namespace.as_deref(), Some("default"));
    let inject = &server.spec.backends[0].inject[0];
    assert_eq!((inject.header.as_str(), inject.format.as_str()), ("Authorization", "Bearer {token}"));
}

#[test]
fn nulls_are_as_if_absent() {
    assert!(read(&GOOD.replace("  access:", "  issuer: null\n  display:\n  access:")).is_ok());
}

#[test]
fn each_fault_has_its_line_field_and_the_api_servers_words() {
    let long = "a".repeat(70);
    let cases: Vec<(&str, String, &str, &str)> = vec![
        (
            "  name: github",
            format!("  name: {long}"),
            "a.yaml:1",
            "metadata.name must be at most 48 characters",
        ),
        (
            "  name: github",
            "  name: GitHub".to_owned(),
            "a.yaml:4",
            "metadata.name: Invalid value: \"GitHub\": a lowercase RFC 1123 subdomain",
        ),
        (
            "  name: github",
            "  labels: {}".to_owned(),
            "a.yaml:3",
            "metadata.name: Required value: name is required",
        ),
        (
            "        port: 8080",
            "        port: 0".to_owned(),
            "a.yaml:19",
            "spec.backends[0].service.port: Invalid value: 0: spec.backends[0].service.port in body should be greater than or equal to 1",
        ),
        ("        port: 8080", "        port: http".to_owned(), "a.yaml:19", "must be of type"),
        (
            "        port: 8080",
            "        prot: 8080".to_owned(),
            "a.yaml:19",
            "unknown field \"spec.backends[0].service.prot\"",
        ),
        (
            "        port: 8080",
            "        prot: 8080".to_owned(),
            "a.yaml:17",
            "spec.backends[0].service.port: Required value",
        ),
        (
            "        - credential: me",
            "        - credential: me\n        - credential: me".to_owned(),
            "a.yaml:22",
            "spec.backends[0].inject[1]: Duplicate value: {\"header\":\"Authorization\"}",
        ),
        (
            "    everyone: {}",
            "    everyone: {}\n    allow: [{ groups: [a] }]".to_owned(),
            "a.yaml:10",
            "spec.access: Invalid value: access needs exactly one of allow and everyone",
        ),
        (
            "    everyone: {}",
            "    allow: []".to_owned(),
            "a.yaml:11",
            "spec.access.allow in body should have at least 1 items",
        ),
        (
            "  credentials:",
            "  scope: []\n  credentials:".to_owned(),
            "a.yaml:12",
            "unknown field \"spec.scope\"",
        ),
        (
            "https://github",
            "ftp://github".to_owned(),
            "a.yaml:6",
            "spec.url: Invalid value: url must be https",
        ),
        ("kind: McpServer", "kind: McpServr".to_owned(), "a.yaml:2", "no matches for kind \"McpServr\""),
        ("kind: McpServer\n", String::new(), "a.yaml:1", "Object 'kind' is missing"),
    ];
    for (from, to, place, words) in cases {
        let found = broken(from, &to);
        assert!(
            found.iter().any(|f| f.starts_with(place) && f.contains(words)),
            "{place} {words}\n{found:#?}"
        );
    }
}

#[test]
fn every_document_is_looked_at_and_everything_is_said() {
    let text = format!("{}---\n{}---\nkind: [\n", GOOD.replace("8080", "0"), GOOD.replace("url:", "uri:"));
    let found = findings(&text);
    assert!(found.iter().any(|f| f.contains("(document 1)") && f.contains("service.port")), "{found:#?}");
    assert!(
        found.iter().any(|f| f.contains("(document 2)") && f.contains("unknown field \"spec.uri\"")),
        "{found:#?}"
    );
    assert!(
        found.iter().any(|f| f.contains("(document 2)") && f.contains("spec.url: Required value")),
        "{found:#?}"
    );
    assert!(
        found.iter().any(|f| f.contains("(document 3)") && f.contains("error parsing YAML")),
        "{found:#?}"
    );
}

#[test]
fn an_object_that_stands_twice_is_refused() {
    let found = findings(&format!("{GOOD}---\n{GOOD}"));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("already exists: a.yaml:1"), "{found:?}");
}

#[test]
fn lists_string_data_and_other_kinds_are_read() {
    let text = "
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Secret
    metadata: { name: users }
    data: { a: YQ== }
    stringData: { b: text }
  - apiVersion: apps/v1
    kind: Deployment
    metadata: { name: other }
  - apiVersion: gatehouse.dev/v1alpha1
    kind: OAuthClientPolicy
    metadata: { name: policy }
    spec:
      targetRefs: [{ selector: {} }]
";
    let manifests = read(text).unwrap();
    let data = manifests.secrets[0].object.data.clone().unwrap();
    assert_eq!((data["a"].0.as_slice(), data["b"].0.as_slice()), (b"a".as_slice(), b"text".as_slice()));
    assert_eq!(manifests.policies.len(), 1);
    assert_eq!(manifests.policies[0].origin.line, 13);
}

#[test]
fn a_bad_secret_is_named_and_not_quoted() {
    let found = findings("apiVersion: v1\nkind: Secret\nmetadata: { name: s }\ndata: { a: '***hunter2' }\n");
    assert!(found[0].contains("Secret \"s\"") && !found[0].contains("hunter2"), "{found:?}");
}

#[test]
fn the_first_of_two_servers_has_the_issuer() {
    let text = format!("{GOOD}---\n{}", GOOD.replace("name: github", "name: other"));
    let manifests = read(&text).unwrap();
    let holder = |index: usize| manifests.fetched(&manifests.servers[index].object).issuer_holder;
    assert_eq!(holder(0), None);
    assert_eq!(holder(1).map(|h| h.to_string()).as_deref(), Some("default/github"));
}

#[test]
fn bad_users_are_said_by_the_rules_of_the_gateway() {
    let users = "---\napiVersion: v1\nkind: Secret\nmetadata: { name: users }\nstringData: { users.yaml: '- {name: a, uid: b, passwordHash: hunter2}' }\n";
    let manifests = read(&format!("{GOOD}{users}")).unwrap();
    let bad = manifests.fetched(&manifests.servers[0].object).bad_content;
    let message = &bad[&("users".to_owned(), "users.yaml".to_owned())];
    assert!(message.contains("entry 1") && !message.contains("hunter2"), "{message}");
}
