//! From a text to documents: values that know the line of each of their fields.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::{Finding, Origin, Source};

/// One document.
#[derive(Debug, Clone)]
pub(super) struct Document {
    /// Its content.
    pub(super) value: Value,
    origin: Origin,
    /// The lines of the fields, by path, in the file.
    lines: BTreeMap<String, u64>,
}

impl Document {
    /// Where a field stands, or the nearest field above it that the text holds.
    pub(super) fn origin_of(&self, path: &str) -> Origin {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return Origin { line: *line, ..self.origin.clone() };
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.origin.clone(),
            }
        }
    }

    /// The items of a `List`, each as a document, or the document itself.
    pub(super) fn items(&self) -> Vec<Document> {
        let is_list = self.value.get("kind").and_then(Value::as_str) == Some("List");
        let Some(items) = self.value.get("items").and_then(Value::as_array).filter(|_| is_list) else {
            return vec![self.clone()];
        };
        let item = |(index, value): (usize, &Value)| {
            let prefix = format!("items[{index}]");
            let lines = self.lines.iter().filter_map(|(path, line)| {
                path.strip_prefix(&prefix).map(|rest| (rest.trim_start_matches('.').to_owned(), *line))
            });
            Document { value: value.clone(), origin: self.origin_of(&prefix), lines: lines.collect() }
        };
        items.iter().enumerate().map(item).collect()
    }
}

/// The documents of a source; empty ones are left out, as kubectl does.
pub(super) fn split(source: &Source) -> Vec<Result<Document, Finding>> {
    let mut documents = Vec::new();
    let mut first = 1;
    let mut text = String::new();
    let mut number = 0;
    let mut finish = |text: &mut String, first: u64| {
        let body = std::mem::take(text);
        if body.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#')) {
            return;
        }
        number += 1;
        let origin = Origin { file: source.name.clone(), document: number, line: first };
        documents.extend(parse(&body, origin).transpose());
    };
    for (index, line) in source.text.lines().enumerate() {
        // A line of three hyphens begins a document wherever it stands, also inside a block of text (YAML 1.2, 9.1.2).
        let marker = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        if let Some(rest) = marker {
            finish(&mut text, first);
            first = index as u64 + 1;
            text.push_str(rest);
        } else {
            text.push_str(line);
        }
        text.push('\n');
    }
    finish(&mut text, first);
    documents
}

fn parse(text: &str, origin: Origin) -> Result<Option<Document>, Finding> {
    let tree: Spanned<Tree> = serde_saphyr::from_str(text).map_err(|error| {
        let bare = error.without_snippet();
        let line = bare.location().map_or(origin.line, |l| origin.line + l.line().saturating_sub(1));
        Finding {
            origin: Origin { line, ..origin.clone() },
            object: String::new(),
            message: format!("error parsing YAML: {bare}"),
        }
    })?;
    let mut lines = BTreeMap::new();
    let line = tree.referenced.line();
    let value = flatten(tree.value, "", line, origin.line, &mut lines);
    let origin = Origin { line: origin.line + line.saturating_sub(1), ..origin };
    Ok((!value.is_null()).then_some(Document { value, origin, lines }))
}

/// A value with the lines of its fields.
enum Tree {
    Scalar(Value),
    List(Vec<Spanned<Tree>>),
    Map(Vec<(Spanned<String>, Spanned<Tree>)>),
}

fn flatten(tree: Tree, path: &str, line: u64, first: u64, lines: &mut BTreeMap<String, u64>) -> Value {
    if line > 0 && !path.is_empty() {
        lines.insert(path.to_owned(), first + line - 1);
    }
    match tree {
        Tree::Scalar(value) => value,
        Tree::List(items) => items
            .into_iter()
            .enumerate()
            .map(|(index, item)| {
                flatten(item.value, &format!("{path}[{index}]"), item.referenced.line(), first, lines)
            })
            .collect(),
        Tree::Map(fields) => fields
            .into_iter()
            .map(|(key, field)| {
                let path = if path.is_empty() { key.value.clone() } else { format!("{path}.{}", key.value) };
                (key.value, flatten(field.value, &path, key.referenced.line(), first, lines))
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML that can be written as JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(Tree::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(text: &str) -> Vec<Result<Document, Finding>> {
        split(&Source { name: "a.yaml".to_owned(), text: text.to_owned() })
    }

    #[test]
    fn documents_know_their_lines() {
        let text = "# first\na: 1\n---\n# nothing\n---\nb:\n  - c: 2\n    d: |\n      x\n";
        let documents: Vec<Document> = documents(text).into_iter().map(Result::unwrap).collect();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].origin_of("a").line, 2);
        assert_eq!(documents[1].origin_of("b[0].d").line, 8);
        assert_eq!(documents[1].origin_of("b[0].absent").line, 7);
        assert_eq!(documents[1].value, serde_json::json!({ "b": [{ "c": 2, "d": "x\n" }] }));
    }

    #[test]
    fn a_syntax_error_says_its_line_and_spares_the_other_documents() {
        let found = documents("a: 1\n---\nb: [1\nc: 2\n---\nd: 1\n");
        assert!(found[0].is_ok() && found[2].is_ok());
        let finding = found[1].as_ref().unwrap_err();
        assert!(finding.origin.line >= 3 && finding.origin.line <= 5, "{finding}");
    }

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        let found = documents("a: 1\nb: 2\na: 3\n");
        assert!(found[0].as_ref().unwrap_err().message.contains("duplicate"), "{found:?}");
    }
}
