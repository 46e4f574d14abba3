//! Users who are gone from the file: dead at once, and purged after a day. A truncated file must not delete
//! credentials, so purging waits; a user who comes back in that time is alive again.

use std::{sync::Arc, time::Duration};

use super::{LocalUsers, Presence, password_changed, profile};
use crate::{
    credentials::{open_profile, seal_profile, standing},
    model::{IdentityState, Profile, UserId, UserRecord, user::CLIENT_IDENTITY},
    server::{Identity, Server},
    store::{Result, UserUpdate},
};

/// How often the file, which is in memory, is looked at: open streams of a user who is gone end that soon. Calls look
/// for themselves.
const POLL: Duration = Duration::from_millis(500);
/// How often users are swept although the file did not change: for those whose day is over.
const SWEEP: Duration = Duration::from_secs(3600);
/// How long a sweep waits that failed: the store is away.
const RETRY: Duration = Duration::from_secs(5);
/// How long a user who is gone is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// The reason of a dead identity, for the audit log.
pub const REMOVED: &str = "user_removed";

/// Sweeps at start, whenever the file changes, and each hour. Ends when `stop` does; for other kinds of identity, at
/// once.
pub async fn run(server: Arc<Server>, stop: tokio_util::sync::CancellationToken) {
    let Identity::Local(local) = &server.identity else { return };
    let mut swept: Option<(usize, Duration)> = None;
    let mut failed: Option<Duration> = None;
    loop {
        let file = local.current().map(|users| Arc::as_ptr(&users).addr());
        let now = server.clock.monotonic();
        let due = swept.is_none_or(|(seen, at)| Some(seen) != file || now.saturating_sub(at) >= SWEEP)
            && failed.is_none_or(|at| now.saturating_sub(at) >= RETRY);
        if let (Some(file), true) = (file, due) {
            // It may be left at any place: what it has begun to change comes to its end.
            let done = tokio::select! {
                () = stop.cancelled() => return,
                done = sweep(&server, local) => done,
            };
            match done {
                Ok(()) => (swept, failed) = (Some((file, now)), None),
                Err(error) => {
                    // Calls look into the file themselves; what is left undone is only cleaning up.
                    if failed.replace(now).is_none() {
                        tracing::warn!(%error, "users gone from the file could not be swept yet");
                    }
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Compares every known user with the file, once.
///
/// # Errors
/// When the store is not available; what was done stays done.
pub async fn sweep(server: &Server, local: &LocalUsers) -> Result<()> {
    for id in server.store.users().await? {
        let Some(record) = server.store.user(&id).await? else { continue };
        if record.identity == CLIENT_IDENTITY {
            continue;
        }
        // A profile that does not open is another key's or was forged; it is not ours to delete.
        let Ok(known) = open_profile(&server.keys, &id, &record.profile) else { continue };
        match local.presence(&known.subject) {
            Presence::NoFile => return Ok(()),
            Presence::Gone => gone(server, &record, &known).await?,
            Presence::Here(user) => here(server, &record, &known, &profile(&user)).await?,
        }
    }
    Ok(())
}

async fn gone(server: &Server, record: &UserRecord, known: &Profile) -> Result<()> {
    match &record.state {
        IdentityState::Dead { reason, .. } if reason == REMOVED => {
            if record.checked_ago >= KEPT {
                tracing::info!(user = %record.id, "purging a user who has been gone from the file for a day");
                standing::purge(server.standing(), &record.id).await?;
            }
            Ok(())
        }
        _ => {
            tracing::info!(user = %record.id, "a user is gone from the file");
            // Dated, so that the day begins now.
            date(server, &record.id, known).await?;
            standing::remove(server.standing(), &record.id, REMOVED).await
        }
    }
}

async fn here(server: &Server, record: &UserRecord, known: &Profile, now: &Profile) -> Result<()> {
    if password_changed(known, now) {
        tracing::info!(user = %record.id, "a user has a new password: their sign-ins end");
        standing::end_sign_ins(server.standing(), &record.id).await?;
    }
    if known != now {
        date(server, &record.id, now).await?;
    }
    if matches!(&record.state, IdentityState::Dead { reason, .. } if reason == REMOVED) {
        standing::revive(server.standing(), &record.id).await?;
    }
    Ok(())
}

async fn date(server: &Server, id: &UserId, profile: &Profile) -> Result<()> {
    let profile = seal_profile(&server.keys, server.entropy.as_ref(), id, profile);
    let identity = server.config.identity.id();
    server.store.user_checked(&UserUpdate { id: *id, identity, profile }).await
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
