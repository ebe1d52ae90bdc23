//! Virtio functions that go past the SMMU: those that do not offer `VIRTIO_F_ACCESS_PLATFORM` access memory as the CPUs do,
//! whatever stands before them. (Virtual I/O Device 1.2 §4.1.4 for the capabilities, §6.1 for the feature.)

use super::{ConfigSpace, Function, capability};
use assay_model::pci::header::ID;

const VENDOR: u32 = 0x1af4;
const VENDOR_SPECIFIC: u32 = 0x09;
/// `cfg_type`: where the common configuration is; a window onto all structures.
const COMMON: u32 = 1;
const PCI_CFG: u32 = 5;
/// In the common configuration: `device_feature_select`, then `device_feature`.
const FEATURE_SELECT: u32 = 0;
const FEATURE: u32 = 4;
/// `VIRTIO_F_ACCESS_PLATFORM`, bit 33.
const ACCESS_PLATFORM: u32 = 1 << 1;

/// Tells whether a function is a virtio device and may access memory past the SMMU that stands before it: also if it cannot be
/// asked.
pub(super) fn goes_past_smmu(config: &mut dyn ConfigSpace, function: Function) -> bool {
    let id = config.read(function, ID);
    // Transitional devices and later ones (§4.1.2).
    let is_virtio = id & 0xffff == VENDOR && (0x1000..=0x107f).contains(&(id >> 16));
    is_virtio && !offers_access_platform(config, function).unwrap_or(false)
}

/// Reads the feature by the window in configuration space; `None` if there is none.
fn offers_access_platform(config: &mut dyn ConfigSpace, function: Function) -> Option<bool> {
    let common = find(config, function, COMMON)?;
    let (bar, start) = (config.read(function, common + 4) & 0xff, config.read(function, common + 8));
    let window = find(config, function, PCI_CFG)?;
    let point = |config: &mut dyn ConfigSpace, register: u32| {
        config.write(function, window + 4, bar);
        config.write(function, window + 8, start.wrapping_add(register));
        config.write(function, window + 12, 4);
    };
    point(config, FEATURE_SELECT);
    config.write(function, window + 16, 1);
    point(config, FEATURE);
    Some(config.read(function, window + 16) & ACCESS_PLATFORM != 0)
}

/// Finds a virtio capability of this type.
fn find(config: &mut dyn ConfigSpace, function: Function, wanted: u32) -> Option<u16> {
    capability::find(config, function, |word| word & 0xff == VENDOR_SPECIFIC && word >> 24 == wanted)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::{ConfigSpace, Function};
    use super::goes_past_smmu;

    /// A virtio device with its features behind the window.
    struct Device {
        id: u32,
        capabilities: Vec<(u16, u32)>,
        features: u64,
        offset: u32,
        select: u32,
    }

    /// Where the window is.
    const WINDOW: u16 = 0x70;

    impl ConfigSpace for Device {
        fn read(&mut self, _: Function, offset: u16) -> u32 {
            match offset {
                0x00 => self.id,
                0x04 => 1 << 20,
                0x34 => 0x40,
                0x80 if self.offset == 0x3004 => (self.features >> (32 * self.select) & 0xffff_ffff) as u32,
                _ => self.capabilities.iter().find(|(at, _)| *at == offset).map_or(0, |(_, word)| *word),
            }
        }
        fn write(&mut self, _: Function, offset: u16, value: u32) {
            match offset - WINDOW {
                8 => self.offset = value,
                16 if self.offset == 0x3000 => self.select = value,
                _ => {}
            }
        }
    }

    fn device(features: u64) -> Device {
        // MSI-X, the common configuration in BAR 4 at 0x3000, and the window.
        let capabilities = [(0x40, 0x5011), (0x50, 0x0110_7009), (0x54, 4), (0x58, 0x3000), (WINDOW, 0x0514_0009)];
        Device { id: 0x1041_1af4, capabilities: capabilities.to_vec(), features, offset: 0, select: 0 }
    }

    const FUNCTION: Function = Function::new(0, 2, 0);

    #[test]
    fn a_virtio_device_obeys_the_smmu_if_it_offers_the_feature() {
        assert!(!goes_past_smmu(&mut device(1 << 32 | 1 << 33), FUNCTION));
        assert!(goes_past_smmu(&mut device(1 << 32 | 1 << 1), FUNCTION));
    }

    #[test]
    fn one_that_cannot_be_asked_does_not() {
        let mut legacy = device(1 << 33);
        legacy.capabilities.clear();
        assert!(goes_past_smmu(&mut legacy, FUNCTION));
        // A list that leads in a circle.
        let mut circle = device(1 << 33);
        circle.capabilities = [(0x40, 0x4011)].to_vec();
        assert!(goes_past_smmu(&mut circle, FUNCTION));
    }

    #[test]
    fn other_devices_are_not_asked() {
        for id in [0x1110_1af4, 0x11e8_1234, 0xffff_ffff] {
            assert!(!goes_past_smmu(&mut Device { id, ..device(0) }, FUNCTION), "{id:#x}");
        }
    }
}
