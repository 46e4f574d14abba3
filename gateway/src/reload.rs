//! Secrets change without a roll-out: mounted files are read again every five seconds, and the last good value stays.

use std::{path::PathBuf, sync::Arc, time::Duration};

use gatehouse_gateway_config::keys::Keyring;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{keys::Keys, metrics::Metrics, refs::MountedRefs};

/// How often files are read.
const EVERY: Duration = Duration::from_secs(5);

/// The files behind a gateway's secrets.
#[derive(Debug, Clone)]
pub struct Mounted {
    /// The key ring.
    pub keyring: PathBuf,
    /// The referenced Secrets and ConfigMaps.
    pub refs: Arc<MountedRefs>,
}

/// Follows the files until `stop`.
pub async fn run(mounted: Mounted, keys: Keys, metrics: Arc<Metrics>, stop: CancellationToken) {
    keys.follow(mounted.keyring.clone());
    let mut follower = Follower { mounted, keys, metrics, seen: None };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        follower.poll();
    }
}

/// What was read last.
struct Follower {
    mounted: Mounted,
    keys: Keys,
    metrics: Arc<Metrics>,
    seen: Option<Zeroizing<Vec<u8>>>,
}

impl Follower {
    fn poll(&mut self) {
        for key in self.mounted.refs.poll() {
            self.metrics.reloads.inc();
            tracing::info!(%key, "took in a changed value");
        }
        let Ok(bytes) = std::fs::read(&self.mounted.keyring).map(Zeroizing::new) else {
            // The kubelet swaps files; what is missing now stays as it was.
            return;
        };
        let changed = self.seen.as_ref() != Some(&bytes);
        let first = self.seen.is_none();
        // Taken also when it is the same: that it was there counts.
        match Keyring::parse(&bytes).map(|ring| self.keys.replace(ring)) {
            Ok(true) if changed && !first => {
                self.metrics.reloads.inc();
                tracing::info!("took in a changed key ring");
            }
            Ok(false) if changed => {
                tracing::error!("the key ring is another server's: it is refused, the last one stays");
            }
            Err(error) if changed => {
                tracing::error!(%error, "the key ring is refused, the last good one stays");
            }
            Ok(_) | Err(_) => {}
        }
        self.seen = Some(bytes);
    }
}

#[cfg(test)]
mod tests {
    use gatehouse_gateway_config::keys::{KeyBytes, RingKey};
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::{
        clock::{ManualClock, SeededEntropy},
        keys::{OpenError, Ring, Sealed},
    };

    #[test]
    fn a_changed_key_ring_is_taken_in_and_a_bad_one_is_not() {
        let dir = std::env::temp_dir().join(format!("gatehouse-reload-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("keyring.json");
        let mut rng = StdRng::seed_from_u64(1);
        let mut ring = Keyring::generate(&mut rng);
        let clock = ManualClock::at(1_000);
        let keys = Keys::new(ring.clone(), Arc::new(clock.clone()));
        let mounted = Mounted { keyring: path.clone(), refs: Arc::new(MountedRefs::new(&dir)) };
        let metrics = Arc::new(Metrics::new("team-a", "tools"));
        let mut follower = Follower { mounted, keys: keys.clone(), metrics: metrics.clone(), seen: None };

        std::fs::write(&path, ring.to_json()).unwrap();
        follower.poll();
        assert_eq!(metrics.reloads.get(), 0);
        ring.session.push(RingKey { id: 2, key: KeyBytes::generate(&mut rng), seal_from: 900 });
        std::fs::write(&path, ring.to_json()).unwrap();
        follower.poll();
        assert_eq!((metrics.reloads.get(), keys.sealing_id(Ring::Session)), (1, 2));

        // A value sealed by a replica that read the file before this one.
        ring.session.push(RingKey { id: 3, key: KeyBytes::generate(&mut rng), seal_from: 950 });
        let ahead = Keys::new(ring.clone(), Arc::new(ManualClock::at(1_000)));
        let sealed = ahead.seal(&SeededEntropy::new(1), Ring::Session, "x", &[], b"plain");
        keys.follow(path.clone());
        assert!(
            keys.open_presented(Ring::Session, "x", &[], &sealed).is_err(),
            "the file does not list the key"
        );
        std::fs::write(&path, ring.to_json()).unwrap();
        assert!(keys.open(Ring::Session, "x", &[], &sealed).is_err(), "the file was read a moment ago");
        clock.advance(Duration::from_secs(1));
        assert_eq!(keys.open(Ring::Session, "x", &[], &sealed).unwrap().as_slice(), b"plain");
        follower.poll();

        for bad in ["{".to_owned(), Keyring::generate(&mut rng).to_json()] {
            std::fs::write(&path, bad).unwrap();
            follower.poll();
            assert_eq!((metrics.reloads.get(), keys.sealing_id(Ring::Session)), (2, 3));
        }
        std::fs::remove_dir_all(&dir).unwrap();
        follower.poll();
        assert_eq!(keys.sealing_id(Ring::Session), 3);
    }

    #[test]
    fn a_value_under_the_next_key_is_made_up_unless_the_file_could_not_be_read() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("keyring.json");
        let mut rng = StdRng::seed_from_u64(1);
        let ring = Keyring::generate(&mut rng);
        let clock = ManualClock::at(1_000);
        let keys = Keys::new(ring.clone(), Arc::new(clock.clone()));
        let mounted = Mounted { keyring: path.clone(), refs: Arc::new(MountedRefs::new(dir.path())) };
        let metrics = Arc::new(Metrics::new("team-a", "tools"));
        let mut follower = Follower { mounted, keys: keys.clone(), metrics, seen: None };
        let under = |id: u8| {
            let sealed = keys.seal(&SeededEntropy::new(1), Ring::Session, "x", &[], b"plain");
            let mut bytes = sealed.as_bytes().to_vec();
            bytes[0] = id;
            keys.open_presented(Ring::Session, "x", &[], &Sealed::from_bytes(bytes)).unwrap_err()
        };
        clock.advance(Duration::from_secs(3600));
        assert_eq!(under(2), OpenError::Invalid, "there is no file");
        keys.follow(path.clone());
        let states = [
            (None, OpenError::UnknownKey),
            (Some(ring.to_json()), OpenError::Invalid),
            (Some("{".to_owned()), OpenError::UnknownKey),
            (Some(ring.to_json()), OpenError::Invalid),
            (Some(Keyring::generate(&mut rng).to_json()), OpenError::UnknownKey),
        ];
        for (text, expected) in states {
            match &text {
                Some(text) => std::fs::write(&path, text).unwrap(),
                None => assert!(!path.exists()),
            }
            for wait in [59, 1] {
                clock.advance(Duration::from_secs(wait));
                follower.poll();
                let found = under(2);
                assert!(
                    found == expected || wait == 59 && found == OpenError::Invalid,
                    "{text:?}: {found:?}"
                );
                assert_eq!([under(0), under(3), under(255)], [OpenError::Invalid; 3], "{text:?}");
            }
        }
        // The file was there when it was looked at, whether or not there was anything new in it.
        std::fs::write(&path, ring.to_json()).unwrap();
        follower.poll();
        clock.advance(Duration::from_secs(60));
        follower.poll();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(under(2), OpenError::Invalid);
    }
}
