//! The fields of an event.

use std::net::IpAddr;

macro_rules! fields {
    ($($field:ident $name:literal $what:literal;)*) => {
        /// A field of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Field {
            $(#[doc = $what] $field,)*
        }

        impl Field {
            /// All of them, in the order of a line.
            pub const ALL: &[Self] = &[$(Self::$field,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$field => $name,)* }
            }

            /// Its name as JSON has it, quoted and with the colon.
            pub(super) fn key(self) -> &'static str {
                match self { $(Self::$field => concat!("\"", $name, "\":"),)* }
            }

            /// What it holds.
            pub fn what(self) -> &'static str {
                match self { $(Self::$field => $what,)* }
            }
        }
    };
}

fields! {
    Timestamp "timestamp" "RFC 3339 in UTC, milliseconds";
    Level "level" "`INFO`";
    Target "target" "`audit`";
    Event "event" "What was decided, see above";
    Outcome "outcome" "How, see above; of a call `ok`, `denied`, `backend_error`, …";
    Reason "reason" "Why, in one word: the OAuth error code, what the table says, or why a call was refused (`access_denied`, `unknown_tool`, …)";
    User "user" "The user's id on this server, where it is proven: a keyed hash of provider and subject, not what `access` names";
    Client "client" "The client's name for itself, at most 64 characters";
    ClientId "client_id" "The client's id";
    Grant "grant" "The id of the grant: all tokens of one sign-in of one client";
    Source "source" "The address that the request came from, as far as `trustedProxies` vouch for it";
    Method "method" "The JSON-RPC method, or HTTP's for `GET` and `DELETE`, or `other`";
    Tool "tool" "The name of the tool that was called, at most 128 bytes";
    Status "status" "The HTTP status of the answer";
    Duration "duration_us" "Microseconds from the request's headers to the end of the answer";
    Server "server" "The McpServer, as namespace/name";
}

/// A field's value.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// A word of ours.
    Word(&'static str),
    /// A text that may come from outside: bounded and escaped when it is written.
    Text(&'a str),
    /// An id of ours, written as base64url.
    Id(&'a [u8]),
    /// A number.
    Number(u64),
    /// An address.
    Address(IpAddr),
    /// Milliseconds since 1970.
    Time(i64),
}
