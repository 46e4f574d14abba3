//! What a Redis says of itself, and what of it would lose data or turn users away.

use std::collections::HashMap;

use gatehouse_redis::Role;
use redis::{FromRedisValue, Value, aio::MultiplexedConnection};

use super::acl::{self, Version};

/// What one gateway pod needs of `maxclients`: a connection for calls, two for claims, one for events.
const CONNECTIONS_PER_POD: u64 = 4;

/// Redis does not take the operator's login.
const LOGIN: &str =
    "it does not accept the operator's user and password (redis.usernameFile, redis.passwordFile)";

/// What the operator's user lacks is a right.
const RIGHTS: &str = "the operator's user may not do this; its rights";

/// The Redis whose commands every Valkey has.
const VALKEY: Version = (7, 2);

/// Something that would lose data, or turn users away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    /// What it is about: another one about the same is no news.
    pub(super) about: String,
    /// In words.
    pub(crate) text: String,
}

/// What the server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Info {
    pub(super) version: Version,
    policy: Option<String>,
    max_clients: Option<u64>,
    /// Whether each write goes to an append-only file.
    appends: bool,
    /// Whether it has saved a snapshot since it started.
    snapshots: bool,
}

impl Info {
    fn parse(text: &str) -> Self {
        let mut info = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.trim_end().split_once(':')) {
            match key {
                // Valkey goes on calling itself Redis 7.2 here.
                "redis_version" => info.version = version(value),
                "maxmemory_policy" => info.policy = Some(value.to_owned()),
                "maxclients" => info.max_clients = value.parse().ok(),
                "aof_enabled" => info.appends = value == "1",
                "rdb_saves" => info.snapshots = value != "0",
                _ => {}
            }
        }
        info
    }

    /// From the answer of `HELLO`, which names the program and its own version.
    fn of_greeting(greeting: &HashMap<String, Value>) -> Self {
        let text = |field| greeting.get(field).and_then(|value| String::from_redis_value_ref(value).ok());
        let Some(own) = text("version").map(|text| version(&text)) else { return Self::default() };
        let version = match text("server").as_deref() {
            Some("valkey") => VALKEY,
            _ => own,
        };
        Self { version, ..Self::default() }
    }

    /// What would lose data, or turn users away, with so many servers.
    pub(crate) fn warnings(&self, servers: usize) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if let Some(policy) = self.policy.as_deref().filter(|policy| *policy != "noeviction") {
            let text = format!(
                "Redis evicts (maxmemory-policy is {policy}): when its memory is full, users are signed out and \
                 credentials are lost; set maxmemory-policy noeviction"
            );
            warnings.push(Warning { about: "eviction".to_owned(), text });
        }
        if self.snapshots && !self.appends {
            let text = "Redis saves snapshots alone: after a restart, what was revoked or spent since the last one is good \
                        again; set appendonly yes"
                .to_owned();
            warnings.push(Warning { about: "snapshots".to_owned(), text });
        }
        let needed = u64::try_from(servers).unwrap_or(u64::MAX).saturating_mul(2 * CONNECTIONS_PER_POD);
        if let Some(max) = self.max_clients.filter(|max| needed > *max) {
            // Without the number of servers: every server says this, and would say it anew with each that is made.
            let text = format!(
                "Redis takes at most {max} connections (maxclients), which is less than all servers need with two pods \
                 each ({CONNECTIONS_PER_POD} connections a pod); raise maxclients"
            );
            warnings.push(Warning { about: "maxclients".to_owned(), text });
        }
        warnings
    }
}

/// Major and minor.
fn version(text: &str) -> Version {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// Asks for it. A connection that does not work is an error, in words.
pub(crate) async fn info(connection: &mut MultiplexedConnection, role: Role) -> Result<Info, String> {
    let mut text = String::new();
    for section in ["server", "memory", "clients", "persistence"] {
        match redis::cmd("INFO").arg(section).query_async::<String>(connection).await {
            Ok(part) => text.push_str(&part),
            Err(error) if error.code() == Some("NOPERM") => return greeting(connection, role).await,
            Err(error) => return Err(describe(&error, role)),
        }
    }
    Ok(Info::parse(&text))
}

/// What is known where a managed Redis forbids `INFO`. Where it is nothing, gateways do without what is new.
async fn greeting(connection: &mut MultiplexedConnection, role: Role) -> Result<Info, String> {
    let greeting = redis::cmd("HELLO").query_async::<HashMap<String, Value>>(connection).await;
    // Whoever knows no HELLO still answers, if the connection works.
    redis::cmd("PING").query_async::<String>(connection).await.map_err(|e| describe(&e, role))?;
    Ok(Info::of_greeting(&greeting.unwrap_or_default()))
}

/// What a node of this role answered, in words, without what was sent.
pub(super) fn describe(error: &redis::RedisError, role: Role) -> String {
    match error.code() {
        Some("WRONGPASS" | "NOAUTH") => LOGIN.to_owned(),
        Some("NOPERM") => {
            let place = if role == Role::Sentinel { " at Sentinels" } else { "" };
            format!("{RIGHTS}{place} must be {}", acl::rights(role))
        }
        _ => error.to_string(),
    }
}

/// Whether a node refused a write because another holds the key, or will in a moment.
pub(super) fn is_elsewhere(error: &redis::RedisError) -> bool {
    matches!(error.code(), Some("MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "READONLY"))
}

/// What kind of failure a text tells of. Networks fail in many words, which are all the same to a server.
pub(super) fn kind(failure: &str) -> &'static str {
    match () {
        () if failure.contains(LOGIN) => "login",
        () if failure.contains(RIGHTS) => "rights",
        () => "unreachable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eviction_and_too_few_connections_are_warned_of() {
        let info = Info::parse("redis_version:7.0.15\r\nmaxmemory_policy:allkeys-lru\r\nmaxclients:100\r\n");
        assert_eq!(info.version, (7, 0));
        let warnings = info.warnings(50);
        assert!(warnings[0].text.contains("allkeys-lru"), "{warnings:?}");
        assert!(warnings[1].text.contains("maxclients"), "{warnings:?}");
        assert_eq!(info.warnings(51), warnings, "one server more is no news");
        let good = Info::parse("redis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\nmaxclients:10000\r\n");
        assert!(good.warnings(50).is_empty());
    }

    #[test]
    fn snapshots_without_an_append_only_file_are_warned_of() {
        for (saves, appends, warns) in [(0, 0, false), (1, 0, true), (12, 0, true), (3, 1, false)] {
            let text = format!("rdb_saves:{saves}\r\naof_enabled:{appends}\r\n");
            let warnings = Info::parse(&text).warnings(1);
            assert_eq!(warnings.iter().any(|w| w.text.contains("set appendonly yes")), warns, "{text}");
        }
    }

    #[test]
    fn a_missing_right_is_answered_with_those_that_the_place_takes() {
        let refused = redis::parse_redis_value(b"-NOPERM User gatehouse has no permissions\r\n").unwrap();
        let refused = refused.extract_error().unwrap_err();
        for (role, has) in [
            (Role::Master, "+cluster|slots"),
            (Role::Replica, "+cluster|slots"),
            (Role::Sentinel, "+sentinel|master"),
        ] {
            let text = describe(&refused, role);
            let others = if role == Role::Sentinel { "+cluster|slots" } else { "+sentinel|master" };
            assert!(text.contains(has) && !text.contains(others), "{text}");
            assert_eq!((kind(&text), text.contains("Sentinels")), ("rights", role == Role::Sentinel));
        }
    }

    #[test]
    fn a_greeting_tells_the_version_where_info_is_forbidden() {
        let greets = |server: &str, version: &str| {
            let words = ["server", server, "version", version, "mode", "standalone"];
            let answer = Value::Array(words.map(|word| Value::BulkString(word.into())).to_vec());
            Info::of_greeting(&HashMap::from_redis_value(answer).unwrap()).version
        };
        assert_eq!(greets("redis", "7.0.15"), (7, 0));
        assert_eq!(greets("valkey", "9.1.2"), VALKEY);
        assert_eq!(Info::of_greeting(&HashMap::new()), Info::default());
    }
}
