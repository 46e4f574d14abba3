//! Reading and checking the operator's configuration file: everything that is wrong at once.

use std::{net::IpAddr, path::Path};

use gatehouse_gateway_config::redis::RedisTargetError;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::Value;
use url::Url;

use super::{IssuerPattern, OperatorConfig, PolicyCeilings};
use crate::{admission, crd::primitive::GepDuration, server::validate::requirements};

/// Namespaced mode holds one watch per kind and namespace; beyond this, watch all of them.
const MAX_NAMESPACES: usize = 10;

/// How many replicas of Redis may have to acknowledge: more than anybody runs is a slip, by which nothing is acknowledged.
const MAX_REPLICAS: u32 = 5;

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The path that was given.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It is not of the shape that is expected.
    #[error("the configuration {path} is not valid: {message}")]
    Parse {
        /// The path that was given.
        path: String,
        /// The parser's reason, with line and column.
        message: String,
    },
    /// Fields of it cannot work together.
    #[error("the configuration {path} is not valid:\n  {}", problems.join("\n  "))]
    Invalid {
        /// The path that was given.
        path: String,
        /// Each with its field.
        problems: Vec<String>,
    },
}

impl OperatorConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, is not a configuration, or cannot work; then everything that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: shown.clone(), source })?;
        Self::parse(&shown, &text)
    }

    /// Parses and checks a text; `path` is how messages call it.
    ///
    /// # Errors
    /// When it is not a configuration, or cannot work; then everything that is wrong.
    pub fn parse(path: &str, text: &str) -> Result<Self, ConfigError> {
        let config: Self = serde_saphyr::from_str(text).map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            message: error.without_snippet().to_string(),
        })?;
        let mut problems = Vec::new();
        config.check_redis(&mut problems);
        config.check_gateway(&mut problems);
        config.check_hosts(&mut problems);
        config.check_identity(&mut problems);
        config.check_egress(&mut problems);
        config.check_watch(&mut problems);
        // As it was written: fields that no type knows are found by the schema alone.
        let written: Value = serde_saphyr::from_str(text).unwrap_or_default();
        check_policy(&written["policy"], &mut problems);
        check_ceilings(config.policy.ceilings.as_ref(), &mut problems);
        if config.rollouts.max_concurrent == 0 {
            problems.push("rollouts.maxConcurrent: 0 would let no roll-out happen; at least 1".to_owned());
        }
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Invalid { path: path.to_owned(), problems })
        }
    }

    fn check_redis(&self, problems: &mut Vec<String>) {
        let redis = &self.redis;
        if redis.url.is_empty() == redis.nodes.is_empty() {
            problems.push("redis: exactly one of url and nodes is required".to_owned());
        } else {
            let field = if redis.nodes.is_empty() { "redis.url" } else { "redis.nodes" };
            match redis.target() {
                Err(RedisTargetError::HoldsSecret) => problems.push(format!(
                    "{field}: must not hold a user or password; put them into files and name those in usernameFile and \
                     passwordFile"
                )),
                Err(RedisTargetError::Database) => problems.push(format!(
                    "{field}: names a database that servers' users may not SELECT; only 0 is used, and redis.keyPrefix \
                     shares a Redis"
                )),
                Err(error) => problems.push(format!("{field}: {error}")),
                Ok(target) if redis.tls.is_some() && !target.tls => {
                    problems.push("redis.tls: needs a rediss:// URL".to_owned());
                }
                Ok(_) => {}
            }
        }
        if redis.tls.as_ref().is_some_and(|tls| tls.cert_file.is_some() != tls.key_file.is_some()) {
            problems.push("redis.tls: certFile and keyFile go together".to_owned());
        }
        if let Some(replicas) = redis.min_replicas.filter(|replicas| *replicas > MAX_REPLICAS) {
            problems.push(format!("redis.minReplicas: {replicas} is not between 0 and {MAX_REPLICAS}"));
        }
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if redis.key_prefix.is_empty() || redis.key_prefix.len() > 64 || !redis.key_prefix.chars().all(good) {
            problems.push(format!(
                "redis.keyPrefix: \"{}\" must be 1 to 64 letters, digits, -, _, . and :",
                redis.key_prefix.escape_debug()
            ));
        }
    }

    fn check_gateway(&self, problems: &mut Vec<String>) {
        let gateway = &self.gateway;
        if gateway.image.trim().is_empty() {
            problems.push("gateway.image: must name an image".to_owned());
        }
        if !(0..=100).contains(&gateway.replicas) {
            problems.push(format!("gateway.replicas: {} is not between 0 and 100", gateway.replicas));
        }
        if let Some(policy) = &gateway.image_pull_policy
            && !matches!(policy.as_str(), "Always" | "IfNotPresent" | "Never")
        {
            problems.push(format!(
                "gateway.imagePullPolicy: \"{}\" must be Always, IfNotPresent or Never",
                policy.escape_debug()
            ));
        }
        for (field, message) in requirements(&gateway.resources).err().into_iter().flatten() {
            problems.push(format!("gateway.resources.{field}: {message}"));
        }
        for network in gateway.trusted_proxies.iter().filter(|n| !is_network(n)) {
            problems.push(format!(
                "gateway.trustedProxies: \"{}\" is not a network such as 10.0.0.0/8",
                network.escape_debug()
            ));
        }
    }

    fn check_hosts(&self, problems: &mut Vec<String>) {
        for (field, patterns) in [("allow", &self.hosts.allow), ("shared", &self.hosts.shared)] {
            for pattern in patterns.iter().filter(|pattern| !is_host_pattern(pattern)) {
                problems.push(format!(
                    "hosts.{field}: \"{}\" must be a host name in which * is a whole label and {{namespace}} a part of \
                     one, for example *.{{namespace}}.mcp.example.com",
                    pattern.escape_debug()
                ));
            }
        }
    }

    fn check_identity(&self, problems: &mut Vec<String>) {
        let bad = |pattern: &&String| IssuerPattern::parse(pattern).is_none();
        for pattern in self.identity.allowed_issuers.iter().filter(bad) {
            problems.push(format!(
                "identity.allowedIssuers: \"{}\" must be an http or https URL in which * is a whole label of the host or \
                 the whole last segment, for example https://*.corp.example.com/*",
                pattern.escape_debug()
            ));
        }
    }

    fn check_egress(&self, problems: &mut Vec<String>) {
        for entry in self.egress.allow.iter().filter(|e| !is_network(e) && !is_host(e)) {
            problems.push(format!(
                "egress.allow: \"{}\" is not a network (10.0.0.0/8), an address or a host name (*.suffix allowed)",
                entry.escape_debug()
            ));
        }
        if let Some(proxy) = &self.egress.proxy {
            let good = Url::parse(proxy).is_ok_and(|url| url.scheme() == "http" && url.host_str().is_some());
            if !good {
                problems.push(format!("egress.proxy: \"{}\" must be http://host:port", proxy.escape_debug()));
            }
        }
        if self.egress.ca.as_deref().is_some_and(|ca| !are_cas(ca)) {
            problems.push("egress.ca: must hold certificates of CAs in PEM".to_owned());
        }
    }

    fn check_watch(&self, problems: &mut Vec<String>) {
        let watch = &self.watch;
        if watch.namespaces.len() > MAX_NAMESPACES {
            problems.push(format!(
                "watch.namespaces: {} are given, at most {MAX_NAMESPACES} are allowed; leave it empty for all",
                watch.namespaces.len()
            ));
        }
        let partial = !watch.namespaces.is_empty() || watch.label_selector.is_some();
        if partial && self.hosts.allow.is_empty() {
            problems.push(
                "hosts.allow: is required with watch.namespaces and watch.labelSelector, because an operator that does not see all servers cannot \
                 know who had a host first; for example [\"*.{namespace}.mcp.example.com\"]"
                    .to_owned(),
            );
        }
        for pattern in self.hosts.allow.iter().filter(|p| partial && !p.contains("{namespace}")) {
            problems.push(format!(
                "hosts.allow: \"{}\" must have {{namespace}} with watch.namespaces and watch.labelSelector: two operators \
                 that do not see each other's servers would let two namespaces have one host",
                pattern.escape_debug()
            ));
        }
        if let Some(selector) = &watch.label_selector
            && !is_selector(selector)
        {
            problems.push(format!(
                "watch.labelSelector: \"{}\" is not a selector as kubectl -l takes it, for example a=b,c!=d,e in (f,g)",
                selector.escape_debug()
            ));
        }
    }
}

/// What has the form of an OAuthClientPolicy's is checked by its schema and rules.
fn check_policy(written: &Value, problems: &mut Vec<String>) {
    for (at, part) in [("default", ""), ("ceilings.metadataDocuments", "registration.metadataDocuments")] {
        let value = at.split('.').fold(written, |value, name| &value[name]);
        if value.is_null() {
            continue;
        }
        for (field, message) in admission::policy_part(part, value.clone()).err().into_iter().flatten() {
            let dot = if field.is_empty() { "" } else { "." };
            problems.push(format!("policy.{at}{dot}{field}: {message}"));
        }
    }
}

/// A ceiling lowers what is above it; only the grace may be lowered to nothing.
fn check_ceilings(ceilings: Option<&PolicyCeilings>, problems: &mut Vec<String>) {
    let Some(ceilings) = ceilings else { return };
    let lifetimes = ceilings.lifetimes.clone().unwrap_or_default();
    for (field, life) in [
        ("lifetimes.accessToken", lifetimes.access_token),
        ("lifetimes.refreshToken", lifetimes.refresh_token),
        ("lifetimes.signIn", lifetimes.sign_in),
        ("registrationLifetime", ceilings.registration_lifetime),
    ] {
        if life.is_some_and(|life| life < GepDuration::from_secs(1)) {
            problems.push(format!("policy.ceilings.{field}: must be at least 1s"));
        }
    }
}

fn is_network(text: &str) -> bool {
    let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    length.is_none_or(|l| l.parse::<u8>().is_ok_and(|l| l <= most))
}

fn is_host(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Certificates in PEM, at least one, that a gateway can trust: it does not start with others.
fn are_cas(pem: &str) -> bool {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let good = |ca: CertificateDer<'_>| RootCertStore::empty().add(ca).is_ok();
    found.is_ok_and(|cas| !cas.is_empty() && cas.into_iter().all(good))
}

/// Labels of letters, digits and `-`, `{namespace}` among them, or `*` alone.
fn is_host_pattern(text: &str) -> bool {
    let filled = text.replace("{namespace}", "n");
    let label = |l: &str| l == "*" || (is_host(l) && !l.starts_with('-') && !l.ends_with('-'));
    filled.len() <= 253 && filled.split('.').all(label) && filled != "*"
}

/// `key`, `!key`, `key=value`, `key==value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`, by commas.
fn is_selector(text: &str) -> bool {
    let name = |t: &str| {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
        !t.trim().is_empty() && t.trim().bytes().all(good)
    };
    let mut depth = 0;
    let requirements = text.split(|c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    let good = |requirement: &str| {
        for (word, set) in [(" in ", true), (" notin ", true), ("!=", false), ("==", false), ("=", false)] {
            let Some((key, rest)) = requirement.split_once(word) else { continue };
            return match rest.trim().strip_prefix('(').and_then(|r| r.strip_suffix(')')) {
                Some(values) if set => name(key) && values.split(',').all(name),
                None if !set => name(key) && (rest.trim().is_empty() || name(rest)),
                _ => false,
            };
        }
        name(requirement.trim().strip_prefix('!').unwrap_or(requirement))
    };
    requirements.into_iter().all(good) && depth == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        OperatorConfig::parse("operator.yaml", text).unwrap_err().to_string()
    }

    #[test]
    fn the_smallest_configuration_is_a_redis() {
        let config = OperatorConfig::parse("operator.yaml", "redis: { url: redis://redis:6379 }").unwrap();
        assert_eq!(config, OperatorConfig::offline());
    }

    #[test]
    fn a_field_that_does_not_exist_is_named_with_its_line() {
        let message = problems("redis:\n  url: redis://redis:6379\n  prefix: x\n");
        assert!(message.contains("prefix") && message.contains("line 3"), "{message}");
    }

    #[test]
    fn everything_is_said_at_once() {
        let text = "
redis: { url: 'http://redis', keyPrefix: '{a}' }
gateway: { replicas: -1, imagePullPolicy: Sometimes, trustedProxies: [10.0.0.0/33], resources: { limits: { memory: 256MB } } }
hosts: { shared: ['*shared.example.com'] }
identity: { allowedIssuers: ['https://sso.corp*'] }
egress: { allow: ['a b'], proxy: 'socks5://x', ca: none }
watch: { namespaces: [a], labelSelector: '!!' }
rollouts: { maxConcurrent: 0 }
policy:
  default: { lifetimes: { accessToken: 1m }, redirectUris: { allow: ['javascript:alert(1)'] } }
  ceilings: { lifetimes: { signIn: 0s }, metadataDocuments: { allowedHosts: [Claude.ai] } }
";
        let message = problems(text);
        for field in [
            "redis.url",
            "redis.keyPrefix",
            "gateway.replicas",
            "gateway.imagePullPolicy",
            "gateway.trustedProxies",
            "egress.allow",
            "egress.proxy",
            "egress.ca",
            "hosts.allow",
            "watch.labelSelector",
            "rollouts.maxConcurrent",
            "policy.default.lifetimes",
            "policy.default.redirectUris.allow",
            "policy.ceilings.lifetimes.signIn",
            "policy.ceilings.metadataDocuments.allowedHosts",
            "gateway.resources.limits.memory",
            "identity.allowedIssuers",
            "hosts.shared",
        ] {
            assert!(message.contains(&format!("\n  {field}: ")), "{field} in {message}");
        }
    }

    #[test]
    fn no_field_of_a_policy_is_ignored() {
        for (policy, field) in [
            ("default: { lifetimes: { acessToken: 1h } }", "default.lifetimes.acessToken"),
            ("default: { registration: { dynamic: { mod: Refused } } }", "default.registration.dynamic.mod"),
            ("default: { registration: { metadataDocument: {} } }", "default.registration.metadataDocument"),
            (
                "ceilings: { metadataDocuments: { hosts: [a.example.com] } }",
                "ceilings.metadataDocuments.hosts",
            ),
        ] {
            let message = problems(&format!("redis: {{ url: 'redis://redis' }}\npolicy: {{ {policy} }}\n"));
            assert!(message.contains(&format!("\n  policy.{field}: unknown field")), "{message}");
        }
    }

    #[test]
    fn resources_are_texts_and_numbers() {
        let resources = "{ requests: { cpu: 0.5, memory: 64Mi }, limits: { cpu: 1 } }";
        let text = format!("redis: {{ url: 'redis://redis' }}\ngateway: {{ resources: {resources} }}\n");
        let config = OperatorConfig::parse("operator.yaml", &text).unwrap();
        let canonical = serde_json::to_value(requirements(&config.gateway.resources).unwrap()).unwrap();
        let wanted =
            serde_json::json!({ "requests": { "cpu": "500m", "memory": "64Mi" }, "limits": { "cpu": "1" } });
        assert_eq!(canonical, wanted);
    }

    #[test]
    fn an_operator_that_sees_some_servers_ties_hosts_to_namespaces() {
        let of = |hosts: &str, watch: &str| {
            let text = format!(
                "redis: {{ url: 'redis://redis' }}\nhosts: {{ allow: [{hosts}] }}\nwatch: {{ {watch} }}\n"
            );
            OperatorConfig::parse("operator.yaml", &text).map_err(|e| e.to_string())
        };
        for watch in ["namespaces: [a]", "labelSelector: a=b"] {
            let message = of("'*.{namespace}.example.com', '*.example.com'", watch).unwrap_err();
            assert!(message.contains("hosts.allow: \"*.example.com\" must have {namespace}"), "{message}");
            assert!(of("'mcp-{namespace}.example.com'", watch).is_ok());
        }
        assert!(of("'*.example.com'", "").is_ok());
        for wrong in
            ["'*'", "'a*.example.com'", "'https://a.example.com'", "'{name}.example.com'", "'a..b'", "''"]
        {
            let message = of(wrong, "").unwrap_err();
            assert!(message.contains("hosts.allow"), "{wrong} {message}");
        }
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_repeated() {
        for url in ["redis://user:hunter2@redis:6379", "redis://user:hunter2@:x"] {
            let message = problems(&format!("redis: {{ url: '{url}' }}"));
            assert!(message.contains("redis.url") && !message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn a_database_other_than_the_first_is_refused() {
        for url in ["redis://redis:6379/1", "redis://redis:6379/0/x"] {
            let message = problems(&format!("redis: {{ url: '{url}' }}"));
            assert!(message.contains("redis.url") && message.contains("redis.keyPrefix"), "{message}");
        }
        assert!(OperatorConfig::parse("operator.yaml", "redis: { url: 'redis://redis:6379/0' }").is_ok());
    }

    #[test]
    fn selectors_are_those_of_kubectl() {
        for text in ["a", "!a", "a=b", "a==b,c!=d", "example.com/e in (f, g),h", "e notin (f)", "a="] {
            assert!(is_selector(text), "{text}");
        }
        for text in ["", "!!", "a in b", "a in (b", "a=(b)", "a b"] {
            assert!(!is_selector(text), "{text}");
        }
    }

    #[test]
    fn a_redis_is_named_by_a_url_or_by_nodes() {
        let of = |text: &str| OperatorConfig::parse("operator.yaml", text).unwrap().redis;
        let sentinel = of("redis: { url: 'redis+sentinel://a:26379,b:26379/mymaster' }");
        assert_eq!((sentinel.url(), sentinel.min_replicas()), (sentinel.url.clone(), 1));
        let cluster = of("redis: { nodes: ['a:6379', b], tls: {}, minReplicas: 2 }");
        assert_eq!((cluster.url().as_str(), cluster.min_replicas()), ("rediss+cluster://a:6379,b", 2));
        assert_eq!(of("redis: { url: 'redis://a' }").min_replicas(), 0);
        for both in ["{}", "{ url: 'redis://a', nodes: [b] }"] {
            let message = problems(&format!("redis: {both}"));
            assert!(message.contains("redis: exactly one"), "{message}");
        }
        let message = problems("redis: { nodes: ['redis://a:6379'] }");
        assert!(message.contains("redis.nodes: "), "{message}");
        let message = problems("redis: { url: 'redis://a', minReplicas: 6 }");
        assert!(message.contains("redis.minReplicas: 6 is not between 0 and 5"), "{message}");
        let message = problems("redis: { url: 'rediss://a', tls: { certFile: /tls.crt } }");
        assert!(message.contains("certFile and keyFile"), "{message}");
    }

    #[test]
    fn tls_needs_its_scheme() {
        let message = problems("redis: { url: 'redis://redis', tls: { caFile: /ca.crt } }");
        assert!(message.contains("rediss://"), "{message}");
    }
}
