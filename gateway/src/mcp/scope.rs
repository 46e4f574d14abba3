//! Whether a call's token is good for what it asks.

use super::{
    call::{Exchange, Message},
    envelope::Kind,
    refusal::Refusal,
    tools::{fold, is_name},
};
use crate::model::{IdentityState, ScopeSet};

/// The methods that the rules for tools are about.
const METHODS: [&str; 2] = ["tools/call", "tools/list"];

/// Which of them a lenient backend could take this one for that is none of them.
fn taken_for(method: &str) -> Option<&'static str> {
    let bare = |c: char| c.is_control() || c.is_whitespace();
    let meant = METHODS.into_iter().find(|known| *known == fold(method).replace(bare, ""));
    meant.filter(|known| *known != method)
}

impl Exchange<'_> {
    /// A token that holds none of the server's scopes is good for nothing; a tool may need some of them. (A dead user
    /// hears first that they must sign in.)
    pub(super) fn out_of_scope(&self, message: Option<&Message<'_>>) -> Option<Refusal> {
        if self.caller.record.user.state != IdentityState::Live {
            return None;
        }
        let scopes = &self.mcp.server.scopes;
        if self.caller.scopes.is_empty() {
            let grantable = self.caller.grantable;
            // A client that may have none of what is asked for first asks for all that it may have.
            let wanted = match scopes.basic().intersection(grantable) {
                none if none.is_empty() => grantable,
                wanted => wanted,
            };
            let nothing = wanted.is_empty();
            let scope = scopes.text(wanted);
            return Some(if nothing {
                Refusal::Denied { user: self.who() }
            } else {
                Refusal::InsufficientScope { scope }
            });
        }
        let call = message.filter(|_| !self.mcp.tools.is_open())?;
        let method = &*call.envelope.method;
        if let Some(meant) = taken_for(method) {
            return Some(Refusal::Invalid(format!("the method could be taken for {meant}")));
        }
        // Whatever kind of message it is: a backend might run a call that is a notification, and answer it.
        if METHODS.contains(&method) && call.envelope.kind != Kind::Request {
            return Some(Refusal::Invalid(format!("{method} must be a request")));
        }
        if method != "tools/call" {
            return None;
        }
        let Some(tool) = call.envelope.name() else {
            return Some(Refusal::Invalid("tools/call must name a tool".to_owned()));
        };
        if !is_name(&tool) {
            let what = "the tool's name has a control character, or white space at one of its ends";
            return Some(Refusal::Invalid(what.to_owned()));
        }
        if !self.mcp.tools.offers(&tool) {
            return Some(Refusal::UnknownTool(tool.into_owned()));
        }
        self.step_up(&tool, self.mcp.tools.needs(&tool))
    }

    /// All that the tool needs at once, with what the client holds: else a sign-in for more would lose that.
    fn step_up(&self, tool: &str, needed: ScopeSet) -> Option<Refusal> {
        let (scopes, held) = (&self.mcp.server.scopes, self.caller.scopes);
        if held.contains(needed) {
            return None;
        }
        Some(if self.caller.grantable.contains(needed) {
            Refusal::InsufficientScope { scope: scopes.text(held.union(needed)) }
        } else {
            Refusal::ToolDenied { user: self.who(), tool: tool.to_owned(), scope: scopes.text(needed) }
        })
    }
}
