//! Whether a Redis user of its own keeps a server's records from others. It does not where Redis lets in whoever has no
//! password: that one is the user `default`, who by default may do everything.

use std::collections::HashMap;

use gatehouse_redis::{Login, Role};
use redis::{FromRedisValue, Value, aio::MultiplexedConnection};

use super::{RedisState, info::describe};
use crate::config::RedisUsers;

/// Whether whoever has no password gets in. In the order of what is worse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Door {
    /// Not, or to nobody's keys.
    Closed,
    /// The operator was not told.
    #[default]
    Unseen,
    /// Yes.
    Open,
}

/// What keeps other tenants from what a server stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// A Redis user of its own, and there is no way in without one.
    Own,
    /// A Redis user of its own, beside which Redis lets in whoever has no password.
    Open,
    /// A Redis user of its own; whether there is a way in beside it, the operator may not look.
    Unseen,
    /// A Redis user of its own, which is not in force.
    Awaited,
    /// Nothing: all servers share one user.
    Shared,
    /// What the tenant provides.
    Provided,
}

impl RedisState {
    /// What isolates the server with this user, if it has one.
    pub fn isolation(&self, users: RedisUsers, user: Option<&str>) -> Isolation {
        match users {
            RedisUsers::Shared => Isolation::Shared,
            RedisUsers::Provided => Isolation::Provided,
            RedisUsers::Managed if user.is_none_or(|user| self.user(user).is_err()) => Isolation::Awaited,
            RedisUsers::Managed => match self.door {
                Door::Closed => Isolation::Own,
                Door::Unseen => Isolation::Unseen,
                Door::Open => Isolation::Open,
            },
        }
    }
}

/// Looks at the user `default` of a node.
///
/// # Errors
/// When the connection does not work, in words.
pub(super) async fn look(
    connection: &mut MultiplexedConnection,
    role: Role,
    login: &Login,
) -> Result<Door, String> {
    // A Sentinel holds nobody's keys.
    if role == Role::Sentinel {
        return Ok(Door::Closed);
    }
    // What lets the operator in without anything lets everybody in.
    if login.password.is_none() && login.certificate.is_none() {
        return Ok(Door::Open);
    }
    let answer: Result<Value, _> =
        redis::cmd("ACL").arg("GETUSER").arg("default").query_async(connection).await;
    match answer {
        Ok(user) => Ok(of_default(user)),
        Err(error) if error.is_io_error() || error.is_timeout() => Err(describe(&error, role)),
        // It is kept from the operator, or a service has no ACLs.
        Err(_) => Ok(Door::Unseen),
    }
}

/// From the answer of `ACL GETUSER default`, whose keys are a text since Redis 7 and a list before.
fn of_default(user: Value) -> Door {
    let user = HashMap::<String, Value>::from_redis_value(user).unwrap_or_default();
    if !user.contains_key("flags") {
        return Door::Unseen;
    }
    let texts = |field: &str| {
        let value = user.get(field).cloned().unwrap_or(Value::Nil);
        let list = Vec::<String>::from_redis_value(value.clone());
        list.or_else(|_| String::from_redis_value(value).map(|text| vec![text])).unwrap_or_default()
    };
    let flags = texts("flags");
    let has = |flag: &str| flags.iter().any(|f| f == flag);
    let reaches = |field: &str| match user.get(field) {
        None | Some(Value::Nil) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => texts(field).iter().any(|text| !text.is_empty()),
    };
    let open = has("on") && has("nopass") && (reaches("keys") || reaches("selectors"));
    if open { Door::Open } else { Door::Closed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn list(texts: &[&str]) -> Value {
        Value::Array(texts.iter().map(|t| text(t)).collect())
    }

    #[test]
    fn a_default_user_without_password_is_an_open_door() {
        let of = |flags: &[&str], keys: Value| {
            let fields =
                [("flags", list(flags)), ("passwords", list(&[])), ("keys", keys), ("selectors", list(&[]))];
            of_default(Value::Array(fields.into_iter().flat_map(|(k, v)| [text(k), v]).collect()))
        };
        assert_eq!(of(&["on", "nopass", "sanitize-payload"], text("~*")), Door::Open);
        assert_eq!(of(&["on", "allkeys", "nopass"], list(&["*"])), Door::Open, "as Redis 6 says it");
        assert_eq!(of(&["on"], text("~*")), Door::Closed, "it has a password");
        assert_eq!(of(&["off", "nopass"], text("~*")), Door::Closed);
        assert_eq!(of(&["on", "nopass"], text("")), Door::Closed, "it reaches no key");
        assert_eq!(of(&["on", "nopass"], list(&[])), Door::Closed);
        assert_eq!(of_default(Value::Nil), Door::Unseen);
    }

    #[test]
    fn a_server_is_isolated_once_its_user_is_in_force() {
        let mut state = RedisState::default();
        let of = |state: &RedisState, user| state.isolation(RedisUsers::Managed, user);
        assert_eq!(of(&state, None), Isolation::Awaited);
        assert_eq!(of(&state, Some("u")), Isolation::Awaited);
        state.users.insert("u".to_owned());
        assert_eq!(of(&state, Some("u")), Isolation::Unseen);
        state.door = Door::Open;
        assert_eq!(of(&state, Some("u")), Isolation::Open);
        state.door = Door::Closed;
        assert_eq!(of(&state, Some("u")), Isolation::Own);
        state.failure = Some("away".to_owned());
        assert_eq!(of(&state, Some("u")), Isolation::Awaited);
    }
}
