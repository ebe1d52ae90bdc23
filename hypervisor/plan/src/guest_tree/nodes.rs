//! The nodes of a guest's tree, one function each.
//!
//! Bindings are those of the Devicetree Specification 0.4 and of Linux's `Documentation/devicetree`.

use super::{GuestTree, GuestTreeError, add};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use assay_model::layout;
use assay_spec::addr::{Ipa, Region};
use assay_spec::gic::Version;
use assay_spec::intid::IntId;
use dtoolkit::Node as _;
use dtoolkit::model::{DeviceTreeNode, DeviceTreeProperty};

/// Stands for `kaslr-seed` until the seeds are written. No address and no UTF-8 text contains it.
pub(super) const KASLR_MARK: [u8; 8] = [0xf8; 8];
/// Stands for `rng-seed` until the seeds are written.
pub(super) const RNG_MARK: [u8; 32] = [0xf5; 32];

pub(super) const GIC_PHANDLE: u32 = 1;
pub(super) const CLOCK_PHANDLE: u32 = 2;
/// The rate of the clock that stands there anyway, in Hz.
pub(super) const CLOCK_RATE: u32 = 24_000_000;
/// The frame for messages.
pub(super) const V2M_PHANDLE: u32 = 4;
/// The aperture that a PCI function's node refers to.
pub(super) const APERTURE_PHANDLE: u32 = 3;

/// The `arm,gic` bindings' first cell.
pub(super) const SPI: u32 = 0;
const PPI: u32 = 1;
/// And their third: active high, level-sensitive.
pub(super) const LEVEL_HIGH: u32 = 4;
/// Or: on a rising edge.
pub(super) const EDGE_RISING: u32 = 1;

pub(super) fn root(node: &mut DeviceTreeNode) {
    put_texts(node, "compatible", &["assay,vm", "linux,dummy-virt"]);
    put_texts(node, "model", &["Assay virtual machine"]);
    put_cells(node, "#address-cells", &[2]);
    put_cells(node, "#size-cells", &[2]);
    put_cells(node, "interrupt-parent", &[GIC_PHANDLE]);
}

pub(super) fn aliases() -> DeviceTreeNode {
    let mut node = named("aliases");
    put_texts(&mut node, "serial0", &[&uart_path()]);
    node
}

pub(super) fn chosen(guest: &GuestTree<'_>) -> DeviceTreeNode {
    let mut node = named("chosen");
    put_texts(&mut node, "stdout-path", &[&uart_path()]);
    put_texts(&mut node, "bootargs", &[guest.bootargs]);
    if let Some(ramdisk) = guest.ramdisk {
        put_cells(&mut node, "linux,initrd-start", &words(ramdisk.start.0));
        put_cells(&mut node, "linux,initrd-end", &words(ramdisk.end().0));
    }
    if let Some(seeds) = &guest.seeds {
        put_bytes(&mut node, "kaslr-seed", &KASLR_MARK);
        if seeds.rng.is_some() {
            put_bytes(&mut node, "rng-seed", &RNG_MARK);
        }
    }
    if !guest.functions.is_empty() {
        // BARs are where they are: Linux is not to assign them anew.
        put_cells(&mut node, "linux,pci-probe-only", &[1]);
    }
    node
}

pub(super) fn cpus(guest: &GuestTree<'_>) -> Result<DeviceTreeNode, GuestTreeError> {
    let mut node = named("cpus");
    // One cell does while no vCPU has an Aff3 (MPIDR_EL1[39:32]).
    let wide = guest.vcpus.iter().any(|&mpidr| mpidr >> 32 != 0);
    put_cells(&mut node, "#address-cells", &[1 + u32::from(wide)]);
    put_cells(&mut node, "#size-cells", &[0]);
    let numa = guest.numa();
    for &mpidr in guest.vcpus {
        let mut cpu = named(format!("cpu@{mpidr:x}"));
        put_texts(&mut cpu, "device_type", &["cpu"]);
        put_texts(&mut cpu, "compatible", &["arm,armv8"]);
        let reg = words(mpidr);
        let reg = if wide { &reg[..] } else { &reg[1..] };
        put_cells(&mut cpu, "reg", reg);
        put_texts(&mut cpu, "enable-method", &["psci"]);
        put_numa(&mut cpu, numa);
        add(&mut node, cpu)?;
    }
    Ok(node)
}

pub(super) fn memory(region: Region<Ipa>, numa: Option<u32>, pluggable: bool) -> DeviceTreeNode {
    let mut node = at("memory", region);
    put_texts(&mut node, "device_type", &["memory"]);
    put_regions(&mut node, &[region]);
    put_numa(&mut node, numa);
    if pluggable {
        put_bytes(&mut node, "hotpluggable", &[]);
    }
    node
}

/// Adds a child of `/reserved-memory`, which is made when there is one.
pub(super) fn reserve(root: &mut DeviceTreeNode, child: DeviceTreeNode) -> Result<(), GuestTreeError> {
    const NAME: &str = "reserved-memory";
    if root.child(NAME).is_none() {
        let mut node = named(NAME);
        put_cells(&mut node, "#address-cells", &[2]);
        put_cells(&mut node, "#size-cells", &[2]);
        put_bytes(&mut node, "ranges", &[]);
        root.add_child(node);
    }
    match root.child_mut(NAME) {
        Some(reserved) => add(reserved, child),
        None => Ok(()),
    }
}

/// By this node Linux's user space knows that it is in a virtual machine (`systemd-detect-virt` says `vm-other`). There is
/// no interface behind it.
pub(super) fn hypervisor() -> DeviceTreeNode {
    let mut node = named("hypervisor");
    put_texts(&mut node, "compatible", &["assay,hypervisor"]);
    node
}

pub(super) fn psci() -> DeviceTreeNode {
    let mut node = named("psci");
    put_texts(&mut node, "compatible", &["arm,psci-1.0", "arm,psci-0.2"]);
    put_texts(&mut node, "method", &["hvc"]);
    node
}

/// The specifier of a private interrupt. The arm,gic binding: PPI cells of a GICv2 name the CPUs in bits 15:8, those of a
/// GICv3 must not.
fn private(guest: &GuestTree<'_>, intid: IntId) -> [u32; 3] {
    let cpus = match guest.gic {
        Version::V2 => ((1u32 << guest.vcpus.len().min(8)) - 1) << 8,
        Version::V3 => 0,
    };
    [PPI, intid.0 - IntId::PPI_BASE, LEVEL_HIGH | cpus]
}

pub(super) fn pmu(guest: &GuestTree<'_>) -> DeviceTreeNode {
    let mut node = named("pmu");
    put_texts(&mut node, "compatible", &["arm,armv8-pmuv3"]);
    put_cells(&mut node, "interrupts", &private(guest, layout::PMU_INTID));
    node
}

pub(super) fn timer(guest: &GuestTree<'_>) -> DeviceTreeNode {
    let mut node = named("timer");
    put_texts(&mut node, "compatible", &["arm,armv8-timer"]);
    let specifiers = layout::TIMER_INTIDS.map(|intid| private(guest, intid));
    put_cells(&mut node, "interrupts", specifiers.as_flattened());
    put_bytes(&mut node, "always-on", &[]);
    node
}

pub(super) fn gic(guest: &GuestTree<'_>) -> DeviceTreeNode {
    let (compatible, registers) = match guest.gic {
        Version::V2 => ("arm,cortex-a15-gic", [layout::GICD_V2, layout::GICC]),
        Version::V3 => {
            let redistributors = Region { start: layout::GICR, size: layout::GICR_SIZE * guest.vcpus.len() as u64 };
            ("arm,gic-v3", [layout::GICD_V3, redistributors])
        }
    };
    let mut node = at("intc", layout::GICD_V3);
    put_texts(&mut node, "compatible", &[compatible]);
    put_regions(&mut node, &registers);
    put_bytes(&mut node, "interrupt-controller", &[]);
    put_cells(&mut node, "#interrupt-cells", &[3]);
    put_cells(&mut node, "phandle", &[GIC_PHANDLE]);
    if guest.functions.iter().any(|function| function.has_messages) {
        put_cells(&mut node, "#address-cells", &[2]);
        put_cells(&mut node, "#size-cells", &[2]);
        put_bytes(&mut node, "ranges", &[]);
        node.add_child(v2m());
    } else {
        // No child has an address; without the property dtc misses it in an interrupt provider.
        put_cells(&mut node, "#address-cells", &[0]);
    }
    node
}

/// A GICv2m also beside a GICv3: what Linux takes where there are no LPIs.
fn v2m() -> DeviceTreeNode {
    let mut node = at("v2m", layout::V2M);
    put_texts(&mut node, "compatible", &["arm,gic-v2m-frame"]);
    put_bytes(&mut node, "msi-controller", &[]);
    put_regions(&mut node, &[layout::V2M]);
    put_cells(&mut node, "arm,msi-base-spi", &[layout::MSI_BASE.0]);
    put_cells(&mut node, "arm,msi-num-spis", &[layout::MSI_COUNT]);
    put_cells(&mut node, "phandle", &[V2M_PHANDLE]);
    node
}

pub(super) fn clock() -> DeviceTreeNode {
    let mut node = named("apb-pclk");
    put_texts(&mut node, "compatible", &["fixed-clock"]);
    put_cells(&mut node, "#clock-cells", &[0]);
    put_cells(&mut node, "clock-frequency", &[CLOCK_RATE]);
    put_texts(&mut node, "clock-output-names", &["clk24mhz"]);
    put_cells(&mut node, "phandle", &[CLOCK_PHANDLE]);
    node
}

pub(super) fn uart() -> DeviceTreeNode {
    let mut node = at("pl011", layout::UART);
    put_texts(&mut node, "compatible", &["arm,pl011", "arm,primecell"]);
    put_regions(&mut node, &[layout::UART]);
    put_spi(&mut node, layout::UART_INTID);
    put_cells(&mut node, "clocks", &[CLOCK_PHANDLE, CLOCK_PHANDLE]);
    put_texts(&mut node, "clock-names", &["uartclk", "apb_pclk"]);
    node
}

/// Without an interrupt, Linux sets no alarms on it.
pub(super) fn rtc() -> DeviceTreeNode {
    let mut node = at("pl031", layout::RTC);
    put_texts(&mut node, "compatible", &["arm,pl031", "arm,primecell"]);
    put_regions(&mut node, &[layout::RTC]);
    put_cells(&mut node, "clocks", &[CLOCK_PHANDLE]);
    put_texts(&mut node, "clock-names", &["apb_pclk"]);
    node
}

pub(super) fn watchdog() -> DeviceTreeNode {
    let mut node = at("watchdog", layout::WATCHDOG_CONTROL);
    put_texts(&mut node, "compatible", &["arm,sbsa-gwdt"]);
    // The binding wants the control frame first.
    put_regions(&mut node, &[layout::WATCHDOG_CONTROL, layout::WATCHDOG_REFRESH]);
    put_spi(&mut node, layout::WATCHDOG_INTID);
    node
}

/// Its driver and its backend see memory through caches alike.
pub(super) fn virtio(index: usize) -> DeviceTreeNode {
    let start = Ipa(layout::VIRTIO.0 + index as u64 * layout::VIRTIO_STRIDE);
    let registers = Region { start, size: layout::VIRTIO_STRIDE };
    let mut node = at("virtio_mmio", registers);
    put_texts(&mut node, "compatible", &["virtio,mmio"]);
    put_regions(&mut node, &[registers]);
    put_spi(&mut node, layout::virtio_intid(index));
    put_bytes(&mut node, "dma-coherent", &[]);
    node
}

fn uart_path() -> String {
    format!("/pl011@{:x}", layout::UART.start.0)
}

pub(super) fn named(name: impl Into<String>) -> DeviceTreeNode {
    DeviceTreeNode::new_unchecked(name)
}

pub(super) fn at(name: &str, region: Region<Ipa>) -> DeviceTreeNode {
    named(format!("{name}@{:x}", region.start.0))
}

#[inline(never)]
pub(super) fn put_cells(node: &mut DeviceTreeNode, name: &str, cells: &[u32]) {
    node.add_property(DeviceTreeProperty::new_unchecked(name, cells));
}

#[inline(never)]
pub(super) fn put_texts(node: &mut DeviceTreeNode, name: &str, texts: &[&str]) {
    node.add_property(DeviceTreeProperty::new_unchecked(name, texts));
}

#[inline(never)]
pub(super) fn put_bytes(node: &mut DeviceTreeNode, name: &str, bytes: &[u8]) {
    node.add_property(DeviceTreeProperty::new_unchecked(name, bytes));
}

pub(super) fn put_numa(node: &mut DeviceTreeNode, numa: Option<u32>) {
    if let Some(numa) = numa {
        put_cells(node, "numa-node-id", &[numa]);
    }
}

pub(super) fn put_regions(node: &mut DeviceTreeNode, regions: &[Region<Ipa>]) {
    let cells = |region: &Region<Ipa>| [words(region.start.0), words(region.size)];
    let cells: Vec<_> = regions.iter().flat_map(cells).flatten().collect();
    put_cells(node, "reg", &cells);
}

fn put_spi(node: &mut DeviceTreeNode, id: IntId) {
    let number = id.0 - IntId::SPI_BASE;
    put_cells(node, "interrupts", &[SPI, number, LEVEL_HIGH]);
}

/// An interrupt that each edge makes pending once.
pub(super) fn put_edge_spi(node: &mut DeviceTreeNode, id: IntId) {
    let number = id.0 - IntId::SPI_BASE;
    put_cells(node, "interrupts", &[SPI, number, EDGE_RISING]);
}

/// Splits a number into two cells.
pub(super) fn words(value: u64) -> [u32; 2] {
    [(value >> 32) as u32, (value & 0xffff_ffff) as u32]
}
