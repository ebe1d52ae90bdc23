//! What the device tree says of the machine.

use core::cell::UnsafeCell;

use crate::fdt::{Node, Tree};

/// Where QEMU's `virt` has its console.
pub(crate) const UART: u64 = 0x0900_0000;
/// Where its RAM begins.
const RAM: u64 = 0x4000_0000;

unsafe extern "C" {
    static _start: u8;
    static __image_end: u8;
}

/// Which architecture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// GICv2.
    V2,
    /// GICv3.
    V3,
}

/// The interrupt controller.
#[derive(Clone, Copy)]
pub struct Gic {
    /// Which architecture.
    pub version: Version,
    /// The Distributor's registers.
    pub distributor: u64,
    /// The first Redistributor (GICv3) or the CPU interface (GICv2).
    pub second: u64,
}

/// The SBSA generic watchdog (DEN0029 §C).
#[derive(Clone, Copy)]
pub struct Watchdog {
    /// The control frame.
    pub control: u64,
    /// The refresh frame.
    pub refresh: u64,
    /// The interrupt of the first signal, WS0.
    pub intid: u32,
}

/// The machine, as its tree describes it.
pub struct Machine {
    /// The tree.
    pub tree: Tree,
    /// Where the tree is.
    pub tree_address: u64,
    ram: [(u64, u64); 8],
    ram_count: usize,
    cpus: [u64; 64],
    cpu_count: usize,
    /// The interrupt controller.
    pub gic: Gic,
    /// The console's registers.
    pub uart: u64,
    /// The console's interrupt.
    pub uart_intid: u32,
    /// The physical timer's interrupt.
    pub timer_physical: u32,
    /// The virtual timer's interrupt.
    pub timer_virtual: u32,
    /// PSCI is called by SMC rather than HVC.
    pub psci_smc: bool,
    /// The command line.
    pub bootargs: &'static str,
    /// The watchdog, if there is one.
    pub watchdog: Option<Watchdog>,
    /// An initial RAM disk: first address and end.
    pub initrd: Option<(u64, u64)>,
}

/// The most reservations that are looked at: as many as Assay makes.
const RESERVATIONS_MAX: usize = 16;

impl Machine {
    /// Returns the stretches of RAM: address and size in bytes.
    pub fn ram(&self) -> &[(u64, u64)] {
        self.ram.get(..self.ram_count).unwrap_or(&[])
    }
    /// Returns the MPIDR affinity of each CPU, in the tree's order.
    pub fn cpus(&self) -> &[u64] {
        self.cpus.get(..self.cpu_count).unwrap_or(&[])
    }
    /// Tells whether `address` is RAM.
    pub fn is_ram(&self, address: u64) -> bool {
        self.ram().iter().any(|&(start, size)| address.wrapping_sub(start) < size)
    }
    /// Returns the end of the last stretch of RAM.
    pub fn ram_end(&self) -> u64 {
        self.ram().iter().map(|&(start, size)| start + size).max().unwrap_or(0)
    }
    /// Returns where this program lies, BSS and stacks included: first address and end.
    pub fn image(&self) -> (u64, u64) {
        (&raw const _start as u64, &raw const __image_end as u64)
    }
    /// Calls `visit` with each stretch of RAM that nobody has filled or reserved: neither this program nor the
    /// tree nor a RAM disk. Start and end are multiples of 64 bytes.
    pub fn free_ram(&self, visit: &mut dyn FnMut(u64, u64)) {
        let tree = (self.tree_address, self.tree_address + self.tree.size() as u64);
        // Natively QEMU's few instructions of boot loader are at the start of RAM.
        let loader = if self.is_native() { (0x4000_0000, 0x4020_0000) } else { (0, 0) };
        let mut taken = [(0, 0); 4 + RESERVATIONS_MAX];
        let reserved = self.tree.reservations().map(|(start, size)| (start, start + size));
        let all = [self.image(), tree, self.initrd.unwrap_or((0, 0)), loader].into_iter().chain(reserved);
        taken.iter_mut().zip(all).for_each(|(place, found)| *place = found);
        for &(start, size) in self.ram() {
            let (mut at, end) = (start, start + size);
            while at < end {
                // The next thing in the way, if any: go up to it, then behind it.
                let next = taken.iter().filter(|&&(_, last)| last > at).min_by_key(|&&(first, _)| first);
                let (first, last) = next.map_or((end, end), |&(first, last)| (first.min(end), last));
                if at < first & !63 {
                    visit(at, first & !63);
                }
                at = last.next_multiple_of(64).max(at);
                if next.is_none() {
                    break;
                }
            }
        }
    }
    /// Calls `visit` with each stretch of address space that the tree gives to a device.
    pub fn devices(&self, visit: &mut dyn FnMut(u64, u64)) {
        for node in self.tree.nodes().filter(|node| node.depth == 1 && node.str("device_type").is_none()) {
            for (start, size) in (0..).map_while(|n| node.reg(n)) {
                visit(start, size);
            }
        }
    }
    /// Tells whether the command line has this word.
    pub fn has_bootarg(&self, word: &str) -> bool {
        self.bootargs.split(' ').any(|arg| arg == word)
    }
    /// Returns what follows `name=` on the command line.
    pub fn bootarg(&self, name: &str) -> Option<&'static str> {
        self.bootargs.split(' ').find_map(|arg| arg.strip_prefix(name)?.strip_prefix('='))
    }
    /// Tells whether the guest was started without Assay (bootarg `native`).
    pub fn is_native(&self) -> bool {
        self.has_bootarg("native")
    }
}

struct Global(UnsafeCell<Option<Machine>>);
// SAFETY: written once, by the first CPU before it starts another.
unsafe impl Sync for Global {}
static MACHINE: Global = Global(UnsafeCell::new(None));

/// Returns the machine.
pub fn machine() -> &'static Machine {
    // SAFETY: no one writes after `discover`.
    match unsafe { &*MACHINE.0.get() } {
        Some(machine) => machine,
        // Without one nothing runs that would ask.
        None => loop {
            core::hint::spin_loop();
        },
    }
}

/// Reads the tree, which is where x0 says, or at the start of RAM where QEMU leaves it for an ELF.
pub(crate) fn discover(x0: u64) -> Option<&'static Machine> {
    let (tree, address) = [x0, RAM].into_iter().find_map(|address| Some((Tree::at(address)?, address)))?;
    let machine = read(tree, address);
    // SAFETY: only the first CPU runs, and it has no reference to it yet.
    unsafe { *MACHINE.0.get() = Some(machine) };
    Some(self::machine())
}

fn read(tree: Tree, tree_address: u64) -> Machine {
    let uart = tree.compatible("arm,pl011");
    let timer = tree.compatible("arm,armv8-timer");
    let chosen = tree.named("chosen");
    let mut machine = Machine {
        tree,
        tree_address,
        ram: [(0, 0); 8],
        ram_count: 0,
        cpus: [0; 64],
        cpu_count: 0,
        gic: find_gic(tree),
        uart: uart.and_then(|node| node.reg(0)).map_or(UART, |(base, _)| base),
        uart_intid: uart.and_then(|node| node.intid(0)).unwrap_or(33),
        timer_physical: timer.and_then(|node| node.intid(1)).unwrap_or(30),
        timer_virtual: timer.and_then(|node| node.intid(2)).unwrap_or(27),
        psci_smc: tree.named("psci").and_then(|node| node.str("method")) == Some("smc"),
        bootargs: chosen.and_then(|node| node.str("bootargs")).unwrap_or(""),
        watchdog: tree.compatible("arm,sbsa-gwdt").and_then(find_watchdog),
        initrd: chosen.and_then(|node| Some((wide(node, "linux,initrd-start")?, wide(node, "linux,initrd-end")?))),
    };
    for node in tree.nodes() {
        match node.str("device_type") {
            Some("memory") => {
                for entry in (0..).map_while(|n| node.reg(n)) {
                    if let Some(slot) = machine.ram.get_mut(machine.ram_count) {
                        *slot = entry;
                        machine.ram_count += 1;
                    }
                }
            }
            Some("cpu") => {
                if let Some((slot, (mpidr, _))) = machine.cpus.get_mut(machine.cpu_count).zip(node.reg(0)) {
                    *slot = mpidr;
                    machine.cpu_count += 1;
                }
            }
            _ => {}
        }
    }
    machine
}

/// The binding names the control frame first, then the refresh frame.
fn find_watchdog(node: Node) -> Option<Watchdog> {
    Some(Watchdog { control: node.reg(0)?.0, refresh: node.reg(1)?.0, intid: node.intid(0)? })
}

fn find_gic(tree: Tree) -> Gic {
    let v3 = tree.compatible("arm,gic-v3");
    let v2 = || tree.compatible("arm,cortex-a15-gic").or_else(|| tree.compatible("arm,gic-400"));
    let version = if v3.is_some() { Version::V3 } else { Version::V2 };
    let node = v3.or_else(v2);
    let base = |n, default| node.and_then(|node| node.reg(n)).map_or(default, |(base, _)| base);
    let second = if version == Version::V3 { 0x080a_0000 } else { 0x0801_0000 };
    Gic { version, distributor: base(0, 0x0800_0000), second: base(1, second) }
}

/// Reads a number of one or two cells.
fn wide(node: Node, name: &str) -> Option<u64> {
    let first = u64::from(node.cell(name, 0)?);
    Some(node.cell(name, 1).map_or(first, |second| first << 32 | u64::from(second)))
}
