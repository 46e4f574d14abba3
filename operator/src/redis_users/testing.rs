//! A Redis of a few words, for the tests of what is sent to one.

use redis::{Cmd, Pipeline, RedisFuture, Value, aio::ConnectionLike};

/// A node that answers each command, as it is sent, in the words of the protocol.
pub(super) struct Node<F>(pub(super) F);

impl<F: FnMut(&[u8]) -> &'static str> ConnectionLike for Node<F> {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        let answer = (self.0)(&command.get_packed_command());
        let answer = redis::parse_redis_value(answer.as_bytes()).and_then(Value::extract_error);
        Box::pin(std::future::ready(answer))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        _: &'a Pipeline,
        _: usize,
        _: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn get_db(&self) -> i64 {
        0
    }
}
