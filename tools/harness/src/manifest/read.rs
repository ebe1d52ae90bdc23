//! Reads a manifest's TOML by the table of its fields: unknown ones, types, ranges and defaults.
//!
//! What comes out has every default filled in, sizes in bytes and times in microseconds.

use anyhow::{Context as _, Error, Result, anyhow, bail, ensure};
use assay_plan::fields::{CPUS_MAX, Default, Field, Kind, Table};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

use super::duration;
use super::size::parse_size;

/// The least likeness of two words of which one may be meant for the other.
const LIKE: f64 = 0.75;

/// A TOML text that is read, for the numbers of its lines.
pub(super) struct Reader<'t>(pub(super) &'t str);

impl Reader<'_> {
    /// Reads one table.
    pub(super) fn table(&self, table: &Table, given: &DeTable<'_>) -> Result<toml::Table> {
        for key in given.keys() {
            let name = key.get_ref().as_ref();
            if !table.fields.iter().any(|field| field.name == name) {
                return Err(self.at(key, &unknown(table, name)));
            }
        }
        let mut read = toml::Table::new();
        for field in table.fields {
            let value = match given.get(field.name) {
                Some(value) => {
                    let read = self.value(field, value)?;
                    belongs(table, field, given).map_err(|error| self.at(value, &format!("{error:#}")))?;
                    Some(read)
                }
                None => absent(field).with_context(|| format!("no `{}`", field.name))?,
            };
            if let Some(value) = value {
                let _ = read.insert(field.name.to_owned(), value);
            }
        }
        Ok(read)
    }

    fn value(&self, field: &Field, value: &Spanned<DeValue<'_>>) -> Result<Value> {
        if let Kind::Tables(path) = field.kind {
            let table = Table::at(path).context("no such table")?;
            return self.tables(table, value);
        }
        let read = convert(field.kind, value.get_ref());
        read.ok_or_else(|| {
            let written = self.0.get(value.span()).unwrap_or_default();
            self.at(value, &format!("{} = {written}: {}", field.name, field.kind))
        })
    }

    fn tables(&self, table: &Table, value: &Spanned<DeValue<'_>>) -> Result<Value> {
        let tables = value.get_ref().as_array();
        let tables = tables.ok_or_else(|| self.at(value, &format!("write [[{0}]], and not [{0}]", table.path)))?;
        let mut read = Vec::new();
        for (index, value) in tables.iter().enumerate() {
            let Some(given) = value.get_ref().as_table() else {
                return Err(self.at(value, &format!("write [[{}]] above its fields", table.path)));
            };
            let name = given.get(table.fields[0].name).and_then(|name| name.get_ref().as_str());
            let name = name.map_or_else(|| format!("number {}", index + 1), |name| format!("\"{name}\""));
            let one = self.table(table, given).with_context(|| format!("{} {name}", table.title))?;
            read.push(Value::Table(one));
        }
        Ok(Value::Array(read))
    }

    /// An error at the line where something begins.
    fn at<T>(&self, place: &Spanned<T>, what: &str) -> Error {
        let before = self.0.get(..place.span().start).unwrap_or_default();
        anyhow!("line {}: {what}", before.matches('\n').count() + 1)
    }
}

/// What is said of a field that there is not.
fn unknown(table: &Table, name: &str) -> String {
    let like = |field: &&Field| strsim::jaro_winkler(field.name, name);
    let nearest = table.fields.iter().max_by(|one, other| like(one).total_cmp(&like(other)));
    match nearest.filter(|field| like(field) >= LIKE) {
        Some(field) => format!("no field is named `{name}`: did you mean `{}`?", field.name),
        None => {
            let names: Vec<&str> = table.fields.iter().map(|field| field.name).collect();
            format!("no field is named `{name}`: there are {}", names.join(", "))
        }
    }
}

/// Checks that another field says what this one needs.
fn belongs(table: &Table, field: &Field, given: &DeTable<'_>) -> Result<()> {
    let Some(with) = field.with else { return Ok(()) };
    let default = if let Default::Word(word) = with.field.default { word } else { "" };
    let word = given.get(with.field.name).map_or(Some(default), |value| value.get_ref().as_str());
    let is_off = given.get(field.name).is_some_and(|value| value.get_ref().as_bool() == Some(false));
    ensure!(
        is_off || word.is_none_or(|word| with.words.contains(&word)),
        "{} belongs to {} = \"{}\" of {}",
        field.name,
        with.field.name,
        with.words.join("\" or \""),
        table.path
    );
    Ok(())
}

/// The value of a field that is not there.
fn absent(field: &Field) -> Result<Option<Value>> {
    Ok(match field.default {
        Default::Required => bail!("it {}", field.kind),
        Default::None(_) => None,
        _ if field.with.is_some() && field.kind != Kind::Flag => None,
        Default::Off => Some(Value::Boolean(false)),
        Default::Empty if field.kind == Kind::Text => Some(Value::String(String::new())),
        Default::Empty => Some(Value::Array(Vec::new())),
        Default::Number(number) => Some(Value::Integer(number.into())),
        Default::Word(word) => Some(Value::String(word.to_owned())),
    })
}

/// The value in the form that the rest of the tools take; `None` if it is not of the kind.
fn convert(kind: Kind, value: &DeValue<'_>) -> Option<Value> {
    let text = || value.as_str();
    match kind {
        Kind::Text => text().map(|text| Value::String(text.to_owned())),
        Kind::Name { region } => text().filter(|name| is_name(name, region)).map(|text| Value::String(text.to_owned())),
        Kind::Word(words) => text().filter(|word| words.contains(word)).map(|text| Value::String(text.to_owned())),
        Kind::Texts => list(value, |one| convert(Kind::Text, one)),
        Kind::Words(words) => list(value, |one| convert(Kind::Word(words), one)),
        Kind::Flag => value.as_bool().map(Value::Boolean),
        Kind::Number { .. } => {
            let number = number(value)?;
            u32::try_from(number).ok().filter(|&number| kind.takes(number)).and_then(|number| integer(number.into()))
        }
        Kind::Duration { .. } => {
            let micros = duration::parse(text()?).ok();
            micros.filter(|&micros| kind.takes(micros)).and_then(|micros| integer(micros.into()))
        }
        Kind::Size => bytes(value).filter(|&bytes| bytes > 0).and_then(integer),
        Kind::Address => bytes(value).and_then(integer),
        Kind::Code => size(value).filter(|&address| kind.takes_wide(address)).and_then(integer),
        Kind::Cpus => cpus(value),
        Kind::Tables(_) => None,
    }
}

/// A whole number that is not negative.
fn number(value: &DeValue<'_>) -> Option<u64> {
    let written = value.as_integer()?;
    u64::from_str_radix(written.as_str(), written.radix()).ok()
}

/// TOML's numbers are signed.
fn integer(number: u64) -> Option<Value> {
    i64::try_from(number).ok().map(Value::Integer)
}

fn list(value: &DeValue<'_>, one: impl Fn(&DeValue<'_>) -> Option<Value>) -> Option<Value> {
    let read: Option<Vec<Value>> = value.as_array()?.iter().map(|value| one(value.get_ref())).collect();
    read.map(Value::Array)
}

/// A multiple of 4 KiB.
fn bytes(value: &DeValue<'_>) -> Option<u64> {
    size(value).filter(|bytes| bytes.is_multiple_of(4096))
}

/// A number, with a unit or without.
fn size(value: &DeValue<'_>) -> Option<u64> {
    match value.as_str() {
        Some(text) => parse_size(text).ok(),
        None => number(value),
    }
}

fn cpus(value: &DeValue<'_>) -> Option<Value> {
    let Some(_) = value.as_array() else {
        let count = number(value)?;
        return (1..=CPUS_MAX as u64).contains(&count).then(|| integer(count)).flatten();
    };
    let list = list(value, |index| number(index).filter(|&index| index < u64::from(u32::MAX)).and_then(integer))?;
    let indices = list.as_array()?;
    let twice = indices.iter().enumerate().any(|(at, index)| indices[..at].contains(index));
    (!twice && (1..=CPUS_MAX).contains(&indices.len())).then_some(list)
}

fn is_name(name: &str, region: bool) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let regions = || name.starts_with(|c: char| c.is_ascii_alphabetic()) && name != "memory";
    (1..=31).contains(&name.len()) && name.chars().all(good) && (!region || regions())
}
