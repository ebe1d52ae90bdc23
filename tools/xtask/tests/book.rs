//! The book (`book.toml`) has every page of docs/, and what its pages and the READMEs link to is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All pages below a folder, but not in folders of what is built or of git's.
fn pages(folder: &Path, all: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "book" {
            pages(&path, all)?;
        } else if path.extension().is_some_and(|ending| ending == "md") {
            all.push(path);
        }
    }
    Ok(())
}

/// The lines of a page outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The targets of a page's links, but of those that lead out of the repository.
fn links(text: &str) -> Vec<&str> {
    let ends = prose(text).flat_map(|line| line.split("](").skip(1));
    ends.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).filter(|link| !link.contains(':')).collect()
}

/// What a link's `#` may name: headings as words with dashes, without punctuation.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let kept = |letter: char| match letter {
        ' ' => Some('-'),
        letter if letter.is_alphanumeric() || letter == '-' || letter == '_' => Some(letter),
        _ => None,
    };
    headings.map(|line| line.trim_start_matches('#').trim().to_lowercase().chars().filter_map(kept).collect()).collect()
}

#[test]
fn the_book_has_every_page() {
    let docs = top().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let named: BTreeSet<PathBuf> = links(&summary).into_iter().map(PathBuf::from).collect();
    let mut there = Vec::new();
    pages(&docs, &mut there).unwrap();
    let there: BTreeSet<PathBuf> = there.iter().map(|page| page.strip_prefix(&docs).unwrap().to_owned()).collect();
    let there: BTreeSet<PathBuf> = there.into_iter().filter(|page| page != Path::new("SUMMARY.md")).collect();
    assert_eq!(named, there);
}

#[test]
fn every_link_leads_to_something() {
    let mut all = Vec::new();
    pages(&top(), &mut all).unwrap();
    let mut broken = Vec::new();
    let mut count = 0;
    for page in all {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            count += 1;
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let is_there = target.exists();
            let is_page = target.extension().is_some_and(|ending| ending == "md");
            let has_anchor =
                |anchor: &str| fs::read_to_string(&target).is_ok_and(|text| is_page && anchors(&text).contains(anchor));
            if !is_there || !anchor.is_none_or(has_anchor) {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(count > 200, "{count} links are too few: are they read?");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// mdBook makes HTML of the book's pages, and has every link to a page lead to such a file. Other files are found from the
/// book's folder, `book` beside `docs`, as from docs/.
#[test]
fn links_out_of_the_book_are_to_no_pages() {
    let docs = top().join("docs").canonicalize().unwrap();
    let mut all = Vec::new();
    pages(&docs, &mut all).unwrap();
    for page in all.iter().filter(|page| !page.ends_with("SUMMARY.md")) {
        let text = fs::read_to_string(page).unwrap();
        for link in links(&text) {
            let file = link.split_once('#').map_or(link, |(file, _)| file);
            let target = page.parent().unwrap().join(file).canonicalize().unwrap();
            // Of a README it makes the index of its folder.
            let is_made = !file.ends_with("README.md") && target.starts_with(&docs);
            assert!(is_made || !file.ends_with(".md"), "{}: {link}: name its folder", page.display());
        }
    }
}
