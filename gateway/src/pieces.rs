//! Bodies that are read as a whole. Each piece is copied into one buffer as it comes: a piece of a body in chunks is as
//! small as its sender likes, costs more than its bytes to keep, and keeps the connection's buffer that it lies in.

use std::pin::pin;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;

/// The least room that is taken for a body.
const LEAST: usize = 256;

/// The room of a buffer for so many bytes: at most an eighth more of what is long. It grows in few steps, so that one
/// byte after the other costs a lock and a copy now and then.
pub fn room(bytes: usize) -> usize {
    bytes.next_multiple_of((bytes.next_power_of_two() / 16).max(LEAST))
}

/// Adds a piece to what came before, in the [`room`] of both.
pub fn append(whole: &mut Vec<u8>, piece: &[u8]) {
    let length = whole.len() + piece.len();
    if length > whole.capacity() {
        whole.reserve_exact(room(length) - whole.len());
    }
    whole.extend_from_slice(piece);
}

/// Reads a body to its end.
///
/// # Errors
/// Those of the body, which bounds how long it is.
pub async fn read<B: Body<Data = Bytes>>(body: B) -> Result<Vec<u8>, B::Error> {
    let mut body = pin!(body);
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame?.into_data() {
            append(&mut whole, &piece);
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc};

    use futures::{FutureExt, StreamExt, stream};
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    #[test]
    fn room_is_little_more_than_what_is_in_it_and_grows_in_few_steps() {
        let rooms: std::collections::BTreeSet<_> = (1..=64 * 1024).map(room).collect();
        assert!(rooms.len() < 64, "{rooms:?}");
        for bytes in (0..=4 * 1024 * 1024).step_by(97) {
            assert!(room(bytes) >= bytes && room(bytes) <= bytes + bytes / 8 + LEAST, "{bytes}");
        }
        assert_eq!((room(0), room(1), room(4096), room(4 * 1024 * 1024)), (0, LEAST, 4096, 4 * 1024 * 1024));
    }

    #[test]
    fn a_buffer_has_the_room_of_what_is_in_it() {
        let mut whole = Vec::new();
        for length in 1..=5000 {
            append(&mut whole, b"x");
            assert_eq!((whole.len(), whole.capacity()), (length, room(length)));
        }
    }

    #[test]
    fn no_piece_is_kept_while_others_come() {
        let piece: Arc<[u8]> = b"x".as_slice().into();
        let ours = piece.clone();
        let pieces =
            stream::repeat_with(move || Ok::<_, Infallible>(Frame::data(Bytes::from_owner(ours.clone()))));
        let mut reading = Box::pin(read(StreamBody::new(pieces.take(1000).chain(stream::pending()))));
        assert_eq!((&mut reading).now_or_never(), None);
        assert_eq!(Arc::strong_count(&piece), 1, "all came, and went");
    }
}
