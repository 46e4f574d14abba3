//! The server's keys at work: sealing, authenticating, naming users.
//!
//! A key opens as soon as it is listed, and the newest whose `sealFrom` has passed seals, so a reload never meets a
//! value that it cannot open. A key id that is not listed is looked for in the file, once more; what a stranger shows
//! under one is made up, unless the file could not be read: a key seals only ten minutes after it was listed.

mod mac;
mod seal;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use gatehouse_gateway_config::{
    keys::{Keyring, RingKey, sealing},
    mac::hmac,
};

pub use mac::{Mac16, Mac32};
pub use seal::{OpenError, Sealed, open_for, seal_for};
use zeroize::Zeroizing;

use crate::{
    clock::Clock,
    model::{Profile, UserId},
};

/// The purposes that have a ring of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ring {
    /// Upstream credentials and profiles.
    Credential,
    /// Client ids and client secrets.
    Client,
    /// Records and refresh tokens.
    Record,
    /// Upstream state, sessions, MCP session ids.
    Session,
}

/// The file is read at most this often because of keys that are not listed: anybody can make up an id.
const REREAD: Duration = Duration::from_secs(1);
/// A ring that was last read longer ago may lack a key under which another replica seals: long enough that a file which
/// is being swapped is none, and far shorter than a key is listed before it seals.
const STALE: Duration = Duration::from_secs(60);

/// The current key ring; a reload swaps it as a whole.
#[derive(Debug, Clone)]
pub struct Keys {
    ring: Arc<RwLock<Arc<Keyring>>>,
    clock: Arc<dyn Clock>,
    source: Arc<Source>,
}

/// The file behind the ring, if there is one. Times are by the monotonic clock.
#[derive(Debug, Default)]
struct Source {
    file: OnceLock<PathBuf>,
    /// When it was last read on demand.
    asked: Mutex<Option<Duration>>,
    /// When a ring of this server last came from it.
    good: Mutex<Duration>,
}

impl Keys {
    /// Keys that start with `ring`.
    pub fn new(ring: Keyring, clock: Arc<dyn Clock>) -> Self {
        let source = Source { good: Mutex::new(clock.monotonic()), ..Source::default() };
        Self { ring: Arc::new(RwLock::new(Arc::new(ring))), clock, source: Arc::new(source) }
    }

    /// Names the file that the ring came from: it is read again at once when a value names the key that comes next.
    pub fn follow(&self, file: PathBuf) {
        // A second call would name the same file.
        let _ = self.source.file.set(file);
    }

    /// The instance id, part of every store key. It never changes while the process lives.
    pub fn instance(&self) -> String {
        self.current().instance.clone()
    }

    /// Takes the ring that is in the file now. One of another instance is refused: its records are another server's.
    pub fn replace(&self, ring: Keyring) -> bool {
        let mut current = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        if current.instance != ring.instance || current.user != ring.user {
            return false;
        }
        *current = Arc::new(ring);
        *self.source.good.lock().unwrap_or_else(PoisonError::into_inner) = self.clock.monotonic();
        true
    }

    /// The name of a user: `HMAC(K_user, identity id ‖ 0 ‖ immutable subject)`.
    pub fn user_id(&self, identity: &str, profile: &Profile) -> UserId {
        let ring = self.current();
        let mac = hmac(ring.user.expose(), "user", &[identity.as_bytes(), profile.subject.as_bytes()]);
        UserId::from_bytes(mac)
    }

    fn current(&self) -> Arc<Keyring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key that seals now, or the first one when none has come into force.
    fn sealing(&self, ring: Ring) -> RingKey {
        let now = self.clock.unix();
        let current = self.current();
        let keys = ring.of(&current);
        // A parsed ring holds at least one key in each ring.
        sealing(keys, now).unwrap_or(&keys[0]).clone()
    }

    fn by_id(&self, ring: Ring, id: u8) -> Option<RingKey> {
        let listed = || ring.of(&self.current()).iter().find(|k| k.id == id).cloned();
        listed().or_else(|| {
            if self.is_next(ring, id) {
                self.reread();
            }
            listed()
        })
    }

    /// Why a value that somebody shows does not open, which names this key and fits no listed one:
    /// [`OpenError::UnknownKey`] only where another replica may have sealed it, under the key that comes next in a file
    /// which this one cannot read. Else it is made up.
    pub fn not_opened(&self, ring: Ring, id: u8) -> OpenError {
        let good = *self.source.good.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = self.source.file.get().is_some() && self.clock.monotonic() >= good + STALE;
        if stale && self.is_next(ring, id) { OpenError::UnknownKey } else { OpenError::Invalid }
    }

    /// Whether `id` is that of the key which this ring will list next. The ids of a ring count up, so any other that is
    /// not listed was dropped, or never was.
    fn is_next(&self, ring: Ring, id: u8) -> bool {
        ring.of(&self.current()).iter().map(|key| key.id).max().and_then(|last| last.checked_add(1))
            == Some(id)
    }

    /// Reads the file again, if there is one and that was not done a moment ago. Whoever comes meanwhile waits: the key
    /// that they ask for may be in it.
    fn reread(&self) {
        let Some(file) = self.source.file.get() else { return };
        let now = self.clock.monotonic();
        let mut asked = self.source.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_some_and(|asked| now < asked + REREAD) {
            return;
        }
        *asked = Some(now);
        // A few hundred bytes of a mounted volume in memory: the reading thread does not wait for a disk.
        let bytes = std::fs::read(file).map(Zeroizing::new).ok();
        if let Some(ring) = bytes.and_then(|bytes| Keyring::parse(&bytes).ok()) {
            self.replace(ring);
        }
    }
}

impl Ring {
    fn of(self, ring: &Keyring) -> &[RingKey] {
        match self {
            Self::Credential => &ring.credential,
            Self::Client => &ring.client,
            Self::Record => &ring.record,
            Self::Session => &ring.session,
        }
    }
}
