//! `setup`: what the other commands need on a fresh machine. Idempotent, asks nothing, needs no root.

mod apt;
mod firmware;
pub(crate) mod guests;
mod host;
mod initramfs;
pub(crate) mod modules;
mod qemu;
mod rust;
mod selftests;
mod sources;
pub(crate) mod tfa;
mod tools;
mod trees;
mod xen;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use assay_harness::cache::{Cache, KERNELS, RAMDISKS};
use assay_harness::manifest::Manifest;
use assay_harness::qemu as found_qemu;

/// What the caller is going to do, so that only that is set up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs<'a> {
    pub(crate) qemu: bool,
    /// Kernels and ramdisks by name; names that the set-up doesn't know are passed over.
    pub(crate) guests: &'a [&'a str],
}

/// Everything.
pub(crate) const ALL: Needs<'_> =
    Needs { qemu: true, guests: &["debian", "debian-6.12", "busybox", "busybox-dax", "busybox-disk"] };

/// The kernels and ramdisks that a manifest names.
pub(crate) fn guests_of(manifest: &Manifest) -> Vec<&str> {
    manifest.vm.iter().flat_map(|vm| [Some(vm.kernel.as_str()), vm.initrd.as_deref()]).flatten().collect()
}

/// Sets up what is missing of `needs`; quiet when nothing is.
///
/// # Errors
/// Something can't be fetched; the message says how to give it instead.
pub(crate) fn ensure(needs: Needs<'_>) -> Result<()> {
    let cache = Cache::locate()?;
    rust::ensure_targets()?;
    let want_qemu = needs.qemu && !qemu_is_there(&cache);
    let want_guests = !missing(&cache, needs.guests).is_empty();
    if !(want_qemu || want_guests) {
        return Ok(());
    }
    fs::create_dir_all(cache.root())?;
    // Two set-ups at once would unpack into one folder.
    let lock = fs::File::create(cache.root().join("lock"))?;
    lock.lock()?;
    if want_qemu && !qemu_is_there(&cache) {
        let program = qemu::install(&cache, false)?;
        eprintln!("QEMU: {}", program.display());
    }
    let missing = missing(&cache, needs.guests);
    if !missing.is_empty() {
        let made = guests::install(&cache, &missing)?;
        eprintln!("guests: {} in {}", made.join(", "), cache.root().display());
    }
    Ok(())
}

/// What only some tests need, and only what asks for it fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extra {
    /// Debian unstable's QEMU, beside the tested one.
    NextQemu,
    /// The kernel's self-tests of arm64.
    Selftests,
    /// U-Boot, AAVMF, GRUB, and the Pi's Trusted Firmware-A.
    Firmware,
    /// The boards' device trees, out of the kernel's package.
    Trees,
    /// Trusted Firmware-A for QEMU's `virt`.
    TrustedFirmware,
    /// Debian's Xen, to measure beside.
    Xen,
}

impl Extra {
    /// All, in the order of fetching.
    pub(crate) const ALL: [Self; 6] =
        [Self::NextQemu, Self::Selftests, Self::Firmware, Self::Trees, Self::TrustedFirmware, Self::Xen];

    fn name(self) -> &'static str {
        match self {
            Self::NextQemu => "QEMU of Debian unstable",
            Self::Selftests => "kernel self-tests",
            Self::Firmware => "firmware and boot loaders",
            Self::Trees => "boards' device trees",
            Self::TrustedFirmware => "Trusted Firmware-A",
            Self::Xen => "Xen",
        }
    }

    fn option(self) -> &'static str {
        match self {
            Self::NextQemu => "--qemu-next",
            Self::Selftests => "--kselftests",
            Self::Firmware => "--firmware",
            Self::Trees => "--trees",
            Self::TrustedFirmware => "--tf-a",
            Self::Xen => "--xen",
        }
    }

    /// Where it is, if it is there.
    fn found(self, cache: &Cache) -> Option<PathBuf> {
        let path = match self {
            Self::NextQemu => cache.qemu(true),
            Self::Selftests => cache.selftests(),
            Self::Firmware => cache.root().join("guests/firmware").join(firmware::LAST),
            Self::Trees => cache.trees(),
            Self::TrustedFirmware => cache.tfa(),
            Self::Xen => cache.xen(),
        };
        path.exists().then_some(path)
    }
}

/// Fetches `extra` unless it is there; quiet then.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn fetch(extra: Extra) -> Result<()> {
    let cache = Cache::locate()?;
    if extra.found(&cache).is_some() {
        return Ok(());
    }
    fs::create_dir_all(cache.root())?;
    let lock = fs::File::create(cache.root().join("lock"))?;
    lock.lock()?;
    if extra.found(&cache).is_some() {
        return Ok(());
    }
    let path = match extra {
        Extra::NextQemu => qemu::install(&cache, true),
        Extra::Selftests => selftests::install(&cache),
        Extra::Firmware => firmware::install(&cache),
        Extra::Trees => trees::install(&cache),
        Extra::TrustedFirmware => tfa::install(&cache),
        Extra::Xen => xen::install(&cache),
    };
    let path = path.with_context(|| format!("no {} (`cargo xtask setup {}`)", extra.name(), extra.option()))?;
    eprintln!("{}: {}", extra.name(), path.display());
    Ok(())
}

/// Fills a folder of the cache: `make` gets another one to work in, and gives what of that is kept. Built beside and renamed
/// at the end, so that an interrupted set-up never looks complete.
fn fill(folder: &Path, make: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<()> {
    let work = folder.with_extension("new");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    fs::create_dir_all(&work)?;
    let kept = make(&work)?;
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::rename(kept, folder)?;
    Ok(fs::remove_dir_all(&work)?)
}

/// Reports what is there and what is missing, and changes nothing.
///
/// # Errors
/// Something is missing.
pub(crate) fn check() -> Result<()> {
    let cache = Cache::locate()?;
    let mut missing = 0;
    let mut line = |what: &str, found: Option<String>| {
        missing += usize::from(found.is_none());
        println!("{what:34} {}", found.unwrap_or_else(|| "missing".to_owned()));
    };
    for target in rust::TARGETS {
        line(&format!("rust target {target}"), rust::has_target(target).then(|| "installed".to_owned()));
    }
    let program = found_qemu::find(None, &cache).ok();
    line(
        "QEMU 8.2 or newer",
        program.map(|path| {
            let version =
                found_qemu::version(&path).map_or(String::new(), |(major, minor)| format!("{major}.{minor} "));
            format!("{version}{}", path.display())
        }),
    );
    for name in KERNELS {
        let path = cache.kernel(name);
        line(&format!("kernel {name}"), path.is_file().then(|| path.display().to_string()));
    }
    for name in RAMDISKS {
        let path = cache.ramdisk(name);
        line(&format!("ramdisk {name}"), path.is_file().then(|| path.display().to_string()));
    }
    for extra in Extra::ALL {
        let found = extra
            .found(&cache)
            .map_or_else(|| format!("not fetched ({})", extra.option()), |path| path.display().to_string());
        println!("{:34} {found}", format!("{}, optional", extra.name()));
    }
    if missing > 0 {
        bail!("{missing} missing: `cargo xtask setup` fetches them");
    }
    Ok(())
}

fn qemu_is_there(cache: &Cache) -> bool {
    found_qemu::find(None, cache).is_ok()
}

/// What is not there of these kernels and ramdisks, and of what they are made of.
fn missing<'a>(cache: &Cache, names: &[&'a str]) -> Vec<&'a str> {
    let is_missing = |name: &&str| {
        let is_kernel = KERNELS.contains(name) && !cache.kernel(name).is_file();
        is_kernel || (RAMDISKS.contains(name) && !cache.ramdisk(name).is_file())
    };
    names.iter().copied().filter(is_missing).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use assay_harness::cache::{KERNELS, RAMDISKS};
    use assay_harness::manifest::Manifest;

    use super::{ALL, guests, guests_of};

    #[test]
    fn all_is_each_kernel_and_ramdisk_that_there_is() {
        let all: BTreeSet<&str> = ALL.guests.iter().copied().collect();
        assert_eq!(all, KERNELS.iter().chain(RAMDISKS).copied().collect());
    }

    #[test]
    fn a_run_needs_what_its_manifest_names_and_what_that_is_made_of() {
        let text = "[[vm]]\nname = \"a\"\nmemory = \"1G\"\nkernel = \"debian\"\ninitrd = \"busybox\"\n\
                    [[vm]]\nname = \"b\"\nmemory = \"1G\"\nkernel = \"hello\"\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(guests_of(&manifest), ["debian", "busybox", "hello"]);
        assert_eq!(guests::with_parts(&["debian", "busybox"]), ["debian", "busybox"]);
        for name in ["busybox-dax", "busybox-disk"] {
            assert_eq!(guests::with_parts(&[name]), [name, "debian-6.12", "busybox"]);
        }
    }
}
