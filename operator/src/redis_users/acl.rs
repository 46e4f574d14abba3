//! The rule of one server's ACL user.

use std::fmt::Write;

use gatehouse_redis::Role;
use sha2::{Digest, Sha256};

/// What the operator's own user may do, beside the keys with its prefix. `@dangerous` and `@scripting` are taken away
/// before single commands of theirs are given: they hold `FLUSHALL` and `FUNCTION`, which no pattern of keys bounds. With
/// `Shared` the gateways come as this user, too.
pub(super) const OPERATOR_RIGHTS: &str = "-@all +@read +@write -@dangerous -@scripting +acl|setuser +acl|deluser \
                                          +acl|getuser +info +ping +role +cluster|slots +hello +auth +evalsha \
                                          +script|load +time +wait";

/// Of which version a server is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Version {
    /// Whose commands it has, by what it says of Redis.
    pub(super) redis: (u32, u32),
    /// Its own, where it is Valkey.
    pub(super) valkey: Option<(u32, u32)>,
}

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
    if version.redis >= (7, 0) {
        rule.push("+cluster|shards".to_owned());
    }
    if version.redis >= (7, 2) {
        rule.push("+client|setinfo".to_owned());
    }
    // Like SCAN it is `@read`, names no key and shows everybody's.
    if version.valkey >= Some((9, 1)) {
        rule.push("-clusterscan".to_owned());
    }
    rule
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
    use super::*;

    #[test]
    fn the_rule_names_the_prefix_and_no_password() {
        let user = User::new("u", "secret", "gatehouse:{a/b.c}:");
        let rule = rule(&user, Role::Master, Version { redis: (7, 0), valkey: None });
        assert!(rule.contains(&"~gatehouse:{a/b.c}:*".to_owned()));
        let sha256 = "#2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        assert!(rule.contains(&sha256.to_owned()));
        assert!(!format!("{user:?}").contains("2bb80d"));
    }

    #[test]
    fn an_old_version_is_not_told_new_words() {
        let user = User::new("u", "p", "p:");
        let knows = |redis, valkey, word: &str| {
            rule(&user, Role::Replica, Version { redis, valkey }).iter().any(|w| w == word)
        };
        assert!(!knows((6, 2), None, "+cluster|shards") && knows((7, 0), None, "+cluster|shards"));
        assert!(!knows((7, 0), None, "+client|setinfo") && knows((7, 2), None, "+client|setinfo"));
        assert!(!knows((8, 4), None, "-clusterscan") && !knows((7, 2), Some((9, 0)), "-clusterscan"));
        assert!(knows((7, 2), Some((9, 1)), "-clusterscan"));
    }

    #[test]
    fn the_readme_has_the_operators_rights_word_by_word() {
        let readme = include_str!("../../../README.md");
        assert!(readme.contains(&format!("resetchannels {OPERATOR_RIGHTS}\n")), "{OPERATOR_RIGHTS}");
    }
}
