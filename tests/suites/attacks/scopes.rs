//! 18, 53 and 113 where there are scopes: what a registration names, a wider request, and a token that is not good for what
//! it asks.

use std::sync::Arc;

use e2e::{
    backend::{Backend, Callers},
    balancer::REPLICA,
    browser::Browser,
    dev::{Gateway, Setup},
    oauth::{Answer, OAuthClient, REDIRECT_URI},
};
use serde_json::{Value, json};

use crate::{
    load::REPLICAS,
    world::{Attack, PASSWORD_HASH, works},
};

/// Clients begin with `read`; the tool `write` takes `write`, which takes `read` along, and only alice may be granted it.
const MANIFEST: &str = "
apiVersion: gatehouse.dev/v1alpha1
kind: McpServer
metadata: { name: scoped, namespace: team-s }
spec:
  url: {issuer}/mcp
  identity: { local: { usersSecretRef: { name: users, key: users.yaml } } }
  access: { everyone: {} }
  scopes:
    - { name: read, default: true }
    - { name: write, includes: [read], allow: [{ emails: [alice@example.com] }] }
  credentials: [{ name: me, fromIdentity: {} }]
  backends:
    - name: tools
      url: \"{backend}\"
      inject: [{ credential: me }]
      tools: { deny: [\"wait\"], scopes: [{ tools: [\"write\"], scopes: [write] }] }
---
apiVersion: v1
kind: Secret
metadata: { name: users, namespace: team-s }
stringData:
  users.yaml: |
    - { name: alice, uid: uid-of-alice, passwordHash: \"{hash}\", email: alice@example.com, token: token-of-alice }
    - { name: bob, uid: uid-of-bob, passwordHash: \"{hash}\", email: bob@example.com, token: token-of-bob }
";

async fn start(attack: &Attack) -> (Gateway, Backend) {
    let watch: &Arc<_> = &attack.world.watch;
    let backend =
        Backend::start(Callers::tokens(&[("token-of-alice", "alice"), ("token-of-bob", "bob")])).await;
    let setup = Setup::manifest(&MANIFEST.replace("{hash}", PASSWORD_HASH)).with("backend", &backend.url());
    watch.tenant(&setup.issuer());
    (setup.redis(&attack.world.redis).watched(watch).replicas(2).start().await, backend)
}

/// The tokens of a sign-in that asks for this scope.
async fn granted(client: &OAuthClient, browser: &Browser, scope: Option<&str>) -> Answer {
    let page = browser.sign_in(&client.authorize_url_with(&[("scope", scope)])).await;
    client
        .redeem(&page.parameter("code").unwrap_or_else(|| panic!("no code: {}\n{}", page.url, page.body)))
        .await
}

async fn write(attack: &Attack, client: &OAuthClient, access: &str, replica: &str) -> Answer {
    let request = client.call_request(Some(access), "write", json!({ "project": "alice/notes" }));
    attack.send(request.header(REPLICA, replica)).await
}

/// Clients that register a scope name what the resource lists at that time, and ask for more when a challenge says so.
pub(crate) async fn r018_the_scope_of_a_registration_narrows_nothing(attack: &Attack) {
    let (gateway, _backend) = start(attack).await;
    let alice = attack.browser("alice");
    for registered in ["read", "offline_access", "", "unheard-of"] {
        let metadata = json!({
            "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none", "scope": registered,
        });
        let client = OAuthClient::register_metadata(attack.http.clone(), &gateway.issuer, &metadata).await;
        // It would be what took effect (RFC 7591 section 3.2.1).
        assert_eq!(client.registration["scope"], Value::Null, "{registered}");
        let tokens = granted(&client, &alice, None).await;
        assert_eq!(tokens.get("scope"), "read", "{registered}");
        let refused = write(attack, &client, &tokens.get("access_token"), REPLICAS[0]).await;
        assert_eq!(refused.status, 403, "{registered}: {}", refused.text);
        let wanted = refused.challenge_parameter("scope");
        let more = granted(&client, &alice, Some(&wanted)).await;
        assert_eq!(
            (wanted.as_str(), more.get("scope").as_str()),
            ("read write", "read write"),
            "{registered}"
        );
        let more = client.refresh(&more.get("refresh_token")).await;
        assert_eq!(more.get("scope"), "read write", "{registered}: {}", more.text);
        for replica in REPLICAS {
            let answer = write(attack, &client, &more.get("access_token"), replica).await;
            assert!(answer.text.contains("alice wrote to alice/notes"), "{registered}: {}", answer.text);
        }
    }
    attack.inspect(&gateway, &attack.world.redis).await;
}

pub(crate) async fn r053_more_than_was_approved_is_asked_for(attack: &Attack) {
    let (gateway, _backend) = start(attack).await;
    let client = attack.client(&gateway).await;
    let alice = attack.browser("alice");
    let asks = async |change: &[(&str, Option<&str>)]| {
        let page = alice.open(&client.authorize_url_with(change)).await;
        assert!(page.approve_link().is_some(), "{change:?}: {} {}", page.status, page.url);
        page
    };
    let approved = async |scope| asks(&[("scope", scope)]).await.body.contains("You approved");
    let (less, more) = (Some("read"), Some("read write"));
    assert_eq!(granted(&client, &alice, None).await.get("scope"), "read");
    assert!(approved(None).await && approved(less).await, "this was approved");
    assert!(!approved(more).await && !approved(Some("write")).await, "this was not");
    let unprompted = asks(&[("scope", more), ("prompt", Some("none"))]).await;
    assert!(!unprompted.body.contains("You approved"), "{}", unprompted.body);
    // Refused, it is as before.
    let denied = alice.follow(&unprompted, &unprompted.deny_link().expect("a link to refuse")).await;
    assert_eq!(denied.parameter("error").as_deref(), Some("access_denied"), "{}", denied.url);
    assert!(!approved(more).await && approved(less).await);
    assert_eq!(granted(&client, &alice, more).await.get("scope"), "read write");
    assert!(approved(more).await && approved(less).await);
    attack.inspect(&gateway, &attack.world.redis).await;
}

pub(crate) async fn r113_a_tool_that_takes_more_than_the_token_has(attack: &Attack) {
    let (gateway, backend) = start(attack).await;
    let client = attack.client(&gateway).await;
    let (alice, bob) = (attack.browser("alice"), attack.browser("bob"));
    let tokens = granted(&client, &alice, None).await;
    assert_eq!(tokens.get("scope"), "read");
    let access = tokens.get("access_token");
    assert!(works(&client, &access, "alice").await);
    for replica in REPLICAS {
        let answer = write(attack, &client, &access, replica).await;
        assert_eq!(answer.status, 403, "{}", answer.text);
        let document =
            format!("resource_metadata=\"{}/.well-known/oauth-protected-resource/mcp\"", gateway.issuer);
        for part in ["Bearer ", "error=\"insufficient_scope\"", "scope=\"read write\"", &document] {
            assert!(answer.challenge.contains(part), "{part}: {}", answer.challenge);
        }
    }
    // A refresh that asks for more gets no more than was granted.
    let refresh = tokens.get("refresh_token");
    for scope in ["write", "read write"] {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str()), ("scope", scope)];
        let answer = client.token(&form).await;
        assert_eq!((answer.status, answer.get("scope").as_str()), (200, "read"), "{scope}: {}", answer.text);
        let answer = write(attack, &client, &answer.get("access_token"), REPLICAS[0]).await;
        assert_eq!(answer.status, 403, "{scope}: {}", answer.text);
    }
    let unknown =
        [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str()), ("scope", "read admin")];
    assert!(client.token(&unknown).await.is_error(400, "invalid_scope"));
    // Other spellings of the tool's name get past nothing: no such call reaches the backend.
    for tool in ["WRITE", "Write", "write ", " write", "write\u{0}", "wr\u{131}te", "write\n"] {
        let body = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": tool, "arguments": { "project": "alice/notes" } },
        });
        let answer = attack.send(client.mcp(Some(&access), &body)).await;
        assert!(!answer.text.contains("wrote to"), "{tool:?}: {}", answer.text);
    }
    for method in ["tools/Call", "TOOLS/CALL", "tools/call ", "tools\u{2f}call\u{0}"] {
        let body = json!({
            "jsonrpc": "2.0", "id": 1, "method": method,
            "params": { "name": "write", "arguments": { "project": "alice/notes" } },
        });
        let answer = attack.send(client.mcp(Some(&access), &body)).await;
        assert!(!answer.text.contains("wrote to"), "{method:?}: {}", answer.text);
    }
    let hidden = client.call(Some(&access), "wait", json!({})).await;
    assert!(hidden.text.contains("Unknown tool"), "{} {}", hidden.status, hidden.text);
    let reached = backend.calls().iter().filter(|call| call.body.contains("alice/notes")).count();
    assert_eq!(reached, 0, "a call without the scope reached the backend");
    // Whoever may not be granted it does not get it by asking.
    let denied = granted(&client, &bob, Some("read write")).await;
    assert_eq!(denied.get("scope"), "read");
    let answer = write(attack, &client, &denied.get("access_token"), REPLICAS[0]).await;
    assert!(answer.status == 403 && answer.challenge.is_empty(), "{} {}", answer.status, answer.challenge);
    // What the challenge asks for is enough.
    let more = granted(&client, &alice, Some("read write")).await;
    assert_eq!(more.get("scope"), "read write");
    for replica in REPLICAS {
        let answer = write(attack, &client, &more.get("access_token"), replica).await;
        assert!(answer.text.contains("alice wrote to alice/notes"), "{} {}", answer.status, answer.text);
    }
    assert_eq!(
        write(attack, &client, &access, REPLICAS[1]).await.status,
        403,
        "the first token has no more than before"
    );
    attack.inspect(&gateway, &attack.world.redis).await;
}
