//! Which program the suites start as Redis.

use std::ffi::OsString;

/// That of `GATEHOUSE_REDIS_SERVER`, such as Valkey's, or `redis-server`.
pub fn program() -> OsString {
    std::env::var_os("GATEHOUSE_REDIS_SERVER").unwrap_or_else(|| "redis-server".into())
}
