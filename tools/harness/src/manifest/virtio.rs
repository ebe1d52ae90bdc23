//! Virtio devices whose backends are other VMs.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::{Manifest, Vm};

/// The most devices of a VM.
const DEVICES_MAX: usize = 4;

/// A virtio device.
#[derive(Clone, Debug, Deserialize)]
pub struct Virtio {
    /// Unique in the VM.
    pub name: String,
    /// What it is: `block`, `net` or `console`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The VM that is its backend.
    pub backend: String,
}

impl Manifest {
    pub(super) fn check_virtio(&self) -> Result<()> {
        for vm in &self.vm {
            self.check_devices(vm).with_context(|| format!("vm \"{}\"", vm.name))?;
        }
        Ok(())
    }

    fn check_devices(&self, vm: &Vm) -> Result<()> {
        let mut names = BTreeSet::new();
        for device in &vm.virtio {
            let (name, backend) = (&device.name, &device.backend);
            ensure!(names.insert(name), "two virtio devices are named \"{name}\": rename one");
            ensure!(*backend != vm.name, "virtio device \"{name}\": backend: name another VM");
            let is_there = self.vm.iter().any(|other| other.name == *backend);
            ensure!(is_there, "virtio device \"{name}\": backend: no VM is named \"{backend}\"");
        }
        ensure!(vm.virtio.len() <= DEVICES_MAX, "virtio: a VM has at most {DEVICES_MAX} devices");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Manifest;

    fn read(devices: &str) -> Result<Manifest, String> {
        let text = format!(
            "[[vm]]\nname = \"driver\"\nmemory = \"64M\"\nkernel = \"k\"\n\
             [[vm]]\nname = \"client\"\nmemory = \"64M\"\nkernel = \"k\"\n{devices}"
        );
        Manifest::parse(&text).map_err(|error| format!("{error:#}"))
    }

    fn device(name: &str, kind: &str, backend: &str) -> String {
        format!("[[vm.virtio]]\nname = \"{name}\"\ntype = \"{kind}\"\nbackend = \"{backend}\"\n")
    }

    #[test]
    fn devices_are_read_in_their_order() {
        let read = read(&(device("disk0", "block", "driver") + &device("net0", "net", "driver"))).unwrap();
        let devices = read.vm[1].virtio.iter();
        let devices: Vec<_> = devices.map(|it| (it.name.as_str(), it.kind.as_str(), it.backend.as_str())).collect();
        assert_eq!(devices, [("disk0", "block", "driver"), ("net0", "net", "driver")]);
    }

    #[test]
    fn what_cannot_be_is_said_with_the_devices_name() {
        let twice = device("a", "net", "driver").repeat(2);
        let five: String = ["a", "b", "c", "d", "e"].map(|name| device(name, "net", "driver")).concat();
        for (devices, told) in [
            (device("a", "block", "nobody"), "virtio device \"a\": backend: no VM is named \"nobody\""),
            (device("a", "block", "client"), "virtio device \"a\": backend: name another VM"),
            (device("a", "gpu", "driver"), "type = \"gpu\": must be \"block\", \"net\" or \"console\""),
            (twice, "two virtio devices are named \"a\""),
            (five, "at most 4 devices"),
        ] {
            let error = read(&devices).unwrap_err();
            assert!(error.contains("vm \"client\"") && error.contains(told), "{error}");
        }
    }
}
