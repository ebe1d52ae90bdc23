//! Facts about a platform from a file: an overlay, as a blob or as source.
//!
//! Not a device-tree compiler: it knows the part of the language that an overlay of facts needs. Nodes,
//! cells, strings, bytes, flags, comments and `&{/PATH}`; no references to labels, includes or arithmetic. For those `dtc` is
//! asked, if it is installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node as _, Property as _};

/// How deep nodes may be nested.
const DEEPEST: usize = 16;

/// Reads `path` as a blob: a `.dtbo` as it is, a `.dtso` compiled.
///
/// # Errors
/// The file can't be read, has another ending, or is source that isn't understood.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let can = || format!("can't read {}", path.display());
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("dtbo") => fs::read(path).with_context(can),
        Some("dtso") => {
            let source = fs::read_to_string(path).with_context(can)?;
            let blob = compile(&source).or_else(|error| dtc(path).with_context(|| format!("{error:#}")));
            blob.and_then(|blob| known(&blob).map(|()| blob)).with_context(|| path.display().to_string())
        }
        _ => bail!("{}: give an overlay, a .dtbo file or its source, .dtso", path.display()),
    }
}

/// Reads a whole tree as a blob, from that or from source.
///
/// # Errors
/// The file can't be read, or is neither.
pub fn read_tree(path: &Path) -> Result<Vec<u8>> {
    let name = || path.display().to_string();
    let bytes = fs::read(path).with_context(|| format!("can't read {}", name()))?;
    if bytes.starts_with(&0xd00d_feed_u32.to_be_bytes()) {
        return Ok(bytes);
    }
    let source =
        String::from_utf8(bytes).ok().with_context(|| format!("{}: neither a device tree nor its source", name()))?;
    compile(&source).or_else(|error| dtc(path).with_context(|| format!("{}: {error:#}", name())))
}

/// Compiles with the device tree compiler, for what [`compile`] doesn't know.
///
/// # Errors
/// It isn't installed, or doesn't know either.
fn dtc(path: &Path) -> Result<Vec<u8>> {
    let output = Command::new("dtc").args(["-q", "-@", "-I", "dts", "-O", "dtb"]).arg(path).output();
    let Ok(output) = output else {
        bail!("there is no dtc that would know more: install it, or give what it makes (.dtbo, .dtb)");
    };
    ensure!(output.status.success(), "dtc doesn't know either: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(output.stdout)
}

/// Checks that nothing refers to a label of the platform's tree, which only a tree with symbols could tell.
fn known(blob: &[u8]) -> Result<()> {
    let tree = Fdt::new(blob)?;
    let Some(fixups) = tree.find_node("/__fixups__") else { return Ok(()) };
    let labels: Vec<String> = fixups.properties().map(|label| format!("&{}", label.name())).collect();
    ensure!(
        labels.is_empty(),
        "{}: a label of the platform's tree, and firmware's trees have none: write the path, as &{{/reserved-memory}}",
        labels.join(", ")
    );
    Ok(())
}

/// Compiles an overlay's source.
///
/// # Errors
/// What isn't understood, with its line.
pub fn compile(source: &str) -> Result<Vec<u8>> {
    let mut at = Tokens::new(source)?;
    while at.peek().starts_with('/') && at.peek() != "/" {
        let directive = at.take()?;
        ensure!(
            matches!(directive, "/dts-v1/" | "/plugin/"),
            "line {}: {directive} is not understood here: compile it with dtc",
            at.line()
        );
        at.expect(";")?;
    }
    at.expect("/")?;
    at.expect("{")?;
    let mut tree = DeviceTree::new();
    tree.root = body("", &mut at, 0)?;
    let mut number = tree.root.children().count();
    while !at.peek().is_empty() {
        tree.root.add_child(fragment(&mut at, number)?);
        number += 1;
    }
    Ok(tree.to_dtb())
}

/// `&{/PATH} { … };`, the short form of a fragment.
fn fragment(at: &mut Tokens<'_>, number: usize) -> Result<DeviceTreeNode> {
    let start = at.take()?;
    ensure!(start == "&", "line {}: {start} where &{{/PATH}} may stand: labels need dtc", at.line());
    at.expect("{")?;
    let path = at.take()?;
    ensure!(path.starts_with('/'), "line {}: {path} is no path", at.line());
    at.expect("}")?;
    at.expect("{")?;
    let mut node = DeviceTreeNode::new_unchecked(format!("fragment@{number:x}"));
    node.add_property(DeviceTreeProperty::new_unchecked("target-path", path));
    node.add_child(body("__overlay__", at, 1)?);
    Ok(node)
}

/// What stands between a node's braces, and the closing one.
fn body(name: &str, at: &mut Tokens<'_>, depth: usize) -> Result<DeviceTreeNode> {
    ensure!(depth < DEEPEST, "line {}: nodes are nested too deep", at.line());
    let mut node = DeviceTreeNode::new_unchecked(name);
    loop {
        let mut name = at.take()?;
        if name == "}" {
            at.expect(";")?;
            return Ok(node);
        }
        // A label that nothing here can refer to.
        while name.len() > 1 && name.ends_with(':') {
            name = at.take()?;
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || ",._+?#-@".contains(c);
        ensure!(name.chars().all(legal), "line {}: {name} is no name: labels and references need dtc", at.line());
        match at.take()? {
            "{" => node.add_child(body(name, at, depth + 1)?),
            ";" => node.add_property(DeviceTreeProperty::new_unchecked(name, Vec::<u8>::new())),
            "=" => {
                let value = value(at).with_context(|| format!("property {name}"))?;
                node.add_property(DeviceTreeProperty::new_unchecked(name, value));
            }
            other => bail!("line {}: {name} is followed by {other}", at.line()),
        }
    }
}

/// A property's value up to its semicolon.
fn value(at: &mut Tokens<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        match at.take()? {
            "<" => {
                while at.peek() != ">" {
                    let cell = at.take()?;
                    let cell = number(cell).with_context(|| format!("line {}", at.line()))?;
                    bytes.extend(cell.to_be_bytes());
                }
                at.expect(">")?;
            }
            "[" => {
                let mut digits = String::new();
                while at.peek() != "]" {
                    digits.push_str(at.take()?);
                }
                at.expect("]")?;
                bytes.extend(hex(&digits).with_context(|| format!("line {}", at.line()))?);
            }
            text if text.starts_with('"') => {
                let inner = &text[1..text.len() - 1];
                bytes.extend(unescaped(inner).with_context(|| format!("line {}: {text}", at.line()))?);
                bytes.push(0);
            }
            other => bail!("line {}: {other} is no value", at.line()),
        }
        match at.take()? {
            ";" => return Ok(bytes),
            "," => {}
            other => bail!("line {}: {other} instead of a comma or semicolon", at.line()),
        }
    }
}

/// What a string's characters are, whose escapes are those of C (Devicetree Specification 0.4 §6.3).
fn unescaped(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (radix, most, skip) = match rest.first() {
            Some(b'x') => (16, 2, 1),
            _ => (8, 3, 0),
        };
        let digits = rest.iter().skip(skip).take(most).take_while(|digit| char::from(**digit).is_digit(radix)).count();
        let (value, length) = if digits > 0 {
            let digits = std::str::from_utf8(&rest[skip..skip + digits])?;
            (u8::from_str_radix(digits, radix)?, skip + digits.len())
        } else {
            let named = b"a\x07b\x08t\tn\nv\x0bf\x0cr\r\\\\\"\"''".as_chunks::<2>().0;
            let value = named.iter().find(|[name, _]| Some(name) == rest.first()).map(|[_, value]| *value);
            (value.context("no such escape")?, 1)
        };
        bytes.push(value);
        rest = &rest[length..];
    }
    Ok(bytes)
}

/// Finds the end of a string that begins at the first byte, its quotes included.
fn end_of_string(text: &str) -> Option<usize> {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map(|end| end + 2)
}

fn number(text: &str) -> Result<u32> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.with_context(|| format!("{text} is no number of 32 bits"))
}

fn hex(digits: &str) -> Result<Vec<u8>> {
    ensure!(digits.is_ascii() && digits.len().is_multiple_of(2), "bytes are pairs of hexadecimal digits");
    let pairs = (0..digits.len()).step_by(2);
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16);
    pairs.map(|at| byte(at).with_context(|| format!("{digits} has no bytes"))).collect()
}

/// The words and marks of a source, each with its line.
struct Tokens<'a> {
    all: Vec<(usize, &'a str)>,
    next: usize,
}

impl<'a> Tokens<'a> {
    fn new(source: &'a str) -> Result<Self> {
        let mut all = Vec::new();
        let (mut rest, mut line) = (source, 1);
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '"' => end_of_string(rest),
                '{' | '}' | '<' | '>' | '[' | ']' | '=' | ';' => Some(1),
                // Names have commas inside; alone it separates values.
                ',' => Some(1),
                _ if first.is_whitespace() => Some(first.len_utf8()),
                _ if rest.starts_with("//") => Some(rest.find('\n').unwrap_or(rest.len())),
                _ if rest.starts_with("/*") => rest.find("*/").map(|end| end + 2),
                _ => {
                    let ends = |c: char| c.is_whitespace() || "{}<>[]=;\"".contains(c);
                    Some(rest.find(ends).unwrap_or(rest.len()))
                }
            };
            let length = length.with_context(|| format!("line {line}: {first} has no end"))?;
            let (token, after) = rest.split_at(length);
            let comment = token.starts_with("//") || token.starts_with("/*");
            if !comment && !token.trim().is_empty() {
                all.push((line, token));
            }
            line += token.matches('\n').count();
            rest = after;
        }
        Ok(Self { all, next: 0 })
    }

    /// The next token, empty at the end.
    fn peek(&self) -> &'a str {
        self.all.get(self.next).map_or("", |(_, token)| token)
    }

    fn take(&mut self) -> Result<&'a str> {
        let token = self.all.get(self.next).map(|(_, token)| *token);
        self.next += 1;
        token.context("the source ends early")
    }

    fn expect(&mut self, wanted: &str) -> Result<()> {
        let token = self.take()?;
        ensure!(token == wanted, "line {}: {token} instead of {wanted}", self.line());
        Ok(())
    }

    /// The line of the last token that was taken.
    fn line(&self) -> usize {
        let last = self.all.get(self.next.saturating_sub(1));
        last.or(self.all.last()).map_or(1, |(line, _)| *line)
    }
}

#[cfg(test)]
mod tests;
