//! Memory between VMs: the regions, and each VM's part in them.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use assay_plan::vm_tree::LINUX_COMMAND_LINE;
use serde::Deserialize;

use super::Manifest;

/// The most VMs of a region, and the most doorbells of a VM.
const SIDES_MAX: usize = 32;
const DOORBELLS_MAX: usize = 16;

/// A region of RAM that several VMs see.
#[derive(Clone, Debug, Deserialize)]
pub struct Shared {
    /// Unique; 1 to 31 letters, digits, `.`, `_` and `-`, the first a letter.
    pub name: String,
    /// Its length, such as `"1M"`.
    pub size: u64,
}

/// A VM's part in a region.
#[derive(Clone, Debug, Deserialize)]
pub struct Sharing {
    /// The region's name.
    pub region: String,
    /// What the VM may do there.
    pub access: Access,
    /// Where the guest sees it; chosen if absent.
    pub ipa: Option<u64>,
    /// Whether the VM can ring the others that share the region, and be rung.
    pub doorbell: bool,
}

/// What a VM may do with memory that it shares.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum Access {
    /// Read and write.
    #[serde(rename = "rw")]
    ReadWrite,
    /// Read.
    #[serde(rename = "ro")]
    ReadOnly,
}

impl Manifest {
    /// The region of this name.
    #[must_use]
    pub fn shared_region(&self, name: &str) -> Option<&Shared> {
        self.shared.iter().find(|region| region.name == name)
    }

    /// What is odd in the manifest and yet no error.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for region in &self.shared {
            let users = self.users(&region.name);
            let name = &region.name;
            match users.as_slice() {
                [] => warnings.push(format!("shared region \"{name}\": no VM has a part in it")),
                [one] => warnings.push(format!("shared region \"{name}\": no VM but \"{one}\" has a part in it")),
                _ => {}
            }
        }
        let long = self.vm.iter().filter(|vm| vm.cmdline.len() >= LINUX_COMMAND_LINE);
        warnings.extend(long.map(|vm| {
            let (name, bytes, most) = (&vm.name, vm.cmdline.len(), LINUX_COMMAND_LINE - 1);
            format!("vm \"{name}\": cmdline: {bytes} bytes, and Linux reads the first {most}")
        }));
        warnings
    }

    fn users(&self, region: &str) -> Vec<&str> {
        let uses = |vm: &&super::Vm| vm.shared.iter().any(|part| part.region == region);
        let users = self.vm.iter().filter(uses);
        users.map(|vm| vm.name.as_str()).collect()
    }

    pub(super) fn check_shared(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for region in &self.shared {
            let name = &region.name;
            ensure!(names.insert(name), "two shared regions are named \"{name}\": rename one");
            ensure!(
                self.users(name).len() <= SIDES_MAX,
                "shared region \"{name}\": at most {SIDES_MAX} VMs can have a part in it"
            );
        }
        for vm in &self.vm {
            self.check_parts(&vm.shared).with_context(|| format!("vm \"{}\"", vm.name))?;
        }
        Ok(())
    }

    fn check_parts(&self, parts: &[Sharing]) -> Result<()> {
        let mut regions = BTreeSet::new();
        for part in parts {
            let region = &part.region;
            let known: Vec<&str> = self.shared.iter().map(|one| one.name.as_str()).collect();
            ensure!(
                known.contains(&region.as_str()),
                "no [[shared]] region is named \"{region}\": there {}",
                match known.as_slice() {
                    [] => "is none".to_owned(),
                    _ => format!("are {}", known.join(", ")),
                }
            );
            ensure!(regions.insert(region), "shared region \"{region}\": the VM has two parts in it, leave one out");
        }
        ensure!(
            parts.iter().filter(|part| part.doorbell).count() <= DOORBELLS_MAX,
            "shared: at most {DOORBELLS_MAX} of the VM's parts can have a doorbell"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Access;
    use crate::manifest::Manifest;

    fn vm(name: &str, parts: &str) -> String {
        format!("[[vm]]\nname = \"{name}\"\nmemory = \"64M\"\nkernel = \"hello\"\n{parts}\n")
    }

    fn region(name: &str, size: &str) -> String {
        format!("[[shared]]\nname = \"{name}\"\nsize = {size}\n")
    }

    fn part(region: &str, more: &str) -> String {
        format!("[[vm.shared]]\nregion = \"{region}\"\naccess = \"rw\"\n{more}\n")
    }

    fn complaint(text: &str) -> String {
        format!("{:#}", Manifest::parse(text).unwrap_err())
    }

    #[test]
    fn a_region_and_its_parts_are_read() {
        let reader = "[[vm.shared]]\nregion = \"ring0\"\naccess = \"ro\"\nipa = \"0x200000000\"\n";
        let text = region("ring0", "\"1M\"") + &vm("a", &part("ring0", "doorbell = true")) + &vm("b", reader);
        let manifest = Manifest::parse(&text).unwrap();
        assert_eq!(manifest.shared_region("ring0").unwrap().size, 1 << 20);
        let (a, b) = (&manifest.vm[0].shared[0], &manifest.vm[1].shared[0]);
        assert_eq!((a.access, a.ipa, a.doorbell), (Access::ReadWrite, None, true));
        let wanted = (Access::ReadOnly, Some(0x2_0000_0000), false);
        assert_eq!((b.access, b.ipa, b.doorbell), wanted);
        assert_eq!(manifest.warnings(), [""; 0]);
    }

    #[test]
    fn what_cannot_be_is_an_error_that_names_vm_and_region() {
        let ring = region("ring0", "\"1M\"");
        for (text, words) in [
            (vm("a", &part("ring0", "")), ["vm \"a\"", "ring0", "there is none"]),
            (ring.clone() + &vm("a", &part("ring1", "")), ["vm \"a\"", "ring1", "there are ring0"]),
            (
                ring.clone() + &vm("a", &[part("ring0", ""), part("ring0", "")].concat()),
                ["vm \"a\"", "ring0", "two parts"],
            ),
            (ring.clone() + &vm("a", &part("ring0", "ipa = 5000")), ["vm \"a\"", "ring0", "multiple of 4K"]),
            (region("ring0", "0") + &vm("a", ""), ["ring0", "size", "multiple of 4K"]),
            (region("ring0", "5000") + &vm("a", ""), ["ring0", "size", "multiple of 4K"]),
            (region("0", "4096") + &vm("a", ""), ["\"0\"", "name", "a letter"]),
            (region("memory", "4096") + &vm("a", ""), ["memory", "name", "a letter"]),
            (region("a b", "4096") + &vm("a", ""), ["a b", "name", "a letter"]),
            ([ring.clone(), ring.clone(), vm("a", "")].concat(), ["two shared regions", "ring0", "rename"]),
            (ring + &vm("a", "[[vm.shared]]\nregion = \"ring0\"\naccess = \"wo\""), ["access", "wo", "\"ro\""]),
        ] {
            let complaint = complaint(&text);
            for word in words {
                assert!(complaint.contains(word), "{word}: {complaint}");
            }
        }
    }

    #[test]
    fn there_are_16_doorbells_for_a_vm_and_32_vms_for_a_region() {
        let doorbells = |count: usize| {
            let names: Vec<String> = (0..count).map(|n| format!("r{n}")).collect();
            let regions: String = names.iter().map(|name| region(name, "4096")).collect();
            let parts: String = names.iter().map(|name| part(name, "doorbell = true")).collect();
            regions + &vm("a", &parts)
        };
        Manifest::parse(&doorbells(16)).unwrap();
        assert!(complaint(&doorbells(17)).contains("at most 16"));
        let sides = |count: usize| {
            let vms = (0..count).map(|n| vm(&format!("v{n}"), &part("ring0", "")));
            region("ring0", "4096") + &vms.collect::<String>()
        };
        Manifest::parse(&sides(32)).unwrap();
        assert!(complaint(&sides(33)).contains("at most 32 VMs"));
    }

    #[test]
    fn a_region_that_is_between_nobody_is_a_warning() {
        let text = region("lonely", "4096") + &region("unused", "4096") + &vm("a", &part("lonely", ""));
        let warnings = Manifest::parse(&text).unwrap().warnings();
        assert_eq!(
            warnings,
            [
                "shared region \"lonely\": no VM but \"a\" has a part in it",
                "shared region \"unused\": no VM has a part in it"
            ]
        );
    }
}
