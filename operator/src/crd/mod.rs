//! The two custom resources of Gatehouse, their CEL rules, and the condition types and reasons of their status.
//!
//! The YAML in `crds/` is generated from these types by [`definitions`]; a test fails when it is stale. Unions are
//! structs of options with a CEL rule, because the message of an enum union says nothing ("must validate one and only
//! one schema"). Every optional field skips itself when absent, since a null would count for CEL's `has()`.

pub mod condition;
pub mod definition;
pub mod policy;
pub mod policy_client;
pub mod policy_status;
pub mod primitive;
pub mod reference;
pub mod server;
pub mod server_access;
pub mod server_backend;
pub mod server_gateway;
pub mod server_identity;
pub mod server_scope;
pub mod server_status;

pub use definition::definitions;
pub use policy::{OAuthClientPolicy, OAuthClientPolicySpec};
pub use policy_status::OAuthClientPolicyStatus;
pub use server::{McpServer, McpServerSpec};
pub use server_status::McpServerStatus;

/// The API group of both resources.
pub const GROUP: &str = "gatehouse.dev";
/// The version of both resources.
pub const VERSION: &str = "v1alpha1";
/// Puts back generated keys after they were lost: its value is the lost instance, which says that the loss of every
/// stored credential is accepted.
pub const ACCEPT_KEY_LOSS: &str = "gatehouse.dev/accept-key-loss";
/// On the keys Secret: the issuer whose incumbent this server is.
pub const ISSUER_ANNOTATION: &str = "gatehouse.dev/issuer";
/// On the keys Secret: `<namespace>/<name>` of the server that the keys belong to.
pub const SERVER_ANNOTATION: &str = "gatehouse.dev/server";
