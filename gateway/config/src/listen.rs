//! Where both programs listen.

use std::{io, net::SocketAddr};

use tokio::net::TcpListener;

/// Binds an address; without one, the port on every address of both families, since a pod may have either alone.
///
/// # Errors
/// Why not, in words that name the option.
pub async fn listen(wanted: Option<SocketAddr>, port: u16, option: &str) -> Result<TcpListener, String> {
    let any = [SocketAddr::from(([0u16; 8], port)), SocketAddr::from(([0u8; 4], port))];
    let candidates = wanted.map_or(any.to_vec(), |address| vec![address]);
    let mut last = String::new();
    for address in candidates {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(format!(
                    "{address} is taken by another process; stop that one, or choose another with {option} ADDR"
                ));
            }
            Err(error) => last = format!("cannot listen on {address} ({option}): {error}"),
        }
    }
    Err(last)
}
