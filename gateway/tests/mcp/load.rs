//! What calls may hold while they are under way.

use std::sync::Arc;

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::Semaphore;

use super::kit::{Kit, until};

/// How many calls of one user are served at once.
const USER_CALLS: usize = 128;

#[tokio::test]
async fn one_users_slow_calls_leave_room_for_the_others() {
    let kit = Kit::start().await;
    let (alice, bob) = (kit.sign_in("1").await, kit.sign_in("2").await);
    let go = Arc::new(Semaphore::new(0));
    let waits = go.clone();
    kit.backend.answer_with(move |seen| {
        let waits = waits.clone();
        Box::pin(async move {
            if seen.header("authorization") == Some("Bearer upstream-1") {
                waits.acquire().await.unwrap().forget();
            }
            super::backend::answer(
                200,
                "application/json",
                r#"{"jsonrpc":"2.0","id":7,"result":{}}"#.to_owned(),
            )
            .await
        })
    });
    let mut slow: FuturesUnordered<_> = (0..USER_CALLS).map(|_| kit.call(&alice)).collect();
    let all_there = until(async || kit.backend.seen().len() == USER_CALLS);
    tokio::select! {
        _ = slow.next() => panic!("nobody was told to go on"),
        () = all_there => {}
    }
    let refused = kit.call(&alice).await;
    assert_eq!(refused.error(), (429, -32053), "{refused:?}");
    assert_eq!(refused.header("retry-after"), "2");
    assert_eq!(kit.call(&bob).await.status, 200);
    go.add_permits(USER_CALLS);
    while let Some(answer) = slow.next().await {
        assert_eq!(answer.status, 200);
    }
    go.add_permits(1);
    assert_eq!(kit.call(&alice).await.status, 200);
}
