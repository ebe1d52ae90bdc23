//! `/reserved-memory`: what firmware keeps, and the coherent memory that a tree declares there.
//!
//! A fact is (path, property), and the later wins: the same reading serves the firmware's tree and the
//! overlays. What denies memory is not taken back by a later word: a reservation, tag storage, `arm,no-mte`. Whether a
//! region is fit for use is not decided here but by `policy`.

use alloc::string::String;
use alloc::vec::Vec;

use assay_spec::addr::{Pa, Region};

use super::{HostPlatform, NodeFault, Oddity, ParentFault, PlatformError, Reservation, room};
use crate::gate::{Cells, Flag, Malformed, Node};
use crate::pci::{Address, BarFault};
use assay_model::pci::Function;

/// What the paths of all its children begin with.
pub(super) const PARENT: &str = "/reserved-memory/";
const COHERENT: &[&str] = &["assay,coherent-memory"];
/// What an operating system allocates from.
const POOLS: &[&str] = &["shared-dma-pool", "restricted-dma-pool"];
const MARK: &str = "assay,mte-capable";
/// Tags that can be reached as data, where a memory controller has no store of its own for them.
const TAG_STORAGE: &[&str] = &["arm,mte-tag-storage"];

/// Memory that CPUs can access cacheably and coherently, by the tree's word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoherentNode {
    /// Its node.
    pub path: String,
    /// The node's name without unit address.
    pub name: String,
    /// Where it is, if `reg` has exactly one entry and that is a possible range.
    pub reg: Option<Region<Pa>>,
    /// How many entries `reg` has, be they usable or not.
    pub reg_count: usize,
    /// `assay,pci-bar`: the memory is a PCI function's BAR.
    pub pci_bar: Option<PciBar>,
    /// `assay,length`: the real length of a BAR's memory in bytes.
    pub length: Option<u64>,
    /// Where the BAR's memory is, or what is wrong with it; `None` while nobody has looked.
    pub bar: Option<Result<Region<Pa>, BarFault>>,
    /// `assay,mte-capable`: Allocation Tag storage exists for every granule.
    pub mte_capable: bool,
    /// `arm,no-mte`: it does not.
    pub no_mte: bool,
    /// `no-map`, which the binding requires.
    pub no_map: bool,
    /// `numa-node-id`.
    pub numa: Option<u32>,
    /// What the trees say of the node that cannot be.
    pub fault: Option<NodeFault>,
}

impl CoherentNode {
    /// Returns where the memory is, as far as that is known.
    pub fn region(&self) -> Option<Region<Pa>> {
        match self.pci_bar {
            None => self.reg,
            Some(_) => self.bar?.ok(),
        }
    }

    /// Returns its length in bytes, which of a BAR is known before its place is.
    pub fn size(&self) -> Option<u64> {
        match self.pci_bar {
            None => Some(self.reg?.size),
            Some(_) => self.length.filter(|length| *length != 0),
        }
    }
}

/// Which BAR of which PCI function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PciBar {
    /// The segment (`linux,pci-domain` of the host bridge).
    pub segment: u32,
    /// The requester ID: bus in bits 15:8, device in 7:3, function in 2:0.
    pub requester_id: u16,
    /// The BAR's index, 0 to 5.
    pub bar: u8,
}

impl PciBar {
    /// Returns the function.
    pub fn function(&self) -> Address {
        Address { segment: self.segment, function: Function(self.requester_id) }
    }
}

/// Everything known about reserved memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Facts {
    /// The memory reservation block.
    pub(super) fixed: Vec<Reservation>,
    pub(super) parent: Parent,
    /// Memory nodes that are disabled and have `arm,no-mte`.
    pub(super) denied: Vec<(String, Region<Pa>)>,
    nodes: Vec<Fact>,
}

/// `/reserved-memory` itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Parent {
    address_cells: Option<u32>,
    size_cells: Option<u32>,
    /// Whether `ranges` is empty, if it is there.
    ranges: Option<bool>,
    /// The root's cells.
    root: Option<Cells>,
}

impl Parent {
    /// Takes over what a tree's root says, and what holds for its children.
    pub(super) fn of_root(root: Node<'_, '_>) -> Result<Self, Malformed> {
        Ok(Self { root: Some(root.child_cells()?), ..Self::default() })
    }

    /// Takes over each property that a node for it has.
    pub(super) fn absorb(&mut self, node: Node<'_, '_>) -> Result<(), Malformed> {
        self.address_cells = node.u32("#address-cells")?.or(self.address_cells);
        self.size_cells = node.u32("#size-cells")?.or(self.size_cells);
        self.ranges = node.property("ranges").map(<[u8]>::is_empty).or(self.ranges);
        Ok(())
    }

    /// The cells of its children.
    pub(super) fn cells(&self) -> Cells {
        let default = self.root.unwrap_or(Cells::DEFAULT);
        Cells { address: self.address_cells.unwrap_or(default.address), size: self.size_cells.unwrap_or(default.size) }
    }

    fn fault(&self) -> Option<ParentFault> {
        let cells = self.address_cells.zip(self.size_cells).map(|(address, size)| Cells { address, size });
        match self.ranges {
            None => Some(ParentFault::NoRanges),
            Some(false) => Some(ParentFault::Ranges),
            Some(true) => (cells != self.root).then_some(ParentFault::Cells),
        }
    }
}

/// One child of `/reserved-memory`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Fact {
    available: bool,
    coherent: bool,
    tag_storage: bool,
    regs: Vec<(u64, u64)>,
    /// `reusable`.
    is_reusable: bool,
    is_pool: bool,
    /// Some tree gave the mark a value.
    mark_has_value: bool,
    /// What the trees read so far have said; none of it is taken back.
    before: Before,
    node: CoherentNode,
}

/// What trees have said of a node that denies its memory to others.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Before {
    /// It was enabled.
    available: bool,
    /// It was a reservation, not coherent memory.
    reserved: bool,
    /// All places that it has had.
    regs: Vec<(u64, u64)>,
}

impl Facts {
    /// Adds the properties of `node`, which is or is to be applied to the node at `path`.
    pub(super) fn absorb(&mut self, path: &str, node: Node<'_, '_>, cells: Cells) -> Result<(), PlatformError> {
        let index = match self.nodes.iter().position(|fact| fact.node.path == path) {
            Some(index) => index,
            None => {
                room(&self.nodes, path)?;
                self.nodes.push(Fact::new(path));
                self.nodes.len() - 1
            }
        };
        self.nodes[index].absorb(node, cells)?;
        Ok(self.nodes[index].check()?)
    }

    /// Notes at the end of a tree what it has denied.
    pub(super) fn settle(&mut self) {
        self.nodes.iter_mut().for_each(Fact::settle);
    }

    /// The reservations. A coherent region is none, unless it is not one range: then nobody may have it, and each
    /// of its ranges is kept from everyone here.
    pub(super) fn reserved(&self) -> Vec<Reservation> {
        let mut all = self.fixed.clone();
        for fact in &self.nodes {
            all.extend(fact.kept().iter().filter_map(|&(start, size)| {
                Some(Reservation {
                    path: fact.node.path.clone(),
                    region: Region::new(Pa(start), size)?,
                    no_map: fact.node.no_map,
                    tag_storage: fact.tag_storage,
                })
            }));
        }
        all
    }

    /// The coherent regions.
    pub(super) fn coherent(&self) -> Vec<CoherentNode> {
        let wanted = |fact: &&Fact| fact.available && fact.coherent;
        let coherent = self.nodes.iter().filter(wanted);
        let parent = self.parent.fault();
        coherent.map(|fact| CoherentNode { fault: fact.fault(parent), ..fact.node.clone() }).collect()
    }

    /// Lists what is odd and decides nothing by itself.
    pub(super) fn oddities(&self) -> impl Iterator<Item = Oddity<'_>> {
        let parent = self.parent.fault().filter(|_| !self.nodes.is_empty());
        let parent = parent.map(|fault| Oddity { node: "/reserved-memory", reason: fault.reason().into() });
        let off = self.nodes.iter().filter(|fact| fact.tag_storage && !fact.available);
        let off = off.map(|fact| Oddity {
            node: &fact.node.path,
            reason: "tag storage is kept from everybody whatever its status says: leave the status out".into(),
        });
        let called = self.nodes.iter().filter(|fact| fact.available && fact.coherent && fact.node.name == "memory");
        let called = called.map(|fact| Oddity {
            node: &fact.node.path,
            reason: "the region is called memory, as RAM is: rename it, or claim it by its full path".into(),
        });
        parent.into_iter().chain(off).chain(called)
    }
}

impl HostPlatform {
    /// Returns the path of another node that says `arm,no-mte` of a region's memory: of memory around it, of a region
    /// that overlaps it or did before an overlay, or of the same BAR.
    pub fn denies_tags(&self, region: &CoherentNode) -> Option<&str> {
        let memory = self.memory.iter().filter(|memory| memory.no_mte).map(|memory| (&memory.path, memory.region));
        let disabled = self.facts.denied.iter().map(|(path, place)| (path, *place));
        let others = self.facts.nodes.iter().filter(|fact| fact.node.no_mte && fact.node.path != region.path);
        let places = others.clone().flat_map(|fact| {
            let places = fact.before.regs.iter().filter_map(|&(start, size)| Region::new(Pa(start), size));
            places.map(|place| (&fact.node.path, place))
        });
        let mut all = memory.chain(disabled).chain(places);
        let found = region.region().and_then(|region| all.find(|(_, place)| place.overlaps(&region)));
        let same_bar = |fact: &&Fact| fact.node.pci_bar.is_some() && fact.node.pci_bar == region.pci_bar;
        let bar = || others.clone().find(same_bar).map(|fact| fact.node.path.as_str());
        found.map(|(path, _)| path.as_str()).or_else(bar)
    }
}

impl Fact {
    fn new(path: &str) -> Self {
        let name = path.strip_prefix(PARENT).unwrap_or(path);
        let name = name.split_once('@').map_or(name, |(name, _)| name);
        Self {
            available: true,
            coherent: false,
            tag_storage: false,
            regs: Vec::new(),
            is_reusable: false,
            is_pool: false,
            mark_has_value: false,
            before: Before::default(),
            node: CoherentNode {
                path: String::from(path),
                name: String::from(name),
                reg: None,
                reg_count: 0,
                pci_bar: None,
                length: None,
                bar: None,
                mte_capable: false,
                no_mte: false,
                no_map: false,
                numa: None,
                fault: None,
            },
        }
    }

    /// Notes what denies memory.
    fn settle(&mut self) {
        let before = &mut self.before;
        before.available |= self.available;
        before.reserved |= self.available && !self.coherent;
        let new: Vec<_> = self.regs.iter().copied().filter(|reg| !before.regs.contains(reg)).collect();
        before.regs.extend(new);
    }

    /// What is kept from everyone. The hardware keeps tags in tag storage whatever a `status` says.
    fn kept(&self) -> &[(u64, u64)] {
        if self.tag_storage || self.before.reserved {
            &self.before.regs
        } else if !self.available && self.before.available || self.coherent && self.node.reg.is_none() {
            &self.regs
        } else {
            &[]
        }
    }

    /// What cannot be about coherent memory below `/reserved-memory` with that fault.
    fn fault(&self, parent: Option<ParentFault>) -> Option<NodeFault> {
        if self.tag_storage {
            // Who has tags as data makes them as it likes.
            Some(NodeFault::TagStorage)
        } else if self.before.reserved {
            Some(NodeFault::Reserved)
        } else if let Some(fault) = parent {
            Some(NodeFault::Parent(fault))
        } else if self.is_reusable {
            Some(NodeFault::Reusable)
        } else if self.is_pool {
            Some(NodeFault::Pool)
        } else if self.mark_has_value {
            Some(NodeFault::MarkWithValue)
        } else {
            None
        }
    }

    /// Takes over each property that `node` has. Flags can be set, not taken back.
    fn absorb(&mut self, node: Node<'_, '_>, cells: Cells) -> Result<(), Malformed> {
        if node.has("status") {
            self.available = node.is_available();
        }
        if node.has("compatible") {
            self.tag_storage |= node.is_compatible(TAG_STORAGE);
            self.coherent = node.is_compatible(COHERENT);
            self.is_pool = node.is_compatible(POOLS);
        }
        if node.has("reg") {
            self.regs = node.reg_with(cells)?.collect();
            self.node.reg_count = self.regs.len();
            self.node.reg = match self.regs.as_slice() {
                &[(start, size)] => Region::new(Pa(start), size),
                _ => None,
            };
        }
        let facts = &mut self.node;
        facts.pci_bar = pci_bar(node)?.or(facts.pci_bar);
        facts.length = node.u64("assay,length")?.or(facts.length);
        facts.numa = node.u32("numa-node-id")?.or(facts.numa);
        match node.flag(MARK) {
            Some(Flag::Set) => facts.mte_capable = true,
            Some(Flag::Valued) => self.mark_has_value = true,
            None => {}
        }
        self.is_reusable |= node.has("reusable");
        facts.no_mte |= node.has("arm,no-mte");
        facts.no_map |= node.has("no-map");
        Ok(())
    }

    /// A firmware reservation that is no range would leave memory unprotected; a coherent region that
    /// is none is refused by the policy (rule T1), and the machine goes on.
    fn check(&self) -> Result<(), Malformed> {
        let bad = |&(start, size): &(u64, u64)| size != 0 && Region::new(Pa(start), size).is_none();
        if self.available && !self.coherent && self.regs.iter().any(bad) {
            return Err(Malformed {
                path: self.node.path.clone(),
                property: "reg",
                wants: "must end below 2^64".into(),
            });
        }
        Ok(())
    }
}

fn pci_bar(node: Node<'_, '_>) -> Result<Option<PciBar>, Malformed> {
    let name = "assay,pci-bar";
    if !node.has(name) {
        return Ok(None);
    }
    let mut cells = node.cells(name)?;
    let parsed = match (cells.next(), cells.next(), cells.next(), cells.next()) {
        (Some(segment), Some(id), Some(bar @ 0..=5), None) => {
            let requester_id = u16::try_from(id).ok();
            let bar = u8::try_from(bar).ok();
            requester_id.zip(bar).map(|(requester_id, bar)| PciBar { segment, requester_id, bar })
        }
        _ => None,
    };
    let wants = "must be three cells: segment, requester ID (16 bits), BAR index (0 to 5)";
    parsed.map(Some).ok_or_else(|| node.malformed(name, wants))
}
