//! `identity.local`: what the file of users says of whom the store knows.
//!
//! What it says decides here, at once. What is written of it holds for all replicas, so only a file writes that is newer
//! than what is known ([`LocalUsers::is_newer`]); by another a user is refused for now.

use std::time::Duration;

use zeroize::Zeroizing;

use super::{CONFIRM, Custody};
use crate::{
    credentials::{
        Check, CredentialError, check::tolerated, open_profile, refresh::unavailable, seal_profile, standing,
    },
    identity::local::{
        LocalUsers, Presence, password_changed, profile,
        sweep::{REMOVED, is_removed},
    },
    model::{IdentityState, Profile, UserRecord},
    store::{Result as StoreResult, UserUpdate},
};

/// When to try again by a newer file: mounted ones are read this often.
const NOT_HERE_YET: Duration = Duration::from_secs(5);

impl Custody {
    pub(super) async fn local_token(
        &self,
        users: &LocalUsers,
        user: &UserRecord,
    ) -> Result<Option<Zeroizing<String>>, CredentialError> {
        let known = open_profile(&self.keys, &user.id, &user.profile)
            .map_err(|error| unavailable(&format!("the profile does not open: {error}"), CONFIRM))?;
        let newer = users.is_newer(user.checked_ago);
        match users.presence(&known.subject) {
            Presence::Here(found) if password_changed(&known, &profile(&found)) => {
                if !newer {
                    return Err(not_here_yet());
                }
                standing::end_sign_ins(self.standing(), &user.id).await?;
                Err(self.expired())
            }
            // Back in the file; the sweep says so to the store.
            Presence::Here(found)
                if user.state == IdentityState::Live || newer && is_removed(&user.state) =>
            {
                Ok(found.token.clone().map(Zeroizing::new))
            }
            Presence::Gone if user.state == IdentityState::Live => {
                if !newer {
                    return Err(not_here_yet());
                }
                standing::refuse_identity(self.standing(), &user.id, 0, REMOVED).await?;
                Err(self.expired())
            }
            Presence::Here(_) | Presence::Gone => Err(self.expired()),
            Presence::NoFile => {
                Err(CredentialError::Misconfigured("there is no valid file of users".to_owned()))
            }
        }
    }

    pub(super) async fn check_local(&self, users: &LocalUsers, user: &UserRecord) -> Check {
        let Ok(known) = open_profile(&self.keys, &user.id, &user.profile) else { return Check::Unavailable };
        let newer = users.is_newer(user.checked_ago);
        let done = match users.presence(&known.subject) {
            Presence::NoFile => return tolerated(user, self.access.recheck_tolerate),
            Presence::Gone => self.gone(user, newer).await,
            Presence::Here(found) => self.still_here(user, newer, &known, &profile(&found)).await,
        };
        done.unwrap_or(Check::Unavailable)
    }

    async fn gone(&self, user: &UserRecord, newer: bool) -> StoreResult<Check> {
        if user.state == IdentityState::Live {
            if !newer {
                return Ok(Check::Unavailable);
            }
            standing::refuse_identity(self.standing(), &user.id, 0, REMOVED).await?;
        }
        Ok(Check::Dead(self.sentence.clone()))
    }

    async fn still_here(
        &self,
        user: &UserRecord,
        newer: bool,
        known: &Profile,
        profile: &Profile,
    ) -> StoreResult<Check> {
        if password_changed(known, profile) {
            if !newer {
                return Ok(Check::Unavailable);
            }
            standing::end_sign_ins(self.standing(), &user.id).await?;
            return Ok(Check::Dead(self.sentence.clone()));
        }
        match &user.state {
            // The file is asked at every refresh: what it said before is not written again each time.
            IdentityState::Live if known == profile && user.checked_ago < self.access.recheck_every => {
                return Ok(Check::Live);
            }
            // A newer file may have told what is known.
            IdentityState::Live if known != profile && !newer => return Ok(Check::Tolerated),
            IdentityState::Live => {}
            state if newer && is_removed(state) => standing::revive(self.standing(), &user.id).await?,
            IdentityState::Dead { .. } => return Ok(Check::Dead(self.sentence.clone())),
        }
        let profile = seal_profile(&self.keys, self.entropy.as_ref(), &user.id, profile);
        let update = UserUpdate { id: user.id, identity: self.identity.clone(), profile };
        self.store.user_checked(&update).await.map(|()| Check::Live)
    }
}

/// This replica's file does not admit a user whom another has admitted since it is here.
fn not_here_yet() -> CredentialError {
    unavailable("another replica may know the user by a newer file", NOT_HERE_YET)
}
