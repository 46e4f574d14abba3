//! The operator on a real kube-apiserver.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod bad_input;
mod keys;
mod leaders;
mod policies;
mod rbac;
mod reconcile;
mod redis_login;
mod redis_users;
mod rollouts;
mod rules;
mod scale;

/// Held for writing while the CRDs are other than generated, for reading while a test needs the generated ones refused.
static SCHEMA: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());
