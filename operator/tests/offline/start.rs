//! What cannot be started says why, at once, where the person who started it looks.

use std::{
    net::TcpListener,
    process::{Command, Output, Stdio},
};

fn gatehouse(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    command.args(arguments).env_remove("KUBECONFIG").stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let Output { status, stdout, stderr } = gatehouse(arguments);
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(code), "{stdout}{stderr}");
    assert!(words.iter().all(|word| stderr.contains(word)), "{stderr}");
    assert_eq!(stdout, "", "nothing claims that it serves");
}

#[test]
fn a_taken_port_is_named_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = address.port().to_string();
    refused(&["dev", "--port", &port], 1, &[&address.to_string(), "--port N"]);
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/examples/quickstart.yaml");
    refused(&["dev", "-f", example, "--listen", &address.to_string()], 1, &["--listen"]);
}

#[test]
fn a_malformed_redis_is_refused_with_its_forms() {
    refused(&["dev", "--redis", "localhost"], 2, &["--redis", "redis://HOST:PORT"]);
    refused(&["dev", "--redis", "http://localhost:1"], 2, &["scheme", "redis+sentinel://"]);
    refused(&["dev", "--redis", "redis://localhost:1/5"], 2, &["only 0 is used"]);
}

#[test]
fn an_unreachable_redis_is_said_before_anything_is_served() {
    // Port 1 is for root and for nobody else. The gateway's own port is taken, which would be said if it came that far.
    let (redis, taken) = ("redis://127.0.0.1:1", TcpListener::bind("127.0.0.1:0").unwrap());
    let port = taken.local_addr().unwrap().port().to_string();
    refused(&["dev", "--port", &port, "--redis", redis], 1, &[redis, "refused", "leave --redis out"]);
}

#[test]
fn an_operator_names_what_it_cannot_start_with() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let config = write("config.yaml", "redis: { url: \"redis://redis:6379\" }\n");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let kubeconfig = write(
        "kubeconfig",
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
          clusters: [{name: c, cluster: {server: \"http://127.0.0.1:1\"}}], users: [{name: u, user: {}}]}",
    );
    let run = |arguments: &[&str], kubeconfig: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
        let Output { status, stderr, .. } =
            command.arg("run").args(arguments).env("KUBECONFIG", kubeconfig).output().unwrap();
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    };
    let arguments = ["--config", &config, "--admin-listen", &address, "--no-lease"];
    let (code, said) = run(&arguments, &kubeconfig);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&address) && said.contains("--admin-listen"), "{said}");
    let (code, said) = run(&arguments, "/nowhere/kubeconfig");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no cluster"), "{said}");
    let broken = write("broken.yaml", "redis: { urk: \"redis://redis:6379\" }\n");
    let (code, said) = run(&["--config", &broken], &kubeconfig);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("broken.yaml") && said.contains("urk"), "{said}");
}
