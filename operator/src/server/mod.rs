//! `McpServer`: fetch (IO) → validate (pure) → build (pure, cannot fail) → apply (IO) → status (pure, one patch).

pub mod apply;
pub mod backends;
pub mod build;
pub mod children;
pub mod context;
pub mod controller;
pub mod fetch;
pub mod guarded;
pub mod keys;
pub mod names;
pub mod peers;
pub mod project;
pub mod redis_login;
pub mod refs;
mod report;
pub mod rollouts;
pub mod scope;
pub mod status;
pub mod validate;
