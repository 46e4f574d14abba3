//! What a Redis says of itself, and what of it would lose data or turn users away.

use redis::aio::MultiplexedConnection;

/// What one gateway pod needs of `maxclients`: a connection for calls, one for claims, one for events.
const CONNECTIONS_PER_POD: u64 = 3;

/// Redis does not take the operator's login.
const LOGIN: &str =
    "it does not accept the operator's user and password (redis.usernameFile, redis.passwordFile)";
/// The operator's user may do too little.
const RIGHTS: &str = "the operator's user may not do this: with redis.users Managed it needs +acl|setuser, +acl|deluser, \
                      +acl|getuser, +info, +ping, +role and +cluster|slots";

/// Something that would lose data, or turn users away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Warning {
    /// What it is about: another one about the same is no news.
    pub(super) about: String,
    /// In words.
    pub(super) text: String,
}

/// What the server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) major: u32,
    pub(super) minor: u32,
    policy: Option<String>,
    max_clients: Option<u64>,
}

impl Info {
    fn parse(text: &str) -> Self {
        let mut info = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.trim_end().split_once(':')) {
            match key {
                "redis_version" => {
                    let mut parts = value.split('.').map(|part| part.parse().unwrap_or(0));
                    info.major = parts.next().unwrap_or(0);
                    info.minor = parts.next().unwrap_or(0);
                }
                "maxmemory_policy" => info.policy = Some(value.to_owned()),
                "maxclients" => info.max_clients = value.parse().ok(),
                _ => {}
            }
        }
        info
    }

    /// What would lose data, or turn users away, with so many servers.
    pub(super) fn warnings(&self, servers: usize) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if let Some(policy) = self.policy.as_deref().filter(|policy| *policy != "noeviction") {
            let text = format!(
                "Redis evicts (maxmemory-policy is {policy}): when its memory is full, users are signed out and \
                 credentials are lost; set maxmemory-policy noeviction"
            );
            warnings.push(Warning { about: "eviction".to_owned(), text });
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

/// Asks for it. A connection that does not work is an error, in words.
pub(super) async fn info(connection: &mut MultiplexedConnection) -> Result<Info, String> {
    let mut text = String::new();
    for section in ["server", "memory", "clients"] {
        match redis::cmd("INFO").arg(section).query_async::<String>(connection).await {
            Ok(part) => text.push_str(&part),
            // A managed Redis may forbid INFO: then nothing is known, and the connection is checked by PING.
            Err(error) if error.code() == Some("NOPERM") => {
                redis::cmd("PING").query_async::<String>(connection).await.map_err(|e| describe(&e))?;
            }
            Err(error) => return Err(describe(&error)),
        }
    }
    Ok(Info::parse(&text))
}

/// An error in words, without what was sent.
pub(super) fn describe(error: &redis::RedisError) -> String {
    match error.code() {
        Some("WRONGPASS" | "NOAUTH") => LOGIN.to_owned(),
        Some("NOPERM") => RIGHTS.to_owned(),
        _ => error.to_string(),
    }
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
        assert_eq!((info.major, info.minor), (7, 0));
        let warnings = info.warnings(50);
        assert!(warnings[0].text.contains("allkeys-lru"), "{warnings:?}");
        assert!(warnings[1].text.contains("maxclients"), "{warnings:?}");
        assert_eq!(info.warnings(51), warnings, "one server more is no news");
        let good = Info::parse("redis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\nmaxclients:10000\r\n");
        assert!(good.warnings(50).is_empty());
    }
}
