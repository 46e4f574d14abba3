//! Gatehouse's gateway: authorization server, protected resource and MCP proxy for one `McpServer`.
//!
//! Read in this order: [`serve`] and [`assemble`] put it together; [`app`] has every route; [`server`] is what every request shares; [`model`] holds the rules; [`store`] is all the
//! state; [`keys`] seals and authenticates; [`identity`] signs users in; [`credentials`] keeps what calls carry.

pub mod admin;
pub mod app;
pub mod assemble;
pub mod audit;
pub mod capacity;
pub mod client_document;
pub mod clock;
mod connections;
mod cors;
pub mod credentials;
pub mod denied;
pub mod egress;
pub mod identity;
pub mod judge;
pub mod jws;
pub mod keys;
pub mod mcp;
pub mod metrics;
pub mod model;
pub mod oauth;
pub mod pieces;
pub mod refs;
pub mod reload;
pub mod serve;
pub mod server;
mod shares;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod upload;
pub mod web;
