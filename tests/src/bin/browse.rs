//! The user's browser as a program in the place of `xdg-open`: `browse URL` signs in and approves.
//!
//! `BROWSE_USER` is the user, `BROWSE_PASSWORD` the password (default: the user's name).

use std::process::ExitCode;

use e2e::{browser::Browser, net::eventually};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(url) = std::env::args().nth(1) else {
        eprintln!("usage: browse URL");
        return ExitCode::from(2);
    };
    let user = std::env::var("BROWSE_USER").unwrap_or_else(|_| "alice".to_owned());
    let password = std::env::var("BROWSE_PASSWORD").unwrap_or_else(|_| user.clone());
    let browser = Browser::with_password(&user, &password);
    // Who reads that sign-in is unavailable for the moment reloads the page.
    let page = eventually("a page that does not ask for patience", async || {
        Some(browser.sign_in(&url).await).filter(|page| page.status != 503)
    })
    .await;
    eprintln!("{} {}", page.status, page.url);
    if (200..300).contains(&page.status) {
        return ExitCode::SUCCESS;
    }
    eprintln!("{}", page.body);
    ExitCode::FAILURE
}
