//! Whether a server that left a label selector was deleted: the API server tells both in the same way.

use kube::Api;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::{
    crd::McpServer,
    redis_users::sweep::absent,
    server::{context::Context, fetch::ServerName},
};

/// A server that the watch does not show any more.
#[derive(Debug)]
pub(super) struct Vanished {
    /// The server.
    pub(super) server: ServerName,
    /// The Redis user that was kept for it.
    pub(super) user: String,
}

/// Ends the Redis user of each server that was deleted. One that is there runs on, under another operator or none, and
/// its pods need their user. What cannot be found out is left to the sweep.
pub(super) async fn confirm(context: &Context, mut vanished: UnboundedReceiver<Vanished>) {
    while let Some(Vanished { server, user }) = vanished.recv().await {
        let api: Api<McpServer> = Api::namespaced(context.client.clone(), &server.namespace);
        let deleted = absent(&server.name, api.get_metadata(&server.name).await);
        match deleted {
            // It is back, and its passes look after its user.
            _ if context.server(&server).is_some() => {}
            Ok(true) => context.redis.forget(&user),
            Ok(false) => {
                tracing::info!(%server, "left the label selector, its Redis user is left as it is");
                context.redis.release(&user);
            }
            Err(error) => {
                tracing::warn!(%server, error, "cannot tell whether it was deleted, its Redis user is left to the sweep");
                context.redis.release(&user);
            }
        }
    }
}
