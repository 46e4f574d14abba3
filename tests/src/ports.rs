//! Ports of loopback, which the gateway's own tests take from here, too.

use std::{
    net::{TcpListener, UdpSocket},
    ops::Range,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

/// Where the ports of the suites lie: above what Linux hands out for outgoing connections (32768 to 60999) and above where
/// MCP clients listen for their codes (mcp-remote anywhere from 3335 to 49150), so that nothing can take a port between
/// its choice and the moment that its server listens.
const PORTS: Range<u16> = 61_000..65_535;

/// The claims of this process. The kernel takes them back when it ends.
static CLAIMS: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A port that nothing listens on and that no other caller gets, of this process or of another that runs suites, until
/// this process ends: whoever listens there may die, which refuses connections, and come back.
///
/// # Panics
/// When every port of the range is taken.
pub fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let length = PORTS.end - PORTS.start;
    let next = NEXT.get_or_init(|| {
        // Test programs that run at once start at different places.
        let start = std::process::id().wrapping_mul(97) % u32::from(length);
        AtomicU16::new(u16::try_from(start).expect("less than the length, which is one"))
    });
    (0..length)
        .map(|_| PORTS.start + next.fetch_add(1, Ordering::Relaxed) % length)
        .find(|&port| claim(port))
        .expect("a port is free")
}

/// Claims a port by the UDP port of its number, which nobody here uses: held, it keeps no server from listening, as a
/// TCP socket would.
fn claim(port: u16) -> bool {
    let Ok(claimed) = UdpSocket::bind(("127.0.0.1", port)) else { return false };
    let free = TcpListener::bind(("0.0.0.0", port)).is_ok();
    if free {
        CLAIMS.lock().unwrap_or_else(PoisonError::into_inner).push(claimed);
    }
    free
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, net::TcpStream};

    use super::*;

    #[test]
    fn a_port_stays_its_callers_while_nobody_listens_there() {
        let port = free_port();
        for _ in 0..2 {
            let refused = TcpStream::connect(("127.0.0.1", port)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            assert!(!claim(port), "another process could claim it");
            let listener = TcpListener::bind(("127.0.0.1", port)).expect("its server can listen");
            TcpStream::connect(("127.0.0.1", port)).expect("and is reached");
            drop(listener);
        }
    }
}
