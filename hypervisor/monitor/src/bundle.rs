//! Where the guests come from: the bundle and the VM tree in it, or the platform tree's own `/chosen`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use assay_el2::boot::{self, Boot};
use assay_el2::{heap, image};
use assay_model::loader::{FlashFile, Sums};
use assay_plan::bundle::{Bundle, Member, VM_TREE};
use assay_plan::gate::Tree;
use assay_plan::modules::{self, Ground, Misplaced, Missing};
use assay_plan::platform::{self, HostPlatform};
use assay_plan::vm_plan::Files;
use assay_plan::vm_tree::{self, Source, VmConfig, VmTree};
use assay_spec::addr::{Pa, Region};

use crate::console::say;

/// What the boot loader passed besides the platform tree.
pub(crate) struct Guests {
    bundle: Option<Bundle<'static>>,
    ground: Memory,
    pub(crate) tree: VmTree,
}

/// Where modules can be.
struct Memory {
    all: Vec<Region<Pa>>,
    /// EL2 would map it cacheable, which `no-map` forbids and coherent memory may not bear.
    barred: Vec<Region<Pa>>,
    devices: Vec<Region<Pa>>,
}

impl Memory {
    fn of(machine: &HostPlatform) -> Self {
        let reserved = machine.reserved.iter().filter(|reserved| reserved.no_map);
        let reserved = reserved.map(|reserved| reserved.region);
        let coherent = machine.coherent.iter().filter_map(|node| node.reg);
        Self {
            all: machine.memory.iter().map(|node| node.region).collect(),
            barred: reserved.chain(coherent).collect(),
            devices: machine.registers().map(|registers| registers.region).collect(),
        }
    }

    fn look<E>(&self, check: impl FnOnce(&Ground<'_>) -> Result<(), E>) -> Result<(), E> {
        let assay: Vec<_> = [image::region()].into_iter().chain(heap::early()).collect();
        check(&Ground { memory: &self.all, barred: &self.barred, devices: &self.devices, assay: &assay })
    }

    fn check(&self, place: Region<Pa>) -> Result<(), Misplaced> {
        self.look(|ground| modules::check(place, ground))
    }
}

/// Looks at the bundle before frames exist: adds its facts about the platform to the machine's, and returns the VM tree
/// as read, with the memory that must stay as the boot loader filled it.
pub(crate) fn survey(
    boot: &Boot,
    place: Option<Region<Pa>>,
    platform: &[u8],
    machine: &mut HostPlatform,
) -> Result<(VmTree, Vec<Region<Pa>>), String> {
    let bundle = read(view(boot, place, machine)?)?;
    let is_overlay = |member: &Member<'_>| member.name.starts_with("platform/") && member.name.ends_with(".dtbo");
    let overlays: Vec<_> = bundle.iter().flat_map(Bundle::members).filter(is_overlay).collect();
    let tree = vm_tree_of(bundle.as_ref(), platform)?;
    let mut devices = tree.vms.iter().flat_map(|vm| &vm.devices).peekable();
    if !overlays.is_empty() || devices.peek().is_some() {
        let firmware = Tree::new(platform).map_err(|error| error.to_string())?;
        for member in overlays {
            let is_ours = platform::facts::overlay(machine, &firmware, member.data);
            if !is_ours.map_err(|error| format!("{}: {error}", member.name))? {
                say!(
                    "warning file={} reason=\"it is for another board and left out: its compatible is not this one's\"",
                    member.name
                );
            }
        }
        machine.read_devices(&firmware, devices.map(String::as_str));
    }
    let modules = tree.vms.iter().flat_map(|vm| vm.ramdisk.iter().chain([&vm.kernel]));
    let memory = Memory::of(machine);
    let addresses = modules.filter_map(|module| match module.source {
        // The VM of one that is misplaced will be refused: nothing is kept for it.
        Source::Address(place) => memory.check(place).is_ok().then_some(place),
        Source::Member(_) => None,
    });
    let kept = place.into_iter().chain(addresses).collect();
    Ok((tree, kept))
}

/// Shows the bundle's bytes before frames exist.
pub(crate) fn view<'b>(boot: &'b Boot, place: Option<Region<Pa>>, machine: &HostPlatform) -> Result<&'b [u8], String> {
    let Some(place) = place else { return Ok(&[]) };
    // What is no memory answers a read with an abort, or with what a device does when it is read.
    Memory::of(machine).look(|ground| modules::check_bundle(place, ground))?;
    let fail = || format!("the bundle at {place:?} is not where memory can be, or beyond 1 GiB");
    boot.view(place).ok_or_else(fail)
}

/// Reads an archive; none is no bundle.
fn read(bytes: &[u8]) -> Result<Option<Bundle<'_>>, String> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let bundle = Bundle::new(bytes);
    bundle.map(Some).map_err(|error| format!("the bundle cannot be read: {error}"))
}

/// Reads the VM tree of the bundle, or without one the platform's own.
fn vm_tree_of(bundle: Option<&Bundle<'_>>, platform: &[u8]) -> Result<VmTree, String> {
    let blob = match bundle {
        Some(bundle) => bundle
            .member(VM_TREE)
            .ok_or_else(|| format!("the bundle has no member {VM_TREE}: build it with the tools"))?,
        None => platform,
    };
    let tree = Tree::new(blob).map_err(|error| format!("the VM tree cannot be read: {error}"))?;
    vm_tree::parse(&tree).map_err(|error| format!("{error}"))
}

/// Opens the bundle at `place`, if there is one, for good.
pub(crate) fn open(place: Option<Region<Pa>>, tree: VmTree, machine: &HostPlatform) -> Result<Guests, String> {
    let bytes: &'static [u8] = match place {
        Some(place) => {
            boot::lend(place).ok_or_else(|| format!("the bundle at {place:?} lies in memory that is in use"))?
        }
        None => &[],
    };
    let bundle = read(bytes)?;
    Ok(Guests { bundle, ground: Memory::of(machine), tree })
}

impl Guests {
    /// Returns the files that a VM starts from.
    pub(crate) fn files(&self, config: &VmConfig) -> Result<Files<'static>, Missing> {
        let digest = |source: &Source| match source {
            Source::Member(name) => self.tree.digest(name),
            Source::Address(_) => None,
        };
        let ramdisk = config.ramdisk.as_ref().map(|module| &module.source);
        let flash = config.flash.iter().map(|flash| match &flash.file {
            Some(source) => Ok(FlashFile { bytes: self.file(source)?, digest: digest(source) }),
            None => Ok(FlashFile::default()),
        });
        Ok(Files {
            flash: flash.collect::<Result<_, _>>()?,
            kernel: self.file(&config.kernel.source)?,
            ramdisk: ramdisk.map(|source| self.file(source)).transpose()?.unwrap_or_default(),
            sums: Sums { kernel: digest(&config.kernel.source), ramdisk: ramdisk.and_then(digest) },
        })
    }

    /// Returns a file's bytes.
    fn file(&self, source: &Source) -> Result<&'static [u8], Missing> {
        match source {
            Source::Member(name) => {
                let found = self.bundle.as_ref().and_then(|bundle| bundle.member(name));
                found.ok_or_else(|| Missing::Member(name.clone()))
            }
            Source::Address(place) => {
                let checked = self.ground.check(*place);
                checked.map_err(|why| Missing::Misplaced(*place, why))?;
                let lent = boot::lend(*place).ok_or(Missing::Address(*place))?;
                if modules::is_blank(lent) {
                    return Err(Missing::Blank(*place));
                }
                Ok(lent)
            }
        }
    }
}
