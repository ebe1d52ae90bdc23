//! SMMUv3: what devices may access. From the moment that it is taken, nothing passes it but streams that were given the
//! tables of a VM's devices. (IHI 0070G.b; what entries and commands look like is `spec::smmu`'s.)

use alloc::vec::Vec;
use core::fmt;

use assay_spec::addr::{PAGE_SIZE, Pa, Region};
use assay_spec::smmu::event::Event;
use assay_spec::smmu::table::{self, Entry, Shape};
use assay_spec::smmu::{CR1_WRITE_BACK, CR2, Features, IRQ_EVENTQ, Unfit, command, cr0};
use spin::Mutex;
use tock_registers::interfaces::{Readable as _, Writeable as _};

use crate::claim::claim;
use crate::device_memory::DeviceMemory;
use crate::frames::Use;
use crate::mmio::Mmio;
use crate::pci::Ecam;
use crate::stage2::{DeviceRegime, count_stream};
use queue::{Commands, Events};
use registers::Block;

mod queue;
mod registers;

/// Why an SMMU does not do what it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SmmuError {
    /// Its registers are too short, or in the image or memory that frames come from.
    BadFrame(Region<Pa>),
    /// It has not answered within a tenth of a second.
    NoAnswer(&'static str),
    /// It lacks something.
    Unfit(Unfit),
    /// It cannot tell apart streams up to this one.
    NoStream(u32),
    /// The stream has an owner already: devices share it.
    Taken(u32),
    /// There is no memory for its tables or queues.
    NoMemory,
    /// There is memory for its tables or queues, but beyond its addresses.
    OutOfReach,
    /// It cannot walk these tables: they reach further than its addresses, or have a VMID that it does not know.
    BadTables,
}

impl fmt::Display for SmmuError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadFrame(region) => write!(f, "its registers {region:?} are too short, or in memory that is in use"),
            Self::NoAnswer(what) => write!(f, "it does not answer: {what}"),
            Self::Unfit(unfit) => unfit.fmt(f),
            Self::NoStream(stream) => write!(f, "it has no stream {stream:#x}"),
            Self::Taken(stream) => write!(f, "its stream {stream:#x} is another device's too"),
            Self::NoMemory => f.write_str("no memory for its tables"),
            Self::OutOfReach => f.write_str("its tables are in memory that it does not reach (SMMU_IDR5.OAS)"),
            Self::BadTables => f.write_str("it cannot walk the VM's tables (SMMU_IDR5.OAS, SMMU_IDR0.VMID16)"),
        }
    }
}

/// An SMMU that lets nothing pass, and writes nothing to memory.
pub struct Closed {
    registers: Mmio<Block>,
    features: Result<Features, Unfit>,
}

/// An SMMU that tells streams apart.
pub struct Smmu {
    registers: Mmio<Block>,
    features: Features,
    commands: Mutex<Commands>,
    events: Mutex<Events>,
    table: Mutex<StreamTable>,
}

/// The Stream table: the first level if there is one, and the leaves by their numbers.
struct StreamTable {
    features: Features,
    shape: Shape,
    root: Option<DeviceMemory>,
    leaves: Vec<(u32, DeviceMemory)>,
    /// The streams that have an owner.
    taken: Vec<u32>,
}

impl Closed {
    /// Takes the SMMU whose registers are in `region`, where the caller has mapped them as Device, whatever firmware did
    /// with it: all accesses of devices behind it abort from now on.
    ///
    /// # Errors
    /// [`SmmuError::BadFrame`], also if somebody has taken it; [`SmmuError::NoAnswer`]: accesses may go on, and reach all
    /// memory.
    pub fn take(region: Region<Pa>) -> Result<Self, SmmuError> {
        let bad = SmmuError::BadFrame(region);
        let registers: Mmio<Block> = Mmio::new(region).filter(|_| claim(region, Use::Master)).ok_or(bad)?;
        if !registers.answers(registers::IDR0) || !registers.answers(registers::EVENTQ_PROD) {
            return Err(SmmuError::NoAnswer("its registers"));
        }
        let features = Features::of(registers.idr0.get(), registers.idr1.get(), registers.idr5.get());
        // While it translates, GBPA means nothing: what aborts comes before what translates ends. Also if that fails,
        // firmware's tables and queues are still to go: they are in memory that may be anybody's.
        let aborts = registers.abort_by_default();
        let is_off = registers.enable(0);
        let is_silent = registers.interrupt(0);
        registers.forget_firmware();
        aborts.and(is_off).and(is_silent)?;
        Ok(Self { registers, features })
    }

    /// Returns what it can do.
    ///
    /// # Errors
    /// What it lacks: it stays closed then.
    pub fn features(&self) -> Result<Features, Unfit> {
        self.features
    }

    /// Makes it tell streams apart, up to `highest`, all of which abort. At the boot; allocates.
    ///
    /// # Errors
    /// Each [`SmmuError`]; nothing passes it then.
    pub fn open(self, highest: u32) -> Result<Smmu, SmmuError> {
        let Self { registers, features } = self;
        let features = features.map_err(SmmuError::Unfit)?;
        let shape = Shape::for_streams(highest, features.stream_bits, features.two_levels);
        let shape = shape.ok_or(SmmuError::NoStream(highest))?;
        let mut table = StreamTable { features, shape, root: None, leaves: Vec::new(), taken: Vec::new() };
        if shape.two_levels {
            table.root = Some(take_memory(shape.root_bytes(), features)?);
        } else {
            let _ = table.leaf(0)?;
        }
        let (mut commands, events) = queue::make(features)?;
        let base = table.root.as_ref().or(table.leaves.first().map(|(_, leaf)| leaf)).ok_or(SmmuError::NoMemory)?;
        registers.cr1.set(CR1_WRITE_BACK);
        registers.cr2.set(CR2);
        registers.set_stream_table(base, table::base(base.region().start), shape.base_config());
        registers.set_queues(commands.place(), events.place());
        let outcome = turn_on(&registers, &mut commands);
        if outcome.is_err() {
            let _ = registers.enable(0);
        }
        outcome?;
        let (commands, events, table) = (Mutex::new(commands), Mutex::new(events), Mutex::new(table));
        Ok(Smmu { registers, features, commands, events, table })
    }
}

/// Starts the queues, has it forget everything, and has streams be translated.
fn turn_on(registers: &Block, commands: &mut Commands) -> Result<(), SmmuError> {
    registers.enable(cr0::CMDQEN)?;
    commands.run(registers, &[command::FORGET_STREAMS, command::FORGET_TRANSLATIONS])?;
    registers.enable(cr0::CMDQEN | cr0::EVENTQEN)?;
    registers.interrupt(IRQ_EVENTQ)?;
    registers.enable(cr0::CMDQEN | cr0::EVENTQEN | cr0::SMMUEN)
}

/// Takes memory that the SMMU reaches.
fn take_memory(bytes: u64, features: Features) -> Result<DeviceMemory, SmmuError> {
    let memory = DeviceMemory::take(bytes).ok_or(SmmuError::NoMemory)?;
    if features.reaches(memory.region()) { Ok(memory) } else { Err(SmmuError::OutOfReach) }
}

impl Smmu {
    /// Returns the stream `id`, all of whose accesses abort, to its one owner. At the boot; allocates.
    ///
    /// # Errors
    /// [`SmmuError::NoStream`], [`SmmuError::Taken`], [`SmmuError::NoMemory`], [`SmmuError::OutOfReach`],
    /// [`SmmuError::NoAnswer`].
    pub fn stream(&'static self, id: u32) -> Result<Stream, SmmuError> {
        let entry = self.table.lock().take(id)?;
        let stream = Stream { smmu: self, id, entry, passes: Mutex::new(None) };
        stream.set(&table::ABORT, None)?;
        Ok(stream)
    }

    /// The same of what by the tree's word function `requester_id` accesses.
    ///
    /// # Errors
    /// As [`Self::stream`].
    pub fn function_stream(&'static self, id: u32, ecam: Ecam, requester_id: u16) -> Result<FunctionStream, SmmuError> {
        Ok(FunctionStream { stream: self.stream(id)?, ecam, requester_id })
    }

    /// Takes the next record of something that was not allowed, and tells whether some were lost.
    pub fn event(&self) -> Option<(Event, bool)> {
        self.events.lock().take(&self.registers)
    }
}

impl StreamTable {
    /// Returns which of `leaves` has this number; takes one if none has it yet.
    fn leaf(&mut self, number: u32) -> Result<usize, SmmuError> {
        if let Some(index) = self.leaves.iter().position(|(known, _)| *known == number) {
            return Ok(index);
        }
        let leaf = take_memory(PAGE_SIZE, self.features)?;
        if let Some(root) = &self.root {
            root.store(u64::from(number) * table::DESCRIPTOR_BYTES, table::descriptor(leaf.region().start));
        }
        self.leaves.push((number, leaf));
        Ok(self.leaves.len() - 1)
    }

    /// Gives a stream to its owner. Returns the leaf that its entry is in, as an index of `leaves`, and its offset.
    fn take(&mut self, stream: u32) -> Result<(usize, u64), SmmuError> {
        if u64::from(stream) >> self.shape.bits != 0 {
            return Err(SmmuError::NoStream(stream));
        }
        if self.taken.contains(&stream) {
            return Err(SmmuError::Taken(stream));
        }
        let (number, index) = table::place(stream);
        let leaf = self.leaf(number)?;
        self.taken.push(stream);
        Ok((leaf, index * table::ENTRY_BYTES))
    }
}

/// The accesses of one device. They abort, or pass the tables of a VM's devices.
pub struct Stream {
    smmu: &'static Smmu,
    id: u32,
    entry: (usize, u64),
    /// The VMID whose tables accesses may pass, or may have passed and are not known to be over.
    passes: Mutex<Option<u16>>,
}

/// The accesses of one PCI function, which may be its bus's master.
pub struct FunctionStream {
    stream: Stream,
    ecam: Ecam,
    requester_id: u16,
}

/// The stream that checks them.
impl AsRef<Stream> for FunctionStream {
    fn as_ref(&self) -> &Stream {
        &self.stream
    }
}

impl AsRef<Self> for Stream {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl FunctionStream {
    /// Writes the function's Command register, with Bus Master as `value` has it.
    pub fn write_command(&self, value: u32) {
        self.ecam.write_command_of_stream(self.requester_id, value);
    }
}

impl Stream {
    /// Lets accesses pass the tables of a VM's devices.
    ///
    /// # Errors
    /// [`SmmuError::BadTables`]; [`SmmuError::NoAnswer`]: then they may.
    pub fn translate(&self, regime: &DeviceRegime) -> Result<(), SmmuError> {
        let mut passes = self.passes.lock();
        let is_other = passes.is_some_and(|vmid| vmid != regime.vmid);
        if is_other || !self.smmu.features.can_walk(regime.root, regime.vtcr, regime.vmid) {
            return Err(SmmuError::BadTables);
        }
        if passes.replace(regime.vmid).is_none() {
            count_stream(regime.vmid, true);
        }
        self.set(&table::stage2(regime.vtcr, regime.root, regime.vmid), None)
    }

    /// Has all accesses abort. On return none that passed `regime` before is under way.
    ///
    /// # Errors
    /// [`SmmuError::NoAnswer`]: some may be.
    pub fn abort(&self, regime: &DeviceRegime) -> Result<(), SmmuError> {
        let mut passes = self.passes.lock();
        let vmid = passes.unwrap_or(regime.vmid);
        self.set(&table::ABORT, Some(vmid))?;
        if passes.take().is_some() {
            count_stream(vmid, false);
        }
        Ok(())
    }

    /// Stores the entry so that the SMMU never sees half of one: it says "abort" while the rest changes. Then has it forget
    /// the entry that was there, and what it knows of a VMID.
    fn set(&self, entry: &Entry, vmid: Option<u16>) -> Result<(), SmmuError> {
        let table = self.smmu.table.lock();
        let (leaf, offset) = self.entry;
        let (_, leaf) = table.leaves.get(leaf).ok_or(SmmuError::NoMemory)?;
        let [first, rest @ ..] = entry;
        leaf.store(offset, table::ABORT[0]);
        self.forget(None)?;
        for (word, value) in (1..).zip(rest) {
            leaf.store(offset + 8 * word, *value);
        }
        leaf.store(offset, *first);
        self.forget(vmid)
    }

    /// Has the SMMU forget the entry, and what it knows of a VMID.
    fn forget(&self, vmid: Option<u16>) -> Result<(), SmmuError> {
        let stream = command::forget_stream(self.id);
        let mut commands = self.smmu.commands.lock();
        match vmid {
            Some(vmid) => commands.run(&self.smmu.registers, &[stream, command::forget_vmid(vmid)]),
            None => commands.run(&self.smmu.registers, &[stream]),
        }
    }
}
