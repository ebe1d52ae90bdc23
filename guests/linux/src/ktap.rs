//! Results in KTAP version 1.

/// How a case ends: the words say what was seen.
pub type Outcome = Result<(), String>;
/// A case: its name, a sentence in words joined by underscores, and what to do.
pub type Case<'a> = (&'static str, Box<dyn FnOnce() -> Outcome + 'a>);

/// Runs the cases in order and reports each; the exit status says whether all passed.
pub fn run(cases: Vec<Case<'_>>) -> std::process::ExitCode {
    println!("KTAP version 1");
    println!("1..{}", cases.len());
    let mut passed = true;
    for (number, (name, case)) in (1..).zip(cases) {
        match case() {
            Ok(()) => println!("ok {number} {name}"),
            Err(words) => {
                passed = false;
                println!("not ok {number} {name} # {}", words.replace('\n', " "));
            }
        }
    }
    if passed { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}

/// Ends the case as failed unless the two are equal; the words say what they are.
///
/// # Errors
/// They differ.
pub fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:x?}, expected {expected:x?}")) }
}
