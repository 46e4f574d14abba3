//! The operator's configuration as the chart renders it. Schema, template and struct say the same: a field that one of
//! them lacks breaks this test, or `tests/chart`, which renders the file from `tests/chart/full.yaml`.

use std::collections::BTreeMap;

use gatehouse_gateway_config::EgressConfig;
use gatehouse_operator::{
    config::{
        GatewaySettings, HostSettings, IdentitySettings, LifetimeCeilings, OperatorConfig, PolicyCeilings,
        PolicySettings, PolicyTerms, RedisSettings, RedisTls, RedisUsers, RolloutSettings, WatchSettings,
    },
    crd::{
        policy::{
            DynamicRegistration, Lifetimes, MetadataDocuments, PolicyScopes, RedirectUris, Registration,
        },
        primitive::{GepDuration, Mode, ResourceQuantity},
        server_gateway::Resources,
    },
};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

/// A CA of a test, as the chart's values have it.
const CA: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBVjCB/aADAgECAgEBMAoGCCqGSM49BAMCMBIxEDAOBgNVBAMMB3Rlc3QgY2EwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAx\n\
MDEwMDAwMDBaMBIxEDAOBgNVBAMMB3Rlc3QgY2EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQgANMy1OsND3xehv5MgOW9\n\
fyes4+AzEwggo49B+qwePSYg3B41bGagYuED5p32XvtgJiDn3FCh/RXTx7ihVPHVo0IwQDAPBgNVHRMBAf8EBTADAQH/MA4G\n\
A1UdDwEB/wQEAwICBDAdBgNVHQ4EFgQUoA3DOHin4EwBp0tTCtKZ6ulmA3EwCgYIKoZIzj0EAwIDSAAwRQIgVqNx9Sgq1mmm\n\
z40jE9msNsMC8d4KPtDf4F4nj/Zv/egCIQCh+pNRKEgGXUxQC4XSQdiLBcwr8vsItKPwt4KetMC2Ng==\n\
-----END CERTIFICATE-----\n\
";
const RENDERED: &str = include_str!("../golden/operator.yaml");

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn amounts(amounts: &[(&str, &str)]) -> BTreeMap<String, ResourceQuantity> {
    amounts.iter().map(|&(name, text)| (name.to_owned(), ResourceQuantity(text.to_owned()))).collect()
}

const fn minutes(minutes: u64) -> GepDuration {
    GepDuration::from_secs(minutes * 60)
}

/// Every field, so that none can be added without a word here. None has its default that could be left out.
fn full() -> OperatorConfig {
    OperatorConfig {
        redis: RedisSettings {
            url: "rediss+sentinel://a:26379,b:26379/mymaster".to_owned(),
            // Instead of a URL: `tests/chart` renders them apart.
            nodes: Vec::new(),
            key_prefix: "blue:gatehouse".to_owned(),
            users: RedisUsers::Managed,
            username_file: Some("/etc/gatehouse/redis/username".into()),
            password_file: Some("/etc/gatehouse/redis/password".into()),
            tls: Some(RedisTls {
                ca_file: Some("/etc/gatehouse/redis-ca/ca.crt".into()),
                cert_file: Some("/etc/gatehouse/redis-certificate/tls.crt".into()),
                key_file: Some("/etc/gatehouse/redis-certificate/tls.key".into()),
                server_name: Some("redis.internal".to_owned()),
            }),
            min_replicas: Some(2),
        },
        gateway: GatewaySettings {
            image: "registry.example.com/gateway:test".to_owned(),
            image_pull_policy: Some("Always".to_owned()),
            image_pull_secrets: texts(&["pull"]),
            replicas: 3,
            resources: Resources {
                requests: amounts(&[("cpu", "0.5"), ("memory", "64Mi")]),
                limits: amounts(&[("memory", "128Mi")]),
            },
            trusted_proxies: texts(&["10.0.0.0/8"]),
            allow_tolerations: false,
            allow_cross_namespace_affinity: true,
            allowed_priority_classes: texts(&["high"]),
        },
        hosts: HostSettings {
            allow: texts(&["*.{namespace}.mcp.example.com"]),
            shared: texts(&["shared.example.com"]),
        },
        identity: IdentitySettings {
            allowed_issuers: texts(&["https://*.sso.example.com/*"]),
            local: Mode::Refused,
        },
        egress: EgressConfig {
            allow: texts(&["10.1.0.0/16", "keycloak.sso.svc"]),
            proxy: Some("http://proxy:3128".to_owned()),
            ca: Some(CA.to_owned()),
        },
        rollouts: RolloutSettings { max_concurrent: 5 },
        policy: policy(),
        watch: WatchSettings {
            namespaces: texts(&["team-a"]),
            label_selector: Some("gatehouse.dev/operator=blue".to_owned()),
        },
    }
}

fn policy() -> PolicySettings {
    let documents = |hosts: &[&str]| MetadataDocuments { mode: Mode::Allowed, allowed_hosts: texts(hosts) };
    let default = PolicyTerms {
        registration: Some(Registration {
            dynamic: Some(DynamicRegistration {
                mode: Mode::Allowed,
                lifetime: minutes(720 * 60),
                not_before: Some(Time("2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap())),
            }),
            metadata_documents: Some(documents(&["claude.ai", "*.example.com"])),
        }),
        redirect_uris: Some(RedirectUris {
            loopback: Mode::Allowed,
            known_clients: Mode::Refused,
            allow: texts(&["https://ci.example.com/cb/*"]),
        }),
        scopes: Some(PolicyScopes { allow: Some(texts(&["read"])) }),
        lifetimes: Some(Lifetimes {
            authorization_code: minutes(5),
            access_token: minutes(30),
            refresh_token: minutes(240 * 60),
            refresh_grace: minutes(1),
            sign_in: minutes(720 * 60),
        }),
    };
    let ceilings = PolicyCeilings {
        lifetimes: Some(LifetimeCeilings {
            access_token: Some(minutes(60)),
            refresh_token: Some(minutes(720 * 60)),
            refresh_grace: Some(minutes(2)),
            sign_in: Some(minutes(8760 * 60)),
        }),
        registration_lifetime: Some(minutes(2160 * 60)),
        dynamic_registration: Some(Mode::Allowed),
        metadata_documents: Some(documents(&["*"])),
    };
    PolicySettings { default: Some(default), required: true, ceilings: Some(ceilings) }
}

#[test]
fn every_field_is_what_the_chart_renders() {
    let parsed = OperatorConfig::parse("operator.yaml", RENDERED).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(parsed, full());
}

#[test]
fn defaults_are_told_apart_by_what_reaches_the_pods() {
    let (full, mut other) = (full(), full());
    other.hosts.shared.clear();
    other.rollouts.max_concurrent = 1;
    assert_eq!(full.defaults_hash(), other.defaults_hash(), "no pod is made differently");
    other.gateway.image.push('x');
    assert_ne!(full.defaults_hash(), other.defaults_hash());
}
