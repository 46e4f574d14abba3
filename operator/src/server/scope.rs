//! A watch scope: what its watches hold, and what they ask to be looked at.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::runtime::reflector::{ObjectRef, Store};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::Instant,
};

use super::guarded::GuardedServer;
use crate::{policy::GuardedPolicy, work::Work};

/// The objects of one watch scope: a namespace, or all of them.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The namespace; `None`: all.
    pub namespace: Option<String>,
    /// Its servers.
    pub servers: Store<GuardedServer>,
    /// Its policies.
    pub policies: Store<GuardedPolicy>,
    /// Servers to look at.
    pub server_queue: Queue<GuardedServer>,
    /// Policies to look at.
    pub policy_queue: Queue<GuardedPolicy>,
}

impl Scope {
    /// Whether a namespace is in it.
    pub fn covers(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }
}

/// Objects to look at. Closed, which loses nothing, while this process does not lead: leading begins with all of them.
#[derive(Debug)]
pub struct Queue<K: kube::Resource<DynamicType = ()>> {
    sender: Arc<Mutex<Option<UnboundedSender<ObjectRef<K>>>>>,
    work: Work,
}

impl<K: kube::Resource<DynamicType = ()>> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), work: self.work.clone() }
    }
}

impl<K: kube::Resource<DynamicType = ()>> Default for Queue<K> {
    fn default() -> Self {
        Self { sender: Arc::default(), work: Work::default() }
    }
}

impl<K: kube::Resource<DynamicType = ()>> Queue<K> {
    /// That of a controller which folds what is asked for within `time`.
    pub fn folding(time: Duration) -> Self {
        Self { work: Work::folding(time), ..Self::default() }
    }

    /// Asks for a look at an object.
    pub fn push(&self, object: ObjectRef<K>) {
        if let Some(sender) = &*self.sender.lock().unwrap_or_else(PoisonError::into_inner) {
            self.work.asked(Instant::now());
            // The receiver is gone only when the process ends.
            let _ = sender.send(object);
        }
    }

    /// Opens the queue.
    pub fn open(&self) -> UnboundedReceiver<ObjectRef<K>> {
        let (sender, receiver) = unbounded_channel();
        *self.sender.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Whether it was opened, and not closed.
    pub fn is_open(&self) -> bool {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether what is asked for is looked at.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// Closes it: what runs ends, nothing new begins.
    pub fn close(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
