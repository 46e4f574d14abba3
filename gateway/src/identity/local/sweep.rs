//! Users who are gone from the file: dead at once, and purged after a day. A truncated file must not delete
//! credentials, so purging waits; a user who comes back in that time is alive again.

use std::{sync::Arc, time::Duration};

use super::{LocalUsers, ON_ITS_WAY, Presence, password_changed, profile};
use crate::{
    credentials::{open_profile, seal_profile, standing},
    model::{IdentityState, Profile, UserRecord, user::CLIENT_IDENTITY},
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
    let mut next: Option<(usize, Duration)> = None;
    let mut failed: Option<Duration> = None;
    loop {
        let file = local.current().map(|users| Arc::as_ptr(&users).addr());
        let now = server.clock.monotonic();
        let due = next.is_none_or(|(seen, at)| Some(seen) != file || now >= at)
            && failed.is_none_or(|at| now.saturating_sub(at) >= RETRY);
        if let (Some(file), true) = (file, due) {
            // It may be left at any place: what it has begun to change comes to its end.
            let done = tokio::select! {
                () = stop.cancelled() => return,
                done = sweep(&server, local) => done,
            };
            match done {
                Ok(all) => (next, failed) = (Some((file, now + if all { SWEEP } else { ON_ITS_WAY })), None),
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

/// Compares every known user with the file, once. `false`: what is known of some may come from a newer file, and is left
/// as it is.
///
/// # Errors
/// When the store is not available; what was done stays done.
pub async fn sweep(server: &Server, local: &LocalUsers) -> Result<bool> {
    let mut all = true;
    for id in server.store.users().await? {
        let Some(record) = server.store.user(&id).await? else { continue };
        if record.identity == CLIENT_IDENTITY {
            continue;
        }
        // A profile that does not open is another key's or was forged; it is not ours to delete.
        let Ok(known) = open_profile(&server.keys, &id, &record.profile) else { continue };
        let newer = local.is_newer(record.checked_ago);
        all &= match local.presence(&known.subject) {
            Presence::NoFile => return Ok(true),
            Presence::Gone => gone(server, &record, newer).await?,
            Presence::Here(user) => here(server, &record, newer, &known, &profile(&user)).await?,
        };
    }
    Ok(all)
}

async fn gone(server: &Server, record: &UserRecord, newer: bool) -> Result<bool> {
    if is_removed(&record.state) {
        if record.checked_ago >= KEPT {
            tracing::info!(user = %record.id, "purging a user who has been gone from the file for a day");
            standing::purge(server.standing(), &record.id).await?;
        }
    } else if newer {
        tracing::info!(user = %record.id, "a user is gone from the file");
        standing::remove(server.standing(), &record.id, REMOVED).await?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

async fn here(
    server: &Server,
    record: &UserRecord,
    newer: bool,
    known: &Profile,
    now: &Profile,
) -> Result<bool> {
    let removed = is_removed(&record.state);
    if !newer {
        return Ok(known == now && !removed);
    }
    if password_changed(known, now) {
        tracing::info!(user = %record.id, "a user has a new password: their sign-ins end");
        standing::end_sign_ins(server.standing(), &record.id).await?;
    }
    if known != now {
        let profile = seal_profile(&server.keys, server.entropy.as_ref(), &record.id, now);
        let identity = server.config.identity.id();
        server.store.user_checked(&UserUpdate { id: record.id, identity, profile }).await?;
    }
    if removed {
        standing::revive(server.standing(), &record.id).await?;
    }
    Ok(true)
}

/// Whether a user died by being gone from the file.
pub fn is_removed(state: &IdentityState) -> bool {
    matches!(state, IdentityState::Dead { reason, .. } if reason == REMOVED)
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
