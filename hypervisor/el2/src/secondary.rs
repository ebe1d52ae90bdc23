//! Starting the other CPUs.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};

use assay_spec::addr::{PAGE_SIZE, Pa, Region};
use assay_spec::cpu_id::PcpuId;

use crate::claim::claim;
use crate::firmware::FirmwareError;
use crate::frames::{self, Use};
use crate::{cache, cpu, cpus, firmware, float, mmu, percpu};

unsafe extern "C" {
    static boot_secondary: u8;
    static boot_secondary_spin: u8;
    /// `entry.S`: writes `entry` to the spin-table at `release` and sends an event.
    fn boot_release(release: u64, entry: u64);
}

/// The first record of CPUs that a spin-table lets go; `entry.S` follows the list.
#[unsafe(no_mangle)]
static boot_spin_list: AtomicU64 = AtomicU64::new(0);

/// What `boot_secondary` loads before it has a stack. `entry.S` knows the layout.
#[repr(C, align(64))]
struct Start {
    ttbr0: u64,
    tcr: u64,
    mair: u64,
    sctlr: u64,
    stack: u64,
    index: u64,
    /// What `ID_AA64PFR1_EL1.MTE` must be at least.
    mte: u64,
    /// Whose record it is, and the next one in `boot_spin_list`.
    affinity: u64,
    next: u64,
}

/// A secondary CPU's block of memory (`percpu`): taken before the map is made, so that it can leave the guard
/// page out.
pub struct Block(Region<Pa>);

impl Block {
    /// Takes a block from the free frames, or `None` if there is none.
    pub fn take() -> Option<Self> {
        let around = frames::take(percpu::AROUND)?;
        let block = Region { start: Pa(around.region().start.0 + percpu::PLACE), size: percpu::BLOCK_SIZE };
        around.keep(block);
        Some(Self(block))
    }

    /// Returns the bytes of all blocks in use by secondary CPUs.
    pub fn all_bytes() -> u64 {
        STARTED.load(Ordering::Relaxed) * percpu::BLOCK_SIZE
    }

    /// Returns the page that EL2's map must leave out.
    pub fn guard(&self) -> Region<Pa> {
        guard_of(self.0.start)
    }
}

/// Returns the guard page of the block at `start`.
fn guard_of(start: Pa) -> Region<Pa> {
    Region { start: Pa(start.0 + percpu::GUARD), size: PAGE_SIZE }
}

/// Makes the running CPU CPU 0, on the boot CPU's block, with EL2's own registers set.
///
/// # Safety
/// To be called once, by the boot CPU, before there is anything else.
pub(crate) unsafe fn adopt_boot_cpu() {
    // SAFETY: the linker script sets the block aside for the boot CPU, and this is the first that uses it.
    unsafe { percpu::install(crate::image::boot_cpu_block(), 0) };
    // SAFETY: our caller's promise: there is no guest.
    unsafe { cpu::init_el2() };
}

/// Says which CPU the boot CPU is, once the tree has told, and notes how long its vectors are. Only the first call
/// counts: what goes by a CPU's index must not change under it.
pub fn name_boot_cpu(id: PcpuId) {
    static NAMED: spin::Once<()> = spin::Once::new();
    let _ = NAMED.call_once(|| {
        // SAFETY: the block is the boot CPU's, which alone comes here, and before the first guest; only the index
        // changes.
        unsafe { percpu::install(crate::image::boot_cpu_block(), id.0 as u64) };
        float::note_vector_length();
    });
}

/// Starts CPU `id` on `block`: by the spin-table at `release`, or without one by PSCI.
///
/// A spin-table gives no answer.
///
/// # Errors
/// PSCI's answer, or `NoPsci` if the map is not active yet or the index is unknown.
pub fn start(id: PcpuId, block: Block, release: Option<Pa>) -> Result<(), FirmwareError> {
    if id == percpu::index() {
        return Err(FirmwareError::Psci(smccc::psci::error::Error::AlreadyOn));
    }
    let registers = mmu::active_registers().ok_or(FirmwareError::NoPsci)?;
    let affinity = cpus::affinity(id).ok_or(FirmwareError::NoPsci)?;
    let region = block.0;
    // The block and this record are the CPU's for ever, also if it comes up late.
    let start: &'static Start = Box::leak(Box::new(Start {
        ttbr0: registers.ttbr0,
        tcr: registers.tcr,
        mair: registers.mair,
        sctlr: registers.sctlr,
        stack: region.end().0 - 16,
        index: id.0 as u64,
        mte: if registers.mte { 2 } else { 0 },
        affinity,
        next: boot_spin_list.load(Ordering::Relaxed),
    }));
    BLOCKS.lock().push((id, region.start.0));
    let _ = STARTED.fetch_add(1, Ordering::Relaxed);
    let record = core::ptr::from_ref(start) as u64;
    // The CPU reads the record, and walks the tables first, with its caches off or cold.
    cache::clean_to_poc(Region { start: Pa(record), size: size_of::<Start>() as u64 });
    let Some(release) = release else {
        return firmware::cpu_on(affinity, Pa(&raw const boot_secondary as u64), record);
    };
    let table = Region::page_of(release).filter(|table| claim(*table, Use::Lent));
    let _ = table.ok_or(FirmwareError::NoTable)?;
    boot_spin_list.store(record, Ordering::Release);
    cache::clean_to_poc(Region { start: Pa(&raw const boot_spin_list as u64), size: 8 });
    // SAFETY: the table is in memory that is neither EL2's nor anybody else's, and stays so: it was claimed just now.
    unsafe { boot_release(release.0, &raw const boot_secondary_spin as u64) };
    Ok(())
}

/// How many blocks [`start`] has given away, adopted or not.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// Those that no CPU has adopted yet.
static BLOCKS: spin::Mutex<alloc::vec::Vec<(PcpuId, u64)>> = spin::Mutex::new(alloc::vec::Vec::new());

/// Makes the running CPU CPU `index`: to be called first on a CPU that [`start`] started. Returns whether the
/// index is one of those, and was not adopted yet.
pub fn adopt(index: u64) -> bool {
    // The latest, if an earlier start of this CPU failed; and only on the CPU that it was made for.
    let known = |(known, _): &&(PcpuId, u64)| known.0 as u64 == index;
    let is_this = cpus::this_by_mpidr().is_some_and(|this| this.0 as u64 == index);
    let mut blocks = BLOCKS.lock();
    let block = blocks.iter().rfind(known).filter(|_| is_this).map(|(_, block)| *block);
    let Some(block) = block else { return false };
    // Once: later, this CPU may have a guest.
    blocks.retain(|(known, _)| known.0 as u64 != index);
    drop(blocks);
    // SAFETY: `start` gave this block to this CPU alone, and its stack, if it is the one in use, is above the guard page.
    unsafe { percpu::install(block, index) };
    // SAFETY: this CPU comes from firmware, and has no guest.
    unsafe { cpu::init_el2() };
    float::note_vector_length();
    crate::tlb::invalidate_all_local();
    true
}
