//! Scopes and tool rules on calls: step-up, what cannot be granted, and tools that are not offered.

use http::Method;
use serde_json::{Value, json};

use super::{
    backend::{answer, events_until_dropped},
    kit::{Answer, Kit, next, tool_call, until},
};

async fn kit() -> Kit {
    Kit::with(|server| {
        server["scopes"] = json!([
            {"name": "read", "default": true},
            {"name": "write", "includes": ["read"]},
            {"name": "admin", "allow": [{"subjects": ["1"]}]},
        ]);
        server["backends"][0]["tools"] = json!({
            "deny": ["secret_*"],
            "scopes": [{"tools": ["create_*"], "scopes": ["write"]}, {"tools": ["drop"], "scopes": ["admin"]}],
        });
    })
    .await
}

async fn token(kit: &Kit, subject: &str, scope: &str) -> String {
    kit.sign_in_as(subject, |grant| grant.scope = scope.into()).await
}

async fn call(kit: &Kit, token: &str, tool: &str) -> Answer {
    let message = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool}});
    kit.post(token, &message).await
}

#[tokio::test]
async fn a_missing_scope_is_403_with_all_that_is_needed_and_held() {
    let kit = kit().await;
    let reader = token(&kit, "1", "read").await;
    assert_eq!(call(&kit, &reader, "get_issue").await.status, 200);
    let before = kit.backend.seen().len();
    let refused = call(&kit, &reader, "create_issue").await;
    assert_eq!((refused.status.as_u16(), refused.json()["id"].as_i64()), (403, Some(7)));
    let challenge = refused.header("www-authenticate");
    assert!(challenge.starts_with("Bearer resource_metadata="), "{challenge}");
    assert!(challenge.contains("scope=\"read write\"") && challenge.contains("error=\"insufficient_scope\""));
    assert_eq!(kit.backend.seen().len(), before, "nothing reaches the backend");

    let writer = token(&kit, "1", "write").await;
    assert_eq!(call(&kit, &writer, "create_issue").await.status, 200);
}

#[tokio::test]
async fn a_scope_that_the_user_cannot_be_granted_is_not_asked_for() {
    let kit = kit().await;
    let (admin, other) = (token(&kit, "1", "read admin").await, token(&kit, "2", "read admin").await);
    assert_eq!(call(&kit, &admin, "drop").await.status, 200);
    let refused = call(&kit, &other, "drop").await;
    assert_eq!((refused.status.as_u16(), refused.header("www-authenticate")), (403, ""));
    assert!(refused.message().contains("cannot be granted"), "{refused:?}");
    until(async || kit.trail.with("reason", "tool_denied").len() == 1).await;
    assert_eq!(kit.trail.with("reason", "tool_denied")[0]["outcome"], "denied");
}

/// A grant may be older than the policy that binds its client.
#[tokio::test]
async fn a_bound_client_is_bound_on_every_call_and_not_sent_for_more() {
    let kit = Kit::with(|server| {
        server["scopes"] =
            json!([{"name": "read", "default": true}, {"name": "write", "includes": ["read"]}]);
        server["backends"][0]["tools"] = json!({"scopes": [{"tools": ["create_*"], "scopes": ["write"]}]});
        server["policy"] = json!({"clients": [
            {"clientId": "reader", "redirectUris": ["http://127.0.0.1/callback"], "scopes": ["read"]},
            {"clientId": "writer", "redirectUris": ["http://127.0.0.1/callback"], "scopes": ["write"]},
        ]});
    })
    .await;
    let of = async |client: &str, scope: &str| {
        let (client, scope) = (client.to_owned(), scope.to_owned());
        kit.sign_in_as("1", |grant| (grant.client_id, grant.scope) = (client, scope)).await
    };
    let reader = of("reader", "read write").await;
    assert_eq!(call(&kit, &reader, "get_issue").await.status, 200);
    let before = kit.backend.seen().len();
    let refused = call(&kit, &reader, "create_issue").await;
    assert_eq!((refused.status.as_u16(), refused.header("www-authenticate")), (403, ""));
    assert_eq!(kit.backend.seen().len(), before);
    // What holds nothing any more is sent for what its client may have, not for the defaults.
    let writer = of("writer", "read").await;
    let refused = call(&kit, &writer, "get_issue").await;
    assert!(refused.header("www-authenticate").contains("scope=\"write\""), "{refused:?}");
}

#[tokio::test]
async fn a_token_without_any_of_the_scopes_is_good_for_nothing() {
    let kit = kit().await;
    let old = token(&kit, "1", "mcp").await;
    let refused = call(&kit, &old, "get_issue").await;
    assert_eq!(refused.status, 403);
    assert!(refused.header("www-authenticate").contains("scope=\"read\""), "{refused:?}");
    assert!(kit.backend.seen().is_empty());
}

#[tokio::test]
async fn a_tool_that_is_not_offered_cannot_be_called_in_any_shape() {
    let kit = kit().await;
    let token = token(&kit, "1", "read write admin").await;
    for name in ["secret_key", "SECRET_key", "Secret_Key", "\u{17f}ecret_key"] {
        assert_eq!(call(&kit, &token, name).await.error(), (200, -32602), "{name}");
    }
    until(async || kit.trail.with("reason", "unknown_tool").len() == 4).await;
    for name in ["secret_key ", "\tsecret_key", "secret_key\0", "secret_key\u{200b}", ""] {
        assert_eq!(call(&kit, &token, name).await.error(), (400, -32600), "{name:?}");
    }
    let shapes = [
        json!({"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "secret_key"}}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 5}}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call"}),
        json!({"jsonrpc": "2.0", "method": "tools/list"}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "Tools/Call", "params": {"name": "secret_key"}}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call\n", "params": {"name": "secret_key"}}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list\0"}),
    ];
    for shape in shapes {
        assert_eq!(kit.post(&token, &shape).await.status, 400, "{shape}");
    }
    assert!(kit.backend.seen().is_empty());
}

#[tokio::test]
async fn a_list_of_tools_has_only_those_that_are_offered() {
    let kit = kit().await;
    let token = token(&kit, "1", "read").await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": [
        {"name": "get_issue", "inputSchema": {"type": "object"}}, {"name": "secret_key"}, {"name": "create_issue"},
    ]}});
    let ask = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let names = |message: &Value| -> Vec<String> {
        let tools = message["result"]["tools"].as_array().unwrap();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    };
    kit.backend.answer(200, "application/json", &list.to_string());
    let answer = kit.post(&token, &ask).await;
    // What needs a scope stays: calling it is how a client learns to ask for more.
    assert_eq!(names(&answer.json()), ["get_issue", "create_issue"]);
    kit.backend.answer(200, "text/event-stream", &format!("event: message\ndata: {list}\n\n"));
    let answer = kit.post(&token, &ask).await;
    let data = answer.text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    assert_eq!(names(&serde_json::from_str(data).unwrap()), ["get_issue", "create_issue"]);
}

/// The answer to `tools/list` comes on a GET again when its client lost it and resumes.
#[tokio::test]
async fn a_resumed_stream_lists_no_other_tools() {
    let kit = kit().await;
    let token = token(&kit, "1", "read").await;
    let dropped = kit.backend.dropped.clone();
    kit.backend.answer_with(move |_| {
        let chunks = vec![
            "\u{feff}data: {\"id\":1,\"result\":{\"too",
            "ls\":[{\"name\":\"secret_key\"},{\"name\":\"get_issue\"}]}}\r\n\r",
            "\nid: 2\ndata: {\"method\":\"notifications/progress\"}\n\ndata: [{\"id\":2,\"result\":",
            "{\"tools\":[{\"name\":\"secret_key\"}]}}]\n\n: hi\n\n",
            "data: what no parser reads\n\n",
            "data: {\"method\":\"late\"}\n\n",
        ];
        let response = events_until_dropped(chunks, dropped.clone());
        Box::pin(async move { response })
    });
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("accept", "text/event-stream")];
    let mut body = kit.open(Method::GET, &kit.url, &headers, "").await.into_body();
    let mut text = String::new();
    while !text.contains("late")
        && let Some(piece) = next(&mut body).await
    {
        text.push_str(&piece);
    }
    let events: Vec<&str> = text.split("\n\n").map(str::trim).filter(|event| !event.is_empty()).collect();
    let expected = [
        "data: {\"id\":1,\"result\":{\"tools\":[{\"name\":\"get_issue\"}]}}",
        "id: 2\ndata: {\"method\":\"notifications/progress\"}",
        "data: [{\"id\":2,\"result\":{\"tools\":[]}}]",
        ": hi",
    ];
    assert_eq!(events, expected, "and what cannot be read ends the stream");
    kit.backend.dropped.notified().await;
    assert_eq!(kit.trail.with("outcome", "backend_error").len(), 1);
}

#[tokio::test]
async fn only_a_get_resumes_a_stream() {
    let kit = kit().await;
    let token = token(&kit, "1", "read").await;
    kit.backend.answer_with(|seen| {
        Box::pin(async move {
            let body = json!({"jsonrpc": "2.0", "id": seen.id(), "result": {}}).to_string();
            let mut response = answer(200, "application/json", body).await;
            response.headers_mut().insert("mcp-session-id", "s-1".parse().unwrap());
            response
        })
    });
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}});
    let session = kit.post(&token, &initialize).await.header("mcp-session-id").to_owned();
    let headers = [("mcp-session-id", session.as_str()), ("last-event-id", "1")];
    assert_eq!(kit.post_with(&token, &headers, tool_call().to_string()).await.status, 200);
    let seen = kit.backend.seen().pop().unwrap();
    assert_eq!((seen.header("mcp-session-id"), seen.header("last-event-id")), (Some("s-1"), None));
}
