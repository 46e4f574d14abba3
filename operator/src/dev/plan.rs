//! From manifests to what is to be served, or to everything that is wrong with them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use gatehouse_gateway::refs::FixedRefs;
use gatehouse_gateway_config::{GatewayConfig, KeyRef, RefKind};
use kube::ResourceExt;
use url::{Host, Url};

use super::Options;
use crate::{
    admission::{self, Finding, Located, Manifests, Source},
    config::OperatorConfig,
    crd::McpServer,
    server::{
        build::build,
        validate::{ValidatedServer, validate},
    },
};

/// The demo: the quick start of the documentation, so that there is one of it.
const DEMO: &str = include_str!("../../../crds/examples/quickstart.yaml");
/// The public URL in it.
const DEMO_URL: &str = "http://localhost:8080/mcp";
/// A Service with this annotation is the demo backend of this process.
const DEMO_ANNOTATION: &str = "gatehouse.dev/demo-backend";
/// Where a server listens whose public URL is elsewhere.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// What is to be served.
#[derive(Debug)]
pub(super) struct Plan {
    /// The servers, at least one.
    pub(super) servers: Vec<Planned>,
}

/// One server.
#[derive(Debug)]
pub(super) struct Planned {
    /// The server.
    pub(super) valid: ValidatedServer,
    /// The gateway's configuration, as `build` rendered it.
    pub(super) config: GatewayConfig,
    /// Where it listens.
    pub(super) listen: SocketAddr,
    /// The Secrets and ConfigMaps of its namespace.
    pub(super) refs: FixedRefs,
}

impl Plan {
    /// Reads and checks everything. `demo` is the endpoint of the demo backend.
    ///
    /// # Errors
    /// Everything that is wrong, one thing a line.
    pub(super) fn new(options: &Options, demo: &str) -> Result<Self, String> {
        if options.is_demo() && options.listen.is_some_and(|a| !a.ip().is_loopback()) {
            return Err(
                "--listen: the demo's passwords are its user names, so it listens on loopback only; \
                        give it manifests of your own (-f) to listen elsewhere"
                    .to_owned(),
            );
        }
        let config = operator_config(options)?;
        let manifests = admission::read(&sources(options)?).map_err(|findings| lines(&findings))?;
        if manifests.servers.is_empty() {
            return Err("there is no McpServer in these manifests".to_owned());
        }
        unused_backends(options, &manifests)?;
        let mut servers = Vec::new();
        let mut findings = Vec::new();
        for server in &manifests.servers {
            match planned(options, &config, &manifests, server, demo) {
                Ok(planned) => servers.push(planned),
                Err(wrong) => findings.extend(wrong),
            }
        }
        if !findings.is_empty() {
            return Err(lines(&findings));
        }
        apart(&servers)?;
        if options.admin_listen.is_some() && servers.len() > 1 {
            return Err(format!(
                "--admin-listen: it serves health and metrics of one server, and there are {}",
                servers.len()
            ));
        }
        Ok(Self { servers })
    }
}

fn lines(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn sources(options: &Options) -> Result<Vec<Source>, String> {
    if !options.is_demo() {
        return admission::sources(&options.files);
    }
    let url = format!("http://localhost:{}/mcp", options.port);
    Ok(vec![Source { name: "the built-in demo".to_owned(), text: DEMO.replace(DEMO_URL, &url) }])
}

fn operator_config(options: &Options) -> Result<OperatorConfig, String> {
    let mut config = match &options.config {
        None => OperatorConfig::offline(),
        Some(path) => OperatorConfig::load(path).map_err(|e| format!("--config: {e}"))?,
    };
    // The machine itself, and what the command line names.
    let allowed = ["127.0.0.0/8", "::1/128", "localhost"].map(str::to_owned);
    let named = options.backends.iter().filter_map(|(_, url)| url.host_str().map(str::to_owned));
    config.egress.allow.extend(allowed.into_iter().chain(named));
    Ok(config)
}

fn unused_backends(options: &Options, manifests: &Manifests) -> Result<(), String> {
    let names: Vec<&str> =
        manifests.servers.iter().flat_map(|s| &s.object.spec.backends).map(|b| b.name.as_str()).collect();
    match options.backends.iter().find(|(name, _)| !names.contains(&name.as_str())) {
        Some((name, _)) => {
            Err(format!("--backend: no backend is called \"{name}\"; there is {}", names.join(", ")))
        }
        None => Ok(()),
    }
}

fn planned(
    options: &Options,
    config: &OperatorConfig,
    manifests: &Manifests,
    located: &Located<McpServer>,
    demo: &str,
) -> Result<Planned, Vec<Finding>> {
    let server = &located.object;
    let object = format!("McpServer \"{}\"", server.name_any());
    let finding =
        |message: String| Finding { origin: located.origin.clone(), object: object.clone(), message };
    let mut fetched = manifests.fetched(server);
    fetched.backend_urls =
        options.backends.iter().map(|(name, url)| (name.clone(), url.to_string())).collect();
    let mut findings = Vec::new();
    for (index, backend) in server.spec.backends.iter().enumerate() {
        let Some(service) =
            backend.service.as_ref().filter(|_| !fetched.backend_urls.contains_key(&backend.name))
        else {
            continue;
        };
        let live = fetched.services.get(&service.name);
        if live.is_some_and(|s| s.annotations().contains_key(DEMO_ANNOTATION)) {
            fetched.backend_urls.insert(backend.name.clone(), demo.to_owned());
            continue;
        }
        findings.push(finding(format!(
            "spec.backends[{index}].service: Service \"{}\" is in a cluster; say where the backend is: \
             --backend {}=http://localhost:PORT/mcp",
            service.name, backend.name
        )));
        // What stands in for it keeps `validate` from saying that it does not exist.
        fetched.backend_urls.insert(backend.name.clone(), demo.to_owned());
    }
    let mut valid = match validate(server, &fetched, config) {
        Ok(valid) if findings.is_empty() => valid,
        Ok(_) => return Err(findings),
        Err(problems) => {
            findings.extend(problems.iter().map(|p| finding(p.to_string())));
            return Err(findings);
        }
    };
    let mut refs = values(manifests, &valid.namespace);
    valid.config.redis =
        options.redis.as_ref().map(|redis| redis.config(&config.redis.key_prefix, &mut refs));
    let rendered = build(&valid).config_map.data.unwrap_or_default().into_values().next().unwrap_or_default();
    let config = GatewayConfig::parse(&rendered).map_err(|e| vec![finding(e.to_string())])?;
    let listen = options.listen.unwrap_or_else(|| address(&valid.server().url));
    Ok(Planned { valid, config, listen, refs })
}

/// Every value of the Secrets and ConfigMaps of a namespace.
fn values(manifests: &Manifests, namespace: &str) -> FixedRefs {
    let mut refs = FixedRefs::default();
    let here = |found: Option<String>| found.as_deref() == Some(namespace);
    for secret in manifests.secrets.iter().map(|s| &s.object).filter(|s| here(s.namespace())) {
        for (key, value) in secret.data.iter().flatten() {
            refs.insert(KeyRef::secret(secret.name_any(), key), value.0.clone());
        }
    }
    for map in manifests.config_maps.iter().map(|m| &m.object).filter(|m| here(m.namespace())) {
        let texts = map.data.iter().flatten().map(|(key, text)| (key, text.as_bytes()));
        let binary = map.binary_data.iter().flatten().map(|(key, value)| (key, value.0.as_slice()));
        for (key, value) in texts.chain(binary) {
            let key = KeyRef { kind: RefKind::ConfigMap, name: map.name_any(), key: key.clone() };
            refs.insert(key, value.to_vec());
        }
    }
    refs
}

/// Where a server listens: at the port of its URL where that is on this machine.
fn address(url: &str) -> SocketAddr {
    let url = Url::parse(url).ok().filter(|u| u.scheme() == "http");
    let Some(port) = url.as_ref().and_then(Url::port_or_known_default) else { return LISTEN };
    match url.as_ref().and_then(Url::host) {
        Some(Host::Ipv6(ip)) if ip.is_loopback() => (Ipv6Addr::LOCALHOST, port).into(),
        Some(Host::Ipv4(ip)) if ip.is_loopback() => (ip, port).into(),
        Some(Host::Domain(_)) => (Ipv4Addr::LOCALHOST, port).into(),
        _ => LISTEN,
    }
}

/// Every server needs an address of its own.
fn apart(servers: &[Planned]) -> Result<(), String> {
    for (index, server) in servers.iter().enumerate() {
        if let Some(other) = servers[..index].iter().find(|s| s.listen == server.listen) {
            return Err(format!(
                "McpServers \"{}\" and \"{}\" would both listen on {}: give their URLs different ports, or run one \
                 `gatehouse dev --listen` for each",
                other.valid.name, server.valid.name, server.listen
            ));
        }
    }
    Ok(())
}
