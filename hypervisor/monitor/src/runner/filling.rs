//! What vCPU 0 does before a life: its VM's memory is filled, a chunk at a time.

use assay_el2::cpu;
use assay_model::loader::Progress;
use assay_model::stage::Start;

use super::Runner;
use crate::console;
use crate::vm::intx;

impl Runner {
    /// Fills a chunk of the VM's memory; after the last one, starts its life.
    pub(super) fn load_step(&mut self) {
        let vm = self.vm;
        let mut contents = vm.contents.lock();
        match contents.step() {
            Progress::More => return,
            Progress::Done => {}
            Progress::Failed(error) => {
                contents.abandon();
                drop(contents);
                return vm.failed_to_load(error);
            }
        }
        let (entry, tree) = contents.finish();
        drop(contents);
        intx::forget(vm);
        let mut devices = vm.devices.lock();
        devices.reset();
        // With the lock held: a ring from before has left no interrupt, so it must leave no bit either.
        vm.machine.doorbells.reset();
        devices.virtual_offset = cpu::counter();
        devices.power.boot(Start { entry: entry.0, context: tree.0 });
        drop(devices);
        if let Some(sharing) = &vm.sharing {
            sharing.begin();
        }
        // An earlier life may have held input back.
        console::input_room();
        vm.started();
        intx::connect(vm);
    }
}
