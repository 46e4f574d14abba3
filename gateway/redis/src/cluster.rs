//! What the nodes of a Cluster know of its slots.

use std::collections::{BTreeMap, BTreeSet};

use gatehouse_gateway_config::redis::Address;
use redis::{FromRedisValue, Value};

use crate::{
    dial::{Login, ReachError, dial},
    locate::{Member, Role, ask_all, asking},
};

/// How many slots a Cluster has.
const SLOTS: u16 = 16384;

/// The slot of a key: of what stands between its first braces, where there is something.
pub(crate) fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    crc16::State::<crc16::XMODEM>::calculate(hashed.as_bytes()) % SLOTS
}

/// The nodes of one slot.
#[derive(Debug)]
pub(crate) struct Shard {
    /// Whom the nodes call its master; first the one that most of them name.
    pub(crate) masters: Vec<Address>,
    /// Masters and replicas.
    pub(crate) nodes: BTreeSet<Address>,
}

/// A range of slots and its nodes, the master first.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    nodes: Vec<Address>,
}

/// Asks all who serves `slot`. After a failover they learn of it one by one, and a node that is cut off never does.
pub(crate) async fn shard(
    asked: &BTreeSet<Address>,
    slot: u16,
    tls: bool,
    login: &Login,
) -> Result<Shard, ReachError> {
    let answers = ask_all(asked, |node| ask(node, tls, login)).await?;
    let mut votes: BTreeMap<Address, usize> = BTreeMap::new();
    let mut nodes = BTreeSet::new();
    for range in answers.into_iter().flat_map(|(_, ranges)| ranges) {
        if (range.first..=range.last).contains(&slot) {
            if let Some(master) = range.nodes.first() {
                *votes.entry(master.clone()).or_default() += 1;
            }
            nodes.extend(range.nodes);
        }
    }
    let mut masters: Vec<(Address, usize)> = votes.into_iter().collect();
    masters.sort_by_key(|(_, votes)| std::cmp::Reverse(*votes));
    Ok(Shard { masters: masters.into_iter().map(|(master, _)| master).collect(), nodes })
}

/// Every node that anybody names. One that some call a master counts as one.
pub(crate) async fn members(
    asked: &BTreeSet<Address>,
    tls: bool,
    login: &Login,
) -> Result<BTreeSet<Member>, ReachError> {
    let answers = ask_all(asked, |node| ask(node, tls, login)).await?;
    let mut roles: BTreeMap<Address, Role> = BTreeMap::new();
    for range in answers.into_iter().flat_map(|(_, ranges)| ranges) {
        for (place, node) in range.nodes.into_iter().enumerate() {
            let role = if place == 0 { Role::Master } else { Role::Replica };
            roles.entry(node).and_modify(|known| *known = role.min(*known)).or_insert(role);
        }
    }
    if roles.is_empty() {
        return Err(ReachError::NoMaster("no slot of the Cluster is assigned".to_owned()));
    }
    Ok(roles.into_iter().map(|(address, role)| Member { address, role }).collect())
}

async fn ask(node: Address, tls: bool, login: &Login) -> Result<Vec<Range>, ReachError> {
    let mut connection = dial(&node, tls, login, &asking()).await?;
    let mut slots = redis::cmd("CLUSTER");
    slots.arg("SLOTS");
    let answer: Vec<Value> = slots
        .query_async(&mut connection)
        .await
        .map_err(|source| ReachError::Node { node: node.clone(), source })?;
    Ok(answer.iter().filter_map(|range| range_of(range, &node)).collect())
}

/// `[first, last, [host, port, …] of the master, [host, port, …] of each replica]`.
fn range_of(value: &Value, asked: &Address) -> Option<Range> {
    let Value::Array(fields) = value else { return None };
    let (bounds, nodes) = fields.split_at_checked(2)?;
    let bound = |index: usize| u16::from_redis_value_ref(bounds.get(index)?).ok();
    // A master that cannot be read must not make its replica the master.
    let nodes: Option<Vec<Address>> = nodes.iter().map(|node| node_of(node, asked)).collect();
    Some(Range { first: bound(0)?, last: bound(1)?, nodes: nodes? })
}

fn node_of(value: &Value, asked: &Address) -> Option<Address> {
    let Value::Array(fields) = value else { return None };
    let host = Option::<String>::from_redis_value_ref(fields.first()?).ok()?;
    let port = u16::from_redis_value_ref(fields.get(1)?).ok()?;
    let host = match (host.filter(|host| !matches!(host.as_str(), "" | "?")), asked) {
        (Some(host), _) => host,
        // A node that does not know its own address: the one that led to whom we asked.
        (None, Address::Tcp { host, .. }) => host.clone(),
        (None, Address::Socket(_)) => return None,
    };
    Some(Address::Tcp { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(slot("123456789"), 0x31C3);
        assert_eq!(slot("gatehouse:{a/b.c}:grant:1"), slot("a/b.c"));
        assert_ne!(slot("x{}y"), slot("x{}z"), "empty braces name nothing: the whole key counts");
    }

    #[test]
    fn an_answer_is_read_with_the_host_that_was_asked_where_it_names_none() {
        let asked = Address::Tcp { host: "seed".to_owned(), port: 1 };
        let node = |host: Value, port| Value::Array(vec![host, Value::Int(port), text("id")]);
        let answer = Value::Array(vec![
            Value::Int(0),
            Value::Int(99),
            node(Value::Nil, 7000),
            node(text("10.0.0.2"), 7001),
        ]);
        let tcp = |host: &str, port| Address::Tcp { host: host.to_owned(), port };
        let nodes = vec![tcp("seed", 7000), tcp("10.0.0.2", 7001)];
        assert_eq!(range_of(&answer, &asked), Some(Range { first: 0, last: 99, nodes }));
        for bad in
            [Value::Nil, Value::Array(vec![Value::Int(0)]), Value::Array(vec![Value::Int(0), text("x")])]
        {
            assert_eq!(range_of(&bad, &asked), None);
        }
    }
}
