//! SMMUs, and how PCI functions reach SMMUs and ITSs, by the IORT.

use anyhow::{Context as _, Result};
use dtoolkit::model::DeviceTreeNode;

use super::interrupts::{EDGE, specifier};
use super::layout::{Iort as Head, IortNode, Its, ItsGroup, Mapping, RootComplex, Smmu};
use super::nodes::{ITS, SMMU, at, flag, put, reg, strings};
use super::tables::{Tables, part};

/// A mapping of IDs: the first, how many, what they become, and where that goes.
#[derive(Clone, Copy)]
struct Map {
    input: u32,
    count: u64,
    output: u32,
    to: usize,
}

/// The nodes that count here, each by its place in the table.
#[derive(Default)]
pub(super) struct Iort {
    smmus: Vec<(usize, Smmu, Vec<Map>)>,
    /// A group's place, and the phandle of its first ITS.
    groups: Vec<(usize, u32)>,
    roots: Vec<(RootComplex, Vec<Map>)>,
}

impl Iort {
    /// Reads it; where there is none, there are no nodes.
    ///
    /// # Errors
    /// It is malformed.
    pub(super) fn of(tables: &Tables) -> Result<Self> {
        let mut found = Self::default();
        let Some(table) = tables.find("IORT") else { return Ok(found) };
        let head: &Head = part(table, "IORT")?;
        let mut place = head.offset.get() as usize;
        for _ in 0..head.count.get() {
            let bytes = table.get(place..).unwrap_or_default();
            let node: &IortNode = part(bytes, "IORT: a node")?;
            match node.kind {
                // QEMU's has a group also where there is no ITS.
                0 => {
                    let its = its(tables, part::<ItsGroup>(bytes, "IORT: ITS group")?.first.get())?;
                    found.groups.extend(its.map(|phandle| (place, phandle)));
                }
                2 => found.roots.push((*part(bytes, "IORT: root complex")?, maps(node, bytes)?)),
                4 => found.smmus.push((place, *part(bytes, "IORT: SMMUv3")?, maps(node, bytes)?)),
                _ => {}
            }
            place += usize::from(node.length.get()).max(size_of::<IortNode>());
        }
        Ok(found)
    }

    /// Adds the SMMUs.
    ///
    /// # Errors
    /// An interrupt has no number that a device can have.
    pub(super) fn write(&self, root: &mut DeviceTreeNode) -> Result<()> {
        for ((_, smmu, _), phandle) in self.smmus.iter().zip(SMMU..) {
            let base = smmu.base.get();
            let mut node = at("iommu", base);
            put(&mut node, "compatible", "arm,smmu-v3");
            reg(&mut node, &[(base, 0x2_0000)]);
            let all = [("eventq", smmu.event), ("priq", smmu.pri), ("cmdq-sync", smmu.sync), ("gerror", smmu.gerror)];
            let wired: Vec<_> = all.into_iter().filter(|(_, gsiv)| gsiv.get() != 0).collect();
            let mut interrupts = Vec::new();
            for (name, gsiv) in &wired {
                interrupts.extend(specifier(gsiv.get(), EDGE).with_context(|| format!("IORT: {name}"))?);
            }
            if !wired.is_empty() {
                strings(&mut node, "interrupt-names", &wired.iter().map(|&(name, _)| name).collect::<Vec<_>>());
                put(&mut node, "interrupts", interrupts.as_slice());
            }
            put(&mut node, "#iommu-cells", 1_u32);
            if smmu.flags.get() & 1 == 1 {
                flag(&mut node, "dma-coherent");
            }
            put(&mut node, "phandle", phandle);
            root.add_child(node);
        }
        Ok(())
    }

    /// Adds what it says of the host bridge of a segment.
    pub(super) fn describe(&self, host: &mut DeviceTreeNode, segment: u32) {
        let Some((root, maps)) = self.roots.iter().find(|(root, _)| root.segment.get() == segment) else { return };
        if root.coherent.get() == 1 {
            flag(host, "dma-coherent");
        }
        let (mut iommu, mut msi) = (Vec::new(), Vec::new());
        for map in maps {
            let smmu = self.smmus.iter().zip(SMMU..).find(|((place, ..), _)| *place == map.to);
            if let Some(((.., onwards), phandle)) = smmu {
                iommu.extend(cells(map, phandle));
                msi.extend(onwards.iter().filter_map(|next| self.msi(&map.then(next)?)).flatten());
            } else {
                msi.extend(self.msi(map).into_iter().flatten());
            }
        }
        for (name, cells) in [("iommu-map", iommu), ("msi-map", msi)] {
            if !cells.is_empty() {
                put(host, name, cells.as_slice());
            }
        }
    }

    fn msi(&self, map: &Map) -> Option<[u32; 4]> {
        let (_, phandle) = self.groups.iter().find(|&&(place, _)| place == map.to)?;
        Some(cells(map, *phandle))
    }
}

impl Map {
    /// Both, one after the other, as far as the second takes what the first gives.
    fn then(&self, next: &Self) -> Option<Self> {
        let start = self.output.max(next.input);
        let end = (u64::from(self.output) + self.count).min(u64::from(next.input) + next.count);
        let count = end.checked_sub(start.into()).filter(|&count| count > 0)?;
        let output = next.output.wrapping_add(start - next.input);
        Some(Self { input: self.input.checked_add(start - self.output)?, count, output, to: next.to })
    }
}

/// As `iommu-map` and `msi-map` have it.
fn cells(map: &Map, phandle: u32) -> [u32; 4] {
    [map.input, phandle, map.output, u32::try_from(map.count).unwrap_or(u32::MAX)]
}

/// The phandle of an ITS, by its number, if there is such a one.
fn its(tables: &Tables, id: u32) -> Result<Option<u32>> {
    let list: Vec<&Its> = tables.madt(0xf, "APIC: ITS")?;
    let phandle = list.iter().zip(ITS..).find(|(its, _)| its.id.get() == id);
    Ok(phandle.map(|(_, phandle)| phandle))
}

/// The mappings of a node. That of a single ID (an SMMU's own interrupts) is none of functions'.
fn maps(node: &IortNode, bytes: &[u8]) -> Result<Vec<Map>> {
    let mut maps = Vec::new();
    for index in 0..node.mappings.get() as usize {
        let at = node.mappings_at.get() as usize + index * size_of::<Mapping>();
        let mapping: &Mapping = part(bytes.get(at..).unwrap_or_default(), "IORT: an ID mapping")?;
        if mapping.flags.get() & 1 == 0 {
            maps.push(Map {
                input: mapping.input.get(),
                // The table has one less.
                count: u64::from(mapping.count.get()) + 1,
                output: mapping.output.get(),
                to: mapping.to.get() as usize,
            });
        }
    }
    Ok(maps)
}
