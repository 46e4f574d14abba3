//! Once an hour everything is looked at, whatever was missed.

use std::time::Duration;

use kube::{Resource, runtime::reflector::ObjectRef};

use super::listing::fingerprint;
use crate::server::scope::{Queue, Scope};

/// How often each object is looked at.
const EVERY: Duration = Duration::from_secs(3600);
/// Into how many parts everything is divided: looked at all at once, it would be so for ever after.
const PARTS: u32 = 60;

/// Asks for a look at each server and each policy of a scope once an hour. `pause` waits. Never ends.
pub(super) async fn enqueue(scope: &Scope, mut pause: impl AsyncFnMut(Duration)) {
    for part in (0..PARTS).cycle() {
        pause(EVERY / PARTS).await;
        push(part, scope.servers.state().iter().map(|s| ObjectRef::from_obj(&**s)), &scope.server_queue);
        push(part, scope.policies.state().iter().map(|p| ObjectRef::from_obj(&**p)), &scope.policy_queue);
    }
}

fn push<K>(part: u32, objects: impl Iterator<Item = ObjectRef<K>>, queue: &Queue<K>)
where
    K: Resource<DynamicType = ()>,
{
    let is_in = |object: &ObjectRef<K>| {
        fingerprint(&(&object.namespace, &object.name)) % u64::from(PARTS) == u64::from(part)
    };
    objects.filter(is_in).for_each(|object| queue.push(object));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures::FutureExt;
    use kube::runtime::{reflector::store, watcher::Event};
    use serde_json::json;
    use tokio::sync::mpsc::UnboundedReceiver;

    use super::*;

    fn times<K: Resource<DynamicType = ()>>(
        queue: &mut UnboundedReceiver<ObjectRef<K>>,
    ) -> BTreeMap<String, u32> {
        let mut times = BTreeMap::new();
        while let Ok(object) = queue.try_recv() {
            *times.entry(object.name).or_default() += 1;
        }
        times
    }

    #[test]
    fn each_server_and_each_policy_is_looked_at_once_an_hour() {
        let ((servers, mut all_servers), (policies, mut all_policies)) = (store(), store());
        let object = |kind: &str, n: u32| {
            json!({ "apiVersion": "gatehouse.dev/v1alpha1", "kind": kind,
                "metadata": { "name": format!("{kind}-{n}"), "namespace": "a" } })
        };
        for n in 0..200 {
            let server = serde_json::from_value(object("McpServer", n)).unwrap();
            all_servers.apply_watcher_event(&Event::Apply(server));
            let policy = serde_json::from_value(object("OAuthClientPolicy", n)).unwrap();
            all_policies.apply_watcher_event(&Event::Apply(policy));
        }
        let (server_queue, policy_queue) = (Queue::default(), Queue::default());
        let (mut looks, mut policy_looks) = (server_queue.open(), policy_queue.open());
        let scope = Scope { namespace: None, servers, policies, server_queue, policy_queue };
        let (mut waited, mut before, mut most) = (Duration::ZERO, 0, 0);
        // The clock stops when an hour is over.
        let pause = async |pause: Duration| {
            most = most.max(looks.len() - before);
            before = looks.len();
            if waited == EVERY {
                std::future::pending::<()>().await;
            }
            waited += pause;
        };
        assert_eq!(enqueue(&scope, pause).now_or_never(), None);
        assert!(most < 20, "{most} at once");
        for times in [times(&mut looks), times(&mut policy_looks)] {
            assert_eq!(times.len(), 200);
            assert!(times.values().all(|times| *times == 1), "{times:?}");
        }
    }
}
