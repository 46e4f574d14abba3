//! How Gatehouse reaches Redis or Valkey: standalone, by Sentinels, or as a Cluster, with or without TLS.
//!
//! Every key of a server lies in one slot, so a gateway needs one thing of a Cluster, the master of that slot, and
//! speaks with it over plain connections of its own: `WAIT` must be on the connection of the write that it waits for,
//! and a blocked `XREAD` on one that nobody shares, which a driver's cluster client does not give. The operator needs
//! every node, because ACL users do not replicate. Both are found here; [`mod@dial`] connects, [`mod@locate`] asks
//! who is what.

mod cluster;
pub mod dial;
pub mod locate;
mod sentinel;

pub use dial::{Certificate, Login, ReachError, dial};
pub use locate::{Member, Role, dial_master, members};
