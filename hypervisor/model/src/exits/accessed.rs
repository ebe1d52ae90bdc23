//! How a load or store of a device ends.

use assay_spec::exit::Access;
use assay_spec::frame::General;

use super::Program;

/// What became of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accessed {
    /// The guest goes on.
    Done,
    /// There is no device: nothing was done, and [`handle`](super::handle) tells the fault.
    Nothing,
    /// Another VM has to act first: the vCPU waits, and tries again once it is woken.
    Wait,
}

/// Puts a loaded value into its register: cut to the access, sign-extended, cut to the register.
#[inline(always)]
pub(super) fn finish_load(value: u64, access: Access, general: &mut General, program: &mut impl Program) {
    general.set(access.register(), access.extend(value));
    program.advance();
}
