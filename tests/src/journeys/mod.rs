//! What users do in a browser, written once for every browser.

mod account;
mod documents;
mod elsewhere;
mod https;
mod landings;
mod logo;
mod pages;
mod policy;
mod visits;
mod world;

pub use self::{
    account::{by_keyboard_alone, disconnect_and_sign_out, reload_back_and_a_second_tab},
    documents::every_page_of_a_document,
    elsewhere::another_site_decides_nothing,
    https::at_an_https_issuer,
    landings::every_landing,
    logo::every_page_with_a_logo,
    pages::{every_page, every_page_of_a_provider, every_page_of_trouble, whoever_is_denied},
    policy::form_action,
    visits::pages_are_opened_and_not_loaded,
    world::Identity,
};
use crate::webdriver::WebDriver;

/// The consent page's links.
pub const APPROVE: &str = "#approve";
const DENY: &str = "#deny";
/// The field of a provider's form.
const LOGIN: &str = "input[name=login]";
/// What a flow says that is over.
const FINISHED: &str = "You are signed in";
/// The account page's way to sign in.
const TO_SIGN_IN: &str = "a.button.main";
/// What the account page of somebody who is signed in has.
const SIGN_OUT: &str = "#sign-out";

/// Fills the sign-in form of users of the gateway's own.
pub async fn sign_in(browser: &WebDriver, user: &str, password: &str) {
    browser.fill("#username", user).await;
    browser.fill("#password", password).await;
    browser.click("#signin").await;
}

/// A test for each journey, in the browser `$kind`.
#[macro_export]
macro_rules! journeys {
    ($kind:expr) => {
        #[tokio::test]
        async fn users_of_our_own_arrive_at_every_kind_of_client() {
            $crate::journeys::every_landing($kind, $crate::journeys::Identity::Local).await;
        }

        #[tokio::test]
        async fn users_of_github_arrive_at_every_kind_of_client() {
            $crate::journeys::every_landing($kind, $crate::journeys::Identity::GitHub).await;
        }

        #[tokio::test]
        async fn users_of_openid_connect_arrive_at_every_kind_of_client() {
            $crate::journeys::every_landing($kind, $crate::journeys::Identity::Oidc).await;
        }

        #[tokio::test]
        async fn users_arrive_at_an_https_issuer_whose_cookies_are_its_own() {
            $crate::journeys::at_an_https_issuer($kind).await;
        }

        #[tokio::test]
        async fn what_form_action_does_to_redirects_is_known() {
            $crate::journeys::form_action($kind).await;
        }

        #[tokio::test]
        async fn a_user_disconnects_a_client_and_signs_out() {
            $crate::journeys::disconnect_and_sign_out($kind).await;
        }

        #[tokio::test]
        async fn another_site_decides_nothing_of_a_user() {
            $crate::journeys::another_site_decides_nothing($kind).await;
        }

        #[tokio::test]
        async fn pages_open_from_another_site_that_cannot_load_them() {
            $crate::journeys::pages_are_opened_and_not_loaded($kind).await;
        }

        #[tokio::test]
        async fn reload_back_and_a_second_tab_leave_consent_working() {
            $crate::journeys::reload_back_and_a_second_tab($kind).await;
        }
    };
}
