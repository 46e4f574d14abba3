//! The official conformance suite of MCP: its scenarios for authorization servers against the gateway, and those for
//! servers through it, where nothing may go wrong that does not go wrong without it.
//!
//! The suite knows nothing of signing in, so a signed-in user's token is lent to it.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use e2e::{
    browser::Browser,
    clients::{Home, conformance, script},
    dev::{Gateway, Setup},
    manifests::{DEFAULT_LIFETIMES, LOCAL, with_documents},
    net::free_port,
    oauth::OAuthClient,
    process::Process,
    redis::Redis,
    tap::Tap,
    web,
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
        Self::with(Setup::manifest(LOCAL)).await
    }

    async fn with(setup: Setup) -> Self {
        let mut backend = Process::start(script("conformance_server.mjs"));
        let direct = backend.line(0).await;
        let redis = Redis::start().await;
        let setup = setup.with("backend", &direct).with("lifetimes", DEFAULT_LIFETIMES);
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

/// The checks of the scenarios for authorization servers.
const METADATA: &str = "authorization-server-metadata";
const DOCUMENTS: &str = "authorization-server-metadata-cimd";
const CODE_GRANT: &str = "authorization-code-grant";

/// Runs the scenarios for authorization servers, in which alice signs in; the outcome of each check.
///
/// The suite uses a client's secret only where no client may be without one, which Gatehouse never says: its client is
/// public.
async fn authorization(gateway: &Gateway) -> BTreeMap<String, BTreeSet<String>> {
    let (port, results, home) = (free_port(), TempDir::new().unwrap(), Home::of("alice"));
    let callback = format!("http://127.0.0.1:{port}/callback");
    let client = OAuthClient::register_with(&gateway.issuer, "none", &callback).await;
    let mut command = conformance();
    // Node then trusts the authority of the suites.
    home.enter(&mut command);
    command.args(["authorization", "--url", &gateway.issuer, "--client-id", client.id()]);
    command.args(["--resource", &gateway.url, "-p", &port.to_string(), "-o"]).arg(results.path());
    let mut process = Process::start(command);
    let line = process.line_with("/oauth/authorize?").await;
    let url = line.split_whitespace().find(|word| word.starts_with("http")).expect("the line is a link");
    let landed = Browser::of("alice").sign_in(url).await;
    assert_eq!(landed.status, 200, "{}\n{}", landed.url, landed.body);
    let status = process.wait().await;
    assert!(status.success(), "{}", process.output());
    outcomes(results.path()).into_iter().map(|((_, check), statuses)| (check, statuses)).collect()
}

fn expected(documents: &str) -> BTreeMap<String, BTreeSet<String>> {
    let checks = [(METADATA, "SUCCESS"), (DOCUMENTS, documents), (CODE_GRANT, "SUCCESS")];
    checks.map(|(check, status)| (check.to_owned(), BTreeSet::from([status.to_owned()]))).into()
}

/// All that the suite wants, in full.
#[tokio::test]
async fn authorization_server() {
    let manifest = with_documents(web::hosts().map(|(_, host)| host));
    let setup = Setup::https("tools.test", &manifest).watched(&Arc::new(Tap::default()));
    let bench = Bench::with(setup).await;
    assert_eq!(authorization(&bench.gateway).await, expected("SUCCESS"));
}

/// An http issuer takes no metadata documents, of which the suite warns.
#[tokio::test]
async fn authorization_server_at_http() {
    let bench = Bench::start().await;
    assert_eq!(authorization(&bench.gateway).await, expected("WARNING"));
}

#[tokio::test]
async fn authorization_server_at_an_issuer_with_a_path() {
    let bench = Bench::with(Setup::below("/t/tools", LOCAL)).await;
    assert_eq!(authorization(&bench.gateway).await, expected("WARNING"));
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
