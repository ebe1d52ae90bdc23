//! Before a life, what has failed leaves the VM: none of its vCPUs runs, and no device of its accesses anything.

use assay_model::loader::KernelError;
use assay_plan::policy::line::Quoted;

use crate::console::say;
use crate::load::Contents;
use crate::report::Failed;
use crate::vm::Vm;

/// Takes the pages that the VM is to lose out of its tables, and has EL2 leave them alone and the guest's tree reserve them.
///
/// # Errors
/// Something would be loaded to one of them.
pub(super) fn pages(vm: &Vm, contents: &mut Contents) -> Result<(), KernelError> {
    let mut index = 0;
    loop {
        // One at a time: lines are printed without the lock.
        let page = vm.poison.lock().pages().get(index).copied();
        let Some(page) = page else { break };
        index += 1;
        if vm.place(page.ipa).is_none_or(|place| place.stays.is_some()) {
            continue;
        }
        match contents.retire(page.ipa) {
            Ok(()) => {
                if vm.poison.lock().left(page.ipa) {
                    say!("memory {} event=unmapped", Failed { vm, ipa: page.ipa });
                }
            }
            Err(error) => {
                let why = format_args!("the page stays mapped until a later start: {error}");
                say!("warning {} reason={}", Failed { vm, ipa: page.ipa }, Quoted(&why));
            }
        }
    }
    contents.retired()
}
