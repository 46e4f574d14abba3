//! Keeping the identity's tokens alive (protocols, section 7).
//!
//! Guarantee: one attempt is in flight while Redis keeps its writes; a result is stored if its parent version is
//! still current, whoever holds the lease; an attempt with unknown outcome is retried once with the old token; loss
//! takes a crash or a lost reply between the provider's commit and Redis's acknowledgement, and a provider without
//! leeway; then the user is told to reconnect.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture, future::Shared};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{CredentialError, open_profile, open_tokens, seal_profile, standing};
use crate::{
    audit::Audit,
    clock::{Clock, Entropy},
    egress::HttpClient,
    identity::Provider,
    keys::{Keys, OpenError},
    model::{AttemptId, CredentialRecord, Profile, UpstreamTokens, UserId, user::IDENTITY_CREDENTIAL},
    store::{Lease, Store, StoreError, UserUpdate},
};

/// Two requests (one and its retry) and the time to store fit into it, and a replica that stalls in between does not
/// outlive it unnoticed.
pub(super) const LEASE: Duration = HttpClient::TIMEOUT.saturating_add(Duration::from_secs(20));
/// The request goes out this soon after the lease was asked for, or not at all.
const PROMPT: Duration = Duration::from_secs(1);
/// How long a call waits for a refresh, whoever makes it.
const WAIT: Duration = Duration::from_secs(25);
/// A token is not used in its last seconds: the call must reach the backend's API in time.
const MARGIN: i64 = 5_000;
/// Refreshing ahead begins this long before the end, and up to [`JITTER`] earlier.
const AHEAD: i64 = 60_000;
const JITTER: u32 = 60_000;
/// After a failure that changed nothing, the provider is left alone for this long.
pub(super) const PAUSE: Duration = Duration::from_secs(2);
/// After a take-over a refusal is believed when no late success came for this long.
pub(super) const SUSPECT: Duration = Duration::from_secs(60);

pub(super) type Outcome = Result<UpstreamTokens, CredentialError>;
/// A refresh that several callers wait for.
type Running = Shared<BoxFuture<'static, Outcome>>;

/// Refreshes the identity's tokens of one server's users.
pub(super) struct Refresher {
    pub(super) store: Arc<dyn Store>,
    pub(super) audit: Audit,
    pub(super) keys: Keys,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) provider: Arc<dyn Provider>,
    /// The configured identity's id.
    pub(super) identity: String,
    /// What the user reads.
    pub(super) sentence: String,
    /// [`SUSPECT`].
    pub(super) suspect: Duration,
    /// Refreshes under way, and what else must come to its end.
    pub(super) tasks: TaskTracker,
    /// By user and parent version: callers of this process share one.
    pub(super) running: Mutex<HashMap<(UserId, u64), Running>>,
    /// Providers' "not now", with its end on the monotonic clock.
    pub(super) paused: Mutex<HashMap<UserId, (Duration, CredentialError)>>,
}

/// One refresh: whose, and from which tokens.
#[derive(Clone)]
pub(super) struct Parent {
    pub(super) user: UserId,
    pub(super) version: u64,
    pub(super) tokens: UpstreamTokens,
}

enum Need {
    None,
    Soon,
    Now,
}

impl Refresher {
    /// Tokens that can be used now. Refreshes them when they have ended, and beside the call shortly before.
    pub(super) async fn usable(self: &Arc<Self>, user: &UserId, record: &CredentialRecord) -> Outcome {
        let tokens = self.open(user, record).await?;
        match self.need(user, &tokens) {
            Need::None => Ok(tokens),
            Need::Soon => {
                if !self.is_paused(user) {
                    drop(self.start(user, record.version, &tokens));
                }
                Ok(tokens)
            }
            Need::Now => self.renew(user, record.version, &tokens).await,
        }
    }

    /// Renews the tokens at this version, or waits for whoever does; gives those that are current then.
    pub(super) async fn renew(
        self: &Arc<Self>,
        user: &UserId,
        version: u64,
        tokens: &UpstreamTokens,
    ) -> Outcome {
        let shared = self.start(user, version, tokens);
        tokio::time::timeout(WAIT, shared).await.unwrap_or_else(|_| {
            Err(unavailable("the refresh of the upstream token takes too long", Duration::from_secs(5)))
        })
    }

    /// Opens a stored credential. One that cannot be opened by any key is lost: the user signs in again.
    pub(super) async fn open(&self, user: &UserId, record: &CredentialRecord) -> Outcome {
        let place = (self.identity.as_str(), user, IDENTITY_CREDENTIAL);
        match open_tokens(&self.keys, place, &record.sealed) {
            Ok(tokens) => Ok(tokens),
            Err(OpenError::UnknownKey) => Err(unavailable(
                "the credential is sealed under a key not yet loaded",
                Duration::from_secs(5),
            )),
            Err(OpenError::Invalid) => {
                tracing::error!(%user, "a stored credential does not open; the user must sign in again");
                self.refuse(user, record.version, "credential_unreadable").await?;
                Err(self.expired())
            }
        }
    }

    /// Ends the identity of a user whose credential at `version` is dead; `false`: it has moved on.
    pub(super) async fn refuse(
        &self,
        user: &UserId,
        version: u64,
        reason: &'static str,
    ) -> Result<bool, StoreError> {
        standing::refuse_identity((&self.store, &self.audit, &self.tasks), user, version, reason).await
    }

    pub(super) fn expired(&self) -> CredentialError {
        CredentialError::SessionExpired(self.sentence.clone())
    }

    /// Whether tokens end within `margin` milliseconds.
    pub(super) fn ends_within(&self, tokens: &UpstreamTokens, margin: i64) -> bool {
        tokens.expires_at.is_some_and(|end| end.saturating_sub(self.clock.unix_millis()) <= margin)
    }

    fn need(&self, user: &UserId, tokens: &UpstreamTokens) -> Need {
        // Each user at another time, so that a thousand users of one provider do not come at once; one user always
        // at the same, so that their calls do not roll the dice.
        let bytes = user.as_bytes();
        let jitter = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) % JITTER;
        if tokens.refresh.is_none() {
            // Nothing to gain from giving a token up early.
            return if self.ends_within(tokens, 0) { Need::Now } else { Need::None };
        }
        if self.ends_within(tokens, margin(tokens)) {
            Need::Now
        } else if self.ends_within(tokens, part(tokens, AHEAD + i64::from(jitter))) {
            Need::Soon
        } else {
            Need::None
        }
    }

    fn start(self: &Arc<Self>, user: &UserId, version: u64, tokens: &UpstreamTokens) -> Running {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = running.get(&(*user, version)) {
            return shared.clone();
        }
        let this = Arc::clone(self);
        let parent = Parent { user: *user, version, tokens: tokens.clone() };
        // A task of its own: a caller that hangs up must not stop it between the provider's answer and the store.
        let task = self.tasks.spawn(async move {
            let key = (parent.user, parent.version);
            let outcome = this.run(parent).await;
            this.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            outcome
        });
        let stopped = || Err(unavailable("the refresh was stopped", PAUSE));
        let shared = async move { task.await.unwrap_or_else(|_| stopped()) }.boxed().shared();
        running.insert((*user, version), shared.clone());
        shared
    }

    /// Gets the lease and makes the attempt, or waits for who has it.
    async fn run(&self, mut parent: Parent) -> Outcome {
        let end = Instant::now() + WAIT;
        let mut nap = Duration::from_millis(50);
        // What may take time is done before the lease.
        if let Err(error) = self.provider.ready().await {
            return Err(self.pause(&parent.user, unavailable(&error.to_string(), PAUSE), PAUSE));
        }
        let known = self.known(&parent.user).await?;
        while Instant::now() < end {
            if let Some(error) = self.paused(&parent.user) {
                return Err(error);
            }
            let attempt = AttemptId::random(self.entropy.as_ref());
            let asked = Instant::now();
            let lease = self
                .store
                .lease_refresh(&parent.user, IDENTITY_CREDENTIAL, parent.version, &attempt, LEASE)
                .await?;
            match lease {
                Lease::Won | Lease::TakenOver if asked.elapsed() > PROMPT => {
                    self.release(&parent.user, &attempt).await;
                }
                Lease::Won => return self.attempt(&parent, &attempt, &known, false).await,
                Lease::TakenOver => return self.attempt(&parent, &attempt, &known, true).await,
                Lease::Absent => return self.refused(&parent, "credential_gone").await,
                Lease::Moved(record) => {
                    let tokens = self.open(&parent.user, &record).await?;
                    if !self.ends_within(&tokens, margin(&tokens)) || tokens.refresh.is_none() {
                        return Ok(tokens);
                    }
                    parent = Parent { version: record.version, tokens, ..parent };
                }
                Lease::Busy(_) => {
                    if self.is_dead(&parent.user).await? {
                        return Err(self.expired());
                    }
                    tokio::time::sleep(nap).await;
                    nap = (nap * 2).min(Duration::from_millis(500));
                }
            }
        }
        Err(unavailable("another replica's refresh takes too long", PAUSE))
    }

    /// Dates a check of the user now, with what was learned.
    pub(super) async fn date(&self, user: &UserId, profile: &Profile) -> Result<(), CredentialError> {
        let profile = seal_profile(&self.keys, self.entropy.as_ref(), user, profile);
        let update = UserUpdate { id: *user, identity: self.identity.clone(), profile };
        Ok(self.store.user_checked(&update).await?)
    }

    async fn known(&self, user: &UserId) -> Result<Profile, CredentialError> {
        let record = self.store.user(user).await?.ok_or_else(|| self.expired())?;
        open_profile(&self.keys, user, &record.profile)
            .map_err(|error| unavailable(&format!("the profile does not open: {error}"), PAUSE))
    }

    async fn is_dead(&self, user: &UserId) -> Result<bool, CredentialError> {
        let user = self.store.user(user).await?;
        Ok(user.is_none_or(|user| user.state != crate::model::IdentityState::Live))
    }

    /// Gives a lease back. When that fails it runs out by itself.
    pub(super) async fn release(&self, user: &UserId, attempt: &AttemptId) {
        if let Err(error) = self.store.release_refresh(user, IDENTITY_CREDENTIAL, attempt).await {
            tracing::warn!(%user, %error, "a lease could not be given back");
        }
    }

    fn is_paused(&self, user: &UserId) -> bool {
        self.paused(user).is_some()
    }

    fn paused(&self, user: &UserId) -> Option<CredentialError> {
        let now = self.clock.monotonic();
        let paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        paused.get(user).filter(|(until, _)| *until > now).map(|(_, error)| error.clone())
    }

    /// Leaves the provider alone for a while, and answers with `error` meanwhile.
    pub(super) fn pause(&self, user: &UserId, error: CredentialError, wait: Duration) -> CredentialError {
        let now = self.clock.monotonic();
        let mut paused = self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        paused.retain(|_, (until, _)| *until > now);
        paused.insert(*user, (now + wait, error.clone()));
        error
    }
}

fn margin(tokens: &UpstreamTokens) -> i64 {
    part(tokens, MARGIN)
}

/// So many milliseconds, and of a short life never more than its last sixth: else each call would refresh.
fn part(tokens: &UpstreamTokens, millis: i64) -> i64 {
    let life = tokens.issued_at.zip(tokens.expires_at).map(|(from, to)| to.saturating_sub(from));
    life.map_or(millis, |life| millis.min(life / 6))
}

pub(super) fn unavailable(reason: &str, retry_after: Duration) -> CredentialError {
    CredentialError::Unavailable { reason: reason.to_owned(), retry_after }
}
