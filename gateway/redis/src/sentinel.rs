//! What Sentinels know of their master.

use std::collections::{BTreeMap, BTreeSet};

use gatehouse_gateway_config::redis::Address;
use redis::aio::MultiplexedConnection;

use crate::{
    dial::{Login, ReachError, dial},
    locate::{Member, Role, ask_all, asking},
};

type Fields = BTreeMap<String, String>;

/// What the best informed Sentinel says.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) master: Address,
    replicas: Vec<Address>,
    /// Those that ask for a login.
    guarded: Vec<Address>,
}

impl View {
    pub(crate) fn members(self) -> BTreeSet<Member> {
        let of = |role| move |address| Member { address, role };
        let master = std::iter::once(self.master).map(of(Role::Master));
        let replicas = self.replicas.into_iter().map(of(Role::Replica));
        master.chain(replicas).chain(self.guarded.into_iter().map(of(Role::Sentinel))).collect()
    }
}

/// What one Sentinel says.
struct Answer {
    epoch: u64,
    master: Address,
    replicas: Vec<Address>,
    guarded: bool,
}

/// Asks all. After a failover they learn of it one by one: the highest configuration epoch is the latest.
pub(crate) async fn view(
    sentinels: &[Address],
    name: &str,
    tls: bool,
    login: &Login,
) -> Result<View, ReachError> {
    let answers = ask_all(sentinels, |node| ask(node, name, tls, login)).await?;
    let guarded = answers.iter().filter(|(_, answer)| answer.guarded).map(|(node, _)| node.clone()).collect();
    let latest = answers.into_iter().map(|(_, answer)| answer).max_by_key(|answer| answer.epoch);
    // `ask_all` gives at least one.
    let latest = latest.ok_or_else(|| ReachError::NoMaster("no Sentinel answered".to_owned()))?;
    Ok(View { master: latest.master, replicas: latest.replicas, guarded })
}

async fn ask(node: Address, name: &str, tls: bool, login: &Login) -> Result<Answer, ReachError> {
    let fail = |source| ReachError::Node { node: node.clone(), source };
    let (mut connection, guarded) = open(&node, tls, login).await?;
    let mut pipe = redis::pipe();
    for question in ["MASTER", "REPLICAS"] {
        pipe.cmd("SENTINEL").arg(question).arg(name);
    }
    let (master, replicas): (Fields, Vec<Fields>) = pipe.query_async(&mut connection).await.map_err(fail)?;
    let unusable = || ReachError::NoMaster(format!("{node} does not say where {name} is"));
    Ok(Answer {
        epoch: master.get("config-epoch").and_then(|epoch| epoch.parse().ok()).ok_or_else(unusable)?,
        master: address(&master).ok_or_else(unusable)?,
        replicas: replicas.iter().filter(|replica| !is_down(replica)).filter_map(address).collect(),
        guarded,
    })
}

/// Most Sentinels ask for no login and know no user of ours; those that do are given the one of Redis. Whether it was
/// needed.
async fn open(node: &Address, tls: bool, login: &Login) -> Result<(MultiplexedConnection, bool), ReachError> {
    match dial(node, tls, &login.anonymous(), &asking()).await {
        Err(error) if error.code() == Some("NOAUTH") && login.password.is_some() => {
            Ok((dial(node, tls, login, &asking()).await?, true))
        }
        opened => Ok((opened?, false)),
    }
}

fn address(fields: &Fields) -> Option<Address> {
    let host = fields.get("ip").filter(|host| !host.is_empty())?.clone();
    Some(Address::Tcp { host, port: fields.get("port")?.parse().ok()? })
}

/// Sentinels never forget a replica; what is down now cannot be promoted, and is not dialled.
fn is_down(fields: &Fields) -> bool {
    let down = |flag: &str| matches!(flag, "s_down" | "o_down" | "disconnected");
    fields.get("flags").is_some_and(|flags| flags.split(',').any(down))
}
