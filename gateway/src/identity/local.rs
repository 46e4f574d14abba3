//! `identity.local`: users in a Secret, for a demo or one team.
//!
//! The file decides on every call: a user who is gone from it is dead at once. A file that is wrong is said in the
//! log, and the last good one goes on.

pub mod sweep;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use argon2::{Argon2, PasswordVerifier, password_hash::PasswordHash};
use gatehouse_gateway_config::{LocalConfig, identity::LocalUser, users};
use zeroize::Zeroizing;

pub use gatehouse_gateway_config::users::{FileError, Users};

use crate::{
    clock::Clock,
    identity::SignedIn,
    model::{Hash32, Profile, UserId},
    refs::{Refs, Value},
    shares::{Line, Turn},
};

/// How long a sign-in waits for those before it: one at a time is worked on, each takes some 20 ms and 19 MiB.
const QUEUE: Duration = Duration::from_secs(10);
/// How many sign-ins from one network, or of the known browsers of one user, may stand in line: others wait for them for a
/// third of a second.
const SHARE: usize = 16;
/// Longer passwords are wrong without being looked at.
const PASSWORD_LIMIT: usize = 1024;
/// A changed file has reached every replica after this: kubelets look once a minute, and may be shown what was a minute ago.
pub const ON_ITS_WAY: Duration = Duration::from_secs(300);

/// The users of one server.
pub struct LocalUsers {
    config: LocalConfig,
    refs: Arc<dyn Refs>,
    clock: Arc<dyn Clock>,
    seen: RwLock<Seen>,
    /// Where passwords are looked at.
    one_at_a_time: Line,
    /// From where unknown browsers come there, one by one.
    strangers: Line,
}

#[derive(Default)]
struct Seen {
    value: Option<Value>,
    good: Option<Good>,
}

/// A good file, the hash of its text, and since when it is here; `None`: since before this process, which cannot tell a
/// new one from one of before.
#[derive(Clone)]
struct Good {
    users: Arc<Users>,
    digest: Hash32,
    since: Option<Duration>,
}

/// Who wants to sign in.
#[derive(Debug, Clone)]
pub enum Asking {
    /// A browser in which this user signed in before.
    Known(UserId),
    /// Another, in this network.
    Stranger(String),
}

/// Why a local sign-in fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocalError {
    /// Name or password is wrong; which of them is not told.
    #[error("name or password is wrong")]
    Wrong,
    /// Too many sign-ins at once.
    #[error("too many sign-ins at once")]
    Busy,
    /// There is no good file of users.
    #[error("the file of users ({0}) does not exist or is not valid")]
    NoFile(String),
}

/// Whether a subject is in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It is: what the file says of the user now.
    Here(Box<LocalUser>),
    /// It is not, and the file is good.
    Gone,
    /// There is no good file.
    NoFile,
}

impl std::fmt::Debug for LocalUsers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalUsers").field("config", &self.config).finish_non_exhaustive()
    }
}

impl LocalUsers {
    /// The users that `config` names.
    pub fn new(config: LocalConfig, refs: Arc<dyn Refs>, clock: Arc<dyn Clock>) -> Self {
        let line = || Line::new(1, SHARE, QUEUE);
        Self { config, refs, clock, seen: RwLock::default(), one_at_a_time: line(), strangers: line() }
    }

    /// The users as the file says now; the last good ones while it is wrong. `None`: there never were any.
    pub fn current(&self) -> Option<Arc<Users>> {
        self.good().map(|good| good.users)
    }

    /// Tells the file behind [`LocalUsers::current`] from any other.
    pub fn digest(&self) -> Option<Hash32> {
        self.good().map(|good| good.digest)
    }

    /// Whether the file is newer than what the store knows of a user who was checked so long ago.
    ///
    /// A changed file reaches the replicas one after the other, and what one of them writes of a user holds for all. A
    /// user whom another has checked since this file is here may stand in one that is on its way: they may be refused by
    /// this one, for now, but nothing is to be written of them until it must have come.
    pub fn is_newer(&self, checked_ago: Duration) -> bool {
        let now = self.clock.monotonic();
        let here = self.good().map(|good| good.since.map_or(ON_ITS_WAY, |since| now.saturating_sub(since)));
        here.is_some_and(|here| checked_ago >= here.min(ON_ITS_WAY))
    }

    fn good(&self) -> Option<Good> {
        let value = self.refs.get(&self.config.users);
        {
            let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
            if same(seen.value.as_ref(), value.as_ref()) {
                return seen.good.clone();
            }
        }
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        match value.as_ref().map(|bytes| (Hash32::of(bytes), Users::parse(bytes))) {
            Some((digest, Ok(users))) => {
                let since = seen.good.is_some().then(|| self.clock.monotonic());
                seen.good = Some(Good { users: Arc::new(users), digest, since });
            }
            Some((_, Err(error))) => {
                tracing::error!(file = %self.config.users, %error, "the file of users is refused; the last good one stays");
            }
            None => {}
        }
        seen.value = value;
        seen.good.clone()
    }

    /// Signs a user in. One verification at a time, off the threads that serve; an unknown name costs the same.
    ///
    /// # Errors
    /// [`LocalError::Wrong`], or that it cannot be done now.
    pub async fn authenticate(
        &self,
        name: &str,
        password: Zeroizing<String>,
        asking: &Asking,
    ) -> Result<SignedIn, LocalError> {
        let users = self.current().ok_or_else(|| LocalError::NoFile(self.config.users.to_string()))?;
        let user = users.by_name(name).filter(|_| password.len() <= PASSWORD_LIMIT).cloned();
        let phc = user.as_ref().map_or(users::DECOY, |user| &user.password_hash).to_owned();
        let turn = self.turn(asking).await.ok_or(LocalError::Busy)?;
        let verified = tokio::task::spawn_blocking(move || {
            // Held by the work, not by the request: a browser that hangs up ends the request alone, and the next in
            // line must still wait for the memory.
            let _turn = turn;
            verify(&phc, &password)
        })
        .await;
        let user = user.filter(|_| verified.unwrap_or(false)).ok_or(LocalError::Wrong)?;
        Ok(SignedIn { profile: profile(&user), tokens: None })
    }

    /// However many strangers wait, a known browser stands behind one of them.
    async fn turn(&self, asking: &Asking) -> Option<(Turn, Option<Turn>)> {
        match asking {
            Asking::Known(user) => Some((self.one_at_a_time.turn(format!("user {user}")).await?, None)),
            Asking::Stranger(network) => {
                let first = self.strangers.turn(network.clone()).await?;
                Some((self.one_at_a_time.turn("strangers".to_owned()).await?, Some(first)))
            }
        }
    }

    /// Whether this subject (`uid`) is in the file now; asked on every call.
    pub fn has(&self, subject: &str) -> bool {
        self.current().is_some_and(|users| users.by_uid(subject).is_some())
    }

    /// As [`LocalUsers::has`], with what the file says of the user.
    pub fn presence(&self, subject: &str) -> Presence {
        let Some(users) = self.current() else { return Presence::NoFile };
        users.by_uid(subject).cloned().map_or(Presence::Gone, |user| Presence::Here(Box::new(user)))
    }

    /// Whether somebody known by this profile has left: is not in the file, or has a new password. Nobody has while there
    /// is no good file.
    pub fn has_left(&self, known: &Profile) -> bool {
        match self.presence(&known.subject) {
            Presence::Here(user) => password_changed(known, &profile(&user)),
            Presence::Gone => true,
            Presence::NoFile => false,
        }
    }
}

/// The profile of a user as the file tells it.
pub fn profile(user: &LocalUser) -> Profile {
    Profile {
        subject: user.uid.clone(),
        name: Some(user.name.clone()),
        verified_email: user.email.clone(),
        groups: user.groups.clone(),
        password: Some(Hash32::of(user.password_hash.as_bytes())),
        ..Profile::default()
    }
}

/// Whether a user got another password since `known` was learned: whoever signed in with the old one must do so anew.
pub fn password_changed(known: &Profile, now: &Profile) -> bool {
    known.password.is_some() && known.password != now.password
}

fn verify(phc: &str, password: &str) -> bool {
    PasswordHash::new(phc)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
