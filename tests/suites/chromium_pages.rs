//! What people see in Chromium. Pictures are kept in `target/tests/pictures`.

use e2e::{
    journeys::{
        by_keyboard_alone, every_page, every_page_of_a_document, every_page_of_a_provider,
        every_page_of_trouble, every_page_with_a_logo, whoever_is_denied,
    },
    webdriver::Kind,
};

#[tokio::test]
async fn every_page_is_readable_on_every_screen() {
    every_page(Kind::Chromium).await;
}

#[tokio::test]
async fn the_pages_of_a_provider_are_readable_on_every_screen() {
    every_page_of_a_provider(Kind::Chromium).await;
}

#[test]
fn nothing_here_can_call_out() {
    e2e::net::assert_no_way_out();
}

#[tokio::test]
async fn the_pages_of_trouble_are_readable_on_every_screen() {
    every_page_of_trouble(Kind::Chromium).await;
}

#[tokio::test]
async fn the_pages_of_clients_with_documents_are_readable_on_every_screen() {
    every_page_of_a_document(Kind::Chromium).await;
}

#[tokio::test]
async fn the_pages_with_a_logo_load_it_alone() {
    every_page_with_a_logo(Kind::Chromium).await;
}

#[tokio::test]
async fn whoever_is_denied_is_told_on_the_account_page() {
    whoever_is_denied(Kind::Chromium).await;
}

#[tokio::test]
async fn nobody_needs_a_mouse() {
    by_keyboard_alone(Kind::Chromium).await;
}
