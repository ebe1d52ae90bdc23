//! Interrupt Translation Services: where devices' messages become interrupts. (The `arm,gic-v3-its` binding.)

use alloc::string::String;
use alloc::vec::Vec;

use assay_spec::addr::{Pa, Region};
use assay_spec::gic::its::TRANSLATION_FRAME;

use super::{DeviceId, EcamHost, HostPlatform, PlatformError, bus, room};
use crate::gate::{Node, Tree};
use assay_model::pci::Function;

/// An ITS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Its {
    /// Its node.
    pub path: String,
    /// Its control frame.
    pub control: Region<Pa>,
    /// The page that devices write to.
    pub page: Region<Pa>,
    /// It can be used, as far as somebody has looked: neither its node nor the GIC's says that it reads tables past the
    /// CPUs' caches (`dma-noncoherent`).
    pub is_usable: bool,
}

/// Reads all that are not disabled.
pub(super) fn all<'t, 'a>(tree: &'t Tree<'a>, gic: Node<'t, 'a>, all: &mut Vec<Its>) -> Result<(), PlatformError> {
    let wanted = |node: &Node<'_, '_>| node.is_compatible(&["arm,gic-v3-its"]) && node.is_available();
    for node in tree.nodes().filter(wanted) {
        let registers = bus::registers(node)?;
        let registers = registers.first().filter(|registers| registers.size >= 2 * TRANSLATION_FRAME);
        // One that is too short is none: nobody need have it.
        let Some(registers) = registers else { continue };
        room(all, "/")?;
        let page = Region { start: Pa(registers.start.0 + TRANSLATION_FRAME), size: 0x1000 };
        let control = Region { size: TRANSLATION_FRAME, ..*registers };
        let is_usable = ![node, gic].iter().any(|node| node.has("dma-noncoherent"));
        all.push(Its { path: node.path(), control, page, is_usable });
    }
    Ok(())
}

impl HostPlatform {
    /// Returns what the messages of a function behind `host` are known by; `None` if they pass no ITS that can be used.
    pub fn device_id(&self, host: &EcamHost, function: Function) -> Option<DeviceId> {
        let (path, id) = host.msis.of(function)?;
        let its = self.itss.iter().position(|its| its.path == path && its.is_usable)?;
        Some(DeviceId { its, id })
    }
}
