//! Interrupt Translation Services: where devices' messages become interrupts. (The `arm,gic-v3-its` binding.)

use alloc::string::String;
use alloc::vec::Vec;

use assay_spec::addr::{Pa, Region};
use assay_spec::gic::its::TRANSLATION_FRAME;

use super::{DeviceId, EcamHost, HostPlatform, PlatformError, masters, room};
use crate::gate::{Node, Tree};
use assay_model::pci::Function;

/// An ITS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Its {
    /// Its node.
    pub path: String,
    /// Where it is, or why nobody takes it over: if firmware left it on, it may then write to what was firmware's.
    pub frames: Result<Frames, String>,
    /// It can be used, as far as somebody has looked: neither its node nor the GIC's says that it reads tables past the
    /// CPUs' caches (`dma-noncoherent`).
    pub is_usable: bool,
}

/// An ITS's registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frames {
    /// Its control frame.
    pub control: Region<Pa>,
    /// The page that devices write to.
    pub page: Region<Pa>,
}

impl Frames {
    fn of(registers: Region<Pa>) -> Result<Self, String> {
        if registers.size < 2 * TRANSLATION_FRAME {
            return Err(String::from("its reg must hold 128 KiB"));
        }
        let page = Region { start: Pa(registers.start.0 + TRANSLATION_FRAME), size: 0x1000 };
        Ok(Self { control: Region { size: TRANSLATION_FRAME, ..registers }, page })
    }

    /// Both, in one piece: they are one after the other.
    pub(super) fn pages(&self) -> Region<Pa> {
        Region { size: 2 * TRANSLATION_FRAME, ..self.control }
    }
}

impl Its {
    /// Notes that nobody takes it over, and why.
    pub fn lose(&mut self, why: String) {
        (self.frames, self.is_usable) = (Err(why), false);
    }
}

/// Reads all that are not disabled. What is wrong with a node concerns those behind it alone.
pub(super) fn all<'t, 'a>(tree: &'t Tree<'a>, gic: Node<'t, 'a>, all: &mut Vec<Its>) -> Result<(), PlatformError> {
    let wanted = |node: &Node<'_, '_>| node.is_compatible(&["arm,gic-v3-its"]) && node.is_available();
    for node in tree.nodes().filter(wanted) {
        let frames = masters::registers(node).and_then(Frames::of);
        let is_usable = frames.is_ok() && ![node, gic].iter().any(|node| node.has("dma-noncoherent"));
        room(all, "/")?;
        all.push(Its { path: node.path(), frames, is_usable });
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
