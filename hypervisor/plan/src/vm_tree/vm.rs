//! One `xen,domain` node.
//!
//! Xen's words are those of its `docs/misc/arm/device-tree/booting.txt`; `memory` is in KiB there.

use super::{
    CoherentClaim, CpuClaim, FlashClaim, Module, Sched, SharedClaim, Source, VmConfig, Warning, ignored, shared,
};
use super::{cells, field, flash, sched, virtio};
use crate::fields::vm::{CMDLINE, ENTRY, FORMAT, LOAD, MEMORY_IPA, TREE};
use crate::fields::{self, CPU_LIST, Field, MEMBER, coherent, sharing, vm};
use crate::gate::{Malformed, Node};
use crate::kernel::{Format, Raw};
use crate::policy::{Allow, AllowSet, ProofAt, Rule, Use};
use crate::refusal::Refusal;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use assay_model::layout;
use assay_model::life::OnCrash;
use assay_spec::addr::{BLOCK_1G, Ipa, PAGE_SIZE, Pa, Region};
use assay_spec::cpu_id::PcpuId;

/// Linux's `COMMAND_LINE_SIZE` for arm64, with the NUL at the end: it reads no more of a command line.
pub const LINUX_COMMAND_LINE: usize = 2048;
/// The longest name.
const NAME_MAX: usize = 32;
/// More vCPUs than any VM can have, and than a list is read to.
const CPUS_MAX: usize = 4096;
/// Xen's properties beside the manifest's fields that are read here, or that change nothing.
const XENS: [&str; 6] = ["compatible", "#address-cells", "#size-cells", "vpl011", "phandle", CPU_LIST];

/// Boxed, as it is much larger than what is usual.
type Refused = Box<Refusal>;

/// Reads one VM; what it does not understand goes to `warnings`, also of a VM that is refused.
pub(super) fn read(node: &Node<'_, '_>, warnings: &mut Vec<Warning>) -> Result<VmConfig, Refused> {
    let vm = Vm { node, name: node.full_name() };
    vm.check_name()?;
    field::unknown(node, vm::TABLE.properties, &XENS, warnings);
    let mut kernel = None;
    let mut ramdisk = None;
    let mut coherent = Vec::new();
    let mut flash = Vec::new();
    let mut sharing = Vec::new();
    let mut devices = Vec::new();
    for child in node.children() {
        if child.is_compatible(&["multiboot,kernel"]) {
            vm.once(kernel.replace(child).is_none(), &child)?;
            ignored::properties(&child, |name| field::OF_MODULES.contains(&name), warnings);
        } else if child.is_compatible(&["multiboot,ramdisk"]) {
            vm.once(ramdisk.replace(child).is_none(), &child)?;
            ignored::properties(&child, |name| field::OF_MODULES.contains(&name), warnings);
        } else if child.is_compatible(&["assay,coherent-claim"]) {
            coherent.push(vm.claim(&child)?);
            field::unknown(&child, coherent::TABLE.properties, &["compatible", "phandle"], warnings);
        } else if child.is_compatible(&["assay,flash"]) {
            flash.push(vm.flash(&child, &flash)?);
            field::unknown(&child, fields::flash::TABLE.properties, &flash::OTHERS, warnings);
        } else if child.is_compatible(&["xen,domain-shared-memory-v1"]) {
            sharing.push(vm.shared(&child, warnings)?);
        } else if child.is_compatible(&["assay,virtio"]) {
            let bad = vm.bad(Rule::V3, "write the [[vm.virtio]] entry as docs/manifest.md says");
            devices.push(virtio::read(&child).map_err(bad)?);
            field::unknown(&child, fields::virtio::TABLE.properties, &virtio::OTHERS, warnings);
        } else {
            ignored::node(&child, warnings);
        }
    }
    let kernel = kernel.ok_or_else(|| {
        vm.refuse(Rule::V3, format!("{} has no multiboot,kernel node", node.path()), "give the VM a kernel")
    })?;
    let cpus = vm.cpus()?;
    Ok(VmConfig {
        sched: vm.sched(&cpus)?,
        cpus,
        memory_bytes: vm.memory()?,
        memory_ipa: vm.memory_ipa()?,
        mte: field::flag(node, &vm::MTE),
        watchdog: field::flag(node, &vm::WATCHDOG),
        pmu: field::flag(node, &vm::PMU),
        on_crash: vm.on_crash()?,
        max_restarts: vm.max_restarts()?,
        kernel: vm.module(&kernel)?,
        ramdisk: ramdisk.map(|node| vm.module(&node)).transpose()?,
        bootargs: vm.bootargs(&kernel, warnings)?,
        coherent,
        devices: vm.devices()?,
        unchecked_dma: vm.unchecked_dma()?,
        flash,
        shared: sharing,
        virtio: devices,
        name: vm.name,
    })
}

/// A VM's node while it is read.
struct Vm<'t, 'a> {
    node: &'t Node<'t, 'a>,
    name: String,
}

impl Vm<'_, '_> {
    fn shared(&self, child: &Node<'_, '_>, warnings: &mut Vec<Warning>) -> Result<SharedClaim, Refused> {
        let bad = self.bad(Rule::V3, "write the [[shared]] and [[vm.shared]] entries as docs/manifest.md says");
        let (claim, by_host) = shared::read(child).map_err(bad)?;
        field::unknown(child, sharing::TABLE.properties, &shared::XENS, warnings);
        if by_host {
            let reason = "the host address is ignored: the memory is taken wherever the machine has some free";
            ignored::warn(warnings, child, Some("xen,shared-mem"), reason);
        }
        Ok(claim)
    }

    fn bootargs(&self, kernel: &Node<'_, '_>, warnings: &mut Vec<Warning>) -> Result<String, Refused> {
        let bootargs = kernel.str(CMDLINE.property);
        let bootargs = bootargs.map_err(self.bad(Rule::V3, "write it as one string"))?;
        if bootargs.is_some_and(|line| line.len() >= LINUX_COMMAND_LINE) {
            ignored::warn(warnings, kernel, Some("bootargs"), "longer than the 2047 bytes that Linux reads of it");
        }
        Ok(String::from(bootargs.unwrap_or_default()))
    }

    /// The name stands in front of the guest's console lines, so nothing in it may look like their end.
    fn check_name(&self) -> Result<(), Refused> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b",._+-@".contains(&byte);
        let length = self.name.len();
        if (1..=NAME_MAX).contains(&length) && self.name.bytes().all(plain) {
            return Ok(());
        }
        let reason = format!("{} is not a name for a VM", self.node.path());
        let remedy = "use 1 to 32 of letters, digits, comma, dot, underscore, plus and minus";
        Err(self.refuse(Rule::V3, reason, remedy))
    }

    fn devices(&self) -> Result<Vec<String>, Refused> {
        let bad = self.bad(Rule::V3, "write devices as a list of PCI functions");
        Ok(self.node.strs(vm::DEVICES.property).map_err(bad)?.take(layout::DEVICES_MAX + 1).map(String::from).collect())
    }

    fn unchecked_dma(&self) -> Result<bool, Refused> {
        let bad = self.bad(Rule::V3, "write allow = [\"unchecked-dma\"], or leave it out");
        let mut words = self.node.strs(vm::ALLOW.property).map_err(&bad)?.peekable();
        let is_said = words.peek().is_some();
        let is_known = words.all(|word| vm::ALLOW.kind.has(word));
        is_known.then_some(is_said).ok_or_else(|| bad(self.node.malformed(vm::ALLOW.property, vm::ALLOW.kind)))
    }

    fn cpus(&self) -> Result<CpuClaim, Refused> {
        let remedy = "give cpus as a number from 1, or as a list of different indices";
        let bad = self.bad(Rule::V1, remedy);
        let wrong = |property, wants| bad(self.node.malformed(property, wants));
        let count = self.node.u32("cpus").map_err(&bad)?;
        let count = count.map(|count| count as usize);
        let list = self.node.cells(CPU_LIST).map_err(&bad)?;
        let list: Vec<PcpuId> = list.take(CPUS_MAX).map(|index| PcpuId(index as usize)).collect();
        if list.is_empty() {
            let count = count.filter(|count| (1..=CPUS_MAX).contains(count));
            let wants = "must be the number of CPUs, from 1";
            return count.map(CpuClaim::Count).ok_or_else(|| wrong("cpus", wants));
        }
        if count.is_some_and(|count| count != list.len()) {
            return Err(wrong("cpus", "must be the length of assay,cpu-list"));
        }
        let twice = list.iter().enumerate().any(|(at, index)| {
            let earlier = list.iter().take(at);
            earlier.into_iter().any(|other| other == index)
        });
        if twice {
            return Err(wrong(CPU_LIST, "must name each CPU once"));
        }
        Ok(CpuClaim::List(list))
    }

    fn sched(&self, cpus: &CpuClaim) -> Result<Sched, Refused> {
        let remedy = "write sched, weight, budget and period as docs/manifest.md says";
        sched::read(self.node, cpus.count()).map_err(self.bad(Rule::V1, remedy))
    }

    fn memory(&self) -> Result<u64, Refused> {
        let remedy = "give memory as a multiple of 4 KiB, for instance \"512M\"";
        let bad = self.bad(Rule::V2, remedy);
        let kib = self.node.u64("memory").map_err(&bad)?;
        let bytes = kib.and_then(|kib| kib.checked_mul(1024));
        let bytes = bytes.filter(|&bytes| bytes != 0 && bytes.is_multiple_of(PAGE_SIZE));
        bytes.ok_or_else(|| {
            let wants = "must be the RAM in KiB, a multiple of 4, from 4";
            bad(self.node.malformed("memory", wants))
        })
    }

    fn memory_ipa(&self) -> Result<Ipa, Refused> {
        let bad = self.bad(Rule::V2, "give memory-ipa as a multiple of 4 KiB, or leave it out");
        Ok(field::wide(self.node, &MEMORY_IPA).map_err(bad)?.map_or(layout::RAM, Ipa))
    }

    /// Reads a flash, of which no earlier one may have the name.
    fn flash(&self, node: &Node<'_, '_>, earlier: &[FlashClaim]) -> Result<FlashClaim, Refused> {
        let bad = self.bad(Rule::V3, "write the [[vm.flash]] entry as docs/manifest.md says");
        let claim = flash::read(node).map_err(bad)?;
        if earlier.iter().any(|one| one.name == claim.name) {
            let reason = format!("two flashes of the VM are named {}", claim.name);
            return Err(self.refuse(Rule::V3, reason, "give each flash a name of its own"));
        }
        Ok(claim)
    }

    fn on_crash(&self) -> Result<OnCrash, Refused> {
        let bad = self.bad(Rule::V3, "write on-crash = \"stop\" or \"restart\"");
        let on_crash = field::word(self.node, &vm::ON_CRASH, OnCrash::from_word).map_err(bad)?;
        Ok(on_crash.unwrap_or(OnCrash::Stop))
    }

    fn max_restarts(&self) -> Result<Option<u32>, Refused> {
        field::number(self.node, &vm::MAX_RESTARTS).map_err(self.bad(Rule::V3, "give max-restarts as a number"))
    }

    fn module(&self, node: &Node<'_, '_>) -> Result<Module, Refused> {
        let bad = self.bad(Rule::V3, "name a member of the bundle, or the module's address and size in reg");
        let format = self.format(node)?;
        let source = match node.str(MEMBER).map_err(&bad)? {
            Some(member) => Source::Member(String::from(member)),
            None => {
                let cells = cells::above(node).map_err(&bad)?;
                let mut reg = node.reg_with(cells).map_err(&bad)?;
                let (first, more) = (reg.next(), reg.next());
                let region = first.filter(|_| more.is_none());
                let region = region.and_then(|(start, size)| Region::new(Pa(start), size));
                // What is lent to a module is nobody else's memory: a slip must not take all of it.
                let region = region.filter(|region| region.size <= BLOCK_1G);
                let wants = "must be one address and size, 1 GiB at most, where assay,member is missing";
                Source::Address(region.ok_or_else(|| bad(node.malformed("reg", wants)))?)
            }
        };
        Ok(Module { source, format })
    }

    fn format(&self, node: &Node<'_, '_>) -> Result<Option<Format>, Refused> {
        let bad = self.bad(Rule::V3, "write format, load, entry and tree as docs/manifest.md says");
        if field::word(node, &FORMAT, |word| FORMAT.kind.has(word).then_some(())).map_err(&bad)?.is_none() {
            field::alone(node, &[LOAD, ENTRY, TREE]).map_err(&bad)?;
            return Ok(None);
        }
        let address = |field| field::wide(node, field).map(|at| at.map(Ipa)).map_err(&bad);
        let starts = |word: &str| TREE.kind.has(word).then_some(word == "start");
        let tree_first = field::word(node, &TREE, starts).map_err(&bad)?.unwrap_or(false);
        Ok(Some(Format::Raw(Raw { load: address(&LOAD)?, entry: address(&ENTRY)?, tree_first })))
    }

    fn claim(&self, node: &Node<'_, '_>) -> Result<CoherentClaim, Refused> {
        let bad = self.bad(Rule::V3, "write the [[vm.coherent]] entry as docs/manifest.md says");
        let missing = |field: &Field| bad(node.malformed(field.property, field.kind));
        let region = node.str(coherent::REGION.property).map_err(&bad)?;
        let region = region.filter(|region| !region.is_empty());
        let use_ = field::word(node, &coherent::USE, Use::from_name).map_err(&bad)?;
        let proof = field::word(node, &coherent::PROOF, ProofAt::from_name).map_err(&bad)?;
        let device = node.str(coherent::DEVICE.property).map_err(&bad)?;
        let ipa = node.u64(coherent::IPA.property).map_err(&bad)?;
        let allow = node.strs(coherent::ALLOW.property).map_err(&bad)?;
        let allow = allow.map(Allow::from_name).try_fold(AllowSet::NONE, |all, one| Some(all.with(one?)));
        Ok(CoherentClaim {
            region: region.map(String::from).ok_or_else(|| missing(&coherent::REGION))?,
            use_: use_.ok_or_else(|| missing(&coherent::USE))?,
            allow: allow.ok_or_else(|| missing(&coherent::ALLOW))?,
            exec: field::flag(node, &coherent::EXEC),
            proof: proof.unwrap_or_default(),
            ipa: ipa.map(Ipa),
            device: device.map(String::from),
        })
    }

    fn once(&self, is_first: bool, node: &Node<'_, '_>) -> Result<(), Refused> {
        if is_first {
            return Ok(());
        }
        let reason = format!("{} is a second module of its kind", node.path());
        Err(self.refuse(Rule::V3, reason, "leave one of them out"))
    }

    /// Makes a refusal of a property that cannot be read.
    fn bad(&self, rule: Rule, remedy: &'static str) -> impl Fn(Malformed) -> Refused {
        move |malformed| self.refuse_malformed(rule, &malformed, remedy)
    }

    #[inline(never)]
    fn refuse_malformed(&self, rule: Rule, malformed: &Malformed, remedy: &'static str) -> Refused {
        self.refuse(rule, malformed.to_string(), remedy)
    }

    fn refuse(&self, rule: Rule, reason: String, remedy: &'static str) -> Refused {
        Box::new(Refusal { vm: self.name.clone(), region: None, rule, reason, remedy })
    }
}
