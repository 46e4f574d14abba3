//! What `gatehouse dev` says when it is up: what to paste into which client.

use std::fmt::Write;

use crate::server::validate::ValidatedServer;

/// What a server says of itself.
pub(super) fn welcome(server: &ValidatedServer, demo: bool) -> String {
    let config = server.server();
    let url = &config.url;
    let name = &server.name;
    let mut text = format!("\n{}/{name} is at {url}\n\n", server.namespace);
    let lines = [
        ("Claude Code", format!("claude mcp add --transport http {name} {url}    then /mcp, and sign in")),
        ("VS Code", format!("code --add-mcp '{{\"name\":\"{name}\",\"type\":\"http\",\"url\":\"{url}\"}}'")),
        ("Cursor, others", format!("{{\"mcpServers\":{{\"{name}\":{{\"url\":\"{url}\"}}}}}}")),
        ("MCP Inspector", "npx @modelcontextprotocol/inspector    Streamable HTTP, the URL above".to_owned()),
        ("stdio only", format!("npx mcp-remote {url}")),
        ("curl", format!("gatehouse token {url}    prints a bearer")),
    ];
    for (client, line) in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {client:<15} {line}");
    }
    if demo {
        text.push_str("\nUsers: alice and bob. The password is the name.\n");
    }
    if let Some(callback) = server.callback_url() {
        let provider = config.identity.display_name();
        let _ = writeln!(text, "\nThe redirect URI to register at {provider}: {callback}");
    }
    for warning in &server.warnings {
        let _ = writeln!(text, "\nwarning: {warning}");
    }
    text
}
