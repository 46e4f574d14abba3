//! Where Redis is: one server, the Sentinels of a master, or the nodes of a Cluster.

use std::{fmt, path::PathBuf};

/// The port where none is given.
const REDIS_PORT: u16 = 6379;
/// The Sentinels' port where none is given.
const SENTINEL_PORT: u16 = 26379;
/// How many nodes one URL may name; they find the others.
const MAX_NODES: usize = 32;

/// The address of one process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A TCP port.
    Tcp {
        /// Its host: a name or an IP address, without brackets.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A socket in the file system.
    Socket(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How Redis is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server, or a name that always leads to the master.
    Standalone(Address),
    /// Sentinels know the master.
    Sentinel {
        /// Some of the Sentinels.
        sentinels: Vec<Address>,
        /// The name by which they know the master.
        master: String,
    },
    /// A Cluster.
    Cluster {
        /// Some of its nodes.
        nodes: Vec<Address>,
    },
}

/// Where Redis is, as a URL says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisTarget {
    /// Whether every connection is TLS.
    pub tls: bool,
    /// How it is run.
    pub topology: Topology,
}

/// Why a URL names no Redis. Never repeats what could be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisTargetError {
    /// It holds a user or password, which do not belong into a configuration file.
    #[error("it holds a user or password")]
    HoldsSecret,
    /// The servers' users may not `SELECT`.
    #[error(
        "it names a database that servers' users may not SELECT; only 0 is used, and keyPrefix shares a Redis"
    )]
    Database,
    /// It is not of one of the forms.
    #[error(
        "{0}; expected redis://HOST:PORT, redis+sentinel://HOST:PORT,HOST:PORT/MASTER or \
         redis+cluster://HOST:PORT,HOST:PORT, and rediss for TLS"
    )]
    Form(&'static str),
}

impl RedisTarget {
    /// Parses `redis://host:port`, `redis+sentinel://host:port,host:port/master` or
    /// `redis+cluster://host:port,host:port`; `rediss` instead of `redis` is TLS. `redis+unix:///path` is a socket.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(url: &str) -> Result<Self, RedisTargetError> {
        let form = RedisTargetError::Form;
        let (scheme, rest) = url.split_once("://").ok_or(form("it has no scheme"))?;
        if rest.contains('@') {
            return Err(RedisTargetError::HoldsSecret);
        }
        if matches!(scheme, "redis+unix" | "unix") {
            let topology = Topology::Standalone(Address::Socket(PathBuf::from(rest)));
            return Ok(Self { tls: false, topology });
        }
        if rest.contains(['?', '#']) {
            return Err(form("it has parameters"));
        }
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (base, mode) = scheme.split_once('+').unwrap_or((scheme, ""));
        let tls = match base {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(form("its scheme is not one of Redis")),
        };
        let topology = match mode {
            "sentinel" => {
                let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
                if path.is_empty() || !path.chars().all(good) {
                    return Err(form("it does not name the Sentinels' master"));
                }
                Topology::Sentinel { sentinels: addresses(hosts, SENTINEL_PORT)?, master: path.to_owned() }
            }
            _ if !matches!(path, "" | "0") => return Err(RedisTargetError::Database),
            "cluster" => Topology::Cluster { nodes: addresses(hosts, REDIS_PORT)? },
            "" => Topology::Standalone(address(hosts, REDIS_PORT)?),
            _ => return Err(form("its scheme is not one of Redis")),
        };
        Ok(Self { tls, topology })
    }

    /// How many replicas acknowledge a claim where nobody says it: one where a replica can become the master.
    pub fn default_min_replicas(&self) -> u32 {
        u32::from(!matches!(self.topology, Topology::Standalone(_)))
    }
}

fn addresses(text: &str, port: u16) -> Result<Vec<Address>, RedisTargetError> {
    let all: Vec<&str> = text.split(',').collect();
    if all.len() > MAX_NODES {
        return Err(RedisTargetError::Form("it names more than 32 nodes"));
    }
    all.into_iter().map(|one| address(one, port)).collect()
}

fn address(text: &str, default_port: u16) -> Result<Address, RedisTargetError> {
    let bad = || RedisTargetError::Form("a host or port of it cannot be read");
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => {
            host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            (host, rest.strip_prefix(':').or(rest.is_empty().then_some("")).ok_or_else(bad)?)
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if host.is_empty() || host.len() > 253 || !host.chars().all(known) {
        return Err(bad());
    }
    let port = if port.is_empty() { default_port } else { port.parse().map_err(|_| bad())? };
    Ok(Address::Tcp { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn every_form_is_read() {
        let of = |url| RedisTarget::parse(url).unwrap();
        let one = |tls, address| RedisTarget { tls, topology: Topology::Standalone(address) };
        assert_eq!(of("redis://redis"), one(false, tcp("redis", 6379)));
        assert_eq!(of("rediss://redis.infra.svc:6380/0"), one(true, tcp("redis.infra.svc", 6380)));
        assert_eq!(of("redis://[::1]:7"), one(false, tcp("::1", 7)));
        assert_eq!(of("redis+unix:///run/r.sock"), one(false, Address::Socket("/run/r.sock".into())));
        let sentinels = vec![tcp("a", 26379), tcp("b", 5)];
        let topology = Topology::Sentinel { sentinels, master: "mymaster".to_owned() };
        assert_eq!(of("redis+sentinel://a,b:5/mymaster"), RedisTarget { tls: false, topology });
        let topology = Topology::Cluster { nodes: vec![tcp("a", 6379), tcp("b", 7)] };
        assert_eq!(of("rediss+cluster://a,b:7"), RedisTarget { tls: true, topology });
        assert_eq!(of("redis://r").default_min_replicas(), 0);
        assert_eq!(of("redis+cluster://r").default_min_replicas(), 1);
    }

    #[test]
    fn what_names_no_redis_is_refused_and_not_repeated() {
        for bad in [
            "",
            "redis",
            "http://h",
            "redis://",
            "redis://h:x",
            "redis://h:70000",
            "redis://a,b",
            "redis://h?protocol=resp3",
            "redis+sentinel://a",
            "redis+sentinel://a/",
            "redis+sentinel://a,/m",
            "redis+sentinel://a/m/n",
            "redis+cluster://",
            "redis+x://h",
            "redis://[::1",
            "redis://[x]:1",
        ] {
            assert!(matches!(RedisTarget::parse(bad), Err(RedisTargetError::Form(_))), "{bad}");
        }
        for secret in
            ["redis://u:hunter2@h", "redis+sentinel://:hunter2@a,b/m", "redis+cluster://a,u:hunter2@b"]
        {
            let error = RedisTarget::parse(secret).unwrap_err();
            assert_eq!(error, RedisTargetError::HoldsSecret);
            assert!(!error.to_string().contains("hunter2"));
        }
        assert_eq!(RedisTarget::parse("redis://h/1"), Err(RedisTargetError::Database));
        assert_eq!(RedisTarget::parse("redis+cluster://h/1"), Err(RedisTargetError::Database));
    }
}
