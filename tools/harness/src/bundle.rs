//! The bundle: VM tree, kernels and ramdisks in one `cpio` archive, passed to Assay as an initrd.

mod unpack;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use assay_plan::gate::Tree;
use cpio::newc::{Builder, trailer};

use crate::cache::{self, Cache};
use crate::home::Home;
use crate::manifest::{Flash, Manifest, Vm};
use crate::overlay;
use crate::vm_tree::{self, Digest, Modules};

/// With tables for 16 bytes at a time: kernels are large.
static CRC32: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISO_HDLC);

/// A regular file that everyone may read.
const FILE_MODE: u32 = 0o100644;

/// Writes the bundle of `manifest`, whose relative paths start at `folder`. The same input gives the same bytes.
///
/// # Errors
/// A kernel or ramdisk is missing: the message names the VM and says how to get it. An overlay is missing or
/// not understood.
pub fn build(manifest: &Manifest, folder: &Path) -> Result<Vec<u8>> {
    build_from(manifest, folder, None)
}

/// As [`build`], with the programs of `guests/` from the given checkout.
pub(crate) fn build_from(manifest: &Manifest, folder: &Path, checkout: Option<&Path>) -> Result<Vec<u8>> {
    manifest.ensure_unplugged()?;
    let mut members = Members::default();
    let mut modules = Vec::new();
    for vm in &manifest.vm {
        let of = |what: &str| format!("vm \"{}\": {what}", vm.name);
        let kernel = kernel_path(&vm.kernel, folder, checkout).with_context(|| of("kernel"))?;
        let kernel = members.add("kernel", &vm.kernel, &kernel, Form::of_kernel(vm)).with_context(|| of("kernel"))?;
        let ramdisk = match &vm.initrd {
            Some(name) => {
                let path = ramdisk_path(name, folder).with_context(|| of("initrd"))?;
                Some(members.add("initrd", name, &path, Form::Whole)?)
            }
            None => None,
        };
        let flash = vm.flash.iter().map(|flash| {
            let name = flash.file.as_ref();
            name.map(|name| {
                members.add_flash(flash, name, folder).with_context(|| of(&format!("flash \"{}\"", flash.name)))
            })
            .transpose()
        });
        modules.push(Modules { kernel, ramdisk, flash: flash.collect::<Result<_>>()? });
    }
    for file in &manifest.platform {
        members.add_overlay(&folder.join(file))?;
    }
    let digests: Vec<Digest> = members.list.iter().map(|(name, data)| digest(name, data)).collect();
    let tree = vm_tree::build(manifest, &modules, &digests);
    let _ = Tree::new(&tree).context("the VM tree that the manifest compiles into")?;
    let mut archive = append(Vec::new(), "vms.dtb", &tree)?;
    for (name, data) in &members.list {
        archive = append(archive, name, data)?;
    }
    Ok(trailer(archive)?)
}

/// The bytes of a VM's kernel as its bundle has them, unpacked where EL2 does not.
///
/// # Errors
/// As [`build`].
pub fn kernel(vm: &Vm, folder: &Path) -> Result<Vec<u8>> {
    read(&kernel_path(&vm.kernel, folder, None)?, Form::of_kernel(vm))
}

/// The bytes of a VM's ramdisk, if it has one.
///
/// # Errors
/// As [`build`].
pub fn ramdisk(vm: &Vm, folder: &Path) -> Result<Option<Vec<u8>>> {
    let path = vm.initrd.as_ref().map(|name| ramdisk_path(name, folder)).transpose()?;
    path.map(|path| read(&path, Form::Whole)).transpose()
}

/// The bytes of a flash's file, none without one.
///
/// # Errors
/// As [`build`].
pub fn flash(flash: &Flash, folder: &Path) -> Result<Vec<u8>> {
    flash.file.as_ref().map_or(Ok(Vec::new()), |name| read(&flash_path(name, folder)?, Form::Whole))
}

fn read(path: &Path, form: Form) -> Result<Vec<u8>> {
    let mut data = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
    match form {
        Form::Whole => {}
        Form::Unpacked => data = unpack::kernel(data).with_context(|| path.display().to_string())?,
        Form::Trimmed => data.truncate(data.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)),
    }
    Ok(data)
}

pub(crate) fn kernel_path(name: &str, folder: &Path, checkout: Option<&Path>) -> Result<PathBuf> {
    if cache::KERNELS.contains(&name) {
        return fetched(Cache::locate()?.kernel(name));
    }
    if cache::FIRMWARE.contains(&name) {
        return fetched_firmware(name);
    }
    let file = folder.join(name);
    if file.is_file() {
        return Ok(file);
    }
    let known = [cache::KERNELS, cache::FIRMWARE].concat().join(", ");
    let home = Home::find(checkout).with_context(|| {
        let file = file.display();
        format!("{name} is neither a guest known to the set-up ({known}) nor the file {file}, and may be a program of guests/")
    })?;
    let programs = home.programs()?;
    if programs.iter().any(|program| program == name) {
        return home.program(name);
    }
    bail!(
        "{name} is neither a guest known to the set-up ({known}), nor a program of guests/ in {} ({}), nor the file {}",
        home.top().display(),
        programs.join(", "),
        file.display()
    )
}

pub(crate) fn ramdisk_path(name: &str, folder: &Path) -> Result<PathBuf> {
    if cache::RAMDISKS.contains(&name) {
        return fetched(Cache::locate()?.ramdisk(name));
    }
    let file = folder.join(name);
    if !file.is_file() {
        bail!("{name} is neither known to the set-up ({}) nor the file {}", cache::RAMDISKS.join(", "), file.display());
    }
    Ok(file)
}

fn flash_path(name: &str, folder: &Path) -> Result<PathBuf> {
    if cache::FIRMWARE.contains(&name) { fetched_firmware(name) } else { Ok(folder.join(name)) }
}

fn fetched_firmware(name: &str) -> Result<PathBuf> {
    let path = Cache::locate()?.firmware(name);
    ensure!(path.is_file(), "{} is not there: `cargo xtask setup --firmware` fetches it", path.display());
    Ok(path)
}

fn fetched(path: PathBuf) -> Result<PathBuf> {
    if !path.is_file() {
        bail!("{} is not there: `cargo xtask setup` fetches it", path.display());
    }
    Ok(path)
}

#[derive(Default)]
struct Members {
    list: Vec<(String, Vec<u8>)>,
    by_path: BTreeMap<(PathBuf, Form), String>,
}

/// How much of a file a member has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Whole,
    /// Unpacked, if it is packed by what EL2 does not inflate.
    Unpacked,
    /// Without the zeros at its end, which a flash has anyway.
    Trimmed,
}

impl Form {
    fn of_kernel(vm: &Vm) -> Self {
        if vm.format.is_none() { Self::Unpacked } else { Self::Whole }
    }
}

impl Members {
    /// The member's name; a file that several VMs use is stored once.
    fn add(&mut self, kind: &str, name: &str, path: &Path, form: Form) -> Result<String> {
        let path = path.canonicalize().with_context(|| format!("can't find {}", path.display()))?;
        let key = (path, form);
        if let Some(known) = self.by_path.get(&key) {
            return Ok(known.clone());
        }
        let data = read(&key.0, form)?;
        let stem = Path::new(name).file_name().map_or_else(|| "file".into(), |stem| stem.to_string_lossy());
        let taken = |candidate: &str, list: &[(String, Vec<u8>)]| list.iter().any(|(other, _)| other == candidate);
        let mut member = format!("{kind}-{stem}");
        for number in 2.. {
            if !taken(&member, &self.list) {
                break;
            }
            member = format!("{kind}-{stem}-{number}");
        }
        self.list.push((member.clone(), data));
        self.by_path.insert(key, member.clone());
        Ok(member)
    }

    /// The member of a flash's file.
    fn add_flash(&mut self, flash: &Flash, name: &str, folder: &Path) -> Result<String> {
        let path = flash_path(name, folder)?;
        let length = fs::metadata(&path).with_context(|| format!("file: can't read {}", path.display()))?.len();
        let size = flash.size;
        ensure!(
            length <= size,
            "file: {} has {length:#x} bytes, and the flash {size:#x}: give the flash a larger size, or another file",
            path.display()
        );
        self.add("flash", name, &path, Form::Trimmed)
    }

    /// EL2 reads all `platform/*.dtbo` in the archive's order.
    fn add_overlay(&mut self, path: &Path) -> Result<()> {
        let data = overlay::read(path).context("platform")?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let member = format!("platform/{stem}.dtbo");
        if self.list.iter().any(|(other, _)| *other == member) {
            bail!("platform: two overlays are named {stem}: rename one");
        }
        self.list.push((member, data));
        Ok(())
    }
}

fn digest(name: &str, data: &[u8]) -> Digest {
    Digest { name: name.to_owned(), size: data.len() as u64, crc32: CRC32.checksum(data) }
}

fn append(archive: Vec<u8>, name: &str, data: &[u8]) -> Result<Vec<u8>> {
    let size = u32::try_from(data.len()).with_context(|| format!("{name} has 4 GiB or more, which newc can't hold"))?;
    let mut writer = Builder::new(name).mode(FILE_MODE).nlink(1).mtime(0).write(archive, size);
    std::io::Write::write_all(&mut writer, data)?;
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests;
