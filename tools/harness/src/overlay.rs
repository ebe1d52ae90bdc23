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

/// Compiles with the device tree compiler, for what [`compile`] doesn't know.
///
/// # Errors
/// It isn't installed, or doesn't know either.
pub(crate) fn dtc(path: &Path) -> Result<Vec<u8>> {
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
                ensure!(!text.contains('\\'), "line {}: an escape", at.line());
                bytes.extend(text.trim_matches('"').bytes());
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
                '"' => rest[1..].find('"').map(|end| end + 2),
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
mod tests {
    use dtoolkit::fdt::Fdt;
    use dtoolkit::{Node as _, Property as _};

    use super::{compile, read};

    /// A file with this source, and what is made of it; `None` if there is no dtc.
    fn by_file(name: &str, source: &str) -> Option<anyhow::Result<Vec<u8>>> {
        std::process::Command::new("dtc").arg("--version").output().ok()?;
        let path = std::env::temp_dir().join(format!("assay-overlay-{}-{name}.dtso", std::process::id()));
        std::fs::write(&path, source).unwrap();
        let blob = read(&path);
        std::fs::remove_file(&path).unwrap();
        Some(blob)
    }

    #[test]
    fn labels_of_its_own_and_arithmetic_are_left_to_dtc_and_the_platforms_labels_are_named() {
        let source = "/dts-v1/; /plugin/; / { compatible = \"acme,board\"; };\n\
             &{/} { gpu: gpu { reg = <(1 << 4)>; }; user { memory-region = <&gpu>; }; };\n";
        let Some(blob) = by_file("own", source) else { return };
        let blob = blob.unwrap();
        assert_eq!(property(&blob, "/fragment@0/__overlay__/gpu", "reg"), 16u32.to_be_bytes());
        let source = "/dts-v1/; /plugin/; / { compatible = \"acme,board\"; };\n&gpu0 { assay,mte-capable; };\n";
        let error = format!("{:#}", by_file("platforms", source).unwrap().unwrap_err());
        assert!(error.contains("&gpu0: a label of the platform's tree") && error.contains("write the path"), "{error}");
        let error = format!("{:#}", by_file("wrong", "/dts-v1/; / { x = <(1 +)>; };").unwrap().unwrap_err());
        assert!(error.contains("line 1") && error.contains("dtc doesn't know either"), "{error}");
    }

    const SOURCE: &str = r#"/dts-v1/;
/plugin/;
/* Facts
   of a board. */
/ {
    compatible = "acme,board", "acme,other"; // both
    fragment@0 {
        target-path = "/reserved-memory";
        __overlay__ {
            gpu0-memory@70000000 {
                reg = <0 0x70000000>, <0 134217728>;
                assay,mte-capable;
                mac = [00 1f fe];
            };
        };
    };
};
"#;

    fn property(blob: &[u8], path: &str, name: &str) -> Vec<u8> {
        let tree = Fdt::new(blob).unwrap();
        let node = tree.find_node(path).unwrap();
        node.property(name).unwrap().value().to_vec()
    }

    #[test]
    fn nodes_and_each_kind_of_value_are_understood() {
        let blob = compile(SOURCE).unwrap();
        assert_eq!(property(&blob, "/", "compatible"), b"acme,board\0acme,other\0");
        let node = "/fragment@0/__overlay__/gpu0-memory@70000000";
        let cells = [0u32, 0x7000_0000, 0, 0x800_0000].map(u32::to_be_bytes);
        assert_eq!(property(&blob, node, "reg"), cells.as_flattened());
        assert_eq!(property(&blob, node, "assay,mte-capable"), b"");
        assert_eq!(property(&blob, node, "mac"), [0x00, 0x1f, 0xfe]);
    }

    #[test]
    fn the_short_form_of_a_fragment_is_the_long_one() {
        let long = "/ { compatible = \"b\"; fragment@0 { target-path = \"/a@1\"; __overlay__ { flag; }; }; };";
        let short = "/ { compatible = \"b\"; }; &{/a@1} { flag; };";
        assert_eq!(compile(short).unwrap(), compile(long).unwrap());
        let label = compile("/ { }; &gpu { };").unwrap_err();
        assert!(label.to_string().contains("&gpu"), "{label}");
    }

    #[test]
    fn a_label_is_passed_over_and_a_reference_to_it_is_not_understood() {
        let plain = compile("/ { a { flag; }; };").unwrap();
        assert_eq!(compile("/ { one: two: a { flag; }; };").unwrap(), plain);
        let error = compile("/ { one: a { }; b = <&one>; };").unwrap_err();
        assert!(format!("{error:#}").contains("&one"), "{error:#}");
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_line() {
        for (from, to, line) in [
            ("gpu0-memory@70000000 {", "gpu:memory {", "line 10: gpu:"),
            ("134217728", "SIZE", "line 11: SIZE"),
            ("assay,mte-capable;", "assay,mte-capable", "line 13"),
            ("/plugin/;", "/include/ \"x\";", "line 2: /include/"),
            ("\"acme,other\"", "&acme", "line 6: &acme"),
        ] {
            let error = compile(&SOURCE.replace(from, to)).unwrap_err();
            let told = format!("{error:#}");
            assert!(told.contains(line), "{to}: {told}");
        }
    }

    #[test]
    fn a_source_that_ends_early_is_an_error() {
        for end in 40..SOURCE.len() - 2 {
            assert!(compile(&SOURCE[..end]).is_err(), "{}", &SOURCE[..end]);
        }
    }
}
