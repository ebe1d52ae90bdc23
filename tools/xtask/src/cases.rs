//! The cases that run guests under Assay in QEMU, one behaviour each.

mod coherent;
mod contract;
mod dom0less;
mod endings;
mod linux;
mod matrix;
mod programs;
mod refused;
mod shared;

use anyhow::Result;

/// What a case does: gives a note on success.
type Run = Box<dyn Fn() -> Result<String> + Send + Sync>;

/// One named case.
pub(crate) struct Case {
    /// `GROUP/NAME`.
    pub(crate) name: String,
    /// Runs only with `--long`.
    pub(crate) long: bool,
    /// The case itself.
    pub(crate) run: Run,
}

impl Case {
    fn new(
        name: impl Into<String>,
        run: impl Fn() -> Result<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            long: false,
            run: Box::new(run),
        }
    }

    fn long(self) -> Self {
        Self { long: true, ..self }
    }
}

/// All of them, the quick ones first.
///
/// # Errors
/// The guests' programs can't be listed.
pub(crate) fn all() -> Result<Vec<Case>> {
    let mut cases = programs::cases()?;
    cases.extend(contract::cases());
    cases.extend(endings::cases());
    cases.extend(refused::cases());
    cases.extend(dom0less::cases());
    cases.extend(shared::cases());
    cases.extend(coherent::cases());
    cases.extend(linux::cases());
    cases.extend(matrix::cases());
    Ok(cases)
}
