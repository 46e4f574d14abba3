//! The audit trail: one event for every decision of the authorization server, and one for every call: who, by which
//! client, what, and how it ended. Never arguments, results or secrets: an event has no field that could hold one.
//!
//! It has a path of its own: the log's filter cannot lose it, and a call does not pay for the log's machinery. Where it
//! goes is a [`Sink`]'s business; in the gateway one JSON object a line, between the log's lines.

mod decision;
mod event;
mod field;
mod line;

use std::sync::Arc;

pub use decision::Decision;
pub use event::{CallEvent, Client, Event};
pub use field::{Field, Value};

use crate::clock::Clock;

/// The `target` of audit events, to tell them from other lines of the log.
pub const TARGET: &str = "audit";

/// Where events go.
pub trait Sink: Send + Sync + std::fmt::Debug {
    /// Takes an event. Must not wait: calls do it.
    fn take(&self, record: &Record<'_>);
}

/// The audit trail of one server.
#[derive(Debug, Clone)]
pub struct Audit {
    sink: Option<Arc<dyn Sink>>,
    clock: Arc<dyn Clock>,
    server: Arc<str>,
}

impl Audit {
    /// The trail of the server `namespace`/`name`; without a sink nothing is written.
    pub fn new(sink: Option<Arc<dyn Sink>>, clock: Arc<dyn Clock>, namespace: &str, name: &str) -> Self {
        Self { sink, clock, server: format!("{namespace}/{name}").into() }
    }

    /// Writes what was decided.
    pub fn write(&self, event: &Event) {
        self.put(What::Decision(event));
    }

    /// Writes how a call ended.
    pub fn call(&self, call: &CallEvent<'_>) {
        self.put(What::Call(call));
    }

    fn put(&self, what: What<'_>) {
        if let Some(sink) = &self.sink {
            sink.take(&Record { unix_millis: self.clock.unix_millis(), server: &self.server, what });
        }
    }
}

/// An event with its time and server.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    unix_millis: i64,
    server: &'a str,
    what: What<'a>,
}

#[derive(Debug, Clone, Copy)]
enum What<'a> {
    Decision(&'a Event),
    Call(&'a CallEvent<'a>),
}

impl Record<'_> {
    /// Shows every field that is there, in their order.
    fn each(&self, show: &mut impl FnMut(Field, Value<'_>)) {
        show(Field::Timestamp, Value::Time(self.unix_millis));
        show(Field::Level, Value::Word("INFO"));
        show(Field::Target, Value::Word(TARGET));
        let told = match self.what {
            What::Decision(event) => event.decision(),
            What::Call(_) => Decision::Call,
        };
        show(Field::Event, Value::Word(told.event()));
        match self.what {
            What::Decision(event) => event.each(show),
            What::Call(call) => call.each(show),
        }
        show(Field::Server, Value::Text(self.server));
    }

    /// Appends the event as one line of JSON.
    pub fn json(&self, out: &mut Vec<u8>) {
        line::json(self, out);
    }
}

/// `name=value` for people, without the fields that a log line has anyway.
impl std::fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        line::text(self, f)
    }
}

/// Everything that an event can tell, as the tables of the README.
pub fn tables() -> String {
    let event = |d: &Decision| format!("| `{}` | {} | {} |\n", d.event(), d.outcome(), d.when());
    let field = |f: &Field| format!("| `{}` | {} |\n", f.name(), f.what());
    let (events, fields): (String, String) =
        (Decision::ALL.iter().map(event).collect(), Field::ALL.iter().map(field).collect());
    format!("| `event` | `outcome` | when |\n|---|---|---|\n{events}\n| field | value |\n|---|---|\n{fields}")
}
