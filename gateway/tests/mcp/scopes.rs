//! Scopes and tool rules on calls: step-up, what cannot be granted, and tools that are not offered.

use serde_json::{Value, json};

use super::kit::{Answer, Kit};

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
    let refused = call(&kit, &token, "secret_key").await;
    assert_eq!(refused.error(), (200, -32602));
    let shapes = [
        json!({"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "secret_key"}}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 5}}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call"}),
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
