//! The commands that print and end, as a person runs them: what stands on which stream, and with which exit code.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use gatehouse_gateway_config::users::Users;

const QUICKSTART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/examples/quickstart.yaml");

/// Exit code, standard output and standard error.
fn gatehouse(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that ends without reading closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn render_prints_what_would_be_applied_and_no_secret() {
    let (code, printed, said) = gatehouse(&["render", "-f", QUICKSTART], "");
    assert_eq!(code, Some(0), "{said}");
    assert!(printed.starts_with("# What the operator would apply, for review."), "{printed}");
    let kinds: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
    for kind in ["ServiceAccount", "ConfigMap", "Service", "Deployment"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    assert!(!kinds.contains(&"Secret") && !printed.contains("ownerReferences"), "{printed}");

    let manifest = std::fs::read_to_string(QUICKSTART).unwrap();
    assert_eq!(gatehouse(&["render", "-f", "-"], &manifest).1, printed, "the same from the standard input");
}

#[test]
fn render_says_all_that_is_wrong_and_prints_nothing() {
    let manifest = std::fs::read_to_string(QUICKSTART).unwrap();
    let broken = manifest.replace("  url: http", "  surprise: 1\n  url: HTTP");
    assert_ne!(broken, manifest);
    let (code, printed, said) = gatehouse(&["render", "-f", "-"], &broken);
    assert_eq!((code, printed.as_str()), (Some(2), ""), "{said}");
    assert!(said.contains("spec.surprise") && said.contains("spec.url"), "{said}");
    let (code, _, said) = gatehouse(&["render", "-f", "/no/such.yaml"], "");
    assert!(code == Some(2) && said.contains("/no/such.yaml"), "{code:?} {said}");
}

#[test]
fn users_add_prints_an_entry_that_the_gateway_takes() {
    let arguments = ["users", "add", "carol", "--group", "platform", "--with-token"];
    let (code, printed, said) = gatehouse(&arguments, "correct horse\nthe-token\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(Users::parse(printed.as_bytes()).is_ok(), "{printed}");
    assert!(printed.contains("token: the-token") && printed.contains("platform"), "{printed}");
    assert!(!printed.contains("correct horse") && said.is_empty(), "{printed}{said}");

    let (code, printed, said) = gatehouse(&["users", "add", "carol"], "\n");
    assert_eq!((code, printed.as_str()), (Some(2), ""));
    assert!(said.contains("the password must have 1 to 1024 bytes"), "{said}");
}
