//! A report as a picture: each VM's addresses beside the machine's, and what the policy decided of each range.
//!
//! A range's height grows with the logarithm of its size: 64 KiB beside 480 GiB are both to be seen.

use std::fmt::Write as _;

use assay_spec::addr::Region;

use super::decide::{Report, Row};
use super::print::{HEAD, bytes, columns};

const WIDTH: f64 = 1010.0;
const BOX: f64 = 320.0;
/// Where the guest's addresses are, and the machine's.
const LEFT: f64 = 140.0;
const RIGHT: f64 = 560.0;
const GAP: f64 = 16.0;
const HEAD_HEIGHT: f64 = 64.0;

/// What the colours mean: attribute, and whether tags are exposed.
const COLOURS: [(&str, &str, &str); 6] = [
    ("normal-wb", "exposed", "#b9e2b5"),
    ("normal-wb", "hidden", "#c4dcf3"),
    ("normal-wb-notag", "", "#dccbee"),
    ("normal-nc", "", "#f7e6a8"),
    ("device-ngnre", "", "#dcdcdc"),
    ("refused", "", "#ffffff"),
];

/// The picture as SVG.
pub(super) fn svg(report: &Report) -> String {
    let mut body = String::new();
    let mut top = 0.0;
    for name in names(report) {
        top = Panel::new(report, name).draw(&mut body, top);
    }
    let height = legend(report, &mut body, top + 8.0) + 12.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

/// A page with the picture and the reasons.
pub(super) fn html(report: &Report) -> String {
    let mut table = String::new();
    for row in &report.rows {
        let cells = columns(row).map(|cell| format!("<td>{}</td>", escaped(&cell)));
        let class = if row.is_refused() { " class=\"refused\"" } else { "" };
        let remedy = row.line.get("remedy").map_or_else(String::new, |remedy| format!(". To change that: {remedy}"));
        let why = escaped(&format!("{}{remedy}", row.reason));
        let node = escaped(&row.node);
        let _ = writeln!(table, "<tr{class}>{}<td>{why}<br><code>{node}</code></td></tr>", cells.concat());
    }
    let head = HEAD.map(|cell| format!("<th>{cell}</th>")).concat();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>What Assay decides</title>\n<style>\
         body {{ font-family: sans-serif; font-size: 14px; margin: 1.5em }} table {{ border-collapse: collapse }} \
         th, td {{ border-bottom: 1px solid #ccc; padding: 4px 10px 4px 0; text-align: left; vertical-align: top }} \
         .refused td {{ color: #a00000 }} code {{ color: #555 }}</style></head><body>\n\
         <h1>What Assay decides</h1>\n{}<h2>Why</h2>\n<table>\n<tr>{head}<th>WHY</th></tr>\n{table}</table>\n\
         </body></html>\n",
        svg(report)
    )
}

/// The VMs in the report's order.
fn names(report: &Report) -> Vec<&str> {
    let mut names: Vec<&str> = report.rows.iter().map(Row::vm).collect();
    names.dedup();
    names
}

/// What is drawn of one VM.
struct Panel<'a> {
    name: &'a str,
    /// Rows with a place in the guest, upwards.
    placed: Vec<&'a Row>,
    /// The others.
    rest: Vec<&'a Row>,
}

/// A range that was drawn.
struct Drawn<'a> {
    row: &'a Row,
    y: f64,
    height: f64,
}

impl<'a> Panel<'a> {
    fn new(report: &'a Report, name: &'a str) -> Self {
        let rows = report.rows.iter().filter(|row| row.vm() == name);
        let (mut placed, rest): (Vec<_>, Vec<_>) = rows.partition(|row| row.ipa.is_some());
        placed.sort_by_key(|row| row.ipa.map(|ipa| ipa.start));
        Self { name, placed, rest }
    }

    /// Draws it below `top`; returns where it ends.
    fn draw(&self, svg: &mut String, top: f64) -> f64 {
        let name = escaped(self.name);
        text(svg, (20.0, top + 26.0), "font-size=\"16\" font-weight=\"bold\"", &name);
        let head = top + HEAD_HEIGHT - 12.0;
        text(svg, (LEFT, head), "fill=\"#555\"", "the VM's addresses (IPA)");
        text(svg, (RIGHT, head), "fill=\"#555\"", "the machine's addresses");
        let start = top + HEAD_HEIGHT;
        let (guest, below) = stack(&self.placed, start, |row| row.ipa.map(|ipa| (ipa.start.0, ipa.size)));
        // What has no place yet comes first: it is RAM.
        let mut machine = self.placed.clone();
        machine.sort_by_key(|row| row.physical.map(|physical| physical.start));
        let (machine, end) = stack(&machine, start, |row| row.physical.map(|place| (place.start.0, place.size)));
        for one in &guest {
            if let Some(other) = machine.iter().find(|other| std::ptr::eq(other.row, one.row)) {
                band(svg, one, other);
            }
        }
        guest.iter().for_each(|one| one.guest(svg));
        machine.iter().for_each(|one| one.machine(svg));
        let mut end = below.max(end);
        for row in &self.rest {
            end += 18.0;
            let rule = row.line.get("rule").unwrap_or("-");
            let region = row.line.get("region").filter(|region| *region != "-");
            let region = region.map_or_else(String::new, |region| format!("{region}: "));
            let words = escaped(&format!("refused by {rule}: {region}{}", row.reason));
            text(svg, (20.0, end), "fill=\"#a00000\"", &words);
        }
        end + 10.0
    }
}

/// Puts rows below each other, with a gap where addresses have one; returns them, and where they end.
fn stack<'a>(rows: &[&'a Row], top: f64, place: impl Fn(&Row) -> Option<(u64, u64)>) -> (Vec<Drawn<'a>>, f64) {
    let mut y = top;
    let mut last = None;
    let mut drawn = Vec::new();
    for row in rows {
        let place = place(row);
        let is_next = last.is_none() || last == place.map(|(start, _)| start) && last != Some(0);
        y += if is_next { 0.0 } else { GAP };
        let height = height(row.ipa.map_or(0, |ipa| ipa.size));
        drawn.push(Drawn { row, y, height });
        y += height;
        last = Some(place.map_or(0, |(start, size)| start.saturating_add(size)));
    }
    (drawn, y)
}

fn height(size: u64) -> f64 {
    let doublings = 64 - (size >> 12).leading_zeros();
    36.0 + 4.0 * f64::from(doublings)
}

impl Drawn<'_> {
    fn guest(&self, svg: &mut String) {
        let row = self.row;
        let get = |key: &str| row.line.get(key).unwrap_or("-");
        let region = escaped(get("region"));
        let use_ = row.use_.map_or_else(String::new, |use_| format!(", as {use_}"));
        let size = row.ipa.map_or_else(String::new, |ipa| bytes(ipa.size));
        let what = if row.is_refused() {
            format!("refused by {}", get("rule"))
        } else {
            format!("{}, {}, MTE {}, rule {}", get("attr"), exec(get("exec")), get("mte"), get("rule"))
        };
        let stroke = if row.is_refused() { "#a00000" } else { "#444" };
        let reason = escaped(&row.reason);
        let Self { y, height, .. } = self;
        let _ = writeln!(
            svg,
            "<g><title>{reason}</title><rect x=\"{LEFT}\" y=\"{y}\" width=\"{BOX}\" height=\"{height}\" fill=\"{}\" \
             stroke=\"{stroke}\"/></g>",
            colour(row)
        );
        text(svg, (LEFT + 8.0, y + 16.0), "font-weight=\"bold\"", &format!("{region}{use_}, {size}"));
        text(svg, (LEFT + 8.0, y + 32.0), &format!("font-size=\"11\" fill=\"{stroke}\""), &what);
        if let Some(Region { start, size }) = row.ipa {
            let end = start.0.saturating_add(size - 1);
            self.ends(svg, (LEFT - 6.0, "end"), (start.0, end));
        }
    }

    fn machine(&self, svg: &mut String) {
        let Self { row, y, height } = self;
        // Several nodes are too long for a line: whose place is not known comes from one of them.
        let nodes: Vec<&str> = row.node.split(", ").collect();
        let (first, more) = (escaped(nodes.first().unwrap_or(&"")), nodes.len().saturating_sub(1));
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let (style, note) = match (row.physical, row.is_refused()) {
            (_, true) => ("stroke=\"#a00000\" stroke-dasharray=\"4 3\"", "not given"),
            (Some(_), _) => ("stroke=\"#444\"", ""),
            (None, _) => ("stroke=\"#444\" stroke-dasharray=\"4 3\"", "in it; the boot says where"),
        };
        let _ = writeln!(
            svg,
            "<rect x=\"{RIGHT}\" y=\"{y}\" width=\"{BOX}\" height=\"{height}\" fill=\"{}\" {style}/>",
            colour(row)
        );
        text(svg, (RIGHT + 8.0, y + 16.0), "font-size=\"11\"", &format!("{first}{more}"));
        text(svg, (RIGHT + 8.0, y + 32.0), "font-size=\"11\" fill=\"#555\"", note);
        if let Some(Region { start, size }) = row.physical {
            let end = start.0.saturating_add(size.saturating_sub(1));
            self.ends(svg, (RIGHT + BOX + 6.0, "start"), (start.0, end));
        }
    }

    /// The first and the last address, beside the box.
    fn ends(&self, svg: &mut String, (x, anchor): (f64, &str), (start, end): (u64, u64)) {
        let style = format!("font-size=\"10\" font-family=\"DejaVu Sans Mono, monospace\" text-anchor=\"{anchor}\"");
        text(svg, (x, self.y + 10.0), &style, &format!("{start:#x}"));
        text(svg, (x, self.y + self.height - 2.0), &style, &format!("{end:#x}"));
    }
}

/// What leads from a range of the guest's to the machine's.
fn band(svg: &mut String, guest: &Drawn<'_>, machine: &Drawn<'_>) {
    let (from, to) = (LEFT + BOX, RIGHT);
    let _ = writeln!(
        svg,
        "<path d=\"M{from} {}L{to} {}V{}L{from} {}Z\" fill=\"{}\" fill-opacity=\"0.45\"/>",
        guest.y,
        machine.y,
        machine.y + machine.height,
        guest.y + guest.height,
        if guest.row.is_refused() { "#f3d6d6" } else { colour(guest.row) }
    );
}

/// Says what the colours of this report mean; returns where that ends.
fn legend(report: &Report, svg: &mut String, top: f64) -> f64 {
    let mut x = 20.0;
    for (attr, mte, colour_) in COLOURS {
        if !report.rows.iter().any(|row| row.ipa.is_some() && colour(row) == colour_) {
            continue;
        }
        let words = if mte.is_empty() { attr.to_owned() } else { format!("{attr}, MTE {mte}") };
        let stroke = if attr == "refused" { "#a00000" } else { "#444" };
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{top}\" width=\"14\" height=\"14\" fill=\"{colour_}\" stroke=\"{stroke}\"/>"
        );
        text(svg, (x + 20.0, top + 11.0), "", &words);
        x += 190.0;
    }
    text(svg, (20.0, top + 34.0), "fill=\"#555\" font-size=\"11\"", "heights are by the logarithm of sizes");
    top + 36.0
}

fn colour(row: &Row) -> &'static str {
    let attr = if row.is_refused() { "refused" } else { row.line.get("attr").unwrap_or_default() };
    let mte = row.line.get("mte").unwrap_or_default();
    let is_its = |(name, tags, _): &&(&str, &str, &str)| *name == attr && (tags.is_empty() || *tags == mte);
    COLOURS.iter().find(is_its).map_or("#ffffff", |(_, _, colour)| colour)
}

fn exec(word: &str) -> &str {
    if word == "yes" { "executable" } else { "never executed" }
}

/// Writes words, which are markup already.
fn text(svg: &mut String, (x, y): (f64, f64), style: &str, words: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" {style}>{words}</text>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
