//! Opens the user's browser.

use std::process::{Command, Stdio};

/// Opens a page: with `$BROWSER` where it is set, else with what the desktop has. The address was printed before, so
/// a failure is no more than a hint.
pub(super) fn open(page: &str) {
    let named = std::env::var("BROWSER").ok().filter(|b| !b.is_empty());
    let candidates = named.into_iter().chain(["xdg-open", "open", "wslview"].map(str::to_owned));
    for program in candidates {
        let spawned = Command::new(&program)
            .arg(page)
            .stdin(Stdio::null())
            // The standard output is for the token alone.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        if let Ok(mut child) = spawned {
            std::thread::spawn(move || child.wait());
            return;
        }
    }
    eprintln!("(no browser could be opened: copy the address into one on this machine)\n");
}
