//! Results in KTAP, the kernel's test anything protocol, version 1.

use crate::println;
use crate::text::Text;

/// Why a case did not pass.
pub enum Stop {
    /// It makes no sense here, and this is why.
    Skip(&'static str),
    /// It failed, and this is what was seen.
    Fail(Text),
}

/// How a case ends.
pub type Outcome = Result<(), Stop>;
/// A case: its name, a sentence in words joined by underscores, and what to do.
pub type Case = (&'static str, fn() -> Outcome);

/// Runs the cases in order and reports each. Returns whether none failed.
pub fn run(cases: &[Case]) -> bool {
    println!("KTAP version 1");
    println!("1..{}", cases.len());
    let mut passed = true;
    for (index, (name, case)) in cases.iter().enumerate() {
        let number = index + 1;
        match case() {
            Ok(()) => println!("ok {} {}", number, name),
            Err(Stop::Skip(why)) => println!("ok {} {} # SKIP {}", number, name, why),
            Err(Stop::Fail(what)) => {
                passed = false;
                println!("not ok {} {} # {}", number, name, what.as_str());
            }
        }
    }
    passed
}

/// Ends the case as failed, with the formatted words, unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err($crate::Stop::Fail($crate::text::Text::new(format_args!($($words)+))));
        }
    };
}

/// Ends the case as failed unless the two numbers are equal; the words say what they are.
#[macro_export]
macro_rules! ensure_equal {
    ($left:expr, $right:expr, $what:literal) => {
        let (left, right) = ($left, $right);
        $crate::ensure!(left == right, concat!($what, ": {:#x}, expected {:#x}"), left, right);
    };
}

/// Ends the case as skipped where the guest does not run under Assay (bootarg `native`).
pub fn needs_hypervisor() -> Outcome {
    if crate::machine::machine().is_native() { Err(Stop::Skip("runs natively")) } else { Ok(()) }
}
