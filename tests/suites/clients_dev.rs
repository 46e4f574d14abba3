//! Real clients against `gatehouse dev` as a newcomer starts it, and its command line.

use e2e::{
    clients::Home,
    dev::{Gateway, Setup, gatehouse},
    net::{Server, http},
    oauth::{Answer, mcp},
    process::Process,
};
use serde_json::{Value, json};

async fn start() -> (Gateway, ()) {
    (Setup::demo().start().await, ())
}

e2e::every_client!(start);

/// The two curl lines of the README.
#[tokio::test]
async fn a_bearer_for_curl() {
    let (gateway, ()) = start().await;
    for user in ["alice", "bob"] {
        let mut command = gatehouse();
        let home = Home::of(user);
        home.enter(&mut command);
        command.arg("token").arg(&gateway.url);
        let mut process = Process::start(command);
        let status = process.wait().await;
        assert!(status.success(), "{}", process.output());
        let token = process.stdout();
        assert!(!token.contains(char::is_whitespace) && !token.is_empty(), "the token alone: {token:?}");
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "whoami", "arguments": {} } });
        let answer = Answer::of(mcp(&http(), &gateway.url, Some(&token), &call).send().await.unwrap()).await;
        assert_eq!(answer.json()["result"]["content"][0]["text"], user, "{}", answer.text);
    }
}

/// `gatehouse doctor` finds nothing in any client's way, neither before a sign-in nor after one.
#[tokio::test]
async fn the_doctor_finds_nothing() {
    let (gateway, ()) = start().await;
    let home = Home::of("alice");
    let mut command = gatehouse();
    home.enter(&mut command);
    command.arg("token").arg(&gateway.url);
    let mut token = Process::start(command);
    assert!(token.wait().await.success(), "{}", token.output());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), token.stdout()).unwrap();

    let mut command = gatehouse();
    home.enter(&mut command);
    command.args(["doctor", "--format", "json", "--token-file"]).arg(file.path()).arg(&gateway.url);
    let mut doctor = Process::start(command);
    assert!(doctor.wait().await.success(), "{}", doctor.output());
    let report: Value = serde_json::from_str(&doctor.stdout()).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.iter().all(|f| f["level"] == "good"), "{report:#}");
    for check in [
        "challenge",
        "resource",
        "issuer",
        "registration",
        "authorize",
        "browser",
        "token",
        "cors",
        "session",
    ] {
        assert!(findings.iter().any(|f| f["check"] == check), "{check} was not looked at: {report:#}");
    }
}

#[tokio::test]
async fn a_taken_port_is_said_with_the_way_out() {
    let taken = Server::start(axum::Router::new()).await;
    let mut command = gatehouse();
    command.args(["dev", "--port"]).arg(taken.address.port().to_string());
    let mut process = Process::start(command);
    assert_eq!(process.wait().await.code(), Some(1));
    let output = process.output();
    assert!(output.contains(&taken.address.to_string()) && output.contains("--port N"), "{output}");
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_manifest_is_said_at_once() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("bad.yaml");
    let bad = include_str!("../../crds/examples/quickstart.yaml")
        .replace("quickstart-users, key: users.yaml", "no-such-secret, key: users.yaml")
        .replace("gatehouse.dev/demo-backend", "gatehouse.dev/something-else");
    std::fs::write(&file, bad).unwrap();
    let mut command = gatehouse();
    command.args(["dev", "-f"]).arg(&file);
    let mut process = Process::start(command);
    assert_eq!(process.wait().await.code(), Some(2), "{}", process.output());
    let output = process.output();
    for part in
        ["bad.yaml:", "no-such-secret", "--backend demo=", "spec.backends[0].service", "spec.identity.local"]
    {
        assert!(output.contains(part), "{part}:\n{output}");
    }
}

#[tokio::test]
async fn the_demo_does_not_listen_beyond_loopback() {
    let mut command = gatehouse();
    command.args(["dev", "--listen", "0.0.0.0:0"]);
    let mut process = Process::start(command);
    assert_eq!(process.wait().await.code(), Some(2));
    assert!(process.output().contains("loopback only"), "{}", process.output());
}

#[test]
fn nothing_here_can_call_out() {
    e2e::net::assert_no_way_out();
}
