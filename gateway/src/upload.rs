//! Bodies of requests to the endpoints whose senders are not known yet. The [`room`] of what has arrived is counted until
//! its request is answered, for the process and for each source, and nobody may send for ever: slow senders hold what
//! they sent, for a while, and nobody else back.

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
const SHARES: usize = 4;

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
    sources: HashMap<String, usize>,
}

/// What one request holds of its body; given back when this is dropped.
#[derive(Debug)]
pub struct Upload {
    uploads: Arc<Uploads>,
    source: String,
    bytes: AtomicUsize,
}

/// Why a body is not read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too many bytes are held, of all senders or of this one.
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
        let more = bytes.saturating_sub(self.bytes.load(Ordering::Relaxed));
        if more == 0 {
            return Ok(());
        }
        let mut held = self.uploads.lock();
        let share = held.sources.get(&self.source).copied().unwrap_or_default() + more;
        if held.bytes + more > self.uploads.most || share > self.uploads.most / SHARES {
            return Err(Refused::Crowded);
        }
        held.bytes += more;
        held.sources.insert(self.source.clone(), share);
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        let mut held = self.uploads.lock();
        held.bytes -= bytes;
        if let Some(share) = held.sources.get_mut(&self.source) {
            *share -= bytes;
            if *share == 0 {
                held.sources.remove(&self.source);
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
        let others: Vec<_> = (1..=3).map(|n| upload(&uploads, &format!("203.0.113.{n}"))).collect();
        assert!(others.iter().all(|other| other.hold(10).is_ok()));
        let late = upload(&uploads, "203.0.113.9");
        assert_eq!(late.hold(1), Err(Refused::Crowded));
        drop(same);
        assert_eq!((first.hold(11), late.hold(4)), (Err(Refused::Crowded), Ok(())));
        drop((first, others, late));
        let held = uploads.lock();
        assert!(held.bytes == 0 && held.sources.is_empty(), "{held:?}");
    }
}
