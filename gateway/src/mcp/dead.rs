//! A user whose identity at the provider is dead: told once where their model reads it, then asked to sign in.

use super::{
    Mcp,
    call::Message,
    caller::Caller,
    proxy::Answered,
    refusal::{self, Refusal},
};
use crate::model::{IdentityState, UserId};

/// The answer to a call of a dead user (protocols, section 2): the first tool call gets the sentence as its result;
/// everything else, and every later call, the 401 that starts the client's own sign-in.
pub(super) async fn answer(
    mcp: &Mcp,
    caller: &Caller,
    message: Option<&Message<'_>>,
    sentence: String,
) -> Result<Answered, Refusal> {
    let tool_call = message.filter(|m| m.envelope.is_tool_call());
    let Some((message, id)) = tool_call.and_then(|m| Some((m, m.envelope.id?))) else {
        return Err(Refusal::SessionExpired(sentence));
    };
    if tell(mcp, &caller.record.user.id).await? {
        let response = refusal::tool_error(id, &sentence, message.is_modern());
        Ok(Answered::Here(response, "session_expired"))
    } else {
        Err(Refusal::SessionExpired(sentence))
    }
}

/// Records that the user reads so now; `false` when they have before.
async fn tell(mcp: &Mcp, user: &UserId) -> Result<bool, Refusal> {
    let store = &mcp.server.store;
    let state = store.user(user).await.map_err(|_| Refusal::Store)?.map(|record| record.state);
    let Some(IdentityState::Dead { reason, told }) = state else {
        // Alive again since: the next call will see so.
        return Ok(true);
    };
    if told {
        return Ok(false);
    }
    let state = IdentityState::Dead { reason, told: true };
    store.set_identity_state(user, &state).await.map_err(|_| Refusal::Store)?;
    mcp.cache.forget(user);
    Ok(true)
}
