//! A file's functions: how long they are, and how many parameters they take.

use proc_macro2::{Delimiter, Group, TokenTree};

use super::{brace, code_lines, delimited, groups, inside, is_mark, is_word};

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name alone.
    pub(crate) name: String,
    /// Lines of code, from `fn` to the closing brace.
    pub(crate) lines: usize,
    /// `self` is one too.
    pub(crate) parameters: usize,
    /// Its body is one `match` of short arms: it is read as a table.
    pub(crate) is_table: bool,
}

/// The functions in `tokens`, nested ones too.
pub(crate) fn functions(tokens: &[TokenTree]) -> Vec<Function> {
    let mut found: Vec<Function> = (0..tokens.len()).filter_map(|start| function(&tokens[start..])).collect();
    found.extend(groups(tokens).flat_map(|group| functions(&inside(group))));
    found
}

/// The function that `tokens` begin with.
fn function(tokens: &[TokenTree]) -> Option<Function> {
    let [keyword, TokenTree::Ident(name), rest @ ..] = tokens else {
        return None;
    };
    if !is_word(keyword, "fn") {
        return None;
    }
    let levels = angle_levels(rest);
    let is_list =
        |(token, level): (&TokenTree, &i32)| *level == 0 && delimited(token, Delimiter::Parenthesis).is_some();
    let list = rest.iter().zip(&levels).position(is_list)?;
    let end = list + rest[list..].iter().position(|token| is_mark(token, ';') || brace(token).is_some())?;
    let body = brace(&rest[end])?;
    let lines = code_lines(&tokens[..end + 3]).len();
    Some(Function {
        name: name.to_string(),
        lines,
        parameters: parameters(delimited(&rest[list], Delimiter::Parenthesis)?),
        is_table: is_table(body, lines),
    })
}

fn parameters(list: &Group) -> usize {
    let tokens = inside(list);
    let levels = angle_levels(&tokens);
    let is_comma = |(token, level): &(&TokenTree, &i32)| **level == 0 && is_mark(token, ',');
    let commas = tokens.iter().zip(&levels).filter(is_comma).count();
    let trailing = tokens.last().is_none_or(|token| is_mark(token, ','));
    commas + usize::from(!trailing)
}

/// How deep in `<…>` each token is.
fn angle_levels(tokens: &[TokenTree]) -> Vec<i32> {
    let mut level = 0;
    let mut after_dash = false;
    let mut levels = Vec::new();
    for token in tokens {
        if is_mark(token, '<') {
            level += 1;
        } else if is_mark(token, '>') && !after_dash {
            level -= 1;
        }
        after_dash = is_mark(token, '-');
        levels.push(level);
    }
    levels
}

fn is_table(body: &Group, lines: usize) -> bool {
    let tokens = inside(body);
    let first_brace = tokens.iter().position(|token| brace(token).is_some());
    let (Some(first), Some(last)) = (tokens.first(), tokens.last().and_then(brace)) else {
        return false;
    };
    let arrow = |pair: &&[TokenTree]| is_mark(&pair[0], '=') && is_mark(&pair[1], '>');
    let arms = inside(last).windows(2).filter(arrow).count();
    is_word(first, "match") && first_brace == Some(tokens.len() - 1) && lines <= 2 * arms
}

#[cfg(test)]
mod tests {
    use super::{Function, functions};
    use crate::source::Source;

    fn only(text: &str) -> Function {
        let mut found = functions(&Source::parse("a.rs".into(), text).unwrap().tokens);
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    #[test]
    fn commas_of_types_separate_no_parameters() {
        let function = only("fn f<F: Fn(u8, u8) -> u8>(&self, a: Map<u8, F>, (b, c): (u8, u8),) -> u8 {\n // x\n 1\n}");
        assert_eq!((function.parameters, function.lines), (3, 3));
        assert_eq!(only("impl A { fn f() {} }").parameters, 0);
    }

    #[test]
    fn a_declaration_is_no_function() {
        assert_eq!(
            functions(&Source::parse("a.rs".into(), "trait A { fn f(); } type B = fn(u8);").unwrap().tokens),
            []
        );
    }

    #[test]
    fn a_match_of_short_arms_is_a_table() {
        assert!(only("fn f() {\nmatch x {\nA => 1,\nB => 2,\nC => 3,\nD => 4\n} }").is_table);
        assert!(!only("fn f() {\nlet x = 1;\nmatch x {\nA => 1,\nB => 2,\nC => 3,\nD => 4,\nE => 5\n} }").is_table);
        assert!(!only("fn f() {\nmatch x {\nA => {\n1\n}\nB => {\n2\n}\n} }").is_table);
    }
}
