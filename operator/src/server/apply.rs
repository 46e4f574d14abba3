//! Server-side apply of what `build` gave, where it differs from what is there.
//!
//! One field manager; no write whose outcome the watch already shows; an object of the same name that is not ours is
//! left alone and named in a condition.

use std::collections::BTreeSet;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service, ServiceAccount},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions},
    core::Status,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    build::Desired,
    children::{CAUSES, Child, ChildKind, Children, Rollout},
    fetch::ServerName,
    names::FIELD_MANAGER,
    project,
};

/// Why an object could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object of this name exists and is not ours.
    #[error(
        "{kind} {name} exists and {held_by}; it is left as it is. Rename or delete it, or rename this server"
    )]
    Conflict {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Whose it is, in words.
        held_by: String,
    },
    /// The API server refuses it; trying again changes nothing until somebody acts.
    #[error("the API server refused {kind} {name}: {message}")]
    Refused {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// The server's words.
        message: String,
    },
    /// The API server failed, or somebody else writes the same object; retried with back-off.
    #[error("the API server failed: {0}; it is tried again by itself")]
    Api(#[from] kube::Error),
}

/// What applying came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// Everything is as desired; this is how far the pods are.
    Done(Rollout),
    /// The roll-out waits for its turn, which comes after those of these servers.
    Queued(Vec<ServerName>),
    /// The roll-out does not begin, because the same failed on these servers.
    Stopped(Vec<ServerName>),
}

/// Why the Deployment would be other than it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It would not.
    Nothing,
    /// An edit of the server or its policy, or what somebody did to the Deployment. Also where no pod is available, so that
    /// nothing can be lost.
    Edit,
    /// The operator itself: its image or its defaults.
    Operator {
        /// Whether all pods were well before.
        is_well: bool,
    },
}

/// Applies the objects of one server.
#[expect(missing_debug_implementations, reason = "kube's client has none")]
pub struct Applier<'a> {
    /// The client, whose writes are fenced.
    pub client: &'a Client,
    /// What the watches saw.
    pub children: &'a Children,
    /// The server.
    pub server: &'a ServerName,
    /// The server's UID: what is owned by another is not ours.
    pub owner: &'a str,
}

impl Applier<'_> {
    /// Applies everything but the Deployment, and tells whether the Deployment differs from what is there.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn prepare(&self, desired: &Desired) -> Result<(), ApplyError> {
        self.ensure::<ServiceAccount>(ChildKind::ServiceAccount, &desired.service_account).await?;
        self.ensure::<ConfigMap>(ChildKind::ConfigMap, &desired.config_map).await?;
        self.ensure::<Service>(ChildKind::Service, &desired.service).await?;
        if let Some(twin) = &desired.twin {
            self.ensure::<Service>(ChildKind::Service, twin).await?;
        }
        Ok(())
    }

    /// Why applying the Deployment would change it. One that is not there yet is made for an edit.
    pub fn cause(&self, desired: &Deployment) -> Cause {
        let known = self.children.get(ChildKind::Deployment, &self.server.namespace, &desired.name_any());
        let Some(child) = known else { return Cause::Edit };
        if child.digest == Some(project::of_desired(&value(desired))) {
            return Cause::Nothing;
        }
        let serves = child.rollout.as_ref().is_some_and(|rollout| rollout.available > 0);
        let [defaults, edit] = CAUSES.map(|annotation| desired.annotations().get(annotation));
        let [old_defaults, old_edit] = child.causes.each_ref().map(Option::as_ref);
        // One of an older version does not say: then an edit is not told from what came with the new one.
        let ours = defaults != old_defaults && (edit == old_edit || old_edit.is_none());
        if !(serves && ours) {
            return Cause::Edit;
        }
        let is_well = child.rollout.is_some_and(|rollout| rollout.is_complete() && !rollout.has_failed());
        Cause::Operator { is_well }
    }

    /// Applies the Deployment: last, because its pods need everything else.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn roll(&self, desired: &Deployment) -> Result<Rollout, ApplyError> {
        let child = self.ensure::<Deployment>(ChildKind::Deployment, desired).await?;
        Ok(child.and_then(|child| child.rollout).unwrap_or_default())
    }

    /// Deletes what is ours and no longer desired: old configurations once no pod reads them, and old Services.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn sweep(&self, desired: &Desired) -> Result<(), ApplyError> {
        let keep = BTreeSet::from([desired.config_map.name_any()]);
        self.delete_others::<ConfigMap>(ChildKind::ConfigMap, &keep).await?;
        let twin = desired.twin.as_ref().map(ResourceExt::name_any);
        let keep = [Some(desired.service.name_any()), twin].into_iter().flatten().collect();
        self.delete_others::<Service>(ChildKind::Service, &keep).await
    }

    async fn ensure<K>(&self, kind: ChildKind, object: &K) -> Result<Option<Child>, ApplyError>
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let known = self.children.get(kind, &self.server.namespace, &object.name_any());
        match self.ensure_over(kind, object, known).await {
            // Something else was there than the watch has seen; a second time, it is somebody who writes on.
            Err(ApplyError::Api(kube::Error::Api(status))) if status.code == 409 => {
                self.ensure_over(kind, object, None).await
            }
            done => done,
        }
    }

    /// Applies an object over what is known to be there; with nothing known, over what a live look finds.
    async fn ensure_over<K>(
        &self,
        kind: ChildKind,
        object: &K,
        known: Option<Child>,
    ) -> Result<Option<Child>, ApplyError>
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let name = object.name_any();
        let mut desired = value(object);
        let digest = project::of_desired(&desired);
        let api = self.api::<K>();
        let known = match known {
            Some(child) => Some(child),
            // The watch knows only what carries our label.
            None => self.look(kind, &api, &name).await?,
        };
        let mut params = PatchParams::apply(FIELD_MANAGER);
        if let Some(child) = known {
            self.is_ours(&K::kind(&()), &name, &child)?;
            if child.digest == Some(digest) {
                return Ok(Some(child));
            }
            // Another object of the same name, made since, is not ours to change.
            desired["metadata"]["uid"] = json!(child.uid);
            params = params.force();
        }
        let result = api.patch(&name, &params, &Patch::Apply(&desired)).await;
        let live = result.map_err(|error| refusal(&K::kind(&()), &name, error))?;
        tracing::info!(kind = %K::kind(&()), name, "applied");
        let child = Child::of(kind, live.clone()).map(|(_, child)| child);
        self.children.saw(kind, live);
        Ok(child)
    }

    /// A live look at an object that the watch does not know.
    async fn look(
        &self,
        kind: ChildKind,
        api: &Api<DynamicObject>,
        name: &str,
    ) -> Result<Option<Child>, ApplyError> {
        let Some(mut object) = api.get_opt(name).await? else { return Ok(None) };
        let label = super::names::SERVER_LABEL.to_owned();
        object.labels_mut().entry(label).or_insert_with(|| self.server.name.clone());
        Ok(Child::of(kind, object).map(|(_, child)| child))
    }

    fn is_ours(&self, kind: &str, name: &str, child: &Child) -> Result<(), ApplyError> {
        let held_by = match &child.owner {
            Some(owner) if owner == self.owner && !child.deleting => return Ok(()),
            Some(owner) if owner == self.owner => "is being deleted".to_owned(),
            Some(owner) => format!("is owned by another object (UID {owner})"),
            None => "has no owner".to_owned(),
        };
        Err(ApplyError::Conflict { kind: kind.to_owned(), name: name.to_owned(), held_by })
    }

    async fn delete_others<K>(&self, kind: ChildKind, keep: &BTreeSet<String>) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = ()>,
    {
        for (name, child) in self.children.of_server(kind, self.server) {
            let ours = child.owner.as_deref() == Some(self.owner) && child.digest.is_some();
            if keep.contains(&name) || !ours || child.deleting {
                continue;
            }
            let preconditions = Preconditions { uid: Some(child.uid), resource_version: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            match self.api::<K>().delete(&name, &params).await {
                Ok(_) => tracing::info!(kind = %K::kind(&()), name, "deleted"),
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
                Err(error) => return Err(refusal(&K::kind(&()), &name, error)),
            }
        }
        Ok(())
    }

    fn api<K: Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.server.namespace, &ApiResource::erase::<K>(&()))
    }
}

fn value(object: &impl Serialize) -> Value {
    // Kubernetes' types always serialize.
    serde_json::to_value(object).unwrap_or_default()
}

/// What waits for a person is told apart from what a retry may mend.
fn refusal(kind: &str, name: &str, error: kube::Error) -> ApplyError {
    let (kind, name) = (kind.to_owned(), name.to_owned());
    match error {
        kube::Error::Api(status)
            if matches!(status.code, 400 | 403 | 404 | 413 | 422) || is_untypable(&status) =>
        {
            ApplyError::Refused { kind, name, message: status.message.clone() }
        }
        error => ApplyError::Api(error),
    }
}

/// An object that server-side apply cannot read, such as one with a key twice in a list-map: the API server answers as
/// if it were at fault itself.
fn is_untypable(status: &Status) -> bool {
    status.code == 500 && status.message.starts_with("failed to create typed patch object")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_can_never_be_applied_is_a_refusal() {
        let message = "failed to create typed patch object (a/s; apps/v1, Kind=Deployment): errors:\n  \
                       .spec.template.spec.imagePullSecrets: duplicate entries for key [name=\"x\"]";
        let status = json!({ "code": 500, "message": message, "reason": "InternalError" });
        let status = serde_json::from_value(status).unwrap();
        let error = refusal("Deployment", "s", kube::Error::Api(Box::new(status)));
        assert!(matches!(&error, ApplyError::Refused { message: said, .. } if said == message), "{error}");
    }

    #[test]
    fn only_what_a_person_must_mend_is_a_refusal() {
        let answer = |code: u16| {
            let status =
                serde_json::from_value(json!({ "code": code, "message": "why", "reason": "x" })).unwrap();
            refusal("Service", "s", kube::Error::Api(Box::new(status)))
        };
        for code in [400, 403, 404, 413, 422] {
            assert!(matches!(answer(code), ApplyError::Refused { .. }), "{code}");
        }
        for code in [409, 429, 500, 503, 504] {
            assert!(matches!(answer(code), ApplyError::Api(_)), "{code}");
        }
    }
}
