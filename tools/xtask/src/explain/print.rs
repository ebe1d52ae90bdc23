//! A report for people and for programs.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::decide::{Report, Row};
use super::devices::Device;
use super::functions::Function;

pub(super) const HEAD: [&str; 10] = ["VM", "REGION", "USE", "IPA", "SIZE", "ATTRIBUTE", "EXEC", "MTE", "RULE", "PROOF"];

/// A table with a row for each decision, its node and reason below, and what would change a refusal.
pub(super) fn table(report: &Report) -> String {
    let mut cells = vec![HEAD.map(str::to_owned)];
    cells.extend(report.rows.iter().map(columns));
    let mut widths = [0; HEAD.len()];
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut text = line(&cells[0], &widths);
    for (row, cells) in report.rows.iter().zip(cells.iter().skip(1)) {
        text += &line(cells, &widths);
        // Writing to a String cannot fail.
        if !row.node.is_empty() {
            let _ = writeln!(text, "    {}", row.node);
        }
        let _ = writeln!(text, "    {}", row.reason);
        if let Some(remedy) = row.line.get("remedy") {
            let _ = writeln!(text, "    to change that: {remedy}");
        }
        if let Some(cost) = &row.cost {
            let _ = writeln!(text, "    {cost}");
        }
        for notice in &row.notices {
            let _ = writeln!(text, "    note: {notice}");
        }
    }
    text.extend(report.functions.iter().map(Function::text));
    text.extend(report.devices.iter().map(Device::text));
    text
}

pub(super) fn columns(row: &Row) -> [String; HEAD.len()] {
    let get = |key: &str| row.line.get(key).unwrap_or("-").to_owned();
    let (ipa, size) = row.ipa.map_or(("-".to_owned(), "-".to_owned()), |ipa| (ipa.start.to_string(), bytes(ipa.size)));
    let attribute = if row.is_refused() { "refused".to_owned() } else { get("attr") };
    [
        get("vm"),
        get("region"),
        row.use_.map_or_else(|| "-".to_owned(), |use_| use_.to_string()),
        ipa,
        size,
        attribute,
        get("exec"),
        get("mte"),
        get("rule"),
        get("proof"),
    ]
}

/// A size as a manifest has it.
pub(super) fn bytes(size: u64) -> String {
    let units = [(30, "G"), (20, "M"), (10, "K")];
    let unit = units.iter().find(|(shift, _)| size >> shift << shift == size && size > 0);
    unit.map_or_else(|| format!("{size:#x}"), |(shift, unit)| format!("{}{unit}", size >> shift))
}

fn line(cells: &[String; HEAD.len()], widths: &[usize; HEAD.len()]) -> String {
    let padded = cells.iter().zip(widths);
    let padded: Vec<String> = padded.map(|(cell, width)| format!("{cell:width$}")).collect();
    format!("{}\n", padded.join("  ").trim_end())
}

/// An array with an object for each row: the keys and values of its console line, and `kind`, `node`,
/// `reason`, `notices`, and `cost` where a start has one. Every value but `notices` is a string, as on the console. An
/// object for each PCI function, and for each device of the platform tree, comes after them.
pub(super) fn json(report: &Report) -> String {
    let rows = report.rows.iter().map(object);
    let rows = rows.chain(report.functions.iter().map(Function::json));
    let rows: Vec<Value> = rows.chain(report.devices.iter().map(Device::json)).collect();
    format!("{:#}", Value::Array(rows))
}

fn object(row: &Row) -> Value {
    let text = |value: &str| Value::String(value.to_owned());
    let mut object = Map::new();
    object.insert("kind".to_owned(), text(&row.line.kind));
    for (key, value) in &row.line.fields {
        object.insert(key.clone(), text(value));
    }
    // A refusal's line has no place on it; where it would have been helps to find the claim.
    if let Some(use_) = row.use_ {
        object.insert("use".to_owned(), text(&use_.to_string()));
    }
    if let Some(ipa) = row.ipa {
        object.insert("ipa".to_owned(), text(&ipa.start.to_string()));
        object.insert("size".to_owned(), text(&format!("{:#x}", ipa.size)));
    }
    object.insert("node".to_owned(), text(&row.node));
    object.insert("reason".to_owned(), text(&row.reason));
    if let Some(cost) = &row.cost {
        object.insert("cost".to_owned(), text(cost));
    }
    let notices = row.notices.iter().map(|notice| text(notice)).collect();
    object.insert("notices".to_owned(), Value::Array(notices));
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_written_as_in_a_manifest() {
        for (size, text) in
            [(512 << 20, "512M"), (3 << 30, "3G"), (0x1000, "4K"), (0x40_1000, "4100K"), (0x1234, "0x1234")]
        {
            assert_eq!(bytes(size), text);
        }
    }
}
