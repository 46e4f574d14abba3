//! Real clients against `gatehouse dev` as a newcomer starts it, and its command line.

use e2e::{
    clients::Home,
    dev::{Gateway, Setup, gatehouse, gatehouse_path},
    net::Server,
    process::Process,
};
use serde_json::Value;
use tokio::process::Command;

async fn start() -> (Gateway, ()) {
    (Setup::demo().start().await, ())
}

e2e::every_client!(start);

/// The README's way without a client, run by a shell word for word. The command is where it was built, the port is another,
/// and at each sign-in the user sits at the browser whom the line's comment names.
#[tokio::test]
async fn a_bearer_for_curl() {
    let (gateway, ()) = start().await;
    let blocks = include_str!("../../README.md").split("```sh\n").skip(1);
    let mut blocks = blocks.filter_map(|rest| Some(rest.split_once("```")?.0));
    let block = blocks.find(|block| block.contains("$(gatehouse token")).expect("the README has it");
    let lines = block.lines().map(|line| {
        let user = line.split_once("sign in as ").map(|(_, user)| format!("export BROWSE_USER={user}\n"));
        // curl ends no line.
        let end = if line.starts_with("curl ") { "\necho" } else { "" };
        format!("{}{}{end}\n", user.unwrap_or_default(), line.replace("localhost:8080", gateway.host()))
    });
    let mut shell = Command::new("sh");
    let home = Home::of("nobody");
    home.enter(&mut shell);
    let programs = gatehouse_path().parent().expect("it is in a directory").display().to_string();
    let script = format!("PATH={programs}:$PATH\n{}", lines.collect::<String>());
    shell.args(["-eu", "-c", &script]);
    let mut shell = Process::start(shell);
    let status = shell.wait().await;
    assert!(status.success(), "{status}:\n{script}\n{}", shell.output());
    let stdout = shell.stdout();
    let answers = stdout.lines().map(|line| line.trim_start_matches("data:").trim());
    let answers = answers.filter(|line| line.starts_with('{'));
    let answers = answers.map(|line| serde_json::from_str::<Value>(line).expect("it is JSON"));
    let said: Vec<Value> = answers.map(|a| a["result"]["content"][0]["text"].clone()).collect();
    assert_eq!(said, ["alice", "bob"], "{script}\n{}", shell.output());
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
    // A gateway on this machine is none that is called from a vendor's cloud.
    let (notes, others): (Vec<_>, Vec<_>) = findings.iter().partition(|f| f["level"] == "note");
    assert!(others.iter().all(|f| f["level"] == "good"), "{report:#}");
    assert!(notes.len() == 1 && notes[0]["check"] == "reach", "{report:#}");
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
