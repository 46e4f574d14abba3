//! The rule of one server's ACL user.

use std::fmt::Write;

use gatehouse_redis::Role;
use redis::{RedisError, RedisResult, aio::ConnectionLike};
use sha2::{Digest, Sha256};

/// What the operator's own user may do, beside the keys with its prefix. `@dangerous` and `@scripting` are taken away
/// before single commands of theirs are given: they hold `FLUSHALL` and `FUNCTION`, which no pattern of keys bounds. With
/// `Shared` the gateways come as this user, too.
const OPERATOR_RIGHTS: &str = "-@all +@read +@write -@dangerous -@scripting +acl|setuser +acl|deluser \
                                          +acl|getuser +info +ping +role +cluster|slots +hello +auth +evalsha \
                                          +script|load +time +wait";

/// What the operator's own user may do at a Sentinel that asks for a login.
const SENTINEL_RIGHTS: &str = "-@all +sentinel|master +sentinel|replicas +acl|setuser +acl|deluser +info +ping +hello \
                               +auth";

/// What the operator's own user may do at a node of this role.
pub(super) const fn rights(role: Role) -> &'static str {
    match role {
        Role::Master | Role::Replica => OPERATOR_RIGHTS,
        Role::Sentinel => SENTINEL_RIGHTS,
    }
}

/// Like `SCAN` it is `@read`, names no key and shows everybody's. Valkey has it since 9.1.
const CLUSTERSCAN: &str = "-clusterscan";

/// Major and minor of the Redis whose commands a server has.
pub(super) type Version = (u32, u32);

/// One ACL user.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// The SHA-256 of its password, in hexadecimal: Redis takes that too, so that the password is never sent.
    pub password_sha256: String,
    /// The prefix of its keys.
    pub prefix: String,
}

impl User {
    /// A user with a password.
    pub fn new(name: &str, password: &str, prefix: &str) -> Self {
        let mut hash = String::new();
        for byte in Sha256::digest(password.as_bytes()) {
            // Writing to a String cannot fail.
            let _ = write!(hash, "{byte:02x}");
        }
        Self { name: name.to_owned(), password_sha256: hash, prefix: prefix.to_owned() }
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// The rule of one user, in the words that this version of Redis knows: one unknown word rejects all of it.
pub(super) fn rule(user: &User, role: Role, version: Version) -> Vec<String> {
    if role == Role::Sentinel {
        return sentinel_rule(user);
    }
    let pattern = format!("~{}*", user.prefix);
    let password = format!("#{}", user.password_sha256);
    let mut rule = vec!["reset".to_owned(), "on".to_owned(), password, pattern, "resetchannels".to_owned()];
    let words = "-@all +@read +@write -@dangerous -@scripting -keys -scan -randomkey -dbsize +eval +evalsha \
                 +script|load +time +wait +ping +hello +auth +client|setname +role +asking +cluster|slots";
    rule.extend(words.split(' ').map(str::to_owned));
    if version >= (7, 0) {
        rule.push("+cluster|shards".to_owned());
    }
    if version >= (7, 2) {
        rule.push("+client|setinfo".to_owned());
    }
    rule
}

/// Sets one user at a node. What must be taken away is tried whatever the node says of itself: `INFO` may be kept from the
/// operator, and Valkey may call itself Redis in `HELLO`. `knows_clusterscan` is what this node turned out to know.
///
/// # Errors
/// When the node is away or refuses it.
pub(super) async fn set(
    connection: &mut (impl ConnectionLike + Send),
    user: &User,
    (role, version): (Role, Version),
    knows_clusterscan: &mut bool,
) -> RedisResult<()> {
    let mut command = redis::cmd("ACL");
    command.arg("SETUSER").arg(&user.name).arg(rule(user, role, version));
    if role != Role::Sentinel && *knows_clusterscan {
        let whole = command.clone().arg(CLUSTERSCAN).query_async(connection).await;
        match whole {
            Err(error) if is_unknown(&error, CLUSTERSCAN) => *knows_clusterscan = false,
            answer => return answer,
        }
    }
    command.query_async(connection).await
}

/// Whether a node refused a rule because it has no such command.
fn is_unknown(error: &RedisError, word: &str) -> bool {
    let text = error.to_string();
    text.contains(&format!("'{word}'")) && text.contains("Unknown command or category name")
}

/// What a gateway may ask Sentinels that ask for a login.
fn sentinel_rule(user: &User) -> Vec<String> {
    let password = format!("#{}", user.password_sha256);
    let words = "-@all +sentinel|master +sentinel|replicas +ping +hello +auth +client|setname";
    let fixed = ["reset", "on", &password].into_iter().chain(words.split(' '));
    fixed.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Node, *};

    #[test]
    fn the_rule_names_the_prefix_and_no_password() {
        let user = User::new("u", "secret", "gatehouse:{a/b.c}:");
        let rule = rule(&user, Role::Master, (7, 0));
        assert!(rule.contains(&"~gatehouse:{a/b.c}:*".to_owned()));
        let sha256 = "#2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        assert!(rule.contains(&sha256.to_owned()));
        assert!(!format!("{user:?}").contains("2bb80d"));
    }

    #[test]
    fn an_old_version_is_not_told_new_words() {
        let user = User::new("u", "p", "p:");
        let knows = |version, word: &str| rule(&user, Role::Replica, version).iter().any(|w| w == word);
        assert!(!knows((6, 2), "+cluster|shards") && knows((7, 0), "+cluster|shards"));
        assert!(!knows((7, 0), "+client|setinfo") && knows((7, 2), "+client|setinfo"));
    }

    /// How many commands two users take at a node that refuses `-clusterscan` in these words, if at all; whether they are
    /// set, and what it is taken to know then.
    async fn two_users(refuses: Option<&'static str>, role: Role, version: Version) -> (usize, bool, bool) {
        let (mut asked, mut are_set, mut knows) = (0, true, true);
        let mut node = Node(|sent: &[u8]| {
            asked += 1;
            let has_it = sent.windows(CLUSTERSCAN.len()).any(|part| part == CLUSTERSCAN.as_bytes());
            refuses.filter(|_| has_it).unwrap_or("+OK\r\n")
        });
        for name in ["a", "b"] {
            let user = User::new(name, "p", "p:");
            are_set &= set(&mut node, &user, (role, version), &mut knows).await.is_ok();
        }
        (asked, are_set, knows)
    }

    #[tokio::test]
    async fn clusterscan_is_taken_away_unless_the_node_itself_says_that_there_is_none() {
        let unknown =
            "-ERR Error in ACL SETUSER modifier '-clusterscan': Unknown command or category name in ACL\r\n";
        // Whatever is known of the version: nothing, or what Valkey says as Redis.
        for version in [(0, 0), (7, 2), (8, 4)] {
            assert_eq!(two_users(None, Role::Master, version).await, (2, true, true), "{version:?}");
            assert_eq!(
                two_users(Some(unknown), Role::Replica, version).await,
                (3, true, false),
                "{version:?}"
            );
        }
        for other in [
            "-NOPERM User gatehouse has no permissions to run the 'acl|setuser' command\r\n",
            "-ERR Error in ACL SETUSER modifier '+client|setinfo': Unknown command or category name in ACL\r\n",
            "-ERR Error in ACL SETUSER modifier '-clusterscan': Syntax error\r\n",
        ] {
            assert_eq!(two_users(Some(other), Role::Master, (7, 2)).await, (2, false, true), "{other}");
        }
        assert_eq!(
            two_users(Some(unknown), Role::Sentinel, (7, 2)).await,
            (2, true, true),
            "nothing to scan"
        );
    }

    #[test]
    fn the_readme_has_the_operators_rights_word_by_word() {
        let readme = include_str!("../../../README.md");
        let user = "ACL SETUSER gatehouse on >PASSWORD";
        for (role, before) in [(Role::Master, " ~gatehouse:* resetchannels"), (Role::Sentinel, "")] {
            let rule = format!("\n{user}{before} {}\n", rights(role));
            assert!(readme.contains(&rule), "{rule}");
        }
    }
}
