//! `spec.backends` and `spec.credentials`: where calls go and what they carry.

use std::{collections::BTreeSet, net::IpAddr};

use gatehouse_gateway_config::{
    BackendConfig, BackendTarget, CredentialConfig, CredentialKind, HeaderConfig, InjectConfig, PodsConfig,
    TimeoutsConfig, TlsConfig,
};
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use url::Url;

use super::{Checks, Twin, host};
use crate::{
    crd::{
        McpServer,
        condition::Reason,
        server_backend::{Backend, ServiceRef},
    },
    server::names,
};

/// The path of a Service backend that does not say.
const DEFAULT_PATH: &str = "/mcp";
/// The port's name in a headless twin whose Service does not name it.
const DEFAULT_PORT_NAME: &str = "mcp";

/// Checks the backend and the credentials; what the gateway is told of the backend, when nothing is wrong.
pub(super) fn check(checks: &mut Checks<'_>) -> Option<(BackendConfig, Option<Twin>)> {
    credentials_good(checks);
    let [backend] = checks.server.spec.backends.as_slice() else {
        let found = checks.server.spec.backends.len();
        checks.invalid("spec.backends", format!("exactly one backend is needed, {found} are given"));
        return None;
    };
    let backend = backend.clone();
    inject_good(checks, &backend);
    let (target, twin) = match (&backend.service, &backend.url) {
        (Some(service), None) => service_target(checks, &backend, service)?,
        (None, Some(url)) => (url_target(checks, url)?, None),
        _ => {
            checks.invalid("spec.backends[0]", "a backend needs exactly one of service and url");
            return None;
        }
    };
    let timeouts = backend.timeouts.map_or_else(TimeoutsConfig::default, |t| TimeoutsConfig {
        connect: t.connect.0,
        first_byte: t.first_byte.0,
    });
    let config = BackendConfig {
        name: backend.name,
        target,
        inject: backend
            .inject
            .into_iter()
            .map(|i| InjectConfig { credential: i.credential, header: i.header, format: i.format })
            .collect(),
        headers: backend.headers.into_iter().map(|h| HeaderConfig { name: h.name, value: h.value }).collect(),
        tls: backend.tls.map(|tls| TlsConfig {
            ca: tls.ca_ref.map(|r| r.key_ref()),
            client_certificate: tls.client_certificate_ref.map(|r| r.name),
            server_name: tls.server_name,
        }),
        timeouts,
        tools: super::scope::tools(backend.tools.as_ref()),
    };
    Some((config, twin))
}

/// What the gateway is told of the credentials. [`check`] has refused what has no kind.
pub(super) fn credentials(server: &McpServer) -> Vec<CredentialConfig> {
    let kind = |credential: &crate::crd::server_backend::Credential| match &credential.static_ {
        Some(value) => CredentialKind::Static(value.secret_ref.key_ref()),
        None => CredentialKind::FromIdentity,
    };
    server.spec.credentials.iter().map(|c| CredentialConfig { name: c.name.clone(), kind: kind(c) }).collect()
}

fn credentials_good(checks: &mut Checks<'_>) {
    let spec = &checks.server.spec;
    let used: BTreeSet<&str> =
        spec.backends.iter().flat_map(|b| &b.inject).map(|i| i.credential.as_str()).collect();
    for (index, credential) in spec.credentials.iter().enumerate() {
        let field = format!("spec.credentials[{index}]");
        if credential.from_identity.is_some() == credential.static_.is_some() {
            checks.invalid(&field, "a credential needs exactly one of fromIdentity and static");
        }
        if !used.contains(credential.name.as_str()) {
            let message =
                format!("credential \"{}\" is injected nowhere, so no call carries it", credential.name);
            checks.warn(field, message);
        }
    }
}

fn inject_good(checks: &mut Checks<'_>, backend: &Backend) {
    let known: Vec<&str> = checks.server.spec.credentials.iter().map(|c| c.name.as_str()).collect();
    for (index, inject) in backend.inject.iter().enumerate() {
        let field = format!("spec.backends[0].inject[{index}]");
        if !known.contains(&inject.credential.as_str()) {
            let message = format!(
                "there is no credential \"{}\"; spec.credentials has {}",
                inject.credential,
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            );
            checks.invalid(format!("{field}.credential"), message);
        }
        if inject.format.matches("{token}").count() != 1 {
            let message = format!("\"{}\" must hold {{token}} exactly once", inject.format.escape_debug());
            checks.invalid(format!("{field}.format"), message);
        }
    }
}

fn url_target(checks: &mut Checks<'_>, text: &str) -> Option<BackendTarget> {
    let field = "spec.backends[0].url";
    let url = match Url::parse(text) {
        Ok(url) if url.host_str().is_some() => url,
        _ => {
            checks.invalid(field, format!("\"{}\" is not a URL with a host", text.escape_debug()));
            return None;
        }
    };
    let host = url.host_str().unwrap_or_default();
    if host::is_service(host) {
        let message = format!(
            "\"{text}\" names a Service of the cluster: use service, which reaches Services of this namespace only"
        );
        checks.accepted(Reason::NotAllowed, field, message);
        return None;
    }
    let listed = host::is_loopback(host) || host::egress_allows(&checks.config.egress.allow, host);
    if url.scheme() != "https" && !listed {
        let message = format!(
            "\"{text}\" must be https, since calls carry credentials; http is for loopback, and for hosts that egress.allow \
             of the operator's configuration lists: - {host}"
        );
        checks.invalid(field, message);
        return None;
    }
    Some(BackendTarget::Url(text.to_owned()))
}

fn service_target(
    checks: &mut Checks<'_>,
    backend: &Backend,
    service: &ServiceRef,
) -> Option<(BackendTarget, Option<Twin>)> {
    if let Some(url) = checks.fetched.backend_urls.get(&backend.name) {
        return Some((BackendTarget::Url(url.clone()), None));
    }
    let scheme = if backend.tls.is_some() { "https" } else { "http" };
    let path = service.path.as_deref().unwrap_or(DEFAULT_PATH);
    let url = format!("{scheme}://{}.{}.svc:{}{path}", service.name, checks.namespace, service.port);
    let Some(live) = checks.fetched.services.get(&service.name) else {
        if !checks.fetched.assume_refs {
            let message =
                format!("Service \"{}\" does not exist in namespace \"{}\"", service.name, checks.namespace);
            checks.unresolved(Reason::ServiceNotFound, "spec.backends[0].service.name", message);
        }
        let target = BackendTarget::Service { url, pods: None, addresses: Vec::new(), headless: false };
        return Some((target, None));
    };
    let port = service_port(checks, service, live)?.clone();
    let twin = twin(&names::twin(&checks.name, &backend.name), live, &port);
    let ips = cluster_ips(live);
    let headless = ips.contains(&"None");
    if headless && twin.is_none() {
        let message = format!(
            "Service \"{}\" has neither an address of its own nor a selector, so its name leads to wherever somebody writes; \
             give the backend a url instead",
            service.name
        );
        checks.unresolved(Reason::RefNotPermitted, "spec.backends[0].service.name", message);
        return None;
    }
    let addresses: Vec<IpAddr> = ips.iter().filter_map(|ip| ip.parse().ok()).collect();
    let pods = twin
        .as_ref()
        .map(|t| PodsConfig { host: format!("{}.{}.svc", t.name, checks.namespace), port: port_name(&port) });
    Some((BackendTarget::Service { url, pods, addresses, headless }, twin))
}

/// The addresses of a Service, or `None` by its word; empty where it is not from an API server.
fn cluster_ips(live: &Service) -> Vec<&str> {
    let Some(spec) = &live.spec else { return Vec::new() };
    let all = spec.cluster_ips.as_deref().filter(|ips| !ips.is_empty());
    let all = all.unwrap_or(spec.cluster_ip.as_slice());
    all.iter().map(String::as_str).filter(|ip| !ip.is_empty()).collect()
}

fn service_port<'a>(
    checks: &mut Checks<'_>,
    service: &ServiceRef,
    live: &'a Service,
) -> Option<&'a ServicePort> {
    let spec = live.spec.as_ref();
    if spec.and_then(|s| s.type_.as_deref()) == Some("ExternalName") {
        let message = format!(
            "Service \"{}\" is of type ExternalName, which can lead into another namespace; give the backend a url instead",
            service.name
        );
        checks.unresolved(Reason::RefNotPermitted, "spec.backends[0].service.name", message);
        return None;
    }
    let ports = spec.and_then(|s| s.ports.as_deref()).unwrap_or_default();
    let tcp = |p: &&ServicePort| p.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    let found = ports.iter().filter(tcp).find(|p| p.port == service.port);
    if found.is_none() {
        let known: Vec<String> = ports.iter().filter(tcp).map(|p| p.port.to_string()).collect();
        let message = format!(
            "Service \"{}\" has no TCP port {}; it has {}",
            service.name,
            service.port,
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        );
        checks.unresolved(Reason::ServiceNotFound, "spec.backends[0].service.port", message);
    }
    found
}

/// A Service without a selector has endpoints that somebody else writes, of which there can be no copy.
fn twin(name: &str, live: &Service, port: &ServicePort) -> Option<Twin> {
    let selector = live.spec.as_ref()?.selector.clone().filter(|s| !s.is_empty())?;
    let port = ServicePort {
        name: Some(port_name(port)),
        port: port.port,
        protocol: Some("TCP".to_owned()),
        target_port: Some(port.target_port.clone().unwrap_or(IntOrString::Int(port.port))),
        ..ServicePort::default()
    };
    let spec = ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        cluster_ip: Some("None".to_owned()),
        selector: Some(selector),
        ports: Some(vec![port]),
        ..ServiceSpec::default()
    };
    Some(Twin { name: name.to_owned(), spec })
}

fn port_name(port: &ServicePort) -> String {
    port.name.clone().unwrap_or_else(|| DEFAULT_PORT_NAME.to_owned())
}
