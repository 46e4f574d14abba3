//! Clients that come with a metadata document of their own (Client ID Metadata Documents): they register nothing where the
//! server says that it takes documents, and stop where it then cannot read theirs.

use super::{
    browser::Browser,
    finding::{Check, Client},
    issuer::Issuer,
    pages::{self, Asked},
    visit::Visit,
};

/// Who comes with which document, and where its codes go: by the documents themselves.
const DOCUMENTS: &[(Client, &str, &str)] = &[
    (
        Client::ClaudeCode,
        "https://claude.ai/oauth/claude-code-client-metadata",
        "http://localhost:3118/callback",
    ),
    (
        Client::ClaudeAi,
        "https://claude.ai/oauth/mcp-oauth-client-metadata",
        "https://claude.ai/api/mcp/auth_callback",
    ),
    (Client::Codex, "https://chatgpt.com/oauth/codex/client.json", "http://127.0.0.1:3118/callback"),
    (Client::VsCode, "https://vscode.dev/oauth/client-metadata.json", "http://127.0.0.1:33418/"),
];

/// Opens the sign-in page as each of them would.
pub(super) async fn check(visit: &mut Visit, issuer: &Issuer, asked: &Asked<'_>) {
    let Some(endpoint) = issuer.authorization_endpoint.as_ref().filter(|_| issuer.takes_documents) else {
        return;
    };
    for (client, document, redirect_uri) in DOCUMENTS {
        let page = pages::request(endpoint, document, redirect_uri, asked);
        let Ok(answer) = Browser::new(visit).open(&page).await else { continue };
        if answer.status.is_client_error() || answer.status.is_server_error() {
            visit.report.fault(
                Check::Documents,
                std::slice::from_ref(client),
                format!("the server says that it takes metadata documents, and answers {} to the client whose document is {document}: that client then registers nothing, and stops.", answer.status),
                "Let the server fetch it: it needs a way out to that host (Gatehouse: the chart's `egress`, a network policy), and a policy that admits it (registration.metadataDocuments.allowedHosts). Or take no documents (mode: Refused): clients register then.",
            );
        }
    }
    if !visit.report.blames(Check::Documents) {
        visit.report.good(Check::Documents, "clients that come with a document of their own get the page");
    }
}
