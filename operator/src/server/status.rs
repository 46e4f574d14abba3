//! What a pass found, as status: pure, so that every failure's words can be tested; then one patch, if it changed.

mod conditions;
pub mod write;
pub mod written;

use std::collections::BTreeMap;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{ResourceExt, api::ObjectMeta};

use super::{
    apply::{Applied, ApplyError},
    build::Desired,
    children::Rollout,
    fetch::{Keys, ServerName},
    names, refs,
    validate::ValidatedServer,
};
use crate::{
    crd::{
        McpServer, McpServerStatus,
        condition::{ConditionType, Problem},
        server_status::{KeysStatus, PolicyStatusRef, ServiceStatus},
    },
    policy::Attachment,
    redis_users::Isolation,
};

/// What one pass over a server found.
#[derive(Debug)]
pub struct Findings<'a> {
    /// The server, or all that is wrong with it.
    pub valid: Result<(&'a ValidatedServer, &'a Desired), Vec<Problem>>,
    /// What applying came to; absent when the server is not valid.
    pub applied: Option<Result<Applied, ApplyError>>,
    /// The pods as the watch last saw them; they may run an older configuration.
    pub pods: Option<Rollout>,
    /// The sealing keys.
    pub keys: Keys,
    /// What keeps other tenants from what the server stores.
    pub isolation: Isolation,
    /// Why Redis does not work for this server.
    pub redis_failure: Option<String>,
    /// Whether that is because Redis cannot be reached at all.
    pub redis_is_away: bool,
    /// What is not wrong but worth saying.
    pub warnings: Vec<String>,
    /// The operator's defaults, where it was they that failed here.
    pub failed_defaults: Option<String>,
}

impl Findings<'_> {
    /// Whether something is awaited that no watch tells of, so that the server must be looked at again soon. Pods, Redis
    /// and whose turn it is to be rolled tell of themselves: to ask for them again and again would starve the others where
    /// there are thousands.
    pub fn is_unresolved(&self) -> bool {
        let redis = self.redis_failure.is_some() && !self.redis_is_away;
        // What is not valid was not applied.
        redis || !(self.is_not_accepted() || matches!(&self.applied, Some(Ok(_))))
    }

    /// Whether the server's own words are wrong, or its URL is another's. An edit of either tells when that ends: whoever
    /// makes thousands of such servers must not keep the operator from the others.
    fn is_not_accepted(&self) -> bool {
        let problems = self.valid.as_ref().err();
        problems.is_some_and(|all| all.iter().any(|problem| problem.condition == ConditionType::Accepted))
    }

    /// Whether something is awaited that a watch or the Redis connection tells of.
    pub fn is_awaited(&self) -> bool {
        let complete = matches!(&self.applied, Some(Ok(Applied::Done(rollout))) if rollout.is_complete());
        self.redis_failure.is_some() || !complete
    }
}

/// The status of a server: the old one, with what the pass found.
pub fn status(
    server: &McpServer,
    old: &McpServerStatus,
    found: &Findings<'_>,
    now: Timestamp,
) -> McpServerStatus {
    let mut status = status_of(&server.metadata, old, found, now);
    if status.issuer.as_ref() != Some(&refs::issuer(server)) {
        // It asks for another: what it had may become somebody else's.
        status.issuer_since = None;
    }
    status
}

/// The same, for an object of which only the metadata can be read.
fn status_of(
    meta: &ObjectMeta,
    old: &McpServerStatus,
    found: &Findings<'_>,
    now: Timestamp,
) -> McpServerStatus {
    let mut status = old.clone();
    status.observed_generation = meta.generation;
    if let Ok((valid, desired)) = &found.valid {
        let issuer = Some(valid.server().issuer.clone());
        let since = old.issuer_since.clone().filter(|_| old.issuer == issuer);
        status.issuer_since = Some(since.unwrap_or_else(|| Time(conditions::whole_seconds(now))));
        status.issuer = issuer;
        status.resource = Some(valid.server().url.clone());
        status.callback_url = valid.callback_url();
        status.service = service(desired);
        let Attachment { name, uid, generation, .. } = valid.policy.clone();
        status.policy = name.map(|name| PolicyStatusRef { name, uid, generation });
        if let Some(Ok(Applied::Done(_))) = &found.applied {
            status.config_hash = Some(desired.config_hash.clone());
            status.failed_defaults.clone_from(&found.failed_defaults);
        }
    }
    note_keys(&mut status, meta, &found.keys);
    let pods = found.pods.clone().unwrap_or_default();
    status.replicas = found.pods.as_ref().map(|pods| pods.replicas);
    status.ready_replicas = found.pods.as_ref().map(|pods| pods.ready);
    if pods.is_complete() {
        status.version = pods.image.as_deref().and_then(version);
    }
    status.conditions = conditions::all(meta.generation, &old.conditions, found, now);
    status
}

/// The status of a server whose pass did not get to its end: it is not programmed, and nothing else is known to have
/// changed. The generation that was observed stays: an edit is still to be looked at.
pub fn interrupted(server: &McpServer, old: &McpServerStatus, why: &str, now: Timestamp) -> McpServerStatus {
    let conditions = conditions::interrupted(server.metadata.generation, &old.conditions, why, now);
    McpServerStatus { conditions, ..old.clone() }
}

/// The status of a server of which the API server let the operator see no more, for this reason: nothing else is known
/// to have changed, and somebody must act, which tools that wait are told only of the generation that they wait for. Keys that
/// were made before that are noted, so that their loss is noticed.
pub fn refused(
    server: &McpServer,
    old: &McpServerStatus,
    keys: &Keys,
    why: &str,
    now: Timestamp,
) -> McpServerStatus {
    let conditions = conditions::refused(server.metadata.generation, &old.conditions, why, now);
    let observed_generation = server.metadata.generation;
    let mut status = McpServerStatus { observed_generation, conditions, ..old.clone() };
    note_keys(&mut status, &server.metadata, keys);
    status
}

fn note_keys(status: &mut McpServerStatus, meta: &ObjectMeta, keys: &Keys) {
    if let Keys::Present { instance } = keys {
        let secret = names::keys_secret(meta.name.as_deref().unwrap_or_default());
        status.keys = Some(KeysStatus { secret, instance: instance.clone() });
    }
}

fn service(desired: &Desired) -> Option<ServiceStatus> {
    let port = desired.service.spec.as_ref()?.ports.as_ref()?.first()?.port;
    Some(ServiceStatus { name: desired.service.name_any(), port })
}

/// Up to three servers, and how many more.
pub(super) fn named(servers: &[ServerName]) -> String {
    let shown: Vec<String> = servers.iter().take(3).map(|server| format!("McpServer {server}")).collect();
    match servers.len() {
        0 => "others".to_owned(),
        1..=3 => shown.join(", "),
        more => format!("{} and {} more", shown.join(", "), more - shown.len()),
    }
}

/// What an image calls itself: its tag, or else its digest.
fn version(image: &str) -> Option<String> {
    if let Some((_, digest)) = image.split_once('@') {
        return Some(digest.chars().take(19).collect());
    }
    let last = image.rsplit('/').next()?;
    Some(last.split_once(':').map_or("latest", |(_, tag)| tag).to_owned())
}

/// Problems in words, each with its field, without saying one twice.
fn words(problems: &[&Problem]) -> String {
    let mut seen = BTreeMap::new();
    for (index, problem) in problems.iter().enumerate() {
        seen.entry(problem.to_string()).or_insert(index);
    }
    let mut texts: Vec<(usize, String)> = seen.into_iter().map(|(text, index)| (index, text)).collect();
    texts.sort_unstable();
    let text = texts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ");
    bounded(&text)
}

/// The API server takes messages of up to 32 KiB; people read less.
pub(crate) fn bounded(text: &str) -> String {
    const LIMIT: usize = 1024;
    if text.chars().count() <= LIMIT {
        return text.to_owned();
    }
    text.chars().take(LIMIT - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::OperatorConfig,
        crd::condition::Reason,
        server::{build::build, fetch::Fetched, validate::validate},
    };

    #[test]
    fn what_tells_of_itself_is_not_asked_for_again_and_again() {
        let findings = |applied, redis_failure: Option<&str>, redis_is_away| Findings {
            valid: Err(Vec::new()),
            applied: Some(Ok(applied)),
            pods: None,
            keys: Keys::Offline,
            isolation: Isolation::Own,
            redis_failure: redis_failure.map(str::to_owned),
            redis_is_away,
            warnings: Vec::new(),
            failed_defaults: None,
        };
        let queued = findings(Applied::Queued(Vec::new()), None, false);
        assert!(queued.is_awaited() && !queued.is_unresolved(), "it is told when its turn comes");
        let stopped = findings(Applied::Stopped(Vec::new()), None, false);
        assert!(stopped.is_awaited() && !stopped.is_unresolved(), "and when it may come");
        let rolling = Applied::Done(Rollout { generation: 1, ..Rollout::default() });
        let rolling = findings(rolling, None, false);
        assert!(rolling.is_awaited() && !rolling.is_unresolved());
        let complete = || Applied::Done(Rollout::default());
        let away = findings(complete(), Some("away"), true);
        assert!(away.is_awaited() && !away.is_unresolved());
        assert!(findings(complete(), Some("refused"), false).is_unresolved());
        assert!(!findings(complete(), None, false).is_awaited());
        let invalid =
            |problems| Findings { valid: Err(problems), applied: None, ..findings(complete(), None, false) };
        let (wrong, missing) = (
            Problem::accepted(Reason::Invalid, "spec.url", "x"),
            Problem::refs(Reason::RefNotFound, "spec.keys", "x"),
        );
        let refused = invalid(vec![missing.clone(), wrong]);
        assert!(refused.is_awaited() && !refused.is_unresolved());
        assert!(invalid(vec![missing]).is_unresolved());
    }

    #[test]
    fn a_server_has_its_issuer_from_its_acceptance_until_it_asks_for_another() {
        let server = |url: &str| -> McpServer {
            serde_json::from_value(serde_json::json!({
                "apiVersion": "gatehouse.dev/v1alpha1", "kind": "McpServer", "metadata": { "name": "s", "namespace": "a" },
                "spec": {
                    "url": url,
                    "identity": { "local": { "usersSecretRef": { "name": "users", "key": "users.yaml" } } },
                    "access": { "everyone": {} },
                    "backends": [{ "name": "tools", "service": { "name": "tools", "port": 80 } }],
                },
            }))
            .unwrap()
        };
        let (here, there) = (server("https://h.example.com/mcp"), server("https://other.example.com/mcp"));
        let fetched = Fetched { assume_refs: true, ..Fetched::default() };
        let valid = validate(&here, &fetched, &OperatorConfig::offline()).unwrap();
        let desired = build(&valid);
        let found = |valid| Findings {
            valid,
            applied: None,
            pods: None,
            keys: Keys::Offline,
            isolation: Isolation::Own,
            redis_failure: None,
            redis_is_away: false,
            warnings: Vec::new(),
            failed_defaults: None,
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let since = |status: &McpServerStatus| status.issuer_since.as_ref().map(|time| time.0.as_second());
        let accepted =
            |old: &McpServerStatus, second| status(&here, old, &found(Ok((&valid, &desired))), at(second));
        let refused =
            |server, old: &McpServerStatus, second| status(server, old, &found(Err(Vec::new())), at(second));

        let first = accepted(&McpServerStatus::default(), 1);
        assert_eq!(since(&first), Some(1));
        assert_eq!(since(&accepted(&first, 2)), Some(1));
        let broken = refused(&here, &first, 3);
        assert_eq!(since(&broken), Some(1), "its pods serve on");
        let left = refused(&there, &broken, 4);
        assert_eq!((since(&left), left.issuer.as_deref()), (None, Some("https://h.example.com")));
        assert_eq!(since(&refused(&here, &left, 5)), None);
        assert_eq!(since(&accepted(&left, 6)), Some(6));
    }

    #[test]
    fn a_version_is_the_tag_or_the_digest() {
        assert_eq!(version("ghcr.io/a/gateway:0.1.0").as_deref(), Some("0.1.0"));
        assert_eq!(version("localhost:5000/gateway").as_deref(), Some("latest"));
        assert_eq!(version("g:1@sha256:0123456789abcdef0123").as_deref(), Some("sha256:0123456789ab"));
    }
}
