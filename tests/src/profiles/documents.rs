//! The documents by which clients name themselves that cannot be had (Client ID Metadata Documents): where each is, what it
//! says, and where that is known from. What is served is written here from what is known of the real ones.

use std::sync::Arc;

use reqwest::Client;
use serde_json::json;

use crate::{
    idp::signing::SigningKey,
    oauth::OAuthClient,
    web::{self, Answer},
};

/// A document of a client. `{connector}` is an id that each connector has of its own.
#[derive(Debug)]
pub struct ClientDocument {
    /// Its URL, which is the client's id.
    url: &'static str,
    application_type: &'static str,
    redirect_uris: &'static [&'static str],
    /// The URL of the keys of a client that signs (`private_key_jwt`).
    keys: Option<&'static str>,
    /// Where that is known from.
    pub sources: &'static [&'static str],
}

/// The document of claude.ai.
pub(super) const CLAUDE_AI: ClientDocument = ClientDocument {
    url: "https://claude.ai/oauth/mcp-oauth-client-metadata",
    application_type: "web",
    redirect_uris: &["https://claude.ai/api/mcp/auth_callback"],
    keys: None,
    sources: &[
        "https://claude.com/docs/connectors/building/authentication",
        // That it names itself by a document where documents and clients without a secret are offered.
        "https://github.com/anthropics/claude-ai-mcp/issues/269",
    ],
};

/// The document of a connector of ChatGPT.
pub(super) const CHATGPT: ClientDocument = ClientDocument {
    url: "https://chatgpt.com/oauth/{connector}/client.json",
    application_type: "web",
    redirect_uris: &["https://chatgpt.com/connector/oauth/{connector}"],
    // That there is such an address is known, which one it is was not seen.
    keys: Some("https://chatgpt.com/oauth/{connector}/jwks.json"),
    sources: &[
        "https://developers.openai.com/apps-sdk/build/auth",
        // A document's address, and that it asks for private_key_jwt with RS256 and a jwks_uri.
        "https://github.com/pocket-id/pocket-id/issues/1718",
        // That it prefers to sign where that is offered.
        "https://github.com/operately/operately/issues/5164",
    ],
};

/// The document of VS Code.
pub(super) const VS_CODE: ClientDocument = ClientDocument {
    url: "https://vscode.dev/oauth/client-metadata.json",
    application_type: "native",
    redirect_uris: &[
        "https://vscode.dev/redirect",
        "https://insiders.vscode.dev/redirect",
        "http://127.0.0.1/",
        "http://127.0.0.1:33418/",
    ],
    keys: None,
    sources: &[
        // Its address.
        "https://github.com/microsoft/vscode/issues/298300",
        "https://github.com/microsoft/vscode/issues/270811",
        // The redirect URIs, which are those of its registration.
        "https://github.com/microsoft/vscode/blob/main/src/vs/base/common/oauth.ts",
    ],
};

impl ClientDocument {
    /// How the client proves itself at the token endpoint.
    pub(super) fn auth_method(&self) -> &'static str {
        if self.keys.is_some() { "private_key_jwt" } else { "none" }
    }

    /// Puts the document on the web, with the client's keys, and gives the client that it makes at this issuer.
    pub(super) async fn client(
        &self,
        http: &Client,
        name: &str,
        issuer: &str,
        connector: &str,
        callback: &str,
    ) -> OAuthClient {
        let own = |text: &str| text.replace("{connector}", connector);
        let id = own(self.url);
        let mut document = json!({
            "client_name": name, "application_type": self.application_type,
            "redirect_uris": self.redirect_uris.iter().map(|uri| own(uri)).collect::<Vec<_>>(),
            "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
            "token_endpoint_auth_method": self.auth_method(),
        });
        let mut client = OAuthClient::named(http.clone(), issuer, &id, callback);
        if let Some(keys) = self.keys.map(own) {
            let key = SigningKey::generate("k1").await;
            web::serve(&keys, Answer::json(&json!({ "keys": [key.public()] })));
            document["jwks_uri"] = keys.into();
            document["token_endpoint_auth_signing_alg"] = "RS256".into();
            client.signs_with(Arc::new(key));
        }
        web::publish(&id, document);
        client
    }
}
