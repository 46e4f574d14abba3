//! Changes of a user's standing that no request of theirs decides, each with its event: whichever replica made the
//! change tells it.

use crate::{
    audit::{Audit, Decision, Event},
    model::{IdentityState, UserId},
    store::{IdentityRefusal, Result, Store},
};

/// The provider refused a user's credential at `version` for good. `false`: a newer one was stored meanwhile, or there
/// is no such user.
///
/// # Errors
/// When the store is not available.
pub async fn refuse_identity(
    (store, audit): (&dyn Store, &Audit),
    user: &UserId,
    version: u64,
    reason: &'static str,
) -> Result<bool> {
    let refusal = store.refuse_identity(user, version, reason).await?;
    if refusal == IdentityRefusal::Died {
        audit.write(Event::new(Decision::IdentityDead).user(user).because(reason));
    }
    Ok(refusal != IdentityRefusal::Stale)
}

/// A user is gone, whatever their credential.
///
/// # Errors
/// When the store is not available.
pub async fn remove((store, audit): (&dyn Store, &Audit), user: &UserId, reason: &'static str) -> Result<()> {
    let dead = IdentityState::Dead { reason: reason.to_owned(), told: false };
    if store.set_identity_state(user, &dead).await? {
        audit.write(Event::new(Decision::IdentityDead).user(user).because(reason));
    }
    Ok(())
}

/// A user is there again.
///
/// # Errors
/// When the store is not available.
pub async fn revive((store, audit): (&dyn Store, &Audit), user: &UserId) -> Result<()> {
    if store.set_identity_state(user, &IdentityState::Live).await? {
        audit.write(Event::new(Decision::IdentityLive).user(user));
    }
    Ok(())
}

/// A user has a new password: whatever was opened with the old one ends.
///
/// # Errors
/// When the store is not available.
pub async fn end_sign_ins((store, audit): (&dyn Store, &Audit), user: &UserId) -> Result<()> {
    const REASON: &str = "password_changed";
    let ended = store.end_sign_ins(user).await?;
    for grant in &ended.grants {
        audit.write(Event::new(Decision::GrantRevoked).grant(grant).because(REASON));
    }
    if ended.sessions > 0 {
        audit.write(Event::new(Decision::SignedOut).user(user).because(REASON));
    }
    Ok(())
}

/// Deletes a user.
///
/// # Errors
/// When the store is not available.
pub async fn purge((store, audit): (&dyn Store, &Audit), user: &UserId) -> Result<()> {
    if store.purge_user(user).await? {
        audit.write(Event::new(Decision::UserPurged).user(user));
    }
    Ok(())
}
