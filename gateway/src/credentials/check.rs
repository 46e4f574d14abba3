//! Asking the identity provider about a user (protocols, section 2).

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Check, CredentialError, open_profile,
    refresh::{LEASE, Refresher},
};
use crate::{
    identity::IdentityError,
    model::{
        AttemptId, CredentialRecord, IdentityState, Profile, UpstreamTokens, UserRecord,
        user::IDENTITY_CREDENTIAL,
    },
    store::Lease,
};

/// Tokens this near their end, in milliseconds, are renewed, which is a check too.
const NEAR_END: i64 = 300_000;
/// Parallel callers wait this long for the one who asks.
const WAIT: Duration = Duration::from_secs(5);

/// What the provider said, or why it said nothing.
enum Asked {
    Live,
    Dead,
    /// It cannot be asked now.
    Silent,
    /// Another caller asks, and is not done yet.
    Elsewhere,
}

impl Refresher {
    /// Asks about a user; the store is brought up to date with the answer.
    pub(super) async fn check(self: &Arc<Self>, user: &UserRecord, tolerate: Duration) -> Check {
        let this = Arc::clone(self);
        let record = user.clone();
        // A task of its own, as a refresh: a caller that hangs up must not leave a lease behind.
        let asked = self.tasks.spawn(async move { this.ask(&record).await }).await;
        match asked {
            Ok(Ok(Asked::Live)) => Check::Live,
            Ok(Ok(Asked::Dead) | Err(CredentialError::SessionExpired(_))) => {
                Check::Dead(self.sentence.clone())
            }
            Ok(Ok(Asked::Elsewhere)) => Check::Unavailable,
            Ok(Ok(Asked::Silent) | Err(_)) | Err(_) => tolerated(user, tolerate),
        }
    }

    async fn ask(self: &Arc<Self>, user: &UserRecord) -> Result<Asked, CredentialError> {
        let Ok(known) = open_profile(&self.keys, &user.id, &user.profile) else { return Ok(Asked::Silent) };
        let end = Instant::now() + WAIT;
        let mut current = self.store.credential(&user.id, IDENTITY_CREDENTIAL).await?;
        while let Some(record) = current {
            let attempt = AttemptId::random(self.entropy.as_ref());
            let lease = self
                .store
                .lease_refresh(&user.id, IDENTITY_CREDENTIAL, record.version, &attempt, LEASE)
                .await?;
            current = match lease {
                Lease::Won | Lease::TakenOver => {
                    // Whoever had the lease a moment ago may have asked.
                    if let Some(asked) = self.asked_meanwhile(user).await? {
                        self.release(&user.id, &attempt).await;
                        return Ok(asked);
                    }
                    return self.ask_under(&record, &attempt, user, &known).await;
                }
                Lease::Moved(moved) => Some(*moved),
                Lease::Absent => None,
                Lease::Busy(_) => {
                    if let Some(asked) = self.asked_meanwhile(user).await? {
                        return Ok(asked);
                    }
                    if Instant::now() >= end {
                        return Ok(Asked::Elsewhere);
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Some(record)
                }
            };
        }
        let dead = self.refuse(&user.id, 0, "credential_gone").await?;
        Ok(if dead { Asked::Dead } else { Asked::Elsewhere })
    }

    /// Whether somebody else's question was answered since `user` was read.
    async fn asked_meanwhile(&self, user: &UserRecord) -> Result<Option<Asked>, CredentialError> {
        let Some(now) = self.store.user(&user.id).await? else { return Ok(Some(Asked::Dead)) };
        Ok(match now.state {
            IdentityState::Dead { .. } => Some(Asked::Dead),
            IdentityState::Live => (now.checked_ago < user.checked_ago).then_some(Asked::Live),
        })
    }

    async fn ask_under(
        self: &Arc<Self>,
        record: &CredentialRecord,
        attempt: &AttemptId,
        user: &UserRecord,
        known: &Profile,
    ) -> Result<Asked, CredentialError> {
        let opened = self.open(&user.id, record).await;
        let answer = match &opened {
            Ok(tokens) if tokens.refresh.is_some() && self.ends_within(tokens, NEAR_END) => None,
            Ok(tokens) => Some(self.provider.profile(tokens, known).await),
            Err(_) => None,
        };
        if let Some(Ok(profile)) = &answer {
            self.date(&user.id, profile).await?;
        }
        self.release(&user.id, attempt).await;
        let tokens = opened?;
        match answer {
            Some(Ok(_)) => Ok(Asked::Live),
            Some(Err(IdentityError::Refused(_))) if tokens.refresh.is_none() => {
                let dead = self.refuse(&user.id, record.version, "token_refused").await?;
                Ok(if dead { Asked::Dead } else { Asked::Live })
            }
            // Near its end, or refused: the refresh token decides.
            None | Some(Err(IdentityError::Refused(_) | IdentityError::NoUserInfo)) => {
                self.ask_by_renewal(user, record, &tokens, known).await
            }
            Some(Err(error)) => {
                tracing::warn!(user = %user.id, %error, "the identity provider cannot be asked about a user");
                Ok(Asked::Silent)
            }
        }
    }

    async fn ask_by_renewal(
        self: &Arc<Self>,
        user: &UserRecord,
        record: &CredentialRecord,
        tokens: &UpstreamTokens,
        known: &Profile,
    ) -> Result<Asked, CredentialError> {
        let renewed = self.renew(&user.id, record.version, tokens).await?;
        // What came with the new tokens is kept by now: groups that their ID token no longer names must not come back.
        let kept = self.store.user(&user.id).await?;
        let kept = kept.and_then(|now| open_profile(&self.keys, &user.id, &now.profile).ok());
        let known = kept.as_ref().unwrap_or(known);
        match self.provider.profile(&renewed, known).await {
            Ok(profile) => self.date(&user.id, &profile).await?,
            // Nothing more can be asked: that the provider gives new tokens is its word for the user.
            Err(IdentityError::NoUserInfo) => self.date(&user.id, known).await?,
            // It gives tokens and refuses to say whose: the user is blocked there, or they are another's.
            Err(IdentityError::Refused(why)) => {
                tracing::warn!(user = %user.id, why, "tokens were renewed, and user-info refuses them");
                let current = self.store.credential(&user.id, IDENTITY_CREDENTIAL).await?;
                let version = current.map_or(record.version, |current| current.version);
                let dead = self.refuse(&user.id, version, "user_info_refused").await?;
                return Ok(if dead { Asked::Dead } else { Asked::Elsewhere });
            }
            // What is known of the user grows old, and is tolerated for as long as after any outage.
            Err(error) => {
                tracing::warn!(user = %user.id, %error, "tokens were renewed, the profile was not");
                return Ok(Asked::Silent);
            }
        }
        Ok(Asked::Live)
    }
}

/// An outage is tolerated while the last good check is young enough.
pub(super) fn tolerated(user: &UserRecord, tolerate: Duration) -> Check {
    if user.checked_ago < tolerate { Check::Tolerated } else { Check::Unavailable }
}
