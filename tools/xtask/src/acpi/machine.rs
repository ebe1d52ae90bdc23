//! CPUs, interrupt controller, timer, console: the nodes that EL2 cannot do without.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use dtoolkit::model::DeviceTreeNode;
use zerocopy::FromBytes as _;

use super::interrupts::{LEVEL_HIGH, specifier, timer_flags};
use super::layout::{
    CpuAffinity, Fadt, Gicc, Gicd, Gicr, Gtdt, Gtdt3, Header, Its, MsiFrame, Slit, Spcr, Srat, TimerInterrupt,
};
use super::nodes::{GIC, ITS, at, cells, flag, node, put, reg, strings, wide};
use super::tables::{Tables, entries, part};

/// The affinity fields of MPIDR_EL1.
const AFFINITY: u64 = 0xff_00ff_ffff;
/// The frames of a GIC, whose sizes ACPI leaves to Arm's documents: a Distributor of 64 KiB (IHI 0069 §12.8) and a
/// Redistributor of two or, from GICv4 on, four frames (§12.10).
const FRAME: u64 = 0x1_0000;

/// The CPUs' entries, also of those that are not enabled.
fn giccs(tables: &Tables) -> Result<Vec<&Gicc>> {
    tables.madt(0xb, "APIC: GICC")
}

/// Names the machine by what the FADT says who made it, so that overlays can be for it.
pub(super) fn root(root: &mut DeviceTreeNode, tables: &Tables) -> Result<()> {
    let header: &Header = part(tables.needed("FACP", "how CPUs are started")?, "FACP")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_matches([' ', '\0']).to_owned();
    let (oem, table) = (text(&header.oem), text(&header.table));
    cells(root, 2, 2);
    put(root, "interrupt-parent", GIC);
    put(root, "model", format!("{oem} {table}, by its ACPI tables").as_str());
    let word = |text: &str| text.to_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    put(root, "compatible", format!("{},{}", word(&oem), word(&table)).as_str());
    Ok(())
}

/// `/cpus`, and `/psci` by the FADT's Arm boot flags.
pub(super) fn cpus(root: &mut DeviceTreeNode, tables: &Tables, notes: &mut Vec<String>) -> Result<()> {
    let fadt: &Fadt = part(tables.needed("FACP", "how CPUs are started")?, "FACP")?;
    let flags = fadt.arm_boot.get();
    let has_psci = flags & 1 == 1;
    if has_psci {
        let mut psci = node("psci");
        strings(&mut psci, "compatible", &["arm,psci-1.0", "arm,psci-0.2"]);
        put(&mut psci, "method", if flags & 2 == 2 { "hvc" } else { "smc" });
        root.add_child(psci);
    } else {
        notes.push("FACP says that there is no PSCI: Assay will run on the CPU that it is started on alone".into());
    }
    let domains = domains(tables)?;
    let mut cpus = node("cpus");
    cells(&mut cpus, 2, 0);
    let mut off = 0;
    for cpu in giccs(tables)? {
        if cpu.flags.get() & 1 == 0 {
            off += 1;
            continue;
        }
        let affinity = cpu.mpidr.get() & AFFINITY;
        let mut child = at("cpu", affinity);
        put(&mut child, "device_type", "cpu");
        put(&mut child, "compatible", "arm,armv8");
        put(&mut child, "reg", &wide(affinity)[..]);
        if has_psci {
            put(&mut child, "enable-method", "psci");
        }
        if let Some(&domain) = domains.get(&cpu.uid.get()) {
            put(&mut child, "numa-node-id", domain);
        }
        ensure!(cpus.child_mut(&format!("cpu@{affinity:x}")).is_none(), "APIC: two CPUs with MPIDR {affinity:#x}");
        cpus.add_child(child);
    }
    if off > 0 {
        notes.push(format!("{off} CPUs are not enabled (APIC) and are left out"));
    }
    root.add_child(cpus);
    pmu(root, tables)
}

/// The proximity domains of CPUs, by their ACPI number.
fn domains(tables: &Tables) -> Result<BTreeMap<u32, u32>> {
    let mut domains = BTreeMap::new();
    for (kind, entry) in tables.find("SRAT").map_or(Ok(Vec::new()), |srat| entries(srat, size_of::<Srat>(), "SRAT"))? {
        if kind == 3 {
            let cpu: &CpuAffinity = part(entry, "SRAT: GICC affinity")?;
            if cpu.flags.get() & 1 == 1 {
                let _ = domains.insert(cpu.uid.get(), cpu.domain.get());
            }
        }
    }
    Ok(domains)
}

/// The performance monitors, if all CPUs have them on one interrupt.
fn pmu(root: &mut DeviceTreeNode, tables: &Tables) -> Result<()> {
    let mut lines: Vec<u32> =
        giccs(tables)?.iter().filter(|cpu| cpu.flags.get() & 1 == 1).map(|cpu| cpu.pmu.get()).collect();
    lines.dedup();
    if let &[line @ 16..32] = lines.as_slice() {
        let mut pmu = node("pmu");
        put(&mut pmu, "compatible", "arm,armv8-pmuv3");
        put(&mut pmu, "interrupts", &specifier(line, LEVEL_HIGH)?[..]);
        root.add_child(pmu);
    }
    Ok(())
}

/// `/distance-map`, by the SLIT.
pub(super) fn distances(root: &mut DeviceTreeNode, tables: &Tables) -> Result<()> {
    let Some(table) = tables.find("SLIT") else { return Ok(()) };
    let count = part::<Slit>(table, "SLIT")?.count.get();
    let matrix = &table[size_of::<Slit>()..];
    ensure!(u64::try_from(matrix.len())? >= count.saturating_mul(count), "SLIT is too short for {count} domains");
    let count = u32::try_from(count)?;
    let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
    let cells: Vec<u32> =
        pairs.zip(matrix).flat_map(|((from, to), &distance)| [from, to, u32::from(distance)]).collect();
    let mut map = node("distance-map");
    put(&mut map, "compatible", "numa-distance-map-v1");
    put(&mut map, "distance-matrix", cells.as_slice());
    root.add_child(map);
    Ok(())
}

/// The Generic Timer's interrupts, by the GTDT. They are named, as it need not have all.
pub(super) fn timer(root: &mut DeviceTreeNode, tables: &Tables) -> Result<()> {
    let table = tables.needed("GTDT", "which interrupts the timer has")?;
    let gtdt: &Gtdt = part(table, "GTDT")?;
    let hyp_virt = Gtdt3::ref_from_prefix(table).ok().map(|(gtdt, _)| gtdt.hyp_virt);
    let none = TimerInterrupt { gsiv: 0.into(), flags: 0.into() };
    let all = [
        ("sec-phys", gtdt.secure),
        ("phys", gtdt.phys),
        ("virt", gtdt.virt),
        ("hyp-phys", gtdt.hyp),
        ("hyp-virt", hyp_virt.unwrap_or(none)),
    ];
    let there: Vec<_> = all.into_iter().filter(|(_, interrupt)| interrupt.gsiv.get() != 0).collect();
    let mut interrupts = Vec::new();
    for (name, interrupt) in &there {
        let cells = specifier(interrupt.gsiv.get(), timer_flags(interrupt.flags.get()));
        interrupts.extend(cells.with_context(|| format!("GTDT: {name}"))?);
    }
    let mut timer = node("timer");
    put(&mut timer, "compatible", "arm,armv8-timer");
    strings(&mut timer, "interrupt-names", &there.iter().map(|&(name, _)| name).collect::<Vec<_>>());
    put(&mut timer, "interrupts", interrupts.as_slice());
    if there.iter().all(|(_, interrupt)| interrupt.flags.get() & 4 == 4) {
        flag(&mut timer, "always-on");
    }
    root.add_child(timer);
    Ok(())
}

/// The interrupt controller, by the MADT.
pub(super) fn gic(root: &mut DeviceTreeNode, tables: &Tables, notes: &mut Vec<String>) -> Result<()> {
    let dist: Vec<&Gicd> = tables.madt(0xc, "APIC: GICD")?;
    let &[dist] = dist.as_slice() else { bail!("APIC has {} GIC Distributors, and must have one", dist.len()) };
    let cpus = giccs(tables)?;
    let cpu = cpus.iter().find(|cpu| cpu.flags.get() & 1 == 1).context("APIC has no enabled CPU")?;
    let mut gic = at("interrupt-controller", dist.base.get());
    cells(&mut gic, 2, 2);
    flag(&mut gic, "ranges");
    flag(&mut gic, "interrupt-controller");
    put(&mut gic, "#interrupt-cells", 3_u32);
    put(&mut gic, "phandle", GIC);
    match dist.version {
        // 0 is "look yourself": only a GICv3 has Redistributors.
        3.. => gic_v3(&mut gic, tables, dist)?,
        0 if !redistributors(tables, FRAME)?.is_empty() => gic_v3(&mut gic, tables, dist)?,
        _ => gic_v2(&mut gic, tables, dist, cpu)?,
    }
    if cpu.maintenance.get() == 0 {
        notes.push("APIC has no maintenance interrupt: firmware does not mean EL2 to be used".into());
    } else {
        put(&mut gic, "interrupts", &specifier(cpu.maintenance.get(), LEVEL_HIGH)?[..]);
    }
    root.add_child(gic);
    Ok(())
}

fn gic_v3(gic: &mut DeviceTreeNode, tables: &Tables, dist: &Gicd) -> Result<()> {
    put(gic, "compatible", "arm,gic-v3");
    let stride = if dist.version >= 4 { 4 * FRAME } else { 2 * FRAME };
    let redistributors = redistributors(tables, stride)?;
    ensure!(!redistributors.is_empty(), "APIC has no GIC Redistributors");
    let mut regions = vec![(dist.base.get(), FRAME)];
    regions.extend(&redistributors);
    reg(gic, &regions);
    put(gic, "#redistributor-regions", u32::try_from(redistributors.len())?);
    for (its, phandle) in tables.madt::<Its>(0xf, "APIC: ITS")?.into_iter().zip(ITS..) {
        let mut child = at("msi-controller", its.base.get());
        put(&mut child, "compatible", "arm,gic-v3-its");
        reg(&mut child, &[(its.base.get(), 2 * FRAME)]);
        flag(&mut child, "msi-controller");
        put(&mut child, "#msi-cells", 1_u32);
        put(&mut child, "phandle", phandle);
        gic.add_child(child);
    }
    Ok(())
}

/// The ranges of Redistributors; where the MADT gives each CPU's instead, those, the adjacent ones as one.
fn redistributors(tables: &Tables, stride: u64) -> Result<Vec<(u64, u64)>> {
    let ranges: Vec<&Gicr> = tables.madt(0xe, "APIC: GICR")?;
    if !ranges.is_empty() {
        return Ok(ranges.iter().map(|range| (range.base.get(), range.length.get().into())).collect());
    }
    // The frame of a CPU that is fused off need not answer.
    let own = giccs(tables)?;
    let own = own.iter().filter(|cpu| cpu.flags.get() & 1 == 1).map(|cpu| cpu.gicr.get());
    let mut bases: Vec<u64> = own.filter(|&base| base != 0).collect();
    bases.sort_unstable();
    let mut regions: Vec<(u64, u64)> = Vec::new();
    for base in bases {
        match regions.last_mut() {
            Some((start, size)) if start.checked_add(*size) == Some(base) => *size += stride,
            _ => regions.push((base, stride)),
        }
    }
    Ok(regions)
}

fn gic_v2(gic: &mut DeviceTreeNode, tables: &Tables, dist: &Gicd, cpu: &Gicc) -> Result<()> {
    put(gic, "compatible", "arm,gic-400");
    // The frames' sizes are those of IHI 0048 §4.1 and §5.
    reg(
        gic,
        &[(dist.base.get(), 0x1000), (cpu.gicc.get(), 0x2000), (cpu.gich.get(), 0x2000), (cpu.gicv.get(), 0x2000)],
    );
    for (frame, phandle) in tables.madt::<MsiFrame>(0xd, "APIC: GIC MSI frame")?.into_iter().zip(ITS..) {
        let mut child = at("v2m", frame.base.get());
        put(&mut child, "compatible", "arm,gic-v2m-frame");
        reg(&mut child, &[(frame.base.get(), 0x1000)]);
        flag(&mut child, "msi-controller");
        if frame.flags.get() & 1 == 1 {
            put(&mut child, "arm,msi-base-spi", u32::from(frame.spi_base.get()));
            put(&mut child, "arm,msi-num-spis", u32::from(frame.spi_count.get()));
        }
        put(&mut child, "phandle", phandle);
        gic.add_child(child);
    }
    Ok(())
}

/// The UART that the SPCR names, as `/chosen/stdout-path`.
pub(super) fn console(root: &mut DeviceTreeNode, tables: &Tables, notes: &mut Vec<String>) -> Result<()> {
    let mut chosen = node("chosen");
    let Some(table) = tables.find("SPCR") else {
        notes.push("there is no SPCR, so no console: add one by an overlay".into());
        root.add_child(chosen);
        return Ok(());
    };
    let spcr: &Spcr = part(table, "SPCR")?;
    // The Microsoft debug port table's subtypes.
    let compatible: &[&str] = match spcr.kind {
        0x3 => &["arm,pl011", "arm,primecell"],
        0xd | 0xe => &["arm,sbsa-uart"],
        0x0 | 0x1 | 0x12 => &["ns16550a"],
        0x10 => &["brcm,bcm2835-aux-uart"],
        _ => &[],
    };
    let address = spcr.base.address.get();
    if compatible.is_empty() || spcr.base.space != 0 || address == 0 {
        let kind = spcr.kind;
        notes.push(format!("SPCR's console (type {kind:#x}) is none that is known here: no stdout-path"));
    } else {
        if spcr.pci_vendor.get() != 0xffff || spcr.pci_device.get() != 0xffff {
            notes.push("SPCR's console is a PCI function, whose BAR firmware has to leave where it is".into());
        }
        let mut uart = at("serial", address);
        strings(&mut uart, "compatible", compatible);
        if compatible == ["ns16550a"] {
            // Registers as far apart as the address is wide, and read as wide as it may be.
            let width = u32::from(spcr.base.width.max(8)) / 8;
            reg(&mut uart, &[(address, u64::from(8 * width))]);
            put(&mut uart, "reg-shift", width.trailing_zeros());
            put(
                &mut uart,
                "reg-io-width",
                if spcr.base.access == 0 { width } else { 1 << (spcr.base.access - 1).min(3) },
            );
        } else {
            reg(&mut uart, &[(address, 0x1000)]);
        }
        if spcr.interrupt_kind & 8 == 8 && spcr.gsiv.get() != 0 {
            put(&mut uart, "interrupts", &specifier(spcr.gsiv.get(), LEVEL_HIGH).context("SPCR")?[..]);
        }
        root.add_child(uart);
        put(&mut chosen, "stdout-path", format!("/serial@{address:x}").as_str());
    }
    root.add_child(chosen);
    Ok(())
}
