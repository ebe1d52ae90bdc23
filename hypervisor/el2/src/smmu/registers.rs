//! An SMMU's registers (IHI 0070G.b §6.2), pages 0 and 1.

use assay_spec::smmu::{cr0, gbpa, queue_base};
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::register_structs;
use tock_registers::registers::{ReadOnly, ReadWrite};

use super::SmmuError;
use crate::device_memory::DeviceMemory;
use crate::mmio::{Registers, wait_until};

/// SMMU_IDR0, of page 0, and SMMU_EVENTQ_PROD, of page 1.
pub(super) const IDR0: usize = 0;
pub(super) const EVENTQ_PROD: usize = 0x100a8;

register_structs! {
    pub(crate) Block {
        (0x00000 => pub(super) idr0: ReadOnly<u32>),
        (0x00004 => pub(super) idr1: ReadOnly<u32>),
        (0x00008 => _reserved0),
        (0x00014 => pub(super) idr5: ReadOnly<u32>),
        (0x00018 => _reserved1),
        (0x00020 => cr0: ReadWrite<u32>),
        (0x00024 => cr0ack: ReadOnly<u32>),
        (0x00028 => pub(super) cr1: ReadWrite<u32>),
        (0x0002c => pub(super) cr2: ReadWrite<u32>),
        (0x00030 => _reserved2),
        (0x00044 => gbpa: ReadWrite<u32>),
        (0x00048 => _reserved3),
        (0x00050 => irq_ctrl: ReadWrite<u32>),
        (0x00054 => irq_ctrlack: ReadOnly<u32>),
        (0x00058 => _reserved4),
        (0x00060 => pub(super) gerror: ReadOnly<u32>),
        (0x00064 => pub(super) gerrorn: ReadWrite<u32>),
        (0x00068 => gerror_irq_cfg0: ReadWrite<u64>),
        (0x00070 => _reserved5),
        (0x00080 => strtab_base: ReadWrite<u64>),
        (0x00088 => strtab_base_cfg: ReadWrite<u32>),
        (0x0008c => _reserved6),
        (0x00090 => cmdq_base: ReadWrite<u64>),
        (0x00098 => pub(super) cmdq_prod: ReadWrite<u32>),
        (0x0009c => pub(super) cmdq_cons: ReadWrite<u32>),
        (0x000a0 => eventq_base: ReadWrite<u64>),
        (0x000a8 => _reserved7),
        (0x000b0 => eventq_irq_cfg0: ReadWrite<u64>),
        (0x000b8 => _reserved8),
        (0x100a8 => pub(super) eventq_prod: ReadWrite<u32>),
        (0x100ac => pub(super) eventq_cons: ReadWrite<u32>),
        (0x100b0 => @END),
    }
}

// SAFETY: registers only. What makes the SMMU write to memory is `eventq_base`, private here and set to an event queue's
// `DeviceMemory` alone, once and while the queue is off (`Closed::open` takes the one claim to the registers with it), and
// the addresses of its messages, private too and 0; commands with a write are never made (`spec::smmu::command`).
unsafe impl Registers for Block {}

pub(super) fn wait(what: &'static str, is_done: impl Fn() -> bool) -> Result<(), SmmuError> {
    if wait_until(is_done) { Ok(()) } else { Err(SmmuError::NoAnswer(what)) }
}

impl Block {
    /// Has all accesses abort while `CR0.SMMUEN` is 0 (§6.3, `SMMU_GBPA`).
    pub(super) fn abort_by_default(&self) -> Result<(), SmmuError> {
        let is_idle = || self.gbpa.get() & gbpa::UPDATE == 0;
        wait("SMMU_GBPA.UPDATE", is_idle)?;
        self.gbpa.set(self.gbpa.get() | gbpa::UPDATE | gbpa::ABORT);
        wait("SMMU_GBPA.UPDATE", is_idle)?;
        if self.gbpa.get() & gbpa::ABORT == 0 { Err(SmmuError::NoAnswer("SMMU_GBPA.ABORT")) } else { Ok(()) }
    }

    /// Sets `SMMU_CR0` with what keeps devices from passing by ATS, and waits until it is in effect.
    pub(super) fn enable(&self, bits: u32) -> Result<(), SmmuError> {
        let value = cr0::with_ats_check(bits, self.idr0.get());
        self.cr0.set(value);
        wait("SMMU_CR0ACK", || self.cr0ack.get() == value)
    }

    /// Sets `SMMU_IRQ_CTRL`, and waits until it is in effect.
    pub(super) fn interrupt(&self, value: u32) -> Result<(), SmmuError> {
        self.irq_ctrl.set(value);
        wait("SMMU_IRQ_CTRLACK", || self.irq_ctrlack.get() == value)
    }

    /// Has interrupts be wires, not messages to wherever firmware had them sent, and takes back errors that are still shown;
    /// while `SMMU_IRQ_CTRL` is 0 (§6.3, `SMMU_GERRORN`, `SMMU_EVENTQ_IRQ_CFG0`).
    pub(super) fn forget_firmware(&self) {
        self.gerror_irq_cfg0.set(0);
        self.eventq_irq_cfg0.set(0);
        self.gerrorn.set(self.gerror.get());
    }

    /// Says where the Stream table is; while `CR0.SMMUEN` is 0.
    pub(super) fn set_stream_table(&self, _: &DeviceMemory, base: u64, config: u32) {
        self.strtab_base_cfg.set(config);
        self.strtab_base.set(base);
    }

    /// Says where a queue of commands and one of events of 2^`bits` entries are, both empty; while they are off.
    pub(super) fn set_queues(&self, commands: (&DeviceMemory, u8), events: (&DeviceMemory, u8)) {
        let base = |(memory, bits): (&DeviceMemory, u8)| queue_base(memory.region().start.0, bits);
        self.cmdq_base.set(base(commands));
        self.cmdq_prod.set(0);
        self.cmdq_cons.set(0);
        self.eventq_base.set(base(events));
        self.eventq_prod.set(0);
        self.eventq_cons.set(0);
    }
}
