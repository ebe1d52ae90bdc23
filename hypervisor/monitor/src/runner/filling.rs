//! What vCPUs do before a life: vCPU 0 fills its VM's memory, a chunk at a time, and all clear coherent memory.

use assay_el2::cpu;
use assay_model::loader::Progress;
use assay_model::stage::Start;

use super::{Runner, retire};
use crate::console;
use crate::load::{ToClear, Work};
use crate::vm::intx;

impl Runner {
    /// Fills a chunk of the VM's memory; after the last one, starts its life.
    pub(super) fn load_step(&mut self) {
        let vm = self.vm;
        let mut contents = vm.contents.lock();
        if !contents.is_loading
            && let Err(error) = retire::pages(vm, &mut contents)
        {
            drop(contents);
            return vm.failed_to_load(error);
        }
        if contents.begin() {
            vm.kick_all();
        }
        match contents.step() {
            Work::Clear(part) => {
                drop(contents);
                return self.clear(part);
            }
            Work::Proved => return vm.kick_all(),
            Work::Did(Progress::More) => return,
            Work::Did(Progress::Done) => {}
            Work::Did(Progress::Failed(error)) => {
                contents.end();
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

    /// Clears a part of the VM's coherent memory, if there is one to help with. Returns whether there was.
    pub(super) fn help(&mut self) -> bool {
        let part = self.vm.contents.lock().help();
        let is_there = part.is_some();
        part.into_iter().for_each(|part| self.clear(part));
        is_there
    }

    fn clear(&self, mut part: ToClear) {
        let is_clear = part.clear();
        self.counters.cleared(part.bytes());
        self.vm.contents.lock().put_back(part, is_clear);
    }
}
