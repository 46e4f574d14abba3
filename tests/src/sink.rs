//! Where nobody's document may lead: the addresses inside of `clients/hosts`, and this machine. Whoever connects to port 443
//! of one is noted.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{net::eventually, web::HOSTS};

/// It listens while this lives.
#[derive(Debug)]
pub struct Sink {
    /// Where something connected to.
    reached: Arc<Mutex<Vec<SocketAddr>>>,
    _listening: JoinSet<()>,
}

impl Sink {
    /// Listens, and sees for itself that each address can be connected to.
    pub async fn start() -> Self {
        let (reached, mut listening) = (Arc::<Mutex<Vec<SocketAddr>>>::default(), JoinSet::new());
        let addresses = || inside().map(|(address, _)| address);
        // The other two lead to addresses that are listed, too.
        for address in addresses().filter(|a| !a.is_unspecified() && a.to_canonical() == *a) {
            let listener = TcpListener::bind((address, 443)).await;
            let listener = listener.unwrap_or_else(|e| panic!("{address}: {e} (clients/loopback-only)"));
            let at = listener.local_addr().expect("it is bound");
            let reached = reached.clone();
            listening.spawn(async move {
                while listener.accept().await.is_ok() {
                    reached.lock().unwrap().push(at);
                }
            });
        }
        for (nth, address) in addresses().enumerate() {
            let connected = TcpStream::connect((address, 443)).await;
            connected.unwrap_or_else(|e| panic!("{address} cannot be connected to: {e}"));
            let noted = async || (reached.lock().unwrap().len() > nth).then_some(());
            eventually("a connection to be noted", noted).await;
        }
        reached.lock().unwrap().clear();
        Self { reached, _listening: listening }
    }

    /// Where something connected to since.
    pub fn reached(&self) -> Vec<SocketAddr> {
        self.reached.lock().unwrap().clone()
    }

    /// The names that lead here and could be a document's host.
    pub fn hosts() -> impl Iterator<Item = &'static str> {
        inside().flat_map(|(_, names)| names.split(' ')).filter(|name| name.contains('.'))
    }
}

/// The addresses, with their names.
fn inside() -> impl Iterator<Item = (IpAddr, &'static str)> {
    let pairs = HOSTS.lines().filter_map(|line| line.split_once(' '));
    let addresses = pairs.filter_map(|(address, names)| Some((address.parse().ok()?, names)));
    addresses.filter(|(_, names)| !crate::web::hosts().any(|(_, host)| host == *names))
}
