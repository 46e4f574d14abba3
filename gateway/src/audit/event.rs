//! What an event tells.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::{Decision, Field, Value};
use crate::{
    client_document::DocumentUrl,
    model::{self, FlowKind, FlowRequest, Grant, GrantId, UserId},
    oauth::source::Source,
};

/// Which OAuth client, as events name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    id: Arc<str>,
    name: Arc<str>,
}

impl Client {
    /// A client of this id and name.
    pub fn new(id: &str, name: &str) -> Self {
        Self { id: id.into(), name: name.into() }
    }

    /// The client that holds `grant`.
    pub fn of(grant: &Grant) -> Self {
        Self::new(&grant.client_id, &grant.client_name)
    }
}

/// A decision, and what is known of who and why. Gathered while a request is looked at, so that it is written once,
/// with all that was proven until the decision fell.
#[derive(Debug, Clone)]
pub struct Event {
    decision: Decision,
    reason: Option<&'static str>,
    user: Option<UserId>,
    client: Option<Client>,
    grant: Option<GrantId>,
    source: Option<IpAddr>,
}

impl Event {
    /// Nothing but a decision.
    pub fn new(decision: Decision) -> Self {
        Self { decision, reason: None, user: None, client: None, grant: None, source: None }
    }

    /// Another decision of the same request.
    #[must_use]
    pub fn beside(&self, decision: Decision) -> Self {
        Self { source: self.source, ..Self::new(decision) }
    }

    /// What was decided.
    pub fn decision(&self) -> Decision {
        self.decision
    }

    /// Decides anew: what comes last holds.
    pub fn decide(&mut self, decision: Decision) -> &mut Self {
        self.decision = decision;
        self
    }

    /// Why, unless that was said before: the innermost reason is the exact one.
    pub fn because(&mut self, reason: &'static str) -> &mut Self {
        self.reason.get_or_insert(reason);
        self
    }

    /// The user, who is proven.
    pub fn user(&mut self, user: &UserId) -> &mut Self {
        self.user = Some(*user);
        self
    }

    /// The client.
    pub fn client(&mut self, client: &model::Client) -> &mut Self {
        self.client = Some(Client::new(&client.id, client.name()));
        self
    }

    /// The client that a request names and whose document makes none: its id is a URL, its name not known.
    pub fn claimed(&mut self, url: &DocumentUrl) -> &mut Self {
        self.client = Some(Client::new(url.as_str(), url.host()));
        self
    }

    /// The client that began a sign-in, if one did.
    pub fn request(&mut self, request: &FlowRequest) -> &mut Self {
        if request.kind == FlowKind::Authorize {
            self.client = Some(Client::new(&request.client_id, &request.client_name));
        }
        self
    }

    /// A grant, with its client and user.
    pub fn grant(&mut self, grant: &Grant) -> &mut Self {
        self.client = Some(Client::of(grant));
        self.user(&grant.user).grant_id(&grant.id)
    }

    /// A grant of which no more is known.
    pub fn grant_id(&mut self, grant: &GrantId) -> &mut Self {
        self.grant = Some(*grant);
        self
    }

    /// Where the request came from.
    pub fn source(&mut self, source: Source) -> &mut Self {
        self.source = source.0;
        self
    }

    pub(super) fn each(&self, show: &mut impl FnMut(Field, Value<'_>)) {
        show(Field::Outcome, Value::Word(self.decision.outcome()));
        if let Some(reason) = self.reason {
            show(Field::Reason, Value::Word(reason));
        }
        if let Some(user) = &self.user {
            show(Field::User, Value::Id(user.as_bytes()));
        }
        if let Some(client) = &self.client {
            show(Field::Client, Value::Text(&client.name));
            show(Field::ClientId, Value::Text(&client.id));
        }
        if let Some(grant) = &self.grant {
            show(Field::Grant, Value::Id(grant.as_bytes()));
        }
        if let Some(source) = self.source {
            show(Field::Source, Value::Address(source));
        }
    }
}

/// One call, at the end of its answer.
#[derive(Debug, Clone, Copy)]
pub struct CallEvent<'a> {
    /// Who called.
    pub user: &'a UserId,
    /// By which client.
    pub client: &'a Client,
    /// Under which grant.
    pub grant: &'a GrantId,
    /// Where it came from.
    pub source: Source,
    /// The method.
    pub method: &'static str,
    /// The tool, cut to a bounded length.
    pub tool: Option<&'a str>,
    /// The status of the answer.
    pub status: u16,
    /// How it ended.
    pub outcome: &'static str,
    /// Why, where it was refused.
    pub reason: Option<&'static str>,
    /// From the request's headers to the answer's end.
    pub took: Duration,
}

impl CallEvent<'_> {
    pub(super) fn each(&self, show: &mut impl FnMut(Field, Value<'_>)) {
        show(Field::Outcome, Value::Word(self.outcome));
        if let Some(reason) = self.reason {
            show(Field::Reason, Value::Word(reason));
        }
        show(Field::User, Value::Id(self.user.as_bytes()));
        show(Field::Client, Value::Text(&self.client.name));
        show(Field::ClientId, Value::Text(&self.client.id));
        show(Field::Grant, Value::Id(self.grant.as_bytes()));
        if let Some(source) = self.source.0 {
            show(Field::Source, Value::Address(source));
        }
        show(Field::Method, Value::Word(self.method));
        if let Some(tool) = self.tool {
            show(Field::Tool, Value::Text(tool));
        }
        show(Field::Status, Value::Number(self.status.into()));
        show(Field::Duration, Value::Number(u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX)));
    }
}
