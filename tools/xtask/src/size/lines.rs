//! Where the lines are, and what the sources are to stay below: goals, reported and not enforced.

use anyhow::Result;
use assay_harness::cache;

use crate::source::{self, Function};

/// Where the project's own Rust is.
const CRATES: &[&str] = &[
    "hypervisor/spec",
    "hypervisor/model",
    "hypervisor/plan",
    "hypervisor/el2",
    "hypervisor/monitor",
    "boot",
    "guests",
    "tools/harness",
    "tools/xtask",
];
/// Lines of code that sums of crates are to have at most.
const SUMS: &[(&str, &[&str], usize)] = &[
    ("what runs", &["hypervisor/spec", "hypervisor/model", "hypervisor/el2", "hypervisor/monitor", "boot"], 11_000),
    ("what plans", &["hypervisor/plan"], 6_000),
];
/// Blocks of `unsafe` in what runs and plans.
const UNSAFE_BLOCKS: usize = 90;
/// Lines of a function that is no table.
const FUNCTION_LINES: usize = 60;
/// Parameters of a function.
const PARAMETERS: usize = 6;
/// How many of the largest are shown.
const SHOWN: usize = 5;

/// One crate's.
struct Counted {
    folder: &'static str,
    code: usize,
    unsafe_blocks: usize,
    /// With the path of their file.
    functions: Vec<(String, Function)>,
    /// Lines without tests.
    files: Vec<(String, usize)>,
}

impl Counted {
    /// Whether it is part of the hypervisor.
    fn is_image(&self) -> bool {
        self.folder.starts_with("hypervisor/") || self.folder == "boot"
    }
}

/// Prints the tables.
///
/// # Errors
/// A file can't be read, or is not Rust.
pub(super) fn print() -> Result<()> {
    println!("{:24} {:>8} {:>8} {:>8}", "folder", "lines", "of tests", "of code");
    let crates: Vec<Counted> = CRATES.iter().map(|folder| count(folder)).collect::<Result<_>>()?;
    let mut files: Vec<&(String, usize)> = crates.iter().flat_map(|counted| &counted.files).collect();
    files.sort_by_key(|(_, lines)| std::cmp::Reverse(*lines));
    println!("\n{:56} {:>8}", "largest files, without tests", "lines");
    for (path, lines) in files.iter().take(SHOWN) {
        println!("{path:56} {lines:>8}");
    }
    goals(&crates);
    Ok(())
}

/// Counts one crate and prints its row.
fn count(folder: &'static str) -> Result<Counted> {
    let mut counted = Counted { folder, code: 0, unsafe_blocks: 0, functions: Vec::new(), files: Vec::new() };
    let (mut own, mut of_tests) = (0, 0);
    for (file, text) in source::read(&cache::repository()?.join(folder))? {
        let path = format!("{folder}/{}", file.path.display());
        let tests = file.test_lines(&text);
        own += file.lines - tests;
        of_tests += tests;
        counted.code += file.code_lines();
        counted.unsafe_blocks += source::unsafe_blocks(&file.tokens);
        counted.functions.extend(source::functions(&file.tokens).into_iter().map(|it| (path.clone(), it)));
        counted.files.push((path, file.lines - tests));
    }
    println!("{folder:24} {own:>8} {of_tests:>8} {:>8}", counted.code);
    Ok(counted)
}

/// What is to stay below what, and every function that doesn't.
fn goals(crates: &[Counted]) {
    println!("\n{:56} {:>8} {:>8}", "goal", "is", "at most");
    let row = |name: &str, is: usize, goal: usize| {
        println!("{name:56} {is:>8} {goal:>8}{}", if is > goal { "  missed" } else { "" });
    };
    for (name, folders, goal) in SUMS {
        let mine = crates.iter().filter(|counted| folders.contains(&counted.folder));
        let names: Vec<&str> = folders.iter().filter_map(|folder| folder.split('/').next_back()).collect();
        row(&format!("code: {name} ({})", names.join(", ")), mine.map(|counted| counted.code).sum(), *goal);
    }
    let image = || crates.iter().filter(|counted| counted.is_image());
    row("unsafe blocks", image().map(|counted| counted.unsafe_blocks).sum(), UNSAFE_BLOCKS);
    let all: Vec<&(String, Function)> = crates.iter().flat_map(|counted| &counted.functions).collect();
    let list = |what: &str, goal: usize, figure: fn(&Function) -> usize| {
        let mut over: Vec<_> = all.iter().filter(|(_, function)| figure(function) > goal).collect();
        over.sort_by_key(|(_, function)| std::cmp::Reverse(figure(function)));
        row(&format!("functions with more than {goal} {what}"), over.len(), 0);
        for (path, function) in over {
            println!("    {:52} {:>8}", format!("{path}: {}", function.name), figure(function));
        }
    };
    list("lines of code, but for tables", FUNCTION_LINES, |it| if it.is_table { 0 } else { it.lines });
    list("parameters", PARAMETERS, |it| it.parameters);
}
