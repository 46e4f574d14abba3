//! Bodies of requests to the endpoints whose senders are not known yet. The [`room`] of what has arrived is counted until
//! its request is answered, for the process, each network and each source, and nobody may send for ever: slow senders
//! hold what they sent, for a while, and nobody else back.

use std::{
    collections::HashMap,
    error::Error,
    iter,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Sleep;

use crate::{
    oauth::{OAuthError, source::Source},
    pieces::room,
};

/// How long a body may take to arrive: a form has a few hundred bytes.
const BODY_TIME: Duration = Duration::from_secs(10);
/// When too many bytes are held, some may soon be gone.
const CROWDED: Duration = Duration::from_secs(2);
/// One source has a quarter of all bytes: many users may share it.
const SOURCE: usize = 4;
/// One network has half of them: its sources are as many as it likes.
const NETWORK: usize = 2;
/// The large bodies of all leave a quarter to small ones.
const RESERVE: usize = 4;
/// The most bytes of a small body, as nearly every form is.
const SMALL: usize = 4 * 1024;

/// What is held of all bodies.
#[derive(Debug)]
pub struct Uploads {
    most: usize,
    time: Duration,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    /// Those of large bodies.
    large: usize,
    sources: Shares,
    networks: Shares,
}

type Shares = HashMap<String, usize>;

/// What one request holds of its body; given back when this is dropped.
#[derive(Debug)]
pub struct Upload {
    uploads: Arc<Uploads>,
    source: String,
    network: String,
    bytes: AtomicUsize,
}

/// Why a body is not read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too many bytes are held, of all senders, of this one or of its network.
    #[error("too many bytes of requests are held")]
    Crowded,
    /// It did not arrive in time.
    #[error("the body did not arrive in time")]
    Late,
}

impl From<Refused> for OAuthError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Crowded => Self::Unavailable { retry_after: CROWDED },
            Refused::Late => Self::TimedOut,
        }
    }
}

impl Uploads {
    /// At most so many bytes.
    pub fn new(most: usize) -> Self {
        Self { most, time: BODY_TIME, held: Mutex::default() }
    }

    /// The same with another time limit of a body, for tests.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// The request, whose body is counted as it is read, and what it holds of it.
    pub fn count(self: &Arc<Self>, request: Request) -> (Request, Arc<Upload>) {
        let source = request.extensions().get().copied().unwrap_or(Source(None));
        let upload = Arc::new(Upload {
            uploads: self.clone(),
            source: source.to_string(),
            network: source.network().to_string(),
            bytes: AtomicUsize::default(),
        });
        if request.body().is_end_stream() {
            return (request, upload);
        }
        let end = Box::pin(tokio::time::sleep(self.time));
        let counted = |inner| Body::new(Counted { inner, upload: upload.clone(), arrived: 0, end });
        (request.map(counted), upload)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    /// Holds so many bytes in all. Nobody else changes what this holds meanwhile: a request has one body.
    fn hold(&self, bytes: usize) -> Result<(), Refused> {
        let before = self.bytes.load(Ordering::Relaxed);
        let more = bytes.saturating_sub(before);
        if more == 0 {
            return Ok(());
        }
        let (most, mut held) = (self.uploads.most, self.uploads.lock());
        let share = |shares: &Shares, of: &str| shares.get(of).copied().unwrap_or_default() + more;
        let source = share(&held.sources, &self.source);
        let network = share(&held.networks, &self.network);
        // One that grows beyond a small one leaves the reserve as a whole.
        let large = held.large + large(bytes) - large(before);
        let fits = held.bytes + more <= most
            && large <= most - most / RESERVE
            && network <= most / NETWORK
            && source <= most / SOURCE;
        if !fits {
            return Err(Refused::Crowded);
        }
        held.bytes += more;
        held.large = large;
        held.sources.insert(self.source.clone(), source);
        held.networks.insert(self.network.clone(), network);
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}

/// What a body of so many bytes takes from the room of large ones.
fn large(bytes: usize) -> usize {
    if bytes > SMALL { bytes } else { 0 }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        let mut held = self.uploads.lock();
        let held = &mut *held;
        held.bytes -= bytes;
        held.large -= large(bytes);
        for (shares, of) in [(&mut held.sources, &self.source), (&mut held.networks, &self.network)] {
            if let Some(share) = shares.get_mut(of) {
                *share -= bytes;
                if *share == 0 {
                    shares.remove(of);
                }
            }
        }
    }
}

/// A body of which every piece is held as it comes.
struct Counted {
    inner: Body,
    upload: Arc<Upload>,
    arrived: usize,
    end: Pin<Box<Sleep>>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.arrived += frame.data_ref().map_or(0, Bytes::len);
                let held = self.upload.hold(room(self.arrived));
                Poll::Ready(Some(held.map(|()| frame).map_err(Into::into)))
            }
            Poll::Ready(ended) => Poll::Ready(ended.map(|failed| failed.map_err(Into::into))),
            Poll::Pending => self.end.as_mut().poll(cx).map(|()| Some(Err(Refused::Late.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Why a body was not read to its end, if that is what the error says.
pub fn refusal(error: &(dyn Error + 'static)) -> Option<Refused> {
    iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref().copied())
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::BodyExt;

    use super::*;

    fn upload(uploads: &Arc<Uploads>, ip: &str) -> Arc<Upload> {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(Source(Some(ip.parse().unwrap())));
        uploads.count(request).1
    }

    #[tokio::test]
    async fn what_is_held_of_a_body_is_the_room_of_what_arrived() {
        let uploads = Arc::new(Uploads::new(64 * 1024));
        let pieces = stream::iter((0..3).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[7; 1000]))));
        let (request, upload) = uploads.count(Request::new(Body::from_stream(pieces)));
        let mut body = request.into_body();
        for arrived in [1000, 2000, 3000] {
            body.frame().await.unwrap().unwrap();
            assert_eq!(
                (upload.bytes.load(Ordering::Relaxed), uploads.lock().bytes),
                (room(arrived), room(arrived))
            );
        }
        assert!(room(1000) > 1000);
    }

    #[test]
    fn a_source_has_its_share_and_all_together_the_whole() {
        let uploads = Arc::new(Uploads::new(40));
        let (first, same) = (upload(&uploads, "2001:db8::1"), upload(&uploads, "2001:db8::2"));
        assert_eq!((first.hold(6), same.hold(5), same.hold(4)), (Ok(()), Err(Refused::Crowded), Ok(())));
        let others: Vec<_> = (1..=3).map(|n| upload(&uploads, &format!("203.0.{n}.1"))).collect();
        assert!(others.iter().all(|other| other.hold(10).is_ok()));
        let late = upload(&uploads, "198.51.100.9");
        assert_eq!(late.hold(1), Err(Refused::Crowded));
        drop(same);
        assert_eq!((first.hold(11), late.hold(4)), (Err(Refused::Crowded), Ok(())));
        drop((first, others, late));
        nothing_is_held(&uploads);
    }

    #[test]
    fn a_network_has_half_however_many_sources_it_has() {
        let uploads = Arc::new(Uploads::new(40));
        for networks in [
            ["2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1"],
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"],
        ] {
            let [first, second, third] = networks.map(|ip| upload(&uploads, ip));
            assert_eq!((first.hold(10), second.hold(9)), (Ok(()), Ok(())));
            assert_eq!((third.hold(2), third.hold(1)), (Err(Refused::Crowded), Ok(())));
            let other = upload(&uploads, "198.51.100.9");
            assert_eq!(other.hold(10), Ok(()));
        }
        nothing_is_held(&uploads);
    }

    #[test]
    fn large_bodies_leave_room_for_small_ones() {
        let uploads = Arc::new(Uploads::new(16 * SMALL));
        let ips: Vec<_> = (1..=4).map(|n| format!("203.0.{n}.1")).collect();
        let [first, second, third, fourth] = [0, 1, 2, 3].map(|n| upload(&uploads, &ips[n]));
        assert!([&first, &second, &third].iter().all(|large| large.hold(4 * SMALL).is_ok()));
        assert_eq!((fourth.hold(SMALL), fourth.hold(SMALL + 1)), (Ok(()), Err(Refused::Crowded)));
        let small: Vec<_> = (0..3).map(|_| upload(&uploads, &ips[3])).collect();
        assert!(small.iter().all(|small| small.hold(SMALL).is_ok()));
        assert_eq!(upload(&uploads, "198.51.100.9").hold(1), Err(Refused::Crowded));
        drop(first);
        drop(small);
        assert_eq!(fourth.hold(4 * SMALL), Ok(()));
        drop((second, third, fourth));
        nothing_is_held(&uploads);
    }

    fn nothing_is_held(uploads: &Uploads) {
        let held = uploads.lock();
        let shares = held.sources.len() + held.networks.len();
        assert_eq!((held.bytes, held.large, shares), (0, 0, 0), "{held:?}");
    }
}
