//! 82 and 83 for clients that the policy names: one with two live secrets, and robots. Their tenant's replicas are pods as
//! far as files go: what the operator renders of the policy, and Secrets that change under them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use e2e::{
    backend::{Backend, Callers},
    balancer::REPLICA,
    dev::{Gateway, Setup},
    net::eventually,
    oauth::{Answer, OAuthClient, REDIRECT_URI},
};
use serde_json::json;

use crate::{
    load::REPLICAS,
    tokens::{assertions_are_refused, authenticates_in_one_way, other_grants},
    world::{Attack, PASSWORD_HASH, SEEN, caller, dies, works},
};

const OLD: &str = "the-console-has-had-this-secret-for-long";
const NEW: &str = "the-console-is-about-to-have-this-secret";
const LATER: &str = "the-console-will-have-this-one-some-day";
const ROBOT: &str = "a-secret-that-only-the-two-robots-know";
/// What the backend knows every caller by.
const SHARED: &str = "credential-of-the-ledger";
/// What a busy machine adds to [`SEEN`] where files are read by the gateway: it looks at all of them each time, and then judges
/// what changed.
const READING: Duration = Duration::from_secs(3);
/// How a client may send its secret.
const METHODS: [&str; 2] = ["client_secret_post", "client_secret_basic"];

/// `access` lets one of the two robots in.
const MANIFEST: &str = "
apiVersion: gatehouse.dev/v1alpha1
kind: McpServer
metadata: { name: ledger, namespace: team-l }
spec:
  url: {issuer}/mcp
  identity: { local: { usersSecretRef: { name: users, key: users.yaml } } }
  access: { allow: [{ subjects: [uid-of-alice, robot] }] }
  credentials: [{ name: shared, static: { secretRef: { name: ledger, key: token } } }]
  backends: [{ name: tools, url: \"{backend}\", inject: [{ credential: shared }] }]
---
apiVersion: gatehouse.dev/v1alpha1
kind: OAuthClientPolicy
metadata: { name: ledger, namespace: team-l }
spec:
  targetRefs: [{ name: ledger }]
  clients:
    - clientId: console
      redirectUris: [\"{redirect}\"]
      secretRefs: [{ name: console, key: old }, { name: console, key: new }]
    - { clientId: robot, grants: [client_credentials], secretRefs: [{ name: robots, key: secret }] }
    - { clientId: stray, grants: [client_credentials], secretRefs: [{ name: robots, key: secret }] }
---
apiVersion: v1
kind: Secret
metadata: { name: users, namespace: team-l }
stringData:
  users.yaml: |
    - { name: alice, uid: uid-of-alice, passwordHash: \"{hash}\", email: alice@example.com }
---
apiVersion: v1
kind: Secret
metadata: { name: ledger, namespace: team-l }
stringData: { token: {shared} }
---
apiVersion: v1
kind: Secret
metadata: { name: console, namespace: team-l }
stringData: { old: {old}, new: {new} }
---
apiVersion: v1
kind: Secret
metadata: { name: robots, namespace: team-l }
stringData: { secret: {robot} }
";

struct Tenant {
    gateway: Gateway,
    backend: Backend,
    /// A public client that registered here.
    public: OAuthClient,
}

impl Tenant {
    async fn start(attack: &Attack) -> Self {
        let watch: &Arc<_> = &attack.world.watch;
        watch.keep_upstream(SHARED);
        let backend = Backend::start(Callers::tokens(&[(SHARED, "everybody")])).await;
        let texts = [("hash", PASSWORD_HASH), ("redirect", REDIRECT_URI), ("shared", SHARED)];
        let secrets = [("old", OLD), ("new", NEW), ("robot", ROBOT)];
        let setup = Setup::manifest(MANIFEST).with("backend", &backend.url());
        let setup = texts.iter().chain(&secrets).fold(setup, |setup, (name, text)| setup.with(name, text));
        watch.tenant(&setup.issuer());
        watch.listed(&setup.issuer(), "console", REDIRECT_URI);
        let setup = setup.redis(&attack.world.redis).watched(watch).replicas(2);
        let gateway = setup.mounted().start().await;
        let public = attack.client(&gateway).await;
        Self { gateway, backend, public }
    }

    /// A client that the policy names, as it would be if it had this secret.
    fn client(&self, id: &str, secret: &str, method: &str) -> OAuthClient {
        let registration =
            json!({ "client_id": id, "client_secret": secret, "token_endpoint_auth_method": method });
        let mut client = self.public.clone();
        client.registration = registration;
        client
    }

    /// Whether this secret proves the console at a replica, which then asks for a better token.
    async fn proves(&self, secret: &str, method: &str, replica: &str) -> bool {
        let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
        let answer =
            self.client("console", secret, method).post("/oauth/token", &form, &[(REPLICA, replica)]).await;
        let proven = answer.is_error(400, "invalid_grant");
        assert!(proven || answer.is_error(401, "invalid_client"), "{} {}", answer.status, answer.text);
        proven
    }

    /// Waits until a secret proves the console everywhere, or nowhere, which is so within [`SEEN`].
    async fn soon(&self, secret: &str, proves: bool) {
        let (begun, mut last) = (Instant::now(), Duration::ZERO);
        eventually("a changed Secret to be read", async || {
            let mut all = true;
            for (replica, method) in everywhere() {
                let asked = begun.elapsed();
                if self.proves(secret, method, replica).await != proves {
                    (all, last) = (false, asked);
                }
            }
            all.then_some(())
        })
        .await;
        assert!(last <= SEEN + READING, "a Secret was as before {last:?} after it changed");
    }
}

/// Each replica, and each way to send a secret there.
fn everywhere() -> impl Iterator<Item = (&'static str, &'static str)> {
    REPLICAS.into_iter().flat_map(|replica| METHODS.into_iter().map(move |method| (replica, method)))
}

pub(crate) async fn r082_r083_either_secret_proves_a_listed_client(attack: &Attack) {
    let tenant = Tenant::start(attack).await;
    // One sign-in, which goes on by either secret.
    let first = tenant.client("console", OLD, METHODS[0]);
    let mut tokens = first.redeem(&first.code(&attack.browser("alice")).await).await;
    for secret in [OLD, NEW] {
        for (replica, method) in everywhere() {
            let refresh = tokens.get("refresh_token");
            let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
            let client = tenant.client("console", secret, method);
            tokens = client.post("/oauth/token", &form, &[(REPLICA, replica)]).await;
            assert_eq!(tokens.status, 200, "{method} at {replica}: {}", tokens.text);
        }
    }
    assert!(works(&first, &tokens.get("access_token"), "everybody").await);
    // What is nearly one of them, both, or somebody else's.
    let registered = attack.client_as(&tenant.gateway, METHODS[0], REDIRECT_URI).await;
    let foreign = attack.client_as(attack.b(), METHODS[0], REDIRECT_URI).await;
    let of = |client: &OAuthClient| client.registration["client_secret"].as_str().unwrap().to_owned();
    for wrong in [
        String::new(),
        "console".to_owned(),
        OLD[1..].to_owned(),
        OLD.to_uppercase(),
        format!("{OLD}{NEW}"),
        format!("{OLD} {NEW}"),
        ROBOT.to_owned(),
        SHARED.to_owned(),
        of(&registered),
        of(&foreign),
    ] {
        for (replica, method) in everywhere() {
            assert!(!tenant.proves(&wrong, method, replica).await, "{wrong} by {method} at {replica}");
        }
    }
    for secret in [OLD, NEW] {
        let console = tenant.client("console", secret, "client_secret_basic");
        authenticates_in_one_way(attack, &console, &tenant.public, "invalid_grant").await;
    }
    assertions_are_refused(attack, &first).await;
    other_grants(&first).await;
    assert!(token(&first, &[]).await.is_error(400, "unauthorized_client"), "it is no robot");
    // One is taken out of the Secret; another comes in its place; the third is replaced.
    tenant.gateway.set_secret("console", "old", None);
    tenant.soon(OLD, false).await;
    tenant.soon(NEW, true).await;
    tenant.gateway.set_secret("console", "old", Some(LATER));
    tenant.soon(LATER, true).await;
    assert!(!tenant.proves(OLD, METHODS[0], REPLICAS[0]).await);
    tenant.gateway.set_secret("console", "new", Some(OLD));
    tenant.soon(NEW, false).await;
    for secret in [OLD, LATER] {
        tenant.soon(secret, true).await;
    }
    attack.inspect(&tenant.gateway, &attack.world.redis).await;
}

/// What a client gets that asks for a token of its own.
async fn token(client: &OAuthClient, more: &[(&str, &str)]) -> Answer {
    let mut form = vec![("grant_type", "client_credentials")];
    form.extend(more);
    client.token(&form).await
}

pub(crate) async fn r082_r083_a_robot_acts_for_itself_alone(attack: &Attack) {
    let tenant = Tenant::start(attack).await;
    let robot = tenant.client("robot", ROBOT, METHODS[0]);
    let mut access = String::new();
    for (replica, method) in everywhere() {
        let robot = tenant.client("robot", ROBOT, method);
        let form = [("grant_type", "client_credentials")];
        let answer = robot.post("/oauth/token", &form, &[(REPLICA, replica)]).await;
        assert_eq!(answer.status, 200, "{method} at {replica}: {}", answer.text);
        assert!(answer.json()["refresh_token"].is_null(), "{}", answer.text);
        access = answer.get("access_token");
        assert!(works(&robot, &access, "everybody").await, "{method} at {replica}");
    }
    let calls = tenant.backend.calls();
    assert!(
        !calls.is_empty()
            && calls.iter().all(|call| call.header("authorization") == format!("Bearer {SHARED}"))
    );
    // It signs nobody in, and goes on with nothing.
    for (id, uri) in
        [("robot", REDIRECT_URI), ("robot", "http://127.0.0.1/callback"), ("stray", REDIRECT_URI)]
    {
        let url = robot.authorize_url_with(&[("client_id", Some(id)), ("redirect_uri", Some(uri))]);
        let page = attack.get(&url).await;
        assert!(
            page.status == 400 && page.header("location").is_empty(),
            "{id}: {} {}",
            page.status,
            page.text
        );
    }
    let (code, refresh) = (robot.redeem("x").await, robot.refresh("x").await);
    for answer in [code, refresh] {
        assert!(answer.is_error(400, "unauthorized_client"), "{} {}", answer.status, answer.text);
    }
    authenticates_in_one_way(
        attack,
        &tenant.client("robot", ROBOT, METHODS[1]),
        &tenant.public,
        "unauthorized_client",
    )
    .await;
    assertions_are_refused(attack, &robot).await;
    other_grants(&robot).await;
    nobody_else_is_a_robot(attack, &tenant, &robot).await;
    is_a_robot_nowhere_else(attack, &robot, &access).await;
    // Its tokens are its own to end.
    let others =
        [("stray", ROBOT), ("console", OLD)].map(|(id, secret)| tenant.client(id, secret, METHODS[1]));
    for thief in others.iter().chain([&tenant.public]) {
        let answer = thief.revoke(&access).await;
        assert!(answer.is_error(400, "invalid_grant"), "{} {}", answer.status, answer.text);
    }
    assert!(works(&robot, &access, "everybody").await, "nothing of that ended it");
    assert_eq!(robot.revoke(&access).await.status, 200);
    dies(&robot, &access).await;
    assert!(works(&robot, &token(&robot, &[]).await.get("access_token"), "everybody").await);
    attack.inspect(&tenant.gateway, &attack.world.redis).await;
}

/// By another's secret, by none, by its name in another spelling, or where `access` does not let it in.
async fn nobody_else_is_a_robot(attack: &Attack, tenant: &Tenant, robot: &OAuthClient) {
    for (id, secret) in [
        ("robot", OLD),
        ("robot", ""),
        ("robot", &ROBOT[1..]),
        ("ROBOT", ROBOT),
        ("console", ROBOT),
        ("nobody", ROBOT),
    ] {
        for method in METHODS {
            let answer = token(&tenant.client(id, secret, method), &[]).await;
            assert!(answer.is_error(401, "invalid_client"), "{id}: {} {}", answer.status, answer.text);
        }
    }
    let stray = tenant.client("stray", ROBOT, METHODS[0]);
    for refused in [token(&stray, &[]).await, token(&tenant.public, &[]).await] {
        assert!(refused.is_error(400, "unauthorized_client"), "{} {}", refused.status, refused.text);
    }
    assert!(token(robot, &[("scope", "admin")]).await.is_error(400, "invalid_scope"));
    let elsewhere = [("resource", attack.b().url.as_str())];
    assert!(token(robot, &elsewhere).await.is_error(400, "invalid_target"));
}

/// Neither its token nor its secret is good at another tenant.
async fn is_a_robot_nowhere_else(attack: &Attack, robot: &OAuthClient, access: &str) {
    let there = attack.client(attack.b()).await;
    for replica in 0..2 {
        let answer = caller(&there, access, replica).await;
        assert!(
            answer.status == 401 && answer.challenge.contains("error=\"invalid_token\""),
            "{}",
            answer.status
        );
    }
    let mut abroad = there.clone();
    abroad.registration.clone_from(&robot.registration);
    assert!(token(&abroad, &[]).await.is_error(401, "invalid_client"));
}
