//! Asking the identity provider about a user whose token a backend refused: one question at a time for all their calls
//! here, and the calls that come meanwhile wait for its answer.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use http::HeaderMap;

use super::{Mcp, authenticate::authenticate, caller::Caller, refusal::Refusal};
use crate::{credentials::Check, model::UserId};

/// A call waits this long for a question about its user. A provider that is well answers sooner; one that is not must not
/// hold back tools that may need no token, and the least patient of clients gives up after ten seconds.
const WAIT: Duration = Duration::from_secs(3);

type Question = Shared<BoxFuture<'static, Check>>;

/// The questions that are under way on this replica.
#[derive(Debug, Default)]
pub(super) struct Confirmations {
    asked: Mutex<HashMap<UserId, Question>>,
    /// How many have ended.
    ended: AtomicU64,
}

impl Confirmations {
    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, Question>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    fn end(&self, user: &UserId) {
        let mut asked = self.lock();
        asked.remove(user);
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// Asks whether a user's token still lives, after a backend said that it does not. The question goes on without whoever
/// waits for the answer.
pub(super) fn ask(mcp: &Arc<Mcp>, user: UserId) -> Question {
    let mut asked = mcp.confirmations.lock();
    if let Some(question) = asked.get(&user) {
        return question.clone();
    }
    let end = End { mcp: mcp.clone(), user };
    let task = mcp.tasks.spawn(async move { end.mcp.server.credentials.confirm(&end.user).await });
    let question = async move { task.await.unwrap_or(Check::Tolerated) }.boxed().shared();
    asked.insert(user, question.clone());
    question
}

/// The end of a question, however it comes: one that panicked must not stand for ever.
struct End {
    mcp: Arc<Mcp>,
    user: UserId,
}

impl Drop for End {
    fn drop(&mut self) {
        // Headers that were made before may carry a token that was just renewed.
        self.mcp.cache.forget(&self.user);
        self.mcp.confirmations.end(&self.user);
    }
}

/// The caller of these headers as they stand after a question about them that is under way here. The answer that gave
/// rise to it may have reached the client already, and whose token is dead reads the backend's own words once.
pub(super) async fn settled(mcp: &Arc<Mcp>, headers: &HeaderMap) -> Result<Arc<Caller>, Refusal> {
    let ended = mcp.confirmations.ended();
    let caller = authenticate(mcp, headers).await?;
    let question = mcp.confirmations.lock().get(&caller.record.user.id).cloned();
    match question {
        // In vain or not: what is known then counts.
        Some(question) => drop(tokio::time::timeout(WAIT, question).await),
        None if mcp.confirmations.ended() == ended => return Ok(caller),
        // One ended beside the look-up, which may have been the earlier.
        None => {}
    }
    authenticate(mcp, headers).await
}
