//! Which module names which: found in `use` lines and in paths within code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::TokenTree;

use crate::source::{Source, brace, inside, is_mark, is_word};

/// A module's place in its crate; the root's is empty.
type Module = Vec<String>;

/// From a module to one beside it, both as `a::b`.
pub(super) type Arrow = (String, String);

/// A crate's arrows, each with a place that draws it.
///
/// Arrows are drawn between modules that have the same parent, each standing for all below it. A module and those
/// that it lies in may name each other: they are one concept's files.
pub(super) fn arrows(files: &[Source]) -> BTreeMap<Arrow, String> {
    let modules: BTreeSet<Module> = files.iter().map(|file| module_of(&file.path)).collect();
    let mut found = BTreeMap::new();
    for file in files {
        let from = module_of(&file.path);
        let mut named = Vec::new();
        paths(&file.tokens, &from, &mut named);
        for path in named {
            let to = (0..=path.len()).rev().map(|end| &path[..end]).find(|prefix| modules.contains(*prefix));
            if let Some(arrow) = to.and_then(|to| between_siblings(&from, to)) {
                let place = || format!("{} names {}", file.path.display(), path.join("::"));
                let _ = found.entry(arrow).or_insert_with(place);
            }
        }
    }
    found
}

/// `a/b.rs` is `a::b`.
pub(super) fn module_of(path: &Path) -> Module {
    let mut module: Module = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if let Some(last) = module.pop().filter(|last| last != "lib.rs") {
        module.push(last.trim_end_matches(".rs").to_owned());
    }
    module
}

/// Where the two paths part; nothing if one lies in the other.
fn between_siblings(from: &[String], to: &[String]) -> Option<Arrow> {
    let common = from.iter().zip(to).take_while(|(one, other)| one == other).count();
    Some((from.get(..=common)?.join("::"), to.get(..=common)?.join("::")))
}

/// The absolute paths that `tokens`, in module `here`, name within the crate.
fn paths(tokens: &[TokenTree], here: &[String], into: &mut Vec<Module>) {
    let mut next = 0;
    while let Some(token) = tokens.get(next) {
        next += 1;
        if let [TokenTree::Ident(name), body, ..] = &tokens[next..]
            && is_word(token, "mod")
            && let Some(body) = brace(body)
        {
            let inner: Module = here.iter().cloned().chain([name.to_string()]).collect();
            paths(&inside(body), &inner, into);
            next += 2;
        } else if let TokenTree::Group(group) = token {
            paths(&inside(group), here, into);
        } else if let Some(start) = start(token, here) {
            next += path(&tokens[next..], start, into);
        }
    }
}

/// What a path that begins with this word begins at.
fn start(token: &TokenTree, here: &[String]) -> Option<Module> {
    match token {
        TokenTree::Ident(word) if word == "crate" => Some(Vec::new()),
        TokenTree::Ident(word) if word == "self" => Some(here.to_vec()),
        TokenTree::Ident(word) if word == "super" => Some(here[..here.len().saturating_sub(1)].to_vec()),
        _ => None,
    }
}

/// Follows a path's `::NAME` and `::{…}`, notes where it leads, and says how many tokens it has.
fn path(tokens: &[TokenTree], mut at: Module, into: &mut Vec<Module>) -> usize {
    let mut length = 0;
    while let [one, two, part, ..] = &tokens[length..]
        && is_mark(one, ':')
        && is_mark(two, ':')
    {
        if let Some(list) = brace(part) {
            inside(list).split(|token| is_mark(token, ',')).for_each(|entry| listed(entry, &at, into));
            return length + 3;
        }
        let TokenTree::Ident(name) = part else {
            break;
        };
        if name == "super" {
            let _ = at.pop();
        } else {
            at.push(name.to_string());
        }
        length += 3;
    }
    // A word alone is no path: `self`, `pub(crate)`.
    if length > 0 {
        into.push(at);
    }
    length
}

/// One entry of a `{…}`.
fn listed(entry: &[TokenTree], at: &[String], into: &mut Vec<Module>) {
    if let [first @ TokenTree::Ident(name), rest @ ..] = entry {
        let named = if is_word(first, "self") { at.to_vec() } else { [at, &[name.to_string()]].concat() };
        if path(rest, named.clone(), into) == 0 {
            into.push(named);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{module_of, paths};
    use crate::source::Source;

    fn named(text: &str) -> Vec<String> {
        let file = Source::parse("a/b.rs".into(), text).unwrap();
        let mut found = Vec::new();
        paths(&file.tokens, &module_of(&file.path), &mut found);
        found.iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn paths_are_found_in_use_lines_and_in_code() {
        assert_eq!(named("use crate::c::{self, d::{E, F}, g as h};"), ["c", "c::d::E", "c::d::F", "c::g"]);
        assert_eq!(named("use super::x; pub(crate) fn f(self) { super::super::y(self::z) }"), ["a::x", "y", "a::b::z"]);
        assert_eq!(named("fn f() { say!(\"{}\", crate::c::d::<u8>()) }"), ["c::d"]);
        assert_eq!(named("mod inner { use super::own; }"), ["a::b::own"]);
        assert!(named("#[cfg(test)] mod tests { use crate::c; } use core::fmt;").is_empty());
    }
}
