//! QEMU and its libraries, unpacked into the cache and run by their own loader.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use assay_harness::cache::Cache;
use assay_harness::qemu;

use super::apt::{self, Apt, Suites};
use super::host;
use crate::progress::Progress;

/// Fetches Debian's QEMU: the tested one, or with `next` the one of Debian unstable.
///
/// # Errors
/// It can't be fetched, or what was fetched doesn't run here.
pub(crate) fn install(cache: &Cache, next: bool) -> Result<PathBuf> {
    let wrapper = cache.qemu(next);
    let folder = wrapper.parent().context("the cache has a root")?.to_path_buf();
    // Built beside and renamed at the end: an interrupted set-up never looks complete.
    let fresh = folder.with_extension("new");
    for stale in [&fresh, &folder] {
        if stale.exists() {
            fs::remove_dir_all(stale)?;
        }
    }
    fs::create_dir_all(&fresh)?;
    let codename = host::codename();
    let backports = format!("{codename}-backports");
    let (updates, secure) = (format!("{codename}-updates"), format!("{codename}-security"));
    let suites = match codename.as_str() {
        _ if next => Suites { architecture: "", archive: &["unstable"], security: &[], prefer: None },
        // 7.2 is too old: 10.0 comes from backports.
        "bookworm" => Suites {
            architecture: "",
            archive: &[&codename, &updates, &backports],
            security: &[&secure],
            prefer: Some(&backports),
        },
        _ => Suites { architecture: "", archive: &[&codename, &updates], security: &[&secure], prefer: None },
    };
    let private = Apt::open(&fresh.join("apt"), &suites)?;
    let archives = private.closure("QEMU and its libraries", &["qemu-system-arm"])?;
    let root = fresh.join("root");
    let mut progress = Progress::start("unpacking QEMU");
    for (index, archive) in archives.iter().enumerate() {
        progress.at(u64::try_from(index * 100 / archives.len())?, "");
        apt::unpack(archive, &root)?;
    }
    progress.done(&format!("{} packages", archives.len()));
    private.discard()?;
    fs::rename(&fresh, &folder)?;
    write_wrapper(&folder.join("root"), &wrapper)?;
    match qemu::version(&wrapper) {
        Some(found) if found >= qemu::OLDEST => Ok(wrapper),
        found => bail!("the QEMU unpacked in {} says {found:?}: too old, or it doesn't run here", folder.display()),
    }
}

/// A script that runs the program by its own dynamic loader, so that nothing of the system's libraries
/// counts. It replaces itself, so its process id is QEMU's.
fn write_wrapper(root: &Path, wrapper: &Path) -> Result<()> {
    let loader = find(&root.join("lib"), "ld-linux").or_else(|| find(&root.join("lib64"), "ld-linux"));
    let loader = loader.or_else(|| find(&root.join("usr/lib"), "ld-linux"));
    let loader = loader.context("the unpacked C library has no dynamic loader")?;
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    let libraries = [
        format!("usr/lib/{triple}"),
        format!("lib/{triple}"),
        // Libraries that Debian keeps in folders of their own.
        format!("usr/lib/{triple}/pulseaudio"),
        format!("usr/lib/{triple}/blas"),
        format!("usr/lib/{triple}/lapack"),
    ];
    let libraries: Vec<String> = libraries.iter().map(|path| root.join(path).display().to_string()).collect();
    let script = format!(
        "#!/bin/sh\n# QEMU from Debian's packages, run by its own loader and libraries.\n\
         QEMU_MODULE_DIR='{modules}' exec '{loader}' --library-path '{libraries}' \\\n  \
         '{root}/usr/bin/qemu-system-aarch64' -L '{root}/usr/share/qemu' \"$@\"\n",
        modules = root.join(format!("usr/lib/{triple}/qemu")).display(),
        loader = loader.display(),
        libraries = libraries.join(":"),
        root = root.display(),
    );
    fs::write(wrapper, script)?;
    fs::set_permissions(wrapper, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// A file below `folder` whose name starts so, two levels deep.
fn find(folder: &Path, start: &str) -> Option<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    let named = |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start));
    // `exists` follows links: one that points out of the unpacked tree doesn't count.
    let here = entries.iter().filter(named).find(|path| path.is_file() && !path.is_symlink()).cloned();
    here.or_else(|| {
        entries.iter().filter(|path| path.is_dir() && !path.is_symlink()).find_map(|path| find(path, start))
    })
}
