//! `disk` and `net`: PCI functions that QEMU adds to its machine, each given to the VM that asks for it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use super::{Manifest, Net, Vm};

/// The device numbers on the machine's first bus that are used, from where a person's own `-device` is not likely to be.
const SLOTS: std::ops::Range<u8> = 0x10..0x20;
/// How a disk image of QEMU's own format begins.
const QCOW2: &[u8] = b"QFI\xfb";

impl Manifest {
    /// Gives VMs with `disk` or `net` the functions that QEMU will have with the arguments that this returns: none if no VM
    /// has either. They are in front of an SMMUv3. Paths start at `folder`.
    ///
    /// # Errors
    /// A disk image can't be read, or there are more than 16.
    pub fn plug(&mut self, folder: &Path) -> Result<Vec<String>> {
        let mut arguments = Vec::new();
        let mut slots = SLOTS;
        for (index, vm) in self.vm.iter_mut().enumerate() {
            plug(vm, index, folder, &mut slots, &mut arguments).with_context(|| format!("vm \"{}\"", vm.name))?;
        }
        if !arguments.is_empty() {
            arguments.splice(0..0, ["-M".to_owned(), "iommu=smmuv3".to_owned()]);
        }
        Ok(arguments)
    }

    /// Refuses `disk` and `net` of a manifest for a machine that QEMU doesn't play.
    ///
    /// # Errors
    /// Names the VM and the field.
    pub fn ensure_unplugged(&self) -> Result<()> {
        for vm in &self.vm {
            let field = vm.disk.as_ref().map(|_| "disk").or(vm.net.map(|_| "net"));
            if let Some(field) = field {
                bail!(
                    "vm \"{}\": {field} adds a function to QEMU's machine, and this is for another: name one that the \
                     machine has, in devices",
                    vm.name
                );
            }
        }
        Ok(())
    }
}

fn plug(
    vm: &mut Vm,
    index: usize,
    folder: &Path,
    slots: &mut std::ops::Range<u8>,
    arguments: &mut Vec<String>,
) -> Result<()> {
    let mut function = |vm: &mut Vm| -> Result<u8> {
        let slot = slots.next().context("QEMU's machine takes 16 functions of disk and net: leave some out")?;
        vm.devices.push(format!("0000:00:{slot:02x}.0"));
        Ok(slot)
    };
    if let Some(disk) = vm.disk.take() {
        let path = std::path::absolute(folder.join(&disk))?;
        let format = format(&path).with_context(|| format!("disk: {}", path.display()))?;
        let slot = function(vm)?;
        // A comma ends a value unless it is doubled.
        let file = path.display().to_string().replace(',', ",,");
        arguments.extend(["-drive".to_owned(), format!("if=none,id=disk{index},format={format},file={file}")]);
        arguments.extend(["-device".to_owned(), format!("nvme,drive=disk{index},serial=assay{index},addr={slot:x}.0")]);
    }
    match vm.net.take() {
        None => {}
        Some(Net::User) => {
            let slot = function(vm)?;
            arguments.extend(["-netdev".to_owned(), format!("user,id=net{index}")]);
            // Without the first two its accesses would not pass the SMMU.
            let device = format!(
                "virtio-net-pci,iommu_platform=on,disable-legacy=on,netdev=net{index},romfile=,addr={slot:x}.0"
            );
            arguments.extend(["-device".to_owned(), device]);
        }
    }
    Ok(())
}

/// QEMU's name of an image's format.
fn format(path: &Path) -> Result<&'static str> {
    let mut file = File::open(path)?;
    ensure!(file.metadata()?.is_file(), "it is no file");
    let mut start = [0; 4];
    let count = file.read(&mut start)?;
    Ok(if start.get(..count) == Some(QCOW2) { "qcow2" } else { "raw" })
}

#[cfg(test)]
mod tests {
    use super::Manifest;

    fn manifest(lines: &str) -> Manifest {
        Manifest::parse(&format!("[[vm]]\nname = \"a\"\nmemory = \"64M\"\nkernel = \"k\"\n{lines}")).unwrap()
    }

    #[test]
    fn a_disk_and_a_network_are_functions_behind_an_smmu() {
        let folder = std::env::temp_dir().join(format!("assay-plug-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("raw,1.img"), [0; 512]).unwrap();
        std::fs::write(folder.join("q.qcow2"), b"QFI\xfb....").unwrap();
        let mut given = manifest("disk = \"raw,1.img\"\nnet = \"user\"\ndevices = [\"00:02.0\"]\n");
        let line = given.plug(&folder).unwrap().join(" ");
        assert!(line.starts_with("-M iommu=smmuv3 -drive if=none,id=disk0,format=raw,file="), "{line}");
        assert!(line.contains("raw,,1.img -device nvme,drive=disk0,serial=assay0,addr=10.0"), "{line}");
        assert!(line.contains("virtio-net-pci,iommu_platform=on,disable-legacy=on,netdev=net0"), "{line}");
        assert_eq!(given.vm[0].devices, ["00:02.0", "0000:00:10.0", "0000:00:11.0"]);
        assert!(given.ensure_unplugged().is_ok());
        let line = manifest("disk = \"q.qcow2\"\n").plug(&folder).unwrap().join(" ");
        assert!(line.contains("format=qcow2"), "{line}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn without_them_the_machine_is_as_it_was() {
        assert!(manifest("").plug(".".as_ref()).unwrap().is_empty());
    }

    #[test]
    fn an_image_that_is_not_there_is_named_and_a_board_gets_none() {
        let error = manifest("disk = \"none.img\"\n").plug("/".as_ref()).unwrap_err();
        assert!(format!("{error:#}").starts_with("vm \"a\": disk: /none.img: "), "{error:#}");
        let error = manifest("net = \"user\"\n").ensure_unplugged().unwrap_err().to_string();
        assert!(error.starts_with("vm \"a\": net adds a function to QEMU's machine"), "{error}");
    }
}
