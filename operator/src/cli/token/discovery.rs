//! From an MCP endpoint to its authorization server: RFC 9728, then RFC 8414.

use http::{StatusCode, header};
use serde::Deserialize;
use url::Url;

use super::super::{challenge::parameter, http::Http};

/// What is needed to sign in.
#[derive(Debug)]
pub(super) struct Server {
    /// The resource (RFC 8707).
    pub(super) resource: String,
    /// The scopes that the server asks for.
    pub(super) scope: Option<String>,
    /// The issuer.
    pub(super) issuer: String,
    /// Where users sign in.
    pub(super) authorization_endpoint: Url,
    /// Where codes are redeemed.
    pub(super) token_endpoint: Url,
    /// Where clients register.
    pub(super) registration_endpoint: Option<Url>,
    iss_supported: bool,
}

/// RFC 9728 section 2.
#[derive(Deserialize)]
struct Protected {
    resource: String,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
}

/// RFC 8414 section 2.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    #[serde(default)]
    registration_endpoint: Option<Url>,
    #[serde(default)]
    code_challenge_methods_supported: Vec<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Server {
    /// The issuer that the authorization response must name, where the server says that it does (RFC 9207).
    pub(super) fn issuer_to_expect(&self) -> Option<&str> {
        self.iss_supported.then_some(self.issuer.as_str())
    }
}

/// Finds out how to sign in to an MCP endpoint.
///
/// # Errors
/// When there is nothing to sign in to, or a document is missing or not to be trusted.
pub(super) async fn discover(http: &Http, url: &Url) -> Result<Server, String> {
    let probe = http.get(url).await?;
    let challenge = probe.headers.get(header::WWW_AUTHENTICATE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let named = |name| parameter(challenge, name).map(|p| p.value);
    let resource = match resource(http, url, named("resource_metadata")).await {
        Err(why) if probe.status != StatusCode::UNAUTHORIZED => {
            let status = probe.status;
            return Err(format!("{url} answered {status} to a request without a token, not 401; and {why}"));
        }
        found => found?,
    };
    let Some(issuer) = resource.authorization_servers.first() else {
        return Err(format!("{url} names no authorization server"));
    };
    let found = issuer_metadata(http, issuer).await?;
    if !found.code_challenge_methods_supported.iter().any(|m| m == "S256") {
        return Err(format!("{issuer} does not support PKCE with S256"));
    }
    let scopes = (!resource.scopes_supported.is_empty()).then(|| resource.scopes_supported.join(" "));
    Ok(Server {
        resource: resource.resource,
        scope: named("scope").or(scopes),
        issuer: found.issuer,
        authorization_endpoint: found.authorization_endpoint,
        token_endpoint: found.token_endpoint,
        registration_endpoint: found.registration_endpoint,
        iss_supported: found.authorization_response_iss_parameter_supported,
    })
}

async fn resource(http: &Http, url: &Url, named: Option<String>) -> Result<Protected, String> {
    let named = named.and_then(|n| Url::parse(&n).ok());
    let well_known = "/.well-known/oauth-protected-resource";
    let path = url.path().trim_end_matches('/');
    let at = |path: &str| url.join(path).ok();
    let candidates = named.into_iter().chain(at(&format!("{well_known}{path}"))).chain(at(well_known));
    let mut last = String::new();
    for candidate in candidates {
        match http.get(&candidate).await?.json::<Protected>("the protected-resource document") {
            Ok(found) if covers(&found.resource, url) => return Ok(found),
            Ok(found) => return Err(format!("{candidate} is about {}, not about {url}", found.resource)),
            Err(why) => last = why,
        }
    }
    Err(format!("it does not say how to sign in (RFC 9728): {last}"))
}

/// RFC 9728 section 3.3, with what MCP clients accept: the resource is the URL, or a prefix of it on the same origin.
fn covers(resource: &str, url: &Url) -> bool {
    let Ok(resource) = Url::parse(resource) else { return false };
    let below = url.path().strip_prefix(resource.path().trim_end_matches('/'));
    resource.origin() == url.origin() && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

async fn issuer_metadata(http: &Http, issuer: &str) -> Result<Metadata, String> {
    let url =
        Url::parse(issuer).map_err(|e| format!("the authorization server {issuer} is not a URL: {e}"))?;
    let path = url.path().trim_end_matches('/').to_owned();
    let candidates = [
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
        format!("{path}/.well-known/openid-configuration"),
    ];
    let mut last = String::new();
    for candidate in candidates {
        let candidate = url.join(&candidate).map_err(|e| e.to_string())?;
        match http.get(&candidate).await?.json::<Metadata>("the authorization server's metadata") {
            Ok(found) if found.issuer == issuer => return Ok(found),
            // RFC 8414 section 3.3.
            Ok(found) => return Err(format!("{candidate} is about {}, not about {issuer}", found.issuer)),
            Err(why) => last = why,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_covers_what_lies_below_it_alone() {
        let url = Url::parse("https://h/t/x/mcp").unwrap();
        for (resource, covered) in [
            ("https://h/t/x/mcp", true),
            ("https://h", true),
            ("https://h/t", true),
            ("https://h/t/x/mc", false),
            ("https://other/t/x/mcp", false),
            ("http://h/t/x/mcp", false),
        ] {
            assert_eq!(covers(resource, &url), covered, "{resource}");
        }
    }
}
