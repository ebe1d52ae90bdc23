//! `cargo xtask schema`: the manifest's fields as a JSON schema, and as the tables of its documentation.

use anyhow::{Context as _, Result, ensure};
use assay_plan::fields::{CPUS_MAX, Default, Field, Kind, TABLES, Table};
use clap::Args;
use serde_json::{Map, Value, json};

/// What `cargo xtask schema` can be told.
#[derive(Args)]
pub(crate) struct Options {
    /// Write docs/manifest.schema.json and the tables of docs/manifest.md afresh
    #[arg(long)]
    write: bool,
}

const SCHEMA: &str = "docs/manifest.schema.json";
const MANUAL: &str = "docs/manifest.md";

/// Runs the command.
///
/// # Errors
/// The documentation can't be read or written, or lacks the marks around a table.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.write {
        print!("{}", schema()?);
        return Ok(());
    }
    std::fs::write(SCHEMA, schema()?)?;
    let text = std::fs::read_to_string(MANUAL).context("run it at the root of the repository")?;
    Ok(std::fs::write(MANUAL, manual(&text)?)?)
}

fn schema() -> Result<String> {
    let mut schema = object(&TABLES[0])?;
    let top = schema.as_object_mut().context("the schema is an object")?;
    let _ = top.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    let _ = top.insert("title".into(), "A manifest of Assay".into());
    Ok(format!("{schema:#}\n"))
}

fn object(table: &Table) -> Result<Value> {
    let mut properties = Map::new();
    for (field, meaning) in table.fields.iter().zip(table.meanings) {
        let mut property = value(field.kind)?;
        let said = property.as_object_mut().context("a property is an object")?;
        let _ = said.insert("description".into(), sentence(field, meaning).into());
        let default = match field.default {
            Default::Required | Default::None(_) => None,
            Default::Off => Some(json!(false)),
            Default::Empty if field.kind == Kind::Text => Some(json!("")),
            Default::Empty => Some(json!([])),
            Default::Number(number) => Some(json!(number)),
            Default::Word(word) => Some(json!(word)),
        };
        said.extend(default.map(|default| ("default".to_owned(), default)));
        let _ = properties.insert(field.name.to_owned(), property);
    }
    let required = table.fields.iter().filter(|field| field.default == Default::Required);
    let required: Vec<&str> = required.map(|field| field.name).collect();
    Ok(json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required }))
}

fn value(kind: Kind) -> Result<Value> {
    let bytes = json!({ "type": ["string", "integer"], "pattern": "^(0x[0-9a-fA-F]+|[0-9]+[KkMmGg]?)$", "minimum": 0 });
    Ok(match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Name { region: false } => json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,31}$" }),
        Kind::Name { region: true } => {
            json!({ "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9._-]{0,30}$", "not": { "const": "memory" } })
        }
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Words(words) => json!({ "type": "array", "items": { "enum": words } }),
        Kind::Number { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::Duration { .. } => json!({ "type": "string", "pattern": "^[0-9]+ *(us|ms|s)$" }),
        Kind::Size | Kind::Address | Kind::Code => bytes,
        Kind::Cpus => json!({ "oneOf": [
            { "type": "integer", "minimum": 1, "maximum": CPUS_MAX },
            { "type": "array", "items": { "type": "integer", "minimum": 0 }, "uniqueItems": true,
              "minItems": 1, "maxItems": CPUS_MAX },
        ] }),
        Kind::Tables(path) => json!({ "type": "array", "items": object(Table::at(path).context("no such table")?)? }),
    })
}

/// `text` with each table between its marks made afresh.
fn manual(text: &str) -> Result<String> {
    let mut text = text.to_owned();
    for table in &TABLES {
        let (start, end) = (format!("<!-- fields of {} -->\n", called(table)), "<!-- end of fields -->");
        let missing = || format!("{MANUAL}: no `{}`", start.trim());
        let from = text.find(&start).with_context(missing)? + start.len();
        let to = from + text[from..].find(end).with_context(missing)?;
        text.replace_range(from..to, &markdown(table));
    }
    ensure!(text.matches("<!-- fields of ").count() == TABLES.len(), "{MANUAL}: a table of fields too many");
    Ok(text)
}

fn called(table: &Table) -> &str {
    if table.path.is_empty() { "the manifest" } else { table.path }
}

fn markdown(table: &Table) -> String {
    let rows = table.fields.iter().zip(table.meanings).map(|(field, meaning)| {
        format!("| `{}` | {} | {} | {} |\n", field.name, kind(field.kind), default(field), sentence(field, meaning))
    });
    format!("| field | type | default | meaning |\n|---|---|---|---|\n{}", rows.collect::<String>())
}

fn sentence(field: &Field, meaning: &str) -> String {
    let meaning = meaning.trim();
    match field.with {
        Some(with) => format!("with `{}` {}: {meaning}", with.field.name, words(with.words)),
        None => meaning.to_owned(),
    }
}

fn words(words: &[&str]) -> String {
    words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Text => "string".into(),
        Kind::Name { region: false } => "string of 1 to 31 letters, digits, `.`, `_`, `-`".into(),
        Kind::Name { region: true } => {
            "string of 1 to 31 letters, digits, `.`, `_`, `-`, the first a letter; not `memory`".into()
        }
        Kind::Texts => "list of strings".into(),
        Kind::Flag => "boolean".into(),
        Kind::Word(list) => words(list),
        Kind::Words(list) => format!("list of {}", words(list)),
        Kind::Number { least: 0, most: u32::MAX } => "integer".into(),
        Kind::Number { least, most } => format!("integer, {least} to {most}"),
        Kind::Duration { least, most: u32::MAX } => format!("duration, {} or more", time(least)),
        Kind::Duration { least, most } => format!("duration, {} to {}", time(least), time(most)),
        Kind::Size => "size, a multiple of 4 KiB".into(),
        Kind::Address => "address, a multiple of 4 KiB".into(),
        Kind::Code => "address, a multiple of 4".into(),
        Kind::Cpus => format!("integer, 1 to {CPUS_MAX}, or list of integers"),
        Kind::Tables(_) => "array of tables".into(),
    }
}

fn time(micros: u32) -> String {
    match micros {
        _ if micros.is_multiple_of(1_000_000) => format!("{} s", micros / 1_000_000),
        _ if micros.is_multiple_of(1000) => format!("{} ms", micros / 1000),
        _ => format!("{micros} µs"),
    }
}

fn default(field: &Field) -> String {
    match (field.default, field.kind) {
        (Default::Required, _) => "required".into(),
        (Default::None(called), _) => called.into(),
        (Default::Off, _) => "`false`".into(),
        (Default::Empty, Kind::Text) => "`\"\"`".into(),
        (Default::Empty, Kind::Tables(_)) => "none".into(),
        (Default::Empty, _) => "`[]`".into(),
        (Default::Number(number), _) => format!("`{number}`"),
        (Default::Word(word), _) => format!("`\"{word}\"`"),
    }
}

#[cfg(test)]
mod tests {
    use super::{MANUAL, SCHEMA, manual, schema};
    use std::path::Path;

    /// What stands in `docs/` is what the table of fields gives: `cargo xtask schema --write` mends it.
    #[test]
    fn the_documentation_is_that_of_the_table() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
        assert_eq!(read(SCHEMA), schema().unwrap(), "run `cargo xtask schema --write`");
        let text = read(MANUAL);
        assert_eq!(manual(&text).unwrap(), text, "run `cargo xtask schema --write`");
    }
}
