//! `--redis URL`: which Redis, as whom, and whether it is there.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use gatehouse_gateway::refs::FixedRefs;
use gatehouse_gateway_config::{KeyRef, RedisAuthConfig, RedisConfig, redis::RedisTarget};
use gatehouse_redis::{Login, Role, dial_master};
use redis::AsyncConnectionConfig;
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::redis_users::info::info;

/// The Secret that stands for user and password.
const SECRET: &str = "gatehouse-dev-redis";
/// How long Redis has to answer at the start.
const PATIENCE: Duration = Duration::from_secs(5);

/// A URL as people write it: that of the configuration file, and before its host `USER:PASSWORD@` if need be.
#[derive(Clone)]
pub struct RedisUrl {
    target: RedisTarget,
    /// Without user and password.
    bare: String,
    username: Option<String>,
    password: Option<Zeroizing<String>>,
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisUrl").field(&self.bare).finish()
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let (user, hosts) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (username, password) =
            user.split_once(':').map_or((user, None), |(name, word)| (name, Some(word)));
        let bare = if scheme.is_empty() { hosts.to_owned() } else { format!("{scheme}://{hosts}") };
        let target = RedisTarget::parse(&bare).map_err(|error| error.to_string())?;
        if password.is_none() && !username.is_empty() {
            return Err(
                "it names a user and no password; expected redis://USER:PASSWORD@HOST:PORT".to_owned()
            );
        }
        let username = Some(decoded(username)).filter(|name| !name.is_empty());
        Ok(Self { target, bare, username, password: password.map(|word| Zeroizing::new(decoded(word))) })
    }
}

/// Without the escapes that a URL needs.
fn decoded(text: &str) -> String {
    let form = format!("v={}", text.replace('+', "%2B").replace('&', "%26"));
    form_urlencoded::parse(form.as_bytes()).next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

impl RedisUrl {
    /// The gateway's configuration; user and password become a Secret, as they are in a cluster.
    pub(super) fn config(&self, key_prefix: &str, refs: &mut FixedRefs) -> RedisConfig {
        let mut secret = |key: &str, value: &str| {
            let key = KeyRef::secret(SECRET, key);
            refs.insert(key.clone(), value.as_bytes().to_vec());
            key
        };
        let username = self.username.as_ref().map(|name| secret("username", name));
        let password = self.password.as_ref().map(|word| secret("password", word));
        RedisConfig {
            url: self.bare.clone(),
            key_prefix: key_prefix.to_owned(),
            auth: password.map(|password| RedisAuthConfig { username, password }),
            ca: None,
            client_certificate: None,
            server_name: None,
            min_replicas: 0,
        }
    }

    /// Looks whether it is there and lets us in, and gives what of it would lose data. A gateway in a cluster starts
    /// without Redis and waits for it; a person at a terminal wants to know.
    ///
    /// # Errors
    /// Why not, in words for that person.
    pub(super) async fn look(&self) -> Result<Vec<String>, String> {
        let login =
            Login { username: self.username.clone(), password: self.password.clone(), ..Login::default() };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let mut known = BTreeSet::new();
        let reached = dial_master(&self.target, SECRET, &login, &mut known, &config).await;
        let mut master = reached.map_err(|error| {
            format!("--redis: {} cannot be used: {error}; start it, or leave --redis out to keep the state in memory", self.bare)
        })?;
        // A gateway needs nothing of what it would tell: whoever keeps that to itself is used unseen.
        let told = info(&mut master, Role::Master).await.unwrap_or_default();
        Ok(told.warnings(1).into_iter().map(|warning| warning.text).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, Option<String>, Option<String>) {
        let RedisUrl { bare, username, password, .. } = text.parse().unwrap();
        (bare, username, password.map(|word| word.to_string()))
    }

    #[test]
    fn user_and_password_are_taken_out_of_every_form() {
        assert_eq!(read("redis://localhost:6379"), ("redis://localhost:6379".to_owned(), None, None));
        let word = Some("p@a:s+s&%".to_owned());
        assert_eq!(read("rediss://:p%40a:s+s&%25@h:1"), ("rediss://h:1".to_owned(), None, word.clone()));
        let sentinel = ("redis+sentinel://a:1,b:2/mymaster".to_owned(), Some("u".to_owned()), word);
        assert_eq!(read("redis+sentinel://u:p%40a%3As+s&%25@a:1,b:2/mymaster"), sentinel);
        let shown = format!("{:?}", "redis://u:hunter2@h:1".parse::<RedisUrl>().unwrap());
        assert_eq!(shown, r#"RedisUrl("redis://h:1")"#);
    }

    #[test]
    fn what_is_no_redis_is_said() {
        for (text, words) in [
            ("localhost:6379", "it has no scheme; expected redis://HOST:PORT"),
            ("http://h:1", "its scheme is not one of Redis"),
            ("redis://h:1/5", "only 0 is used"),
            ("redis://h:99999", "a host or port of it cannot be read"),
            ("redis://hunter2@h:1", "it names a user and no password"),
        ] {
            let said = text.parse::<RedisUrl>().unwrap_err();
            assert!(said.contains(words) && !said.contains("hunter2"), "{text}: {said}");
        }
    }
}
