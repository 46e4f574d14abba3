//! What a page's policies do to its forms: Content Security Policy level 3.

use http::{HeaderMap, header};
use url::Url;

use super::{html::attributes, pages::all};

/// What in the page's policies keeps a browser from sending one of its forms (CSP level 3, sections 6.3 and 6.4.1). Each
/// header, and each part of one between commas, is a policy of its own, and all of them hold.
pub(super) fn blocks_forms(headers: &HeaderMap, text: &str, page: &Url) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    if !lower.contains("<form") {
        return None;
    }
    // A form without an action is sent to the page itself.
    let mut targets: Vec<Url> = attributes(text, "action").filter_map(|to| page.join(to).ok()).collect();
    if targets.is_empty() {
        targets.push(page.clone());
    }
    let sent = all(headers, &header::CONTENT_SECURITY_POLICY);
    let written = of_elements(&lower);
    let blocks = |policies: &str, in_page: bool| {
        let directives = policies.split([',', ';']).map(|d| d.split_ascii_whitespace().collect::<Vec<_>>());
        directives
            .filter(|directive| match directive.split_first() {
                Some((&"form-action", sources)) => targets.iter().any(|to| !allows(sources, to, page)),
                // In an element it has no effect (CSP level 3, section 3.3).
                Some((&"sandbox", allowed)) => !in_page && !allowed.contains(&"allow-forms"),
                _ => false,
            })
            .map(|directive| directive.join(" "))
            .next()
    };
    blocks(&sent, false).or_else(|| blocks(&written, true))
}

/// The policies in `<meta http-equiv="Content-Security-Policy">` of a page in lower case.
fn of_elements(page: &str) -> String {
    let elements = page.split("<meta").skip(1).filter_map(|rest| rest.split('>').next());
    let policies = elements.filter_map(|element| {
        let named = attributes(element, "http-equiv").any(|name| name == "content-security-policy");
        attributes(element, "content").next().filter(|_| named)
    });
    policies.collect::<Vec<_>>().join(", ")
}

/// Whether a list of sources holds a URL.
fn allows(sources: &[&str], to: &Url, page: &Url) -> bool {
    let host = to.host_str().unwrap_or_default();
    sources.iter().any(|source| match *source {
        "*" => true,
        "'self'" => to.origin() == page.origin(),
        scheme if scheme.ends_with(':') => scheme.trim_end_matches(':') == to.scheme(),
        named => {
            let name = named.split_once("://").map_or(named, |(_, rest)| rest);
            let name = name.split(['/', ':']).next().unwrap_or_default();
            name.strip_prefix('*').map_or(name == host, |below| host.ends_with(below))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_that_the_policy_blocks_is_found() {
        let page = Url::parse("https://h.test/oauth/authorize").unwrap();
        let form = "<form method=\"post\" action=\"/oauth/signin\">";
        let blocked = |policies: &[&str], text: &str| {
            let values = policies.iter().map(|p| (header::CONTENT_SECURITY_POLICY, p.parse().unwrap()));
            blocks_forms(&values.collect(), text, &page)
        };
        for policy in ["form-action 'none'", "form-action", "sandbox", "form-action https://sso.test"] {
            assert_eq!(blocked(&["default-src 'none'", policy], form).as_deref(), Some(policy));
            assert_eq!(blocked(&[policy], "<a href=\"/\">"), None, "{policy}");
        }
        let joined = "default-src 'none'; form-action 'self', form-action 'none'";
        assert_eq!(blocked(&[joined], form).as_deref(), Some("form-action 'none'"));
        for element in [
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; form-action 'none'\">",
            "<META content=\"form-action 'none'\" http-equiv=content-security-policy>",
        ] {
            let page = format!("{element}{form}");
            assert_eq!(
                blocked(&["default-src 'none'"], &page).as_deref(),
                Some("form-action 'none'"),
                "{page}"
            );
        }
        let sandboxed = format!("<meta http-equiv=Content-Security-Policy content=sandbox>{form}");
        assert_eq!(blocked(&[], &sandboxed), None, "an element cannot say so");
        let elsewhere = "<form method=post action='https://sso.test/'>";
        assert_eq!(blocked(&["form-action 'self'"], elsewhere).as_deref(), Some("form-action 'self'"));
        for policy in [
            "form-action 'self'",
            "form-action *",
            "form-action https:",
            "form-action *.test",
            "sandbox allow-forms",
        ] {
            assert_eq!(blocked(&[policy], form), None, "{policy}");
        }
    }
}
