//! As much HTML as a browser without script needs for our pages: links, forms and their fields.

/// One element's start tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag {
    /// Its name, in lower case.
    pub(crate) name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    /// An attribute's value.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

impl Tag {
    /// Whether it runs, loads or frames something, or leads to what does.
    pub(crate) fn is_active(&self) -> bool {
        let elements =
            ["script", "iframe", "frame", "object", "embed", "base", "link", "meta", "audio", "video"];
        let harmless_meta = self.name == "meta" && self.get("http-equiv").is_none();
        let leads = ["javascript:", "data:", "vbscript:"];
        elements.contains(&self.name.as_str()) && !harmless_meta
            || self.attributes.iter().any(|(name, value)| {
                let value = value.trim_start().to_ascii_lowercase();
                name.starts_with("on") || leads.iter().any(|scheme| value.starts_with(scheme))
            })
    }
}

/// A form and the fields in it.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) action: String,
    pub(crate) post: bool,
    /// Inputs and buttons.
    pub(crate) fields: Vec<Tag>,
}

/// The start and end tags (`/name`) of a page, in order. Comments are skipped.
pub(crate) fn tags(page: &str) -> Vec<Tag> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        // As in HTML, `<` begins a tag only before a letter or a slash.
        if !rest.starts_with(|c: char| c == '/' || c.is_ascii_alphabetic()) {
            continue;
        }
        let name_end = rest.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(rest.len());
        let name = rest[..name_end].trim_end_matches('/').to_ascii_lowercase();
        let (attributes, tail) = attributes(&rest[name_end..]);
        rest = tail;
        found.push(Tag { name, attributes });
    }
    found
}

fn attributes(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        if rest.is_empty() {
            return (found, rest);
        }
        if let Some(tail) = rest.strip_prefix('>') {
            return (found, tail);
        }
        let end = rest.find(|c: char| c.is_whitespace() || c == '=' || c == '>').unwrap_or(rest.len());
        let name = rest[..end].to_ascii_lowercase();
        rest = &rest[end..];
        let mut value = "";
        if let Some(tail) = rest.strip_prefix('=') {
            let quote = tail.chars().next().filter(|c| matches!(c, '"' | '\''));
            let body = if quote.is_some() { &tail[1..] } else { tail };
            let stop = body
                .find(|c: char| quote.map_or(c.is_whitespace() || c == '>', |q| c == q))
                .unwrap_or(body.len());
            value = &body[..stop];
            rest = body[stop..].strip_prefix(|c| Some(c) == quote).unwrap_or(&body[stop..]);
        }
        found.push((name, unescape(value)));
    }
}

fn unescape(text: &str) -> String {
    // `&amp;` last, so that `&amp;lt;` does not become `<`. askama writes the numeric forms.
    [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#38;", "&"),
    ]
    .iter()
    .fold(text.to_owned(), |t, (from, to)| t.replace(from, to))
    .replace("&amp;", "&")
}

/// The forms of a page.
pub(crate) fn forms(page: &str) -> Vec<Form> {
    let mut forms = Vec::new();
    let mut open: Option<Form> = None;
    for tag in tags(page) {
        match tag.name.as_str() {
            "form" => {
                let post = tag.get("method").is_some_and(|m| m.eq_ignore_ascii_case("post"));
                open = Some(Form {
                    action: tag.get("action").unwrap_or("").to_owned(),
                    post,
                    fields: Vec::new(),
                });
            }
            "/form" => forms.extend(open.take()),
            "input" | "button" => {
                if let Some(form) = &mut open {
                    form.fields.push(tag);
                }
            }
            _ => {}
        }
    }
    forms
}

/// The targets of a page's links.
pub(crate) fn links(page: &str) -> Vec<String> {
    tags(page).iter().filter(|t| t.name == "a").filter_map(|t| t.get("href")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_links_and_forms() {
        let page = r#"<!-- <a href="no"> --><p>1 < 2<a class=x href="/a?b=1&amp;c=2">go</a>
            <form method="POST" action='/in'><input name=user><input type="password" name="password"/>
            <button name="go" value="1">Sign in</button></form>"#;
        assert_eq!(links(page), ["/a?b=1&c=2"]);
        let forms = forms(page);
        assert_eq!(forms.len(), 1);
        assert!(forms[0].post);
        assert_eq!(forms[0].action, "/in");
        let names: Vec<_> = forms[0].fields.iter().filter_map(|f| f.get("name")).collect();
        assert_eq!(names, ["user", "password", "go"]);
    }
}
