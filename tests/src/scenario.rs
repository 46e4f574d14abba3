//! What every client must manage against every kind of gateway.

use crate::{
    clients::{ClaudeCode, Inspector, Sdk, Session},
    dev::Gateway,
    rmcp_client::Rmcp,
};

/// Alice and Bob sign in at the same time and call at the same time; each acts with their own credential.
pub async fn alice_and_bob(sdk: Sdk, gateway: &Gateway) {
    let (mut alice, mut bob) = tokio::join!(
        Session::connect(sdk, &gateway.url, "alice"),
        Session::connect(sdk, &gateway.url, "bob")
    );
    assert!(alice.tools.contains(&"whoami".to_owned()), "{:?}", alice.tools);
    assert!(!alice.protocol.is_empty() || sdk == Sdk::McpRemote, "{}", alice.output());
    for _ in 0..5 {
        let (first, second) = tokio::join!(alice.whoami(), bob.whoami());
        assert_eq!((first.as_str(), second.as_str()), ("alice", "bob"));
    }
    tokio::join!(alice.close(), bob.close());
}

/// The same with the Rust SDK.
pub async fn alice_and_bob_in_rust(gateway: &Gateway) {
    let (alice, bob) = tokio::join!(Rmcp::connect(&gateway.url, "alice"), Rmcp::connect(&gateway.url, "bob"));
    assert!(alice.tools().await.contains(&"whoami".to_owned()));
    for _ in 0..5 {
        let (first, second) = tokio::join!(alice.whoami(), bob.whoami());
        assert_eq!((first.as_str(), second.as_str()), ("alice", "bob"));
    }
}

/// Claude Code asks for a sign-in, signs in, and then connects. It calls tools only with an account.
pub async fn claude_code(gateway: &Gateway) {
    let claude = ClaudeCode::with(&gateway.url, "alice").await;
    let before = claude.list().await;
    assert!(before.contains("Needs authentication"), "{before}");
    claude.login().await;
    let after = claude.list().await;
    assert!(after.contains("Connected"), "{after}\n{}", gateway.output());
}

/// The Inspector's command line signs in, and its next run finds the tokens of the one before.
pub async fn inspector(gateway: &Gateway) {
    let inspector = Inspector::of(&gateway.url, "alice");
    for _ in 0..2 {
        let answer = inspector.call("whoami").await;
        assert_eq!(answer.text, "alice", "{answer:?}");
    }
}

/// A test for each client; `$start` is an async function that starts a gateway and gives it with what it needs alive.
#[macro_export]
macro_rules! every_client {
    ($start:path) => {
        #[tokio::test]
        async fn typescript_sdk_v1() {
            let (gateway, _parts) = $start().await;
            $crate::scenario::alice_and_bob($crate::clients::Sdk::TypeScript1, &gateway).await;
        }

        #[tokio::test]
        async fn typescript_sdk_v2() {
            let (gateway, _parts) = $start().await;
            $crate::scenario::alice_and_bob($crate::clients::Sdk::TypeScript2, &gateway).await;
        }

        #[tokio::test]
        async fn python_sdk() {
            let (gateway, _parts) = $start().await;
            $crate::scenario::alice_and_bob($crate::clients::Sdk::Python, &gateway).await;
        }

        #[tokio::test]
        async fn mcp_remote() {
            let (gateway, _parts) = $start().await;
            $crate::scenario::alice_and_bob($crate::clients::Sdk::McpRemote, &gateway).await;
        }

        #[tokio::test]
        async fn rust_sdk() {
            let (gateway, _parts) = $start().await;
            $crate::scenario::alice_and_bob_in_rust(&gateway).await;
        }

        #[tokio::test]
        async fn inspector() {
            let (gateway, _parts) = $start().await;
            $crate::scenario::inspector(&gateway).await;
        }

        #[tokio::test]
        async fn claude_code() {
            let (gateway, _parts) = $start().await;
            $crate::scenario::claude_code(&gateway).await;
        }
    };
}
