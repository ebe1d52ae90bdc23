//! The book (`book.toml`) has every page of docs/, and no page that is not there.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

fn pages(folder: &Path, top: &Path, all: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            pages(&path, top, all)?;
        } else if let Ok(name) = path.strip_prefix(top)
            && path.extension().is_some_and(|ending| ending == "md")
        {
            let _ = all.insert(name.display().to_string());
        }
    }
    Ok(())
}

#[test]
fn the_book_has_every_page() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let links =
        summary.lines().filter_map(|line| line.trim().strip_prefix("- [")?.rsplit_once("](")?.1.strip_suffix(')'));
    let named: BTreeSet<String> = links.map(str::to_owned).collect();
    let mut there = BTreeSet::new();
    pages(&docs, &docs, &mut there).unwrap();
    let _ = there.remove("SUMMARY.md");
    assert_eq!(named, there);
}
