//! Changes of a user's standing that no request of theirs decides, each with its event: whichever replica made the
//! change tells it.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::{
    audit::{Audit, Decision, Event},
    model::{IdentityState, UserId},
    store::{Ending, IdentityRefusal, Result, Store, StoreError, Unfinished},
};

/// Where a user's standing is kept, where changes of it are told, and who waits for those that have begun.
pub type Standing<'a> = (&'a Arc<dyn Store>, &'a Audit, &'a TaskTracker);

/// Does what must not stop halfway, or untold, because whoever asked for it hangs up, or the process is about to end.
///
/// # Errors
/// Those of the work, and when it panics.
pub async fn to_its_end<T: Send + 'static, E: From<StoreError> + Send + 'static>(
    tasks: &TaskTracker,
    work: impl Future<Output = std::result::Result<T, E>> + Send + 'static,
) -> std::result::Result<T, E> {
    let stopped = || StoreError::Unavailable("what was begun was stopped".to_owned());
    tasks.spawn(work).await.unwrap_or_else(|_| Err(stopped().into()))
}

/// What a step did, which is to be told, and whether it did all.
pub fn told<T>(ending: Ending<T>) -> (T, Result<()>) {
    match ending {
        Ok(done) => (done, Ok(())),
        Err(Unfinished { done, error }) => (done, Err(error)),
    }
}

/// The provider refused a user's credential at `version` for good. `false`: a newer one was stored meanwhile, or there
/// is no such user.
///
/// # Errors
/// When the store is not available.
pub async fn refuse_identity(
    (store, audit, tasks): Standing<'_>,
    user: &UserId,
    version: u64,
    reason: &'static str,
) -> Result<bool> {
    let (store, audit, user) = (store.clone(), audit.clone(), *user);
    to_its_end(tasks, async move {
        let refusal = store.refuse_identity(&user, version, reason).await;
        let died = refusal.as_ref().map_or_else(|failed| failed.done, |r| *r == IdentityRefusal::Died);
        if died {
            audit.write(Event::new(Decision::IdentityDead).user(&user).because(reason));
        }
        refusal.map(|refusal| refusal != IdentityRefusal::Stale).map_err(|failed| failed.error)
    })
    .await
}

/// A user is gone, whatever their credential.
///
/// # Errors
/// When the store is not available.
pub async fn remove(standing: Standing<'_>, user: &UserId, reason: &'static str) -> Result<()> {
    let dead = IdentityState::Dead { reason: reason.to_owned(), told: false };
    let mut event = Event::new(Decision::IdentityDead);
    event.because(reason);
    change(standing, user, dead, event).await
}

/// A user is there again.
///
/// # Errors
/// When the store is not available.
pub async fn revive(standing: Standing<'_>, user: &UserId) -> Result<()> {
    change(standing, user, IdentityState::Live, Event::new(Decision::IdentityLive)).await
}

async fn change(
    (store, audit, tasks): Standing<'_>,
    user: &UserId,
    state: IdentityState,
    mut event: Event,
) -> Result<()> {
    let (store, audit, user) = (store.clone(), audit.clone(), *user);
    to_its_end(tasks, async move {
        let (changed, all) = told(store.set_identity_state(&user, &state).await);
        if changed {
            audit.write(event.user(&user));
        }
        all
    })
    .await
}

/// A user has a new password: whatever was opened with the old one ends.
///
/// # Errors
/// When the store is not available.
pub async fn end_sign_ins((store, audit, tasks): Standing<'_>, user: &UserId) -> Result<()> {
    const REASON: &str = "password_changed";
    let (store, audit, user) = (store.clone(), audit.clone(), *user);
    to_its_end(tasks, async move {
        let (ended, all) = told(store.end_sign_ins(&user).await);
        for grant in &ended.grants {
            audit.write(Event::new(Decision::GrantRevoked).grant(grant).because(REASON));
        }
        if ended.sessions > 0 {
            audit.write(Event::new(Decision::SignedOut).user(&user).because(REASON));
        }
        all
    })
    .await
}

/// Deletes a user.
///
/// # Errors
/// When the store is not available.
pub async fn purge((store, audit, tasks): Standing<'_>, user: &UserId) -> Result<()> {
    let (store, audit, user) = (store.clone(), audit.clone(), *user);
    to_its_end(tasks, async move {
        let (known, all) = told(store.purge_user(&user).await);
        if known {
            audit.write(Event::new(Decision::UserPurged).user(&user));
        }
        all
    })
    .await
}
