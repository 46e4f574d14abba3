//! The connections of a gateway: how many there may be, in all and from one address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use hyper_util::server::graceful::GracefulShutdown;
use ipnet::IpNet;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{
    oauth::source::Source,
    shares::{Held, Shares},
};

/// The connections that are open, and room for further ones.
pub(crate) struct Connections {
    pub(crate) open: GracefulShutdown,
    room: Arc<Semaphore>,
    /// How many connections each peer holds.
    peers: Shares,
    /// What one peer may hold: half of the room.
    share: usize,
    /// Proxies bring the connections of everybody: they have no share.
    trusted: Vec<IpNet>,
}

/// A connection's place; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _room: OwnedSemaphorePermit,
    _peer: Option<Held>,
}

impl Connections {
    /// Room for `most`.
    pub(crate) fn new(most: usize, trusted: Vec<IpNet>) -> Self {
        let (open, room) = (GracefulShutdown::new(), Arc::new(Semaphore::new(most)));
        Self { open, room, peers: Shares::default(), share: most.div_ceil(2), trusted }
    }

    /// The next connection, once there is room for it: until then it waits in the kernel's queue and takes no memory
    /// of ours. One of a peer that holds its share is closed.
    ///
    /// # Errors
    /// When the listener cannot accept.
    pub(crate) async fn next(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr, Place)> {
        let room = self.room.clone().acquire_owned().await.map_err(io::Error::other)?;
        loop {
            let (stream, address) = listener.accept().await?;
            match self.hold(address.ip().to_canonical()) {
                Ok(peer) => return Ok((stream, address, Place { _room: room, _peer: peer })),
                Err(Full) => {
                    tracing::debug!(%address, "a peer has half of all connections; a further one is closed");
                }
            }
        }
    }

    /// One more of a peer; nothing is counted of a proxy.
    fn hold(&self, peer: IpAddr) -> Result<Option<Held>, Full> {
        if self.trusted.iter().any(|net| net.contains(&peer)) {
            return Ok(None);
        }
        let peer = Source(Some(peer)).to_string();
        self.peers.take(peer, self.share).map(Some).ok_or(Full)
    }
}

/// A peer holds its share.
struct Full;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn connect(address: SocketAddr) -> TcpStream {
        TcpStream::connect(address).await.unwrap()
    }

    #[tokio::test]
    async fn a_connection_beyond_the_bound_waits_for_another_to_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Connections::new(1, Vec::new());
        let _clients = (connect(address).await, connect(address).await);
        let first = connections.next(&listener).await.unwrap();
        let mut second = Box::pin(connections.next(&listener));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await.unwrap());
    }

    #[tokio::test]
    async fn one_peer_leaves_half_of_the_room_to_others() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Connections::new(4, Vec::new());
        let _clients = (connect(address).await, connect(address).await);
        let first = connections.next(&listener).await.unwrap();
        let _second = connections.next(&listener).await.unwrap();
        let mut further = connect(address).await;
        {
            let mut next = Box::pin(connections.next(&listener));
            let mut byte = [0];
            tokio::select! {
                _ = &mut next => panic!("a third connection was taken"),
                closed = further.read(&mut byte) => assert_eq!(closed.unwrap(), 0),
            }
        }
        drop(first);
        let _again = connect(address).await;
        connections.next(&listener).await.unwrap();
    }

    #[test]
    fn each_peer_has_a_share_and_a_proxy_none() {
        let connections = Connections::new(2, vec!["10.0.0.0/8".parse().unwrap()]);
        let hold = |peer: &str| connections.hold(peer.parse().unwrap()).ok();
        let held = (hold("203.0.113.1").unwrap(), hold("203.0.113.2").unwrap(), hold("2001:db8::1").unwrap());
        // Of IPv6, a /64 is one peer.
        for full in ["203.0.113.1", "203.0.113.2", "2001:db8::2"] {
            assert!(hold(full).is_none(), "{full}");
        }
        let proxy: Vec<_> = (0..3).map(|_| hold("10.1.2.3").unwrap()).collect();
        assert!(proxy.iter().all(Option::is_none));
        drop(held);
        assert!(connections.peers.is_empty());
        hold("203.0.113.1").unwrap();
    }
}
