//! How much one process takes on at once. Every bound is on what a stranger, or one user, could make us hold: beyond
//! it a request is refused with `Retry-After`, which costs little, instead of the process being killed for its memory.

/// The most bytes of a request's line and headers: the longest query that is read, and cookies and tokens beside it.
pub const HEADER_BYTES: usize = 32 * 1024;
/// What is assumed where no limit can be read.
const ASSUMED_MEMORY: usize = 256 * MIB;
const MIB: usize = 1024 * 1024;

/// The bounds of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Connections: a quarter of the memory, were all of them to hold [`HEADER_BYTES`]. Further ones wait in the
    /// kernel's queue, and one address that is no trusted proxy's has at most half of them.
    pub connections: usize,
    /// Bytes of calls that wait for a backend's answer: a quarter of the memory.
    pub call_bytes: usize,
    /// The part of [`Self::call_bytes`] that one user may hold: a quarter.
    pub user_call_bytes: usize,
    /// Calls and streams of one user at once.
    pub user_calls: usize,
    /// Bytes of requests to the other endpoints, whose senders are not known yet: a sixteenth of the memory. One source,
    /// and one network, has a part of it, see [`crate::upload`].
    pub form_bytes: usize,
}

impl Capacity {
    /// What fits into `memory` bytes.
    pub fn of_memory(memory: usize) -> Self {
        let call_bytes = (memory / 4).clamp(32 * MIB, 1024 * MIB);
        Self {
            connections: (memory / 4 / HEADER_BYTES).clamp(1024, 32_768),
            call_bytes,
            user_call_bytes: call_bytes / 4,
            user_calls: 128,
            form_bytes: (memory / 16).clamp(4 * MIB, 256 * MIB),
        }
    }

    /// What fits into the memory that the container may use.
    pub fn detect() -> Self {
        // Version 2 of control groups, then version 1.
        let files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
        let limit = files.iter().find_map(|file| read_limit(&std::fs::read_to_string(file).ok()?));
        Self::of_memory(limit.unwrap_or(ASSUMED_MEMORY))
    }
}

/// The content of a control group's file; `None`: there is no limit.
fn read_limit(text: &str) -> Option<usize> {
    // Without a limit, version 2 says `max` and version 1 a number that no machine has.
    text.trim().parse().ok().filter(|limit| *limit < 1 << 50)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_fit_into_the_memory() {
        for mebibytes in [128, 256, 1024, 4096] {
            let memory = mebibytes * MIB;
            let Capacity { connections, call_bytes, user_call_bytes, user_calls, form_bytes } =
                Capacity::of_memory(memory);
            assert!(connections * HEADER_BYTES + call_bytes + form_bytes <= memory * 9 / 16, "{mebibytes}");
            // One call of the largest size, and many users, always fit.
            assert!(user_call_bytes >= 8 * MIB && call_bytes >= 4 * user_call_bytes, "{mebibytes}");
            assert!(
                connections >= 8 * user_calls && form_bytes >= 64 * crate::oauth::MAX_BODY,
                "{mebibytes}"
            );
        }
    }

    #[test]
    fn a_limit_is_read_in_both_versions() {
        assert_eq!(read_limit("268435456\n"), Some(268_435_456));
        for none in ["max\n", "9223372036854771712\n", "", "x"] {
            assert_eq!(read_limit(none), None, "{none:?}");
        }
    }
}
