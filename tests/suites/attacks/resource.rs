//! 98 to 114: the protected resource.

use e2e::{
    balancer::REPLICA,
    browser::Browser,
    oauth::{Answer, OAuthClient},
    redis::Redis,
};
use futures::StreamExt;
use gatehouse_gateway_config::AccessRule;
use serde_json::{Value, json};

use crate::{
    load::REPLICAS,
    world::{Attack, SEEN, SLACK, caller, code, dies, hub, works},
};

async fn signed_in(attack: &Attack) -> (OAuthClient, Browser, String, String, String) {
    let client = attack.client(attack.a()).await;
    let (browser, login) = attack.visitor_of(&attack.world.github);
    let (access, refresh) = client.tokens(&browser).await;
    (client, browser, login, access, refresh)
}

/// A call of the modern era, with the headers that it must have.
fn call(name: &str) -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": name, "arguments": {},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    })
}

fn modern(client: &OAuthClient, access: &str, name: &str) -> reqwest::RequestBuilder {
    let request = client.mcp(Some(access), &call(name)).header("mcp-protocol-version", "2026-07-28");
    request.header("mcp-method", "tools/call").header("mcp-name", name)
}

pub(crate) async fn r098_tokens_in_queries_and_forms(attack: &Attack) {
    let (client, _, login, access, _) = signed_in(attack).await;
    // That the token stands in no log is looked at after every test: the query is one of its places.
    for url in [format!("{}?access_token={access}", client.url), format!("{}?token={access}", client.url)] {
        let answer = attack.send(attack.http.post(&url).json(&call("whoami"))).await;
        assert_eq!(answer.status, 401, "{}", answer.text);
    }
    let form = attack.http.post(&client.url).form(&[("access_token", access.as_str())]);
    assert_eq!(attack.send(form).await.status, 401);
    let cookie = attack
        .http
        .post(&client.url)
        .header("cookie", format!("access_token={access}"))
        .json(&call("whoami"));
    assert_eq!(attack.send(cookie).await.status, 401);
    for scheme in ["Basic", "Token", "DPoP", "MAC"] {
        let request = attack.http.post(&client.url).header("authorization", format!("{scheme} {access}"));
        assert_eq!(attack.send(request.json(&call("whoami"))).await.status, 401, "{scheme}");
    }
    for name in ["x-access-token", "x-api-key", "proxy-authorization", "x-forwarded-authorization"] {
        let request = attack.http.post(&client.url).header(name, format!("Bearer {access}"));
        assert_eq!(attack.send(request.json(&call("whoami"))).await.status, 401, "{name}");
    }
    assert_eq!(client.whoami(Some(&access)).await.json()["result"]["content"][0]["text"], login.as_str());
}

pub(crate) async fn r100_a_token_is_good_at_its_own_resource(attack: &Attack) {
    let (client, _, login, access, refresh) = signed_in(attack).await;
    let there = attack.client(attack.b()).await;
    for token in [&access, &refresh] {
        assert_eq!(there.whoami(Some(token)).await.status, 401);
    }
    for path in
        ["/mcp-other", "/mcp2", "/MCP", "/mcp;x", "/mcp%2fother", "/other", "//mcp", "/team-b/tools/mcp"]
    {
        let url = format!("{}{path}", client.issuer);
        let answer = attack.send(attack.http.post(&url).bearer_auth(&access).json(&call("whoami"))).await;
        assert!(matches!(answer.status, 401 | 404), "{path}: {}", answer.status);
        assert!(!answer.text.contains("\"result\""), "{path}");
    }
    // Paths that a client library would tidy up, and other tenants' names.
    let (host, body) = (attack.a().host(), call("whoami").to_string());
    let targets = [
        ("/mcp/../other", host),
        ("/other/../mcp", host),
        ("/mcp/../mcp", host),
        ("/./mcp", host),
        ("/mcp/.", host),
        ("/mcp/%2e%2e/other", host),
        ("/%6dcp", host),
        ("/mcp%00", host),
        ("/mcp\\..\\other", host),
        ("*", host),
        ("http://evil.test/mcp", host),
        (&format!("{}/mcp", attack.c().issuer), host),
        ("/mcp", "evil.test"),
        ("/mcp", attack.c().host()),
    ];
    let asked = targets.iter().map(async |(target, host)| {
        let bytes = format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {access}\r\n\
             Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             MCP-Protocol-Version: 2026-07-28\r\nMCP-Method: tools/call\r\nMCP-Name: whoami\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let heard = attack.raw(bytes.as_bytes()).await;
        let refused =
            heard.answers.iter().all(|answer| matches!(answer.status.as_u16(), 400 | 401 | 404 | 421));
        assert!(refused && !heard.text.contains("\"result\""), "{target} at {host}: {}", heard.text);
    });
    futures::future::join_all(asked).await;
    // And the other tenants' tokens here.
    for gateway in [attack.b(), attack.c()] {
        let there = attack.client(gateway).await;
        let (foreign, _) = there.tokens(&attack.user_of(gateway)).await;
        assert_eq!(client.whoami(Some(&foreign)).await.status, 401);
    }
    // Our own kinds of secret are not access tokens.
    for token in [refresh.as_str(), client.id(), "gc_x"] {
        assert_eq!(client.whoami(Some(token)).await.status, 401);
    }
    assert!(works(&client, &access, &login).await);
}

pub(crate) async fn r101_only_the_users_own_credential_travels(attack: &Attack) {
    let (client, _, login, access, _) = signed_in(attack).await;
    let request = modern(&client, &access, "whoami")
        .header("cookie", "session=of-the-client")
        .header("proxy-authorization", "Basic Zm9vOmJhcg==")
        .header("x-probe", "r101");
    assert_eq!(attack.send(request).await.status, 200);
    let token = attack.world.github.tokens_of(&login).pop().unwrap();
    let calls = attack.world.backend_a.calls();
    let mine: Vec<_> =
        calls.iter().filter(|c| c.header("authorization") == format!("Bearer {token}")).collect();
    assert_eq!(mine.len(), 1);
    for call in &calls {
        let text = format!("{:?}{}", call.headers, call.body);
        assert!(!text.contains(&access) && !text.contains("of-the-client") && !text.contains("Zm9vOmJhcg"));
        assert!(call.header("authorization").starts_with("Bearer ghu_"));
        assert_eq!(call.headers.get_all("authorization").iter().count(), 1);
    }
}

pub(crate) async fn r102_headers_that_claim_an_identity(attack: &Attack) {
    let (client, _, login, access, _) = signed_in(attack).await;
    let mark = format!("claimed-by-{login}");
    let mut request = modern(&client, &access, "whoami");
    for name in [
        "X-User-Id",
        "X-Forwarded-User",
        "X_Forwarded_User",
        "x-forwarded-access-token",
        "X-Forwarded-Email",
        "X-Remote-User",
        "X_User",
        "X-Auth-Request-User",
        "X-Goog-IAP-JWT-Assertion",
        "X-Api-Key",
        "X-Forwarded-For",
        "X-Real-IP",
        "Forwarded",
        "X-Original-URL",
        "X-Gatehouse-User",
        "X-MCP-User",
        "X-Amzn-Oidc-Identity",
    ] {
        request = request.header(name, &mark).header(name, &mark);
    }
    // Headers that the connection would carry away, and with them ours.
    request = request.header("connection", "close, authorization, mcp-method");
    assert_eq!(attack.send(request).await.status, 200);
    let calls = attack.world.backend_a.calls();
    assert!(
        calls.iter().all(|call| !format!("{:?}", call.headers).contains(&mark)),
        "a claim reached the backend"
    );
    let token = attack.world.github.tokens_of(&login).pop().unwrap();
    assert!(calls.iter().any(|call| call.header("authorization") == format!("Bearer {token}")));
    // Spellings that no client library sends, and what comes after the body.
    let (host, body) = (attack.a().host(), call("whoami").to_string());
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {access}\r\n\
         Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMCP-Method: tools/call\r\nMCP-Name: whoami\r\n"
    );
    let length = format!("Content-Length: {}\r\n", body.len());
    let lines = [
        format!("X-Forwarded-User : {mark}"),
        format!("X-Forwarded-User\t: {mark}"),
        format!(" X-Forwarded-User: {mark}"),
        format!("X-Ok: a\r\n X-Forwarded-User: {mark}"),
        format!("X-Forwarded-User:\u{b}{mark}"),
        format!("X-Forwarded-User:{mark}\r\nx-forwarded-user:{mark}"),
        format!("X.User: {mark}"),
        format!("X~User: {mark}"),
        format!("Authorization_: Bearer {mark}"),
        format!("Connection: x-kept\r\nX-Kept: {mark}"),
        format!("Cookie2: {mark}\r\nVia: {mark}"),
        format!("Proxy-Authenticate: {mark}"),
        format!("TE: trailers\r\nTrailer: X-User-Id\r\nX-User-Id: {mark}"),
    ];
    let asked = lines.iter().map(async |line| {
        let heard = attack.raw(format!("{head}{length}{line}\r\n\r\n{body}").as_bytes()).await;
        assert!(
            heard.answers.iter().all(|a| matches!(a.status.as_u16(), 200 | 400)),
            "{line:?}: {}",
            heard.text
        );
    });
    futures::future::join_all(asked).await;
    let trailer = format!(
        "{head}Transfer-Encoding: chunked\r\nTrailer: X-User-Id\r\n\r\n{:x}\r\n{body}\r\n0\r\nX-User-Id: {mark}\r\n\
         Authorization: Bearer {mark}\r\n\r\n",
        body.len()
    );
    attack.raw(trailer.as_bytes()).await;
    let calls = attack.world.backend_a.calls();
    let claimed = calls.iter().find(|call| format!("{:?}", call.headers).contains(&mark));
    assert!(claimed.is_none(), "a claim reached the backend: {claimed:?}");
    let own = format!("Bearer {token}");
    assert!(
        calls.iter().filter(|call| call.header("authorization") == own).count() >= 2,
        "this test sends nothing"
    );
}

/// A session of the legacy era.
async fn initialize(attack: &Attack, client: &OAuthClient, access: &str) -> String {
    let initialize = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" },
        },
    });
    let answer = attack.send(client.mcp(Some(access), &initialize)).await;
    let session = answer.header("mcp-session-id").to_owned();
    assert!(!session.is_empty(), "{} {:?}", answer.status, answer.headers);
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let request = client.mcp(Some(access), &initialized).header("mcp-session-id", &session);
    assert_eq!(attack.send(request).await.status, 202);
    session
}

pub(crate) async fn r107_a_stolen_session_is_nobodys(attack: &Attack) {
    let (client, _, _, access, _) = signed_in(attack).await;
    let (thief, _, _, stolen_by, _) = signed_in(attack).await;
    let session = initialize(attack, &client, &access).await;
    let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
    let with = |client: &OAuthClient, token: &str, session: &str| {
        client
            .mcp(Some(token), &list)
            .header("mcp-session-id", session)
            .header("mcp-protocol-version", "2025-11-25")
    };
    assert_eq!(attack.send(with(&thief, &stolen_by, &session)).await.status, 404);
    let listen = attack.http.get(&client.url).bearer_auth(&stolen_by).header("accept", "text/event-stream");
    let listen = listen.header("mcp-session-id", &session).header("last-event-id", "0");
    assert_eq!(attack.send(listen).await.status, 404);
    let end = attack.http.delete(&client.url).bearer_auth(&stolen_by).header("mcp-session-id", &session);
    assert_eq!(attack.send(end).await.status, 404);
    for guessed in ["x", &session[1..], &format!("{session}A"), "00000000-0000-0000-0000-000000000000"] {
        assert_eq!(attack.send(with(&client, &access, guessed)).await.status, 404, "{guessed}");
    }
    assert_eq!(
        attack
            .send(attack.http.post(&client.url).header("mcp-session-id", &session).json(&list))
            .await
            .status,
        401
    );
    assert_eq!(attack.send(with(&client, &access, &session)).await.status, 200, "its owner's still lives");
}

pub(crate) async fn r109_headers_that_say_other_than_the_body(attack: &Attack) {
    let (client, _, _, access, _) = signed_in(attack).await;
    let ask = async |headers: &[(&str, &str)], body: String| -> Answer {
        let mut request = attack.http.post(&client.url).bearer_auth(&access);
        request = request
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        attack.send(request.body(body)).await
    };
    let version = ("mcp-protocol-version", "2026-07-28");
    let body = || call("whoami").to_string();
    for headers in [
        vec![version, ("mcp-method", "tools/list"), ("mcp-name", "whoami")],
        vec![version, ("mcp-method", "tools/call"), ("mcp-name", "write")],
        vec![version, ("mcp-method", "tools/call"), ("mcp-name", "=?base64?d3JpdGU=?=")],
        vec![version, ("mcp-method", "tools/call"), ("mcp-name", "=?base64?%%%?=")],
        vec![version, ("mcp-method", "tools/call"), ("mcp-name", "whoami"), ("mcp-name", "write")],
        vec![version, ("mcp-method", "tools/call"), ("mcp-method", "tools/list"), ("mcp-name", "whoami")],
        vec![version, ("mcp-method", "TOOLS/CALL"), ("mcp-name", "whoami")],
        vec![version, ("mcp-method", "tools/call")],
        vec![version, ("mcp-name", "whoami")],
        vec![("mcp-protocol-version", "2025-11-25"), ("mcp-method", "tools/call"), ("mcp-name", "whoami")],
    ] {
        let answer = ask(&headers, body()).await;
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_i64()),
            (400, Some(-32020)),
            "{headers:?}: {}",
            answer.text
        );
        assert_eq!(answer.json()["id"], 1, "the request is known, so its id is: {}", answer.text);
    }
    for bad in [
        format!("[{}]", body()),
        body().replacen("\"method\"", "\"method\":\"tools/list\",\"method\"", 1),
        body().replacen("\"name\":\"whoami\"", "\"name\":\"write\",\"name\":\"whoami\"", 1),
        body().replacen("\"params\"", "\"params\":{},\"params\"", 1),
        body().replacen("\"method\"", "\"\\u006dethod\":\"tools/list\",\"method\"", 1),
        format!("{}{}", body(), body()),
        body().replacen("{\"", "{\"METHOD\":\"tools/list\",\"", 1).replacen("\"2.0\"", "\"1.0\"", 1),
        "{".repeat(100_000),
    ] {
        let answer = ask(&[version, ("mcp-method", "tools/call"), ("mcp-name", "whoami")], bad.clone()).await;
        assert_eq!(answer.status, 400, "{bad:.120}: {}", answer.text);
        assert!(answer.json()["error"]["code"].is_i64(), "{}", answer.text);
    }
    assert!(
        ask(&[version, ("mcp-method", "tools/call"), ("mcp-name", "whoami")], body()).await.status == 200
    );
}

pub(crate) async fn r110_pages_of_other_origins(attack: &Attack) {
    let (client, _, _, access, _) = signed_in(attack).await;
    let near = format!("{}.evil.test", client.issuer);
    for origin in ["https://x.test", "null", "", "http://localhost.x.test", &near, "file://"] {
        let answer = attack.send(modern(&client, &access, "whoami").header("origin", origin)).await;
        assert_eq!(answer.status, 403, "{origin}: {}", answer.text);
        let list = attack.http.get(&client.url).bearer_auth(&access).header("origin", origin);
        assert_eq!(attack.send(list).await.status, 403, "{origin}");
    }
    // These servers are on loopback, where every page of the machine may call with a token, as the MCP Inspector does.
    for origin in [&client.issuer, "http://localhost:6274", &attack.b().issuer] {
        let own = attack.send(modern(&client, &access, "whoami").header("origin", origin)).await;
        assert_eq!(own.status, 200, "{origin}: {}", own.text);
    }
}

pub(crate) async fn r111_a_stream_ends_with_its_sign_in(attack: &Attack) {
    let (client, _, _, access, refresh) = signed_in(attack).await;
    let session = initialize(attack, &client, &access).await;
    let listen = attack.http.get(&client.url).bearer_auth(&access).header("accept", "text/event-stream");
    let response = listen.header("mcp-session-id", &session).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut stream = response.bytes_stream();
    // Reuse ends the sign-in.
    let second = client.refresh(&refresh).await.get("refresh_token");
    client.refresh(&second).await;
    assert!(client.refresh(&refresh).await.is_error(400, "invalid_grant"));
    let ended = async { while let Some(Ok(_)) = stream.next().await {} };
    tokio::time::timeout(SEEN + SLACK, ended).await.expect("the stream ends within five seconds");
    dies(&client, &access).await;
}

/// How a sign-in ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Its client gives a token back.
    Revoked,
    /// Its user disconnects the client.
    Disconnected,
}

/// Each way to end a sign-in ends, on the other replica, what it has open: a stream that listens, and a call that is not
/// answered yet.
pub(crate) async fn r111_whatever_ends_a_sign_in_ends_what_it_has_open(attack: &Attack) {
    futures::future::join_all([End::Revoked, End::Disconnected].map(|end| ends_what_is_open(attack, end)))
        .await;
}

/// What a client has open at one replica.
pub(crate) struct Open {
    /// A stream that listens.
    listen: reqwest::Response,
    /// A call that is not answered yet.
    wait: reqwest::Response,
}

impl Open {
    pub(crate) async fn at(attack: &Attack, client: &OAuthClient, access: &str, replica: &str) -> Self {
        let session = initialize(attack, client, access).await;
        let listen = attack.http.get(&client.url).bearer_auth(access).header("accept", "text/event-stream");
        let listen = listen.header("mcp-session-id", &session).header(REPLICA, replica).send().await.unwrap();
        assert_eq!(listen.status(), 200);
        let wait = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "wait", "arguments": {} } });
        let wait = client.mcp(Some(access), &wait).header("mcp-session-id", &session);
        let wait =
            wait.header("mcp-protocol-version", "2025-11-25").header(REPLICA, replica).send().await.unwrap();
        assert_eq!(wait.status(), 200);
        Self { listen, wait }
    }

    /// Both end within five seconds of now, and the call without its result.
    async fn ends(self, why: &str) {
        let ended = tokio::time::timeout(SEEN + SLACK, self.end(why)).await;
        ended.unwrap_or_else(|_| panic!("{why}: what is open ends within five seconds"));
    }

    /// Waits until both have ended, the call without its result.
    pub(crate) async fn end(self, why: &str) {
        let read = async |response: reqwest::Response| {
            let (mut stream, mut text) = (response.bytes_stream(), Vec::new());
            while let Some(Ok(part)) = stream.next().await {
                text.extend_from_slice(&part);
            }
            String::from_utf8_lossy(&text).into_owned()
        };
        let (_, answered) = tokio::join!(read(self.listen), read(self.wait));
        assert!(!answered.contains("\"result\""), "{why}: {answered}");
    }
}

async fn ends_what_is_open(attack: &Attack, end: End) {
    let (client, browser, _, access, refresh) = signed_in(attack).await;
    let open = Open::at(attack, &client, &access, REPLICAS[0]).await;
    match end {
        End::Revoked => {
            let form = [("token", refresh.as_str())];
            let answer = client.post("/oauth/revoke", &form, &[(REPLICA, REPLICAS[1])]).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
        End::Disconnected => {
            let page = crate::account::open(attack.a(), &browser).await;
            let done = browser.press(&page, "disconnect").await;
            assert_eq!(done.parameter("done").as_deref(), Some("disconnected"), "{}", done.url);
        }
    }
    open.ends(&format!("{end:?}")).await;
    dies(&client, &access).await;
    assert!(client.refresh(&refresh).await.is_error(400, "invalid_grant"), "{end:?}");
}

/// A tenant that nobody may use any more ends what any of its users has open, on every replica, and starts nothing.
pub(crate) async fn r111_a_closed_tenant_ends_what_is_open(attack: &Attack) {
    let redis = Redis::start().await;
    let (gateway, github, _backend) = hub(&attack.world.watch, &redis).await;
    let client = attack.client(&gateway).await;
    let mut users = Vec::new();
    for replica in REPLICAS {
        let (browser, _) = attack.visitor_of(&github);
        let (access, refresh) = client.tokens(&browser).await;
        assert!(works(&client, &access, browser.user()).await);
        users.push((browser, Open::at(attack, &client, &access, replica).await, access, refresh));
    }
    let everybody = AccessRule { email_domains: vec!["example.com".to_owned()], ..AccessRule::default() };
    gateway.deny(&redis, "team-a.github", vec![everybody]).await;
    let (mut open, mut rest) = (Vec::new(), Vec::new());
    for (browser, is_open, access, refresh) in users {
        open.push(is_open);
        rest.push((browser, access, refresh));
    }
    futures::future::join_all(open.into_iter().map(|open| open.ends("closed"))).await;
    for (browser, access, refresh) in rest {
        for replica in 0..2 {
            let refused = caller(&client, &access, replica).await;
            assert!(refused.status == 403 && !refused.text.contains("\"result\""), "{}", refused.text);
        }
        assert!(client.refresh(&refresh).await.is_error(400, "invalid_grant"));
        let page = client.sign_in(&browser).await;
        assert!(page.status == 403 && code(&page).is_none(), "{} {}", page.status, page.url);
    }
    attack.inspect(&gateway, &redis).await;
}

pub(crate) async fn r114_nothing_secret_is_kept_in_clear(attack: &Attack) {
    // After every test its own secrets are looked for. This one makes one of each kind and proves that they would be
    // found, and that the records are there in which they would stand.
    let client = attack.client_as(attack.a(), "client_secret_basic", e2e::oauth::REDIRECT_URI).await;
    let (browser, login) = attack.visitor_of(&attack.world.github);
    let unredeemed = client.code(&browser).await;
    let (access, refresh) = client.tokens(&browser).await;
    client.whoami(Some(&access)).await;
    client.refresh(&refresh).await;
    let secrets = attack.secrets();
    let client_secret = client.registration["client_secret"].as_str().unwrap();
    for secret in [unredeemed.as_str(), &access, &refresh, client_secret, e2e::oauth::VERIFIER] {
        assert!(secrets.contains(secret), "the watch does not know {secret}");
    }
    let dump = attack.world.redis.dump().await;
    for part in [":oauth:code:", ":oauth:access:", ":oauth:refresh:", "grant:", "credential:", "flow:"] {
        assert!(dump.contains(part), "there is no {part}");
    }
    let mut upstream = attack.world.github.tokens_of(&login);
    upstream.push("test-client-secret".to_owned());
    let output = attack.a().output();
    for secret in secrets.iter().chain(&upstream) {
        assert!(!dump.contains(secret.as_str()) && !output.contains(secret.as_str()), "{secret}");
    }
    assert!(output.contains("event="), "the log has its audit events:\n{output:.2000}");
}
