//! Firefox through sign-in and consent. Pictures of the pages are kept in `target/tests/pictures`.

use e2e::{journeys::every_page, webdriver::Kind};

e2e::journeys!(Kind::Firefox);

#[tokio::test]
async fn every_page_is_readable_on_every_screen() {
    every_page(Kind::Firefox).await;
}

#[test]
fn nothing_here_can_call_out() {
    e2e::net::assert_no_way_out();
}
