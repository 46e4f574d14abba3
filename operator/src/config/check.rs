//! Reading and checking the operator's configuration file: everything that is wrong at once.

use std::{net::IpAddr, path::Path};

use gatehouse_gateway_config::redis::RedisTargetError;
use url::Url;

use super::{OperatorConfig, PolicySettings};
use crate::crd::policy::Lifetimes;

/// Namespaced mode holds one watch per kind and namespace; beyond this, watch all of them.
const MAX_NAMESPACES: usize = 10;

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
        config.check_egress(&mut problems);
        config.check_watch(&mut problems);
        check_policy(&config.policy, &mut problems);
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
        for network in gateway.trusted_proxies.iter().filter(|n| !is_network(n)) {
            problems.push(format!(
                "gateway.trustedProxies: \"{}\" is not a network such as 10.0.0.0/8",
                network.escape_debug()
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
    }

    fn check_watch(&self, problems: &mut Vec<String>) {
        let watch = &self.watch;
        if watch.namespaces.len() > MAX_NAMESPACES {
            problems.push(format!(
                "watch.namespaces: {} are given, at most {MAX_NAMESPACES} are allowed; leave it empty for all",
                watch.namespaces.len()
            ));
        }
        if (!watch.namespaces.is_empty() || watch.label_selector.is_some()) && self.hosts.allow.is_empty() {
            problems.push(
                "hosts.allow: is required with watch.namespaces and watch.labelSelector, because an operator that does not see all servers cannot \
                 know who had a host first; for example [\"*.{namespace}.mcp.example.com\"]"
                    .to_owned(),
            );
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

fn check_policy(policy: &PolicySettings, problems: &mut Vec<String>) {
    let Some(lifetimes) = policy.default.as_ref().and_then(|d| d.lifetimes.as_ref()) else { return };
    let Lifetimes { authorization_code, access_token, refresh_token, refresh_grace, sign_in } = lifetimes;
    let mut must = |good: bool, message: &str| {
        if !good {
            problems.push(format!("policy.default.lifetimes: {message}"));
        }
    };
    let second = std::time::Duration::from_secs(1);
    must(
        [authorization_code, access_token, refresh_token, sign_in].iter().all(|d| d.0 >= second),
        "must be at least 1s; only refreshGrace may be 0s",
    );
    must(
        authorization_code.0 <= 600 * second,
        "authorizationCode must be at most 10m (RFC 6749 section 4.1.2)",
    );
    must(access_token.0 >= refresh_grace.0 * 2, "accessToken must be at least twice refreshGrace");
    must(refresh_token >= access_token, "refreshToken must not be shorter than accessToken");
    must(sign_in >= refresh_token, "signIn must not be shorter than refreshToken");
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
gateway: { replicas: -1, imagePullPolicy: Sometimes, trustedProxies: [10.0.0.0/33] }
egress: { allow: ['a b'], proxy: 'socks5://x' }
watch: { namespaces: [a], labelSelector: '!!' }
rollouts: { maxConcurrent: 0 }
policy: { default: { lifetimes: { accessToken: 1m } } }
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
            "hosts.allow",
            "watch.labelSelector",
            "rollouts.maxConcurrent",
            "policy.default.lifetimes",
        ] {
            assert!(message.contains(&format!("\n  {field}: ")), "{field} in {message}");
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
        let message = problems("redis: { url: 'rediss://a', tls: { certFile: /tls.crt } }");
        assert!(message.contains("certFile and keyFile"), "{message}");
    }

    #[test]
    fn tls_needs_its_scheme() {
        let message = problems("redis: { url: 'redis://redis', tls: { caFile: /ca.crt } }");
        assert!(message.contains("rediss://"), "{message}");
    }
}
