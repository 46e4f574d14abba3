//! Every node of Redis that there is, each with a connection of the operator's: ACL users do not replicate, so each
//! node is told, replicas too, for one of them is the next master.

use std::collections::BTreeMap;

use futures::future::join_all;
use gatehouse_gateway_config::redis::{Address, RedisTarget, Topology};
use gatehouse_redis::{Login, Member, ReachError, Role, dial, dial_master, members};
use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};

use super::{
    TIMEOUT,
    acl::User,
    index,
    info::{Info, Warning, describe, info},
    isolation::{self, Door},
    login::login,
};
use crate::config::RedisSettings;

/// One node.
pub(super) struct Node {
    pub(super) connection: MultiplexedConnection,
    pub(super) role: Role,
    pub(super) info: Info,
    door: Door,
    /// The connection was made just now.
    is_new: bool,
    /// Whether it may have `CLUSTERSCAN`: until it says no, and again after a restart, which may bring another version.
    pub(super) knows_clusterscan: bool,
    /// The users that are in force on this connection: they die with a restart, which ends it.
    pub(super) done: BTreeMap<String, User>,
}

/// The nodes, by address.
#[derive(Default)]
pub(super) struct Fleet {
    pub(super) nodes: BTreeMap<Address, Node>,
    index: Option<MultiplexedConnection>,
    /// Whether a node was connected to, or became a master, since it was last asked.
    renewed: bool,
}

impl Fleet {
    /// Looks who is there now, and connects to whom we are not connected. Gives what is wrong with single nodes.
    ///
    /// # Errors
    /// When no master can be used.
    pub(super) async fn meet(&mut self, settings: &RedisSettings) -> Result<Vec<Warning>, String> {
        let (target, login) = whom(settings)?;
        let members = members(&target, &login).await.map_err(|e| words(&e, &target))?;
        let mut known = std::mem::take(&mut self.nodes);
        let roles: BTreeMap<Address, Role> = known.iter().map(|(at, node)| (at.clone(), node.role)).collect();
        let met = members.into_iter().map(|member| {
            let known = known.remove(&member.address);
            meet(member, known, &target, &login)
        });
        let (mut warnings, mut failure, mut masters) = (Vec::new(), None, 0);
        for (Member { address, role }, met) in join_all(met).await {
            match met {
                Ok(node) => {
                    self.renewed |= node.is_new || roles.get(&address) != Some(&role);
                    masters += usize::from(role == Role::Master);
                    self.nodes.insert(address, node);
                }
                Err(error) => {
                    let text = format!(
                        "Redis at {address} cannot be used: {error}; servers whose users it does not know lose Redis when it \
                         becomes a master"
                    );
                    warnings.push(Warning { about: address.to_string(), text });
                    failure = failure.or(Some(error).filter(|_| role == Role::Master));
                }
            }
        }
        if masters > 0 {
            return Ok(warnings);
        }
        Err(failure.unwrap_or_else(|| "no master was found".to_owned()))
    }

    /// The connection to the master that holds the index of instances; whether it is a new one.
    pub(super) async fn index(
        &mut self,
        settings: &RedisSettings,
    ) -> Result<(&mut MultiplexedConnection, bool), String> {
        let works = match &mut self.index {
            Some(connection) => redis::cmd("PING").query_async::<String>(connection).await.is_ok(),
            None => false,
        };
        if !works {
            self.index = None;
        }
        match &mut self.index {
            Some(connection) => Ok((connection, false)),
            empty => Ok((empty.insert(index_connection(settings).await?), true)),
        }
    }

    /// Forgets the connection to the index: another node may hold it now.
    pub(super) fn index_moved(&mut self) {
        self.index = None;
    }

    /// Whether a node was connected to, or became a master, since the last call.
    pub(super) fn renewed(&mut self) -> bool {
        std::mem::take(&mut self.renewed)
    }

    /// The masters.
    pub(super) fn masters(&mut self) -> impl Iterator<Item = &mut Node> {
        self.nodes.values_mut().filter(|node| node.role == Role::Master)
    }

    /// What is to be said of settings, with so many servers.
    pub(super) fn warnings(&self, servers: usize) -> Vec<Warning> {
        let mut warnings: Vec<Warning> = Vec::new();
        for node in self.holding_keys() {
            let new =
                node.info.warnings(servers).into_iter().filter(|w| !warnings.contains(w)).collect::<Vec<_>>();
            warnings.extend(new);
        }
        warnings
    }

    /// Whether whoever has no password gets in, at the worst of the nodes.
    pub(super) fn door(&self) -> Door {
        self.holding_keys().map(|node| node.door).max().unwrap_or_default()
    }

    fn holding_keys(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|node| node.role != Role::Sentinel)
    }
}

/// A connection to the master that holds the index of instances.
pub(super) async fn index_connection(settings: &RedisSettings) -> Result<MultiplexedConnection, String> {
    let (target, login) = whom(settings)?;
    let key = index::key(&settings.key_prefix);
    let known = &mut std::collections::BTreeSet::new();
    dial_master(&target, &key, &login, known, &timeouts()).await.map_err(|e| words(&e, &target))
}

/// Where Redis is, and as whom we come: files may have changed since the last connection.
fn whom(settings: &RedisSettings) -> Result<(RedisTarget, Login), String> {
    let target = settings.target().map_err(|e| e.to_string())?;
    Ok((target, login(settings).map_err(|e| e.to_string())?))
}

async fn meet(
    member: Member,
    known: Option<Node>,
    target: &RedisTarget,
    login: &Login,
) -> (Member, Result<Node, String>) {
    if let Some(mut node) = known
        && let Ok(info) = info(&mut node.connection, member.role).await
        && let Ok(door) = isolation::look(&mut node.connection, member.role, login).await
    {
        return (member.clone(), Ok(Node { info, door, role: member.role, is_new: false, ..node }));
    }
    let node = async {
        let connection = dial(&member.address, target.tls, login, &timeouts()).await;
        let mut connection = connection.map_err(|e| words(&e, target))?;
        let info = info(&mut connection, member.role).await?;
        let door = isolation::look(&mut connection, member.role, login).await?;
        let (role, done) = (member.role, BTreeMap::new());
        Ok(Node { connection, role, info, door, is_new: true, knows_clusterscan: true, done })
    };
    let node = node.await;
    (member, node)
}

fn timeouts() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(TIMEOUT)).set_response_timeout(Some(TIMEOUT))
}

fn words(error: &ReachError, target: &RedisTarget) -> String {
    match error {
        ReachError::Node { node, source } => {
            let asked = match &target.topology {
                Topology::Sentinel { sentinels, .. } => sentinels.contains(node),
                Topology::Standalone(_) | Topology::Cluster { .. } => false,
            };
            // Of those who hold keys all take the same rights.
            describe(source, if asked { Role::Sentinel } else { Role::Master })
        }
        ReachError::NoMaster(_) | ReachError::NotMaster(_) => error.to_string(),
    }
}
