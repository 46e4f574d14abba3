//! What the gateway talks about, without HTTP, Redis or Kubernetes: users, flows, grants, tokens, and their rules.

pub mod access;
pub mod browser;
pub mod client;
pub mod family;
pub mod flow;
pub mod flow_state;
pub mod grant;
pub mod ids;
pub mod pkce;
pub mod registration;
pub mod resource;
pub mod scope;
pub mod token;
pub mod user;

pub use gatehouse_gateway_config::redirect_uri::{self, RedirectUri};

pub use client::{AuthMethod, Client};
pub use family::{CodeState, FamilyState};
pub use flow::{Flow, FlowKind, FlowRequest, Prompt};
pub use flow_state::FlowState;
pub use grant::{Grant, TokenPair};
pub use ids::{AttemptId, FlowId, GrantId, Hash32, UserId};
pub use scope::{ScopeSet, Scopes};
pub use token::{AccessToken, AuthorizationCode, RefreshToken};
pub use user::{
    ClaimSource, ClaimSources, CredentialRecord, IdentityState, Profile, Session, Unknown, UpstreamTokens,
    UserRecord,
};
