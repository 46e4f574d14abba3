//! The official conformance suite of MCP: its scenarios for authorization servers against the gateway, and those for
//! servers through it, where nothing may go wrong that does not go wrong without it.
//!
//! The suite knows nothing of signing in, so a signed-in user's token is lent to it.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use e2e::{
    browser::Browser,
    clients::{conformance, script},
    dev::{Gateway, Setup},
    manifests::{DEFAULT_LIFETIMES, LOCAL},
    net::free_port,
    oauth::OAuthClient,
    process::Process,
    redis::Redis,
};
use serde_json::Value;
use tempfile::TempDir;

/// A gateway with two replicas before the server that the scenarios want.
struct Bench {
    gateway: Gateway,
    direct: String,
    _backend: Process,
    _redis: Redis,
}

impl Bench {
    async fn start() -> Self {
        let mut backend = Process::start(script("conformance_server.mjs"));
        let direct = backend.line(0).await;
        let redis = Redis::start().await;
        let setup = Setup::manifest(LOCAL).with("backend", &direct).with("lifetimes", DEFAULT_LIFETIMES);
        let gateway = setup.redis(&redis).replicas(2).start().await;
        Self { gateway, direct, _backend: backend, _redis: redis }
    }

    /// Signs alice in, and lends her token.
    async fn lend_a_sign_in(&self) {
        let client = OAuthClient::register(&self.gateway.issuer).await;
        let (access, _) = client.tokens(&Browser::of("alice")).await;
        self.gateway.balancer.as_ref().expect("two replicas have one").lend(&access);
    }
}

/// The outcome of each check, by scenario and check.
type Outcomes = BTreeMap<(String, String), BTreeSet<String>>;

/// Runs the scenarios of a revision against a server; whether all passed, and each outcome.
async fn run(url: &str, revision: &str) -> (bool, Outcomes, String) {
    let results = TempDir::new().unwrap();
    let mut command = conformance();
    command.args(["server", "--url", url, "--requirements", revision, "--timeout", "20000", "-o"]);
    let mut process = Process::start({
        command.arg(results.path());
        command
    });
    let status = process.wait().await;
    (status.success(), outcomes(results.path()), process.output())
}

/// Reads `server-<scenario>-<date>/checks.json`.
fn outcomes(results: &Path) -> Outcomes {
    let mut found = Outcomes::new();
    for directory in std::fs::read_dir(results).unwrap().map(|entry| entry.unwrap()) {
        let name = directory.file_name().into_string().unwrap();
        // A date of RFC 3339 in which the colons are dashes has 24 characters.
        let scenario = name.strip_prefix("server-").unwrap_or(&name);
        let scenario = &scenario[..scenario.len().saturating_sub(25)];
        let checks = std::fs::read_to_string(directory.path().join("checks.json")).unwrap();
        let checks: Vec<Value> = serde_json::from_str(&checks).unwrap();
        for check in &checks {
            let text = |member: &str| check[member].as_str().unwrap_or_default().to_owned();
            found.entry((scenario.to_owned(), text("id"))).or_default().insert(text("status"));
        }
    }
    assert!(!found.is_empty(), "the suite left no results");
    found
}

#[tokio::test]
async fn authorization_server() {
    let bench = Bench::start().await;
    let port = free_port();
    let callback = format!("http://127.0.0.1:{port}/callback");
    let client = OAuthClient::register_with(&bench.gateway.issuer, "none", &callback).await;
    let mut command = conformance();
    command.args(["authorization", "--url", &bench.gateway.issuer, "--client-id", client.id()]);
    command.args(["--resource", &bench.gateway.url, "-p", &port.to_string()]);
    let mut process = Process::start(command);
    let line = process.line_with("/oauth/authorize?").await;
    let url = line.split_whitespace().find(|word| word.starts_with("http")).expect("the line is a link");
    let landed = Browser::of("alice").sign_in(url).await;
    assert_eq!(landed.status, 200, "{}\n{}", landed.url, landed.body);
    let status = process.wait().await;
    let output = process.output();
    assert!(status.success(), "{output}");
    for scenario in ["authorization-server-metadata-endpoint", "authorization-code-grant"] {
        assert!(output.contains(&format!("✓ {scenario}: ")), "{output}");
    }
}

#[tokio::test]
async fn server_of_2025_11_25() {
    let bench = Bench::start().await;
    bench.lend_a_sign_in().await;
    let (passed, outcomes, output) = run(&bench.gateway.url, "2025-11-25").await;
    assert!(passed, "{output}");
    let failed: Vec<_> = outcomes.iter().filter(|(_, statuses)| statuses.contains("FAILURE")).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(outcomes.len() >= 80, "only {} checks ran", outcomes.len());
}

#[tokio::test]
async fn server_of_2026_07_28() {
    let bench = Bench::start().await;
    bench.lend_a_sign_in().await;
    let (_, direct, _) = run(&bench.direct, "2026-07-28").await;
    let (passed, through, output) = run(&bench.gateway.url, "2026-07-28").await;
    let worse: Vec<_> = through
        .iter()
        .filter(|(check, statuses)| {
            statuses.contains("FAILURE")
                && direct.get(*check).is_some_and(|direct| !direct.contains("FAILURE"))
        })
        .collect();
    // Everything that the revision requires; extensions (tasks) count in the comparison alone.
    assert!(passed, "{output}\nworse than the backend alone: {worse:#?}");
    for (check, statuses) in &direct {
        if !statuses.contains("FAILURE") {
            assert_eq!(through.get(check), Some(statuses), "{check:?}\n{output}");
        }
    }
    let failed = |outcomes: &Outcomes| -> BTreeSet<(String, String)> {
        outcomes.iter().filter(|(_, s)| s.contains("FAILURE")).map(|(check, _)| check.clone()).collect()
    };
    let worse: Vec<_> = failed(&through).difference(&failed(&direct)).cloned().collect();
    assert!(worse.is_empty(), "{worse:?}\n{output}");
    let good = through.len() - failed(&through).len();
    assert!(good >= 120, "only {good} checks passed");
}

#[test]
fn nothing_here_can_call_out() {
    e2e::net::assert_no_way_out();
}
