//! Why no answer came, by the words of the error, and what to do about it.

use jiff::Timestamp;
use url::Url;

use super::{
    finding::{Check, Client},
    outside::host,
    visit::Visit,
};

/// The ends of names that mean something in a cluster or a network alone.
const INNER: [&str; 5] = [".svc", ".cluster.local", ".internal", ".local", ".lan"];

/// Why no answer came.
#[derive(Debug)]
struct Cause {
    /// Whether the host was reached, and TLS did not come about.
    tls: bool,
    mend: &'static str,
}

/// Reports that `url`, which is `what`, gave no answer that can be read.
pub(super) fn report(visit: &mut Visit, check: Check, clients: &[Client], what: &str, url: &Url, why: &str) {
    let Cause { tls, mend } = cause(why);
    let check = if tls { Check::Tls } else { check };
    let name = host(url);
    let mend = if name == host(&visit.url) {
        mend.to_owned()
    } else if is_inner(&name) {
        format!(
            "{name} is a name of the cluster, or of a network, alone: give it a public https URL, and name that in the metadata."
        )
    } else {
        format!("{name} is another host than the MCP endpoint's, and clients must reach it too. {mend}")
    };
    visit.report.fault(check, clients, format!("{what}: {}", said(why)), mend);
}

/// Whether nobody outside a cluster or a network can know this name.
fn is_inner(name: &str) -> bool {
    (!name.contains(['.', ':']) && name != "localhost") || INNER.iter().any(|end| name.ends_with(end))
}

fn cause(why: &str) -> Cause {
    let lower = why.to_ascii_lowercase();
    let has = |part: &str| lower.contains(part);
    let tls = |mend| Cause { tls: true, mend };
    let other = |mend| Cause { tls: false, mend };
    if has("unknownissuer") {
        tls(
            "The certificate is self-signed, of a private CA, or sent without its intermediate certificate (browsers fetch that, programs do not). Serve the full chain. For a private CA every client must be told to trust it (NODE_EXTRA_CA_CERTS, SSL_CERT_FILE); here: --ca FILE.",
        )
    } else if has("certificate expired") || has("notvalidyet") || has("not valid yet") {
        tls("Renew the certificate; or set the clock of this machine.")
    } else if has("not valid for") || has("notvalidforname") {
        tls(
            "The certificate is another host's: the ingress has none for this host and serves its default. Add the host to the certificate (spec.tls of the Ingress, or a listener).",
        )
    } else if has("corrupt message") {
        tls(
            "That port speaks plain HTTP, not TLS: the listener has no certificate, or something in front ends TLS on another port. Serve https there.",
        )
    } else if has("certificaterequired") {
        tls(
            "Something there wants a certificate of the client (mTLS), and MCP clients have none: turn that off for this host.",
        )
    } else if has("certificate") || has("handshake") || has("alert") {
        tls(
            "Something on that port does not speak TLS as a public https server does: check the port and the listener.",
        )
    } else if has("dns") || has("lookup") || has("name or service not known") {
        other(
            "The name does not resolve here: add an A, AAAA or CNAME record of the host to the address of the Ingress or Gateway. Cloud clients (claude.ai, ChatGPT) need it in public DNS.",
        )
    } else if has("refused") {
        other(
            "Nothing listens there: is the server (or the port-forward) running, and is this the right port?",
        )
    } else if is_garbled(&lower) {
        other(
            "Something answers, and not in good HTTP: a server or proxy that sends a wrong length or broken chunks, or closes too early. Ask it without the proxy in front to see which.",
        )
    } else {
        other(
            "A firewall, a wrong address, or a server that hangs. Cloud clients (claude.ai, ChatGPT) must reach it from the internet.",
        )
    }
}

/// Whether an answer had begun, by what our HTTP library says when it cannot go on.
fn is_garbled(lower: &str) -> bool {
    ["reading a body", "chunk", "parsed", "before message completed", "length limit"]
        .iter()
        .any(|words| lower.contains(words))
}

/// The error as people read it: an answer that is garbled has been reached, and times are dates.
fn said(why: &str) -> String {
    let text = if is_garbled(&why.to_ascii_lowercase()) {
        why.replacen("cannot be reached", "sends what cannot be read", 1)
    } else {
        why.to_owned()
    };
    if !text.contains(" (UNIX)") {
        return text;
    }
    let dated = text.replace(" (UNIX)", "");
    let words = dated.split(' ').map(|word| {
        let number = word.trim_end_matches(',');
        // Nine digits begin in 1973, and ten end in 2286.
        let seconds = (9..=10).contains(&number.len()).then(|| number.parse().ok()).flatten();
        seconds
            .and_then(|s| Timestamp::from_second(s).ok())
            .map_or_else(|| word.to_owned(), |t| word.replacen(number, &t.to_string(), 1))
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_certificate_are_dates() {
        let why = "https://h.test/ cannot be reached: invalid peer certificate: certificate expired: verification time 1764342000 (UNIX), but certificate is not valid after 1609459200 (154882800 seconds ago)";
        let text = said(why);
        assert!(text.contains("time 2025-11-28T15:00:00Z, but"), "{text}");
        assert!(text.contains("after 2021-01-01T00:00:00Z (154882800 seconds ago)"), "{text}");
        assert_eq!(said("no answer from 1609459200"), "no answer from 1609459200");
    }

    #[test]
    fn each_word_of_tls_is_known() {
        for (why, words) in [
            ("received fatal alert: CertificateRequired", "certificate of the client"),
            ("tls handshake eof", "does not speak TLS"),
            ("received fatal alert: ProtocolVersion", "does not speak TLS"),
            ("received corrupt message of type InvalidContentType", "plain HTTP"),
        ] {
            let cause = cause(why);
            assert!(cause.tls && cause.mend.contains(words), "{why}: {cause:?}");
        }
    }

    #[test]
    fn names_of_a_cluster_are_told_from_public_ones() {
        for name in ["keycloak", "keycloak.auth.svc", "keycloak.auth.svc.cluster.local", "sso.corp.internal"]
        {
            assert!(is_inner(name), "{name}");
        }
        for name in ["localhost", "sso.example.com", "2001:db8::1", "10.0.0.1"] {
            assert!(!is_inner(name), "{name}");
        }
    }
}
