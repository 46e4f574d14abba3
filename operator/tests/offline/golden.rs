//! What `build` renders, frozen: a diff in `tests/golden` means that pods will roll.
//!
//! `UPDATE_GOLDEN=1 cargo test -p gatehouse-operator --test offline golden` writes the files anew.

use std::path::Path;

use gatehouse_operator::{
    admission::{self, Source},
    cli::render::render,
    config::OperatorConfig,
    server::{
        build::build,
        validate::{ValidatedServer, validate},
    },
};

/// An image that no release changes.
const CONFIG: &str = "
redis: { url: 'rediss://redis.example.com:6379', tls: { caFile: /etc/ca.crt } }
gateway: { image: 'registry.example.com/gateway:test', trustedProxies: [10.0.0.0/8], imagePullSecrets: [pull] }
egress: { allow: [10.1.0.0/16] }
";

fn valid(manifest: &str) -> ValidatedServer {
    let source = Source { name: "golden.yaml".to_owned(), text: manifest.to_owned() };
    let manifests = admission::read(&[source]).unwrap_or_else(|f| panic!("{f:?}"));
    let server = &manifests.servers[0].object;
    let config = OperatorConfig::parse("operator.yaml", CONFIG).unwrap_or_else(|e| panic!("{e}"));
    let mut fetched = manifests.fetched(server);
    fetched.assume_refs = true;
    validate(server, &fetched, &config).unwrap_or_else(|p| panic!("{p:?}"))
}

fn golden(name: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let manifest = std::fs::read_to_string(directory.join(format!("{name}.in.yaml"))).unwrap_or_default();
    let server = valid(&manifest);
    // It names the release, and changes no pod.
    let found = render(&server).unwrap_or_default().replace(&server.defaults_hash, "DEFAULTS");
    let file = directory.join(format!("{name}.yaml"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &found).unwrap_or_else(|e| panic!("{e}"));
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == expected,
        "{name}: what is rendered has changed, so pods will roll. If that is meant: \
         UPDATE_GOLDEN=1 cargo test -p gatehouse-operator --test offline golden\n{found}"
    );
}

#[test]
fn the_smallest_server() {
    golden("smallest");
}

#[test]
fn a_server_with_everything() {
    golden("everything");
}

const SMALLEST: &str = include_str!("../golden/smallest.in.yaml");

#[test]
fn a_new_configuration_has_a_new_map_and_rolls_the_pods() {
    let (one, same) = (build(&valid(SMALLEST)), build(&valid(SMALLEST)));
    assert_eq!(one, same);
    let other = build(&valid(&SMALLEST.replace("[acme]", "[acme, beta]")));
    assert_ne!(one.config_map.metadata.name, other.config_map.metadata.name);
    assert_ne!(one.deployment.spec, other.deployment.spec);
    assert_eq!(one.service, other.service);
}

#[test]
fn replicas_change_no_configuration() {
    let parked = SMALLEST.replace("  backends:", "  gateway: { replicas: 0 }\n  backends:");
    let (one, other) = (build(&valid(SMALLEST)), build(&valid(&parked)));
    assert_eq!(one.config_hash, other.config_hash);
    assert_eq!(other.deployment.spec.replicas, Some(0));
}

#[test]
fn the_gateway_reads_what_is_rendered() {
    let desired = build(&valid(include_str!("../golden/everything.in.yaml")));
    let text = desired.config_map.data.unwrap_or_default().remove("gateway.json").unwrap_or_default();
    let config = gatehouse_gateway_config::GatewayConfig::parse(&text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.servers[0].name, "everything");
}
