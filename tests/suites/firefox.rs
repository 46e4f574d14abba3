//! Firefox through sign-in and consent. Pictures of the pages are kept in `target/tests/pictures`.

use e2e::{
    journeys::{every_page, every_page_with_a_logo},
    webdriver::Kind,
};

e2e::journeys!(Kind::Firefox);

#[tokio::test]
async fn every_page_is_readable_on_every_screen() {
    every_page(Kind::Firefox).await;
}

#[tokio::test]
async fn the_pages_with_a_logo_load_it_alone() {
    every_page_with_a_logo(Kind::Firefox).await;
}

#[test]
fn nothing_here_can_call_out() {
    e2e::net::assert_no_way_out();
}
