//! A TCP connection with a tap: what the far end answers can be held back, so that a test can act between the moment a
//! request took effect and the moment its answer arrives.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// A relay to one address.
#[derive(Debug)]
pub struct Wire {
    /// Where it listens.
    pub address: SocketAddr,
    held: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Wire {
    /// Relays to `target` (`host:port`).
    pub async fn to(target: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback can be bound");
        let address = listener.local_addr().expect("it is bound");
        let (held, state) = watch::channel(false);
        let target = target.to_owned();
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&target).await else { continue };
                tokio::spawn(relay(near, far, state.clone()));
            }
        });
        Self { address, held, task }
    }

    /// From now on requests arrive and answers do not.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Lets the answers go, those that were held first.
    pub fn release(&self) {
        self.held.send_replace(false);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Either end may go away at any time, which ends the relay.
async fn relay(near: TcpStream, far: TcpStream, mut held: watch::Receiver<bool>) {
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
    let there = copy(&mut near_in, &mut far_out);
    let back = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = far_in.read(&mut buffer).await {
            if held.wait_for(|held| !held).await.is_err()
                || near_out.write_all(&buffer[..length]).await.is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        _ = there => {}
        () = back => {}
    }
}
