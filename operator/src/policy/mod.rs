//! `OAuthClientPolicy`: which one wins for a server, and what its status says.

pub mod attach;
pub mod check;
pub mod controller;
pub mod guarded;
mod memory;
pub mod status;
pub mod terms;

pub use attach::{Attachment, attach};
pub use guarded::{GuardedPolicy, UnreadablePolicy};
pub use memory::Memory;
