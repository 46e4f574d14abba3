//! The file of users of `identity.local`: parsed and checked as a whole, so that a bad one never replaces a good one.
//! The operator checks it before a gateway sees it.

use std::collections::{BTreeMap, HashSet};

use argon2::{Params, password_hash::PasswordHash};

use crate::identity::LocalUser;

/// The size limit of a Secret.
const FILE_LIMIT: usize = 1024 * 1024;
/// One verification at a time may take this much, in KiB: three times what `gatehouse users add` writes.
const MEMORY_LIMIT: u32 = 64 * 1024;
const PASSES_LIMIT: u32 = 16;

/// Why a file of users is refused. Names and positions only, never hashes or tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Too large.
    #[error("it is longer than {FILE_LIMIT} bytes")]
    TooLong,
    /// Not text.
    #[error("it is not UTF-8")]
    NotText,
    /// Not a list of users.
    #[error(
        "line {line}, column {column}: this is not a YAML or JSON list of users with name, uid, passwordHash and \
         optionally email, groups, token; `gatehouse users add` prints a line"
    )]
    NotUsers {
        /// From 1.
        line: u64,
        /// From 1.
        column: u64,
    },
    /// One entry is wrong.
    #[error("entry {number} ({name:?}): {problem}")]
    User {
        /// From 1.
        number: usize,
        /// Its name, as written.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// The users of a good file.
#[derive(Debug, Default)]
pub struct Users {
    by_name: BTreeMap<String, LocalUser>,
    name_of_uid: BTreeMap<String, String>,
}

impl Users {
    /// Parses and checks a file.
    ///
    /// # Errors
    /// With the first thing that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, FileError> {
        if bytes.len() > FILE_LIMIT {
            return Err(FileError::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| FileError::NotText)?;
        let list: Vec<LocalUser> = serde_saphyr::from_str(text).map_err(|error| {
            // The error's own text quotes the line, which may hold a hash or a token.
            let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
            FileError::NotUsers { line, column }
        })?;
        let mut users = Self::default();
        let mut folded = HashSet::new();
        for (index, user) in list.into_iter().enumerate() {
            let problem = problem(&user)
                .or_else(|| (!folded.insert(user.name.to_lowercase())).then_some("this name is taken"))
                .or_else(|| users.name_of_uid.contains_key(&user.uid).then_some("this uid is taken"));
            if let Some(problem) = problem {
                let name = user.name.chars().take(64).collect();
                return Err(FileError::User { number: index + 1, name, problem });
            }
            users.name_of_uid.insert(user.uid.clone(), user.name.clone());
            users.by_name.insert(user.name.clone(), user);
        }
        Ok(users)
    }

    /// The user who signs in by this name.
    pub fn by_name(&self, name: &str) -> Option<&LocalUser> {
        self.by_name.get(name)
    }

    /// The user of this immutable subject.
    pub fn by_uid(&self, uid: &str) -> Option<&LocalUser> {
        self.by_name.get(self.name_of_uid.get(uid)?)
    }
}

fn problem(user: &LocalUser) -> Option<&'static str> {
    let short = |text: &str| (1..=128).contains(&text.len()) && !text.chars().any(char::is_control);
    if !short(&user.name) || user.name.trim() != user.name {
        return Some("name must be 1 to 128 bytes, without spaces at its ends");
    }
    if !short(&user.uid) {
        return Some("uid must be 1 to 128 bytes; it is random and never used again");
    }
    if user.email.as_deref().is_some_and(|e| !short(e) || !e.contains('@')) {
        return Some("email is not an address");
    }
    if !is_affordable(&user.password_hash) {
        return Some(
            "passwordHash must be an argon2id hash in PHC format, of at most 64 MiB and 16 passes; \
             `gatehouse users add` makes one",
        );
    }
    None
}

/// Whether the hash is argon2id, and not one that takes the gateway's memory or minutes.
fn is_affordable(phc: &str) -> bool {
    let Ok(hash) = PasswordHash::new(phc) else { return false };
    let Ok(params) = Params::try_from(&hash) else { return false };
    hash.algorithm == argon2::ARGON2ID_IDENT
        && hash.salt.is_some()
        && hash.hash.is_some()
        && params.m_cost() <= MEMORY_LIMIT
        && params.t_cost() <= PASSES_LIMIT
        && params.p_cost() <= 4
}

/// A hash that no password has, with the parameters of `gatehouse users add`: an unknown name costs what a known one
/// does.
pub const DECOY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$Z2F0ZWhvdXNlLWRlY295IQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher;

    use super::*;

    /// The hash of `password`, cheap enough for tests.
    fn hash(password: &str) -> String {
        let salt = argon2::password_hash::SaltString::encode_b64(b"0123456789abcdef").unwrap();
        let cheap = argon2::Argon2::new(
            argon2::Algorithm::Argon2id,
            argon2::Version::V0x13,
            Params::new(64, 1, 1, None).unwrap(),
        );
        cheap.hash_password(password.as_bytes(), &salt).unwrap().to_string()
    }

    fn problem_of(yaml: &str) -> String {
        Users::parse(yaml.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_name_costs_what_a_new_user_does() {
        let decoy = PasswordHash::new(DECOY).unwrap();
        assert!(is_affordable(DECOY));
        assert_eq!(Params::try_from(&decoy).unwrap().m_cost(), Params::default().m_cost());
        assert_eq!(Params::try_from(&decoy).unwrap().t_cost(), Params::default().t_cost());
    }

    #[test]
    fn yaml_and_json_are_read() {
        let hash = hash("alice");
        let yaml = format!(
            "- name: alice\n  uid: u1\n  passwordHash: {hash}\n  groups: [dev]\n- {{name: bob, uid: u2, \
             passwordHash: \"{hash}\", token: t}}\n"
        );
        let users = Users::parse(yaml.as_bytes()).unwrap();
        assert_eq!(users.by_name("alice").unwrap().groups, ["dev"]);
        assert_eq!(users.by_uid("u2").unwrap().token.as_deref(), Some("t"));
        let json = format!(r#"[{{"name":"alice","uid":"u1","passwordHash":"{hash}"}}]"#);
        assert_eq!(Users::parse(json.as_bytes()).unwrap().by_uid("u1").unwrap().name, "alice");
    }

    #[test]
    fn each_mistake_is_named_and_nothing_secret_is_said() {
        let hash = hash("alice");
        let entry = |name: &str, uid: &str, hash: &str| {
            format!("- {{name: {name:?}, uid: {uid:?}, passwordHash: {hash:?}}}\n")
        };
        let good = entry("alice", "u1", &hash);
        assert!(Users::parse(good.as_bytes()).is_ok());
        for (yaml, expected) in [
            (format!("{good}{}", entry("bob", "u1", &hash)), "entry 2 (\"bob\"): this uid is taken"),
            (format!("{good}{}", entry("Alice", "u2", &hash)), "entry 2 (\"Alice\"): this name is taken"),
            (entry("", "u1", &hash), "entry 1 (\"\"): name must be"),
            (entry("a\nb", "u1", &hash), "entry 1 (\"a\\nb\"): name must be"),
            (entry("alice", "", &hash), "entry 1 (\"alice\"): uid must be"),
            (entry("alice", "u1", "hunter2"), "entry 1 (\"alice\"): passwordHash must be an argon2id hash"),
            (entry("alice", "u1", &hash.replace("m=64", "m=4000000")), "entry 1 (\"alice\"): passwordHash"),
            (entry("alice", "u1", &hash.replace("argon2id", "argon2i")), "entry 1 (\"alice\"): passwordHash"),
            ("- {name: alice, uid: u1, passwordHash: hunter2, admin: true}".to_owned(), "line 1, column"),
            ("alice: hunter2".to_owned(), "line 1, column"),
            ("- name: alice\n  uid: [".to_owned(), "line "),
        ] {
            let found = problem_of(&yaml);
            assert!(found.starts_with(expected), "{yaml}\n{found}");
            assert!(!found.contains("hunter2"), "{found}");
        }
        assert_eq!(problem_of(&" ".repeat(FILE_LIMIT + 1)), "it is longer than 1048576 bytes");
    }
}
