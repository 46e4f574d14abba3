//! Who is the master, and who else there is.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use gatehouse_gateway_config::redis::{Address, RedisTarget, Topology};
use redis::{AsyncConnectionConfig, FromRedisValue, Value, aio::MultiplexedConnection};

use crate::{
    cluster,
    dial::{Login, ReachError, dial},
    sentinel,
};

/// How long one node may take to say what it knows. All are asked at once.
const ASK_TIMEOUT: Duration = Duration::from_millis(600);

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Takes writes.
    Master,
    /// May become a master.
    Replica,
    /// Knows the master.
    Sentinel,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// Where it is.
    pub address: Address,
    /// What it is.
    pub role: Role,
}

/// Connects to the master that holds `key`. `known` are nodes found before: they are asked, too, and are replaced by
/// what was found now, so that the nodes of the configuration may all be gone one day.
///
/// # Errors
/// When nobody knows a master, or the one they name cannot be reached or is none.
pub async fn dial_master(
    target: &RedisTarget,
    key: &str,
    login: &Login,
    known: &mut BTreeSet<Address>,
    config: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection, ReachError> {
    let candidates = match &target.topology {
        Topology::Standalone(address) => return dial(address, target.tls, login, config).await,
        Topology::Sentinel { sentinels, master } => {
            let view = sentinel::view(sentinels, master, target.tls, login).await?;
            vec![view.master]
        }
        Topology::Cluster { nodes } => {
            let asked: BTreeSet<Address> = nodes.iter().cloned().chain(known.iter().cloned()).collect();
            let shard = cluster::shard(&asked, cluster::slot(key), target.tls, login).await?;
            *known = shard.nodes;
            shard.masters
        }
    };
    let mut failure = None;
    for candidate in candidates {
        match master(&candidate, target.tls, login, config).await {
            Ok(connection) => return Ok(connection),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| ReachError::NoMaster("no node serves the slot".to_owned())))
}

/// Connects to a node that must be a master: what we were told may be out of date by now.
async fn master(
    address: &Address,
    tls: bool,
    login: &Login,
    config: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection, ReachError> {
    let mut connection = dial(address, tls, login, config).await?;
    let role: Value = redis::cmd("ROLE")
        .query_async(&mut connection)
        .await
        .map_err(|source| ReachError::Node { node: address.clone(), source })?;
    let is_master = match &role {
        Value::Array(fields) => fields.first().and_then(|field| String::from_redis_value_ref(field).ok()),
        _ => None,
    };
    if is_master.as_deref() == Some("master") {
        Ok(connection)
    } else {
        Err(ReachError::NotMaster(address.clone()))
    }
}

/// Every node there is. Sentinels are listed where they ask for a login.
///
/// # Errors
/// When nobody who was asked answers.
pub async fn members(target: &RedisTarget, login: &Login) -> Result<BTreeSet<Member>, ReachError> {
    match &target.topology {
        Topology::Standalone(address) => {
            Ok(BTreeSet::from([Member { address: address.clone(), role: Role::Master }]))
        }
        Topology::Sentinel { sentinels, master } => {
            let view = sentinel::view(sentinels, master, target.tls, login).await?;
            Ok(view.members())
        }
        Topology::Cluster { nodes } => {
            let asked: BTreeSet<Address> = nodes.iter().cloned().collect();
            cluster::members(&asked, target.tls, login).await
        }
    }
}

/// Asks every node at once; each answer with its node.
pub(crate) async fn ask_all<T, F>(
    nodes: impl IntoIterator<Item = &Address>,
    ask: impl Fn(Address) -> F,
) -> Result<Vec<(Address, T)>, ReachError>
where
    F: Future<Output = Result<T, ReachError>>,
{
    let asked: Vec<_> = nodes
        .into_iter()
        .map(|node| {
            let (node, answer) = (node.clone(), tokio::time::timeout(ASK_TIMEOUT, ask(node.clone())));
            async move {
                let late = || ReachError::NoMaster(format!("{node} did not answer in time"));
                let answer = answer.await.unwrap_or_else(|_| Err(late()));
                (node, answer)
            }
        })
        .collect();
    let (mut answers, mut failure) = (Vec::new(), None);
    for (node, answer) in join_all(asked).await {
        match answer {
            Ok(answer) => answers.push((node, answer)),
            Err(error) => failure = Some(error),
        }
    }
    if answers.is_empty() {
        return Err(failure.unwrap_or_else(|| ReachError::NoMaster("there is nobody to ask".to_owned())));
    }
    Ok(answers)
}

/// The settings of a connection on which a node is asked.
pub(crate) fn asking() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ASK_TIMEOUT))
        .set_response_timeout(Some(ASK_TIMEOUT))
}
