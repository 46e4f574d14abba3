//! What a client keeps on this machine from earlier: `~/.mcp-auth` of `mcp-remote`.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, header};
use md5::{Digest, Md5};
use serde::Deserialize;

use super::{
    finding::{Check, Client},
    issuer::Issuer,
    visit::Visit,
};

/// How many versions of `mcp-remote` are looked at.
const MOST: usize = 32;

/// A stored registration, as far as we need it.
#[derive(Deserialize)]
struct Saved {
    client_id: String,
    #[serde(default)]
    redirect_uris: Vec<String>,
}

/// Asks the server about every registration that `mcp-remote` keeps for this URL.
pub(super) async fn check(visit: &mut Visit, issuer: &Issuer, home: Option<&Path>) {
    let Some(endpoint) = &issuer.authorization_endpoint else { return };
    let mcp = visit.url.to_string();
    for (file, saved) in home.into_iter().flat_map(|home| registrations(home, &mcp)) {
        let Some(redirect_uri) = saved.redirect_uris.first() else { continue };
        let mut page = endpoint.clone();
        page.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &saved.client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
            .append_pair("code_challenge_method", "S256")
            .append_pair("state", "gatehouse-doctor");
        let accept = [(header::ACCEPT, "text/html")];
        let answer = visit.once(Method::GET, &page, &accept, Bytes::new()).await;
        if answer.is_ok_and(|a| a.status.is_client_error()) {
            visit.report.fault(
                Check::Saved,
                &[Client::McpRemote],
                format!("mcp-remote keeps a registration for this URL that the server no longer knows: {}", file.display()),
                "rm -rf ~/.mcp-auth (in Claude Code: /mcp, then Clear authentication). The next start registers anew.",
            );
        } else {
            visit.report.good(Check::Saved, format!("{} is still good", file.display()));
        }
    }
}

/// What `mcp-remote` calls the file of its registration for `url`.
pub(super) fn file_name(url: &str) -> String {
    format!("{}_client_info.json", hex(&Md5::digest(url)))
}

/// The registrations under `home` for `url`.
fn registrations(home: &Path, url: &str) -> Vec<(PathBuf, Saved)> {
    let name = file_name(url);
    let Ok(versions) = std::fs::read_dir(home.join(".mcp-auth")) else { return Vec::new() };
    let files = versions.flatten().take(MOST).map(|version| version.path().join(&name));
    files
        .filter_map(|file| {
            let saved = serde_json::from_slice(&std::fs::read(&file).ok()?).ok()?;
            Some((file, saved))
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_registration_of_this_url_alone() {
        let home = tempfile::TempDir::new().unwrap();
        let version = home.path().join(".mcp-auth/mcp-remote-0.15.1");
        std::fs::create_dir_all(&version).unwrap();
        let file = version.join("00000000000000000000000000000000_client_info.json");
        std::fs::write(&file, "{}").unwrap();
        assert!(registrations(home.path(), "https://h.test/mcp").is_empty(), "another URL's");
        // By `printf https://h.test/mcp | md5sum`.
        let file = version.join("1962308b1d54dab239380a11cf099fc4_client_info.json");
        std::fs::write(file, r#"{"client_id":"x","redirect_uris":["http://localhost:1/cb"]}"#).unwrap();
        let found = registrations(home.path(), "https://h.test/mcp");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1.client_id, "x");
    }
}
