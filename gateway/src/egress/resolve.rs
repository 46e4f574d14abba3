//! Names to addresses.

use std::{io, net::IpAddr, path::Path};

use async_trait::async_trait;

/// Resolves host names; tests bring their own.
#[async_trait]
pub trait Resolve: Send + Sync + std::fmt::Debug {
    /// The addresses of `host`, in the order in which they are tried. With a dot at its end it is meant as it is; else
    /// the search domains of the system come first.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        // The C library does not look for a name with its dot in the file of hosts.
        if let Some(name) = host.strip_suffix('.') {
            let found = in_hosts(Path::new("/etc/hosts"), name).await;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        // The port is no part of the question.
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|found| found.ip()).collect())
    }
}

/// What hosts(5) says of a name: `localhost`, and a pod's `hostAliases`.
async fn in_hosts(file: &Path, name: &str) -> Vec<IpAddr> {
    // Where there is no such file, nothing stands in it.
    let text = tokio::fs::read_to_string(file).await.unwrap_or_default();
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let of_line = |line: &str| {
        let (address, names) = line.trim().split_once(char::is_whitespace)?;
        let named = names.split_whitespace().any(|found| found.eq_ignore_ascii_case(name));
        address.parse().ok().filter(|_| named)
    };
    lines.filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_of_hosts_is_read_for_absolute_names() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "# 10.0.0.9 a.test\n127.0.0.1\tlocalhost\n10.0.0.1  b.test A.test # c.test\n::1 a.test\nx a.test\n";
        std::fs::write(file.path(), text).unwrap();
        let found = async |name| {
            let found = in_hosts(file.path(), name).await;
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(found("a.test").await, ["10.0.0.1", "::1"]);
        assert_eq!(found("localhost").await, ["127.0.0.1"]);
        for none in ["c.test", "test", "a", ""] {
            assert!(found(none).await.is_empty(), "{none}");
        }
        assert!(in_hosts(Path::new("/nonexistent"), "a.test").await.is_empty());
    }
}
