//! The repository's own Rust, as tokens: comments and tests are not in it.

mod function;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};

pub(crate) use function::{Function, functions};

/// One file.
pub(crate) struct Source {
    /// Where it is, from the folder that was read.
    pub(crate) path: PathBuf,
    /// Its lines, whatever they hold.
    pub(crate) lines: usize,
    /// What is compiled without tests; nothing if the file holds only tests.
    pub(crate) tokens: Vec<TokenTree>,
}

impl Source {
    /// Reads `text` as the file `path`.
    ///
    /// # Errors
    /// It is not Rust.
    pub(crate) fn parse(path: PathBuf, text: &str) -> Result<Self> {
        let all: TokenStream = text.parse().map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let tokens = if is_test(&path) { Vec::new() } else { without_tests(all) };
        Ok(Self { path, lines: text.lines().count(), tokens })
    }

    /// Lines that hold code: no blank ones, no comments, no tests.
    pub(crate) fn code_lines(&self) -> usize {
        code_lines(&self.tokens).len()
    }

    /// Lines from the first test on.
    pub(crate) fn test_lines(&self, text: &str) -> usize {
        let before = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
        self.lines - if is_test(&self.path) { 0 } else { before }
    }
}

/// The Rust files below `folder` with their text, in the order of their paths.
///
/// # Errors
/// A file can't be read, or is not Rust.
pub(crate) fn read(folder: &Path) -> Result<Vec<(Source, String)>> {
    let mut paths = Vec::new();
    collect(folder, &mut paths)?;
    paths.sort();
    let source = |path: &PathBuf| {
        let text = fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
        let relative = path.strip_prefix(folder).unwrap_or(path).to_path_buf();
        Ok((Source::parse(relative, &text)?, text))
    };
    paths.iter().map(source).collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("can't list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    Ok(())
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
}

/// Counts `unsafe { … }`.
pub(crate) fn unsafe_blocks(tokens: &[TokenTree]) -> usize {
    let here = tokens.windows(2).filter(|pair| is_word(&pair[0], "unsafe") && brace(&pair[1]).is_some()).count();
    here + groups(tokens).map(|group| unsafe_blocks(&inside(group))).sum::<usize>()
}

/// The lines that tokens are on.
fn code_lines(tokens: &[TokenTree]) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    let mut add = |span: Span| lines.extend(span.start().line..=span.end().line);
    for token in tokens {
        if let TokenTree::Group(group) = token {
            add(group.span_open());
            add(group.span_close());
        } else {
            add(token.span());
        }
    }
    lines.extend(groups(tokens).flat_map(|group| code_lines(&inside(group))));
    lines
}

/// Leaves out documentation, and each item that `#[cfg(test)]` stands before.
fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let all: Vec<TokenTree> = tokens.into_iter().collect();
    let mut kept = Vec::new();
    let mut next = 0;
    while let Some(token) = all.get(next) {
        next += 1;
        if is_mark(token, '#') {
            let inner = all.get(next).is_some_and(|token| is_mark(token, '!'));
            let attribute = all.get(next + usize::from(inner)).map(ToString::to_string).unwrap_or_default();
            if attribute.starts_with("[doc =") {
                next += 1 + usize::from(inner);
                continue;
            }
            if attribute == "[cfg (test)]" || attribute == "[cfg(test)]" {
                let rest = &all[next..];
                let is_end = |token: &TokenTree| is_mark(token, ';') || brace(token).is_some();
                next += rest.iter().position(is_end).map_or(rest.len(), |end| end + 1);
                continue;
            }
        }
        kept.push(match token {
            TokenTree::Group(group) => {
                let content = without_tests(group.stream()).into_iter().collect();
                let mut stripped = Group::new(group.delimiter(), content);
                stripped.set_span(group.span());
                TokenTree::Group(stripped)
            }
            other => other.clone(),
        });
    }
    kept
}

/// What the group holds.
pub(crate) fn inside(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

fn groups(tokens: &[TokenTree]) -> impl Iterator<Item = &Group> {
    tokens.iter().filter_map(|token| if let TokenTree::Group(group) = token { Some(group) } else { None })
}

/// The token as `{ … }`.
pub(crate) fn brace(token: &TokenTree) -> Option<&Group> {
    delimited(token, Delimiter::Brace)
}

fn delimited(token: &TokenTree, delimiter: Delimiter) -> Option<&Group> {
    match token {
        TokenTree::Group(group) if group.delimiter() == delimiter => Some(group),
        _ => None,
    }
}

/// Whether the token is this identifier or keyword.
pub(crate) fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

/// Whether the token is this punctuation mark.
pub(crate) fn is_mark(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

#[cfg(test)]
mod tests {
    use super::{Source, functions, unsafe_blocks};

    fn source(text: &str) -> Source {
        Source::parse("a.rs".into(), text).unwrap()
    }

    #[test]
    fn blanks_comments_and_tests_are_no_code() {
        let text = "//! Doc.\n\n/// More.\nfn one() { // why\n    /* a\n b */\n    two(\"x\ny\");\n}\n\
                    #[cfg(test)]\n#[expect(dead_code)]\nmod tests {\n    fn three() {}\n}\nconst A: u8 = 1;\n";
        let file = source(text);
        assert_eq!((file.lines, file.code_lines(), file.test_lines(text)), (15, 5, 6));
        assert_eq!(functions(&file.tokens).len(), 1);
        assert_eq!(Source::parse("a/tests.rs".into(), "fn one() {}").unwrap().code_lines(), 0);
    }

    #[test]
    fn unsafe_blocks_are_counted_and_unsafe_items_are_not() {
        let file = source("unsafe impl A for B {}\nunsafe fn f() { if x { unsafe { g() } } }\nfn h() { unsafe {} }");
        assert_eq!(unsafe_blocks(&file.tokens), 2);
    }
}
