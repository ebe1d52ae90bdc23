//! An apt of our own: the user's mirror, proxy and keys, but private state, so that it needs no root
//! and leaves neither a foreign architecture nor a package list behind.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::sources;
use crate::progress::Progress;

/// One private apt for one architecture and set of suites.
pub(crate) struct Apt {
    root: PathBuf,
    release: Option<String>,
    /// Whom it asks.
    mirror: String,
}

/// What an [`Apt`] shall see.
pub(crate) struct Suites<'a> {
    /// Debian's name of the architecture, or the machine's own if empty.
    pub(crate) architecture: &'a str,
    /// Suites of the archive.
    pub(crate) archive: &'a [&'a str],
    /// Suites of the security updates, used where the user's apt has them.
    pub(crate) security: &'a [&'a str],
    /// The suite that `install` and `download` prefer.
    pub(crate) prefer: Option<&'a str>,
}

impl Apt {
    /// Writes the private configuration under `root` and fetches the package lists.
    ///
    /// # Errors
    /// No apt, no Debian source, or the lists can't be fetched.
    pub(crate) fn open(root: &Path, suites: &Suites<'_>) -> Result<Self> {
        Self::open_for("deb", root, suites)
    }

    /// The same for source packages alone.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_sources(root: &Path, suites: &Suites<'_>) -> Result<Self> {
        Self::open_for("deb-src", root, suites)
    }

    fn open_for(types: &str, root: &Path, suites: &Suites<'_>) -> Result<Self> {
        if !available() {
            bail!(
                "this system has no apt, and the set-up fetches QEMU and the guests' files with it.\n\
                 Give them yourself: `--qemu PATH` (8.2 or newer; 10.0 is what is tested) and \
                 `--kernel FILE --initrd FILE`, or boot `--guest hello`, which needs no download"
            );
        }
        let debian = sources::debian(Path::new("/etc/apt"))?;
        for folder in ["state/lists/partial", "cache/archives/partial", "log", "empty"] {
            fs::create_dir_all(root.join(folder))?;
        }
        fs::write(root.join("status"), "")?;
        let mut list = debian.archive.stanza(suites.archive);
        if let (Some(security), false) = (&debian.security, suites.security.is_empty()) {
            list = format!("{list}\n{}", security.stanza(suites.security));
        }
        let list = list.replace("Types: deb\n", &format!("Types: {types}\n"));
        fs::write(root.join("debian.sources"), list)?;
        write_configuration(root, suites.architecture)?;
        let (release, mirror) = (suites.prefer.map(str::to_owned), debian.archive.shown());
        let apt = Self { root: root.to_path_buf(), release, mirror };
        // Without this, lists that can't be fetched are a warning, and packages of them unknown ones later.
        apt.run("package lists", "apt-get", &["update", "-o", "APT::Update::Error-Mode=any"])?;
        Ok(apt)
    }

    /// Downloads `packages` with all that they need, as if nothing were installed, and gives the archives.
    ///
    /// # Errors
    /// apt's own words.
    pub(crate) fn closure(&self, what: &str, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let mut arguments = vec!["install", "--download-only", "--no-install-recommends", "--yes"];
        arguments.extend(packages);
        self.run(what, "apt-get", &arguments)?;
        let mut archives = Vec::new();
        for entry in fs::read_dir(self.root.join("cache/archives"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                archives.push(path);
            }
        }
        archives.sort();
        Ok(archives)
    }

    /// Downloads one package alone and gives its archive.
    ///
    /// # Errors
    /// apt's own words.
    pub(crate) fn download(&self, package: &str) -> Result<PathBuf> {
        let folder = self.root.join("download");
        // An interrupted earlier attempt may have left another version.
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        self.run(package, "apt-get", &["download", package])?;
        let entry = fs::read_dir(&folder)?.next().context("apt-get download left no file")??;
        Ok(entry.path())
    }

    /// Downloads a source package and gives upstream's archive of it.
    ///
    /// # Errors
    /// apt's own words.
    pub(crate) fn source(&self, package: &str) -> Result<PathBuf> {
        self.run(package, "apt-get", &["source", "--download-only", package])?;
        let files = fs::read_dir(&self.root)?.filter_map(|entry| Some(entry.ok()?.path()));
        let mut archives = files.filter(|path| path.to_string_lossy().contains(".orig.tar."));
        archives.next().with_context(|| format!("apt-get source left no archive of {package}"))
    }

    /// The packages that `package` depends on, by name.
    ///
    /// # Errors
    /// apt doesn't know the package.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let output = self.command("apt-cache", &["depends", "--important", package]).output()?;
        if !output.status.success() {
            bail!("apt-cache depends {package}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().filter_map(|line| line.trim().strip_prefix("Depends: ").map(str::to_owned)).collect())
    }

    /// Frees what only the fetching needed.
    pub(crate) fn discard(self) -> Result<()> {
        Ok(fs::remove_dir_all(&self.root)?)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.root.join("apt.conf")).env("LC_ALL", "C");
        if let Some(release) = &self.release {
            command.arg("-t").arg(release);
        }
        command.args(arguments);
        command
    }

    fn run(&self, what: &str, program: &str, arguments: &[&str]) -> Result<()> {
        let mut progress = Progress::start(what);
        let mut child = self
            .command(program, arguments)
            .args(["-q", "-o", "APT::Status-Fd=1"])
            .current_dir(if arguments.first() == Some(&"download") {
                self.root.join("download")
            } else {
                self.root.clone()
            })
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("can't run {program}"))?;
        // apt says little on stderr, less than a pipe holds, so it is read after stdout.
        let stdout = child.stdout.take().context("no pipe")?;
        let mut bytes = 0u64;
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            // dlstatus:ITEM:PERCENT:MESSAGE
            if let Some(status) = line.strip_prefix("dlstatus:") {
                let mut fields = status.splitn(3, ':');
                let percent = fields.nth(1).and_then(|field| field.split('.').next()?.parse().ok());
                progress.at(percent.unwrap_or(0), fields.next().unwrap_or(""));
            } else if line.starts_with("Get:") {
                bytes += 1;
            }
        }
        let mut complaint = String::new();
        child.stderr.take().context("no pipe")?.read_to_string(&mut complaint)?;
        if !child.wait()?.success() {
            bail!(failure(what, &self.mirror, &complaint));
        }
        progress.done(&format!("done ({bytes} files)"));
        Ok(())
    }
}

/// What a user can do where apt can't fetch.
fn failure(what: &str, mirror: &str, complaint: &str) -> String {
    format!(
        "can't fetch {what} from {mirror}. Is this machine offline? ASSAY_DEBIAN_MIRROR names another mirror; or do \
         without one: `--qemu PATH` (8.2 or newer) and `--kernel FILE --initrd FILE`, or `--guest hello`, which needs \
         a QEMU only.\napt says:\n{}",
        complaint.trim()
    )
}

/// Whether apt and dpkg are here at all.
pub(crate) fn available() -> bool {
    let answers = |program| {
        let command = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        command.is_ok_and(|status| status.success())
    };
    answers("apt-get") && answers("dpkg")
}

/// Unpacks an archive below `to`, without its scripts.
///
/// # Errors
/// dpkg's own words.
pub(crate) fn unpack(archive: &Path, to: &Path) -> Result<()> {
    let output = Command::new("dpkg").arg("-x").arg(archive).arg(to).output().context("can't run dpkg")?;
    if !output.status.success() {
        bail!("dpkg -x {}: {}", archive.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The user's `Acquire` settings (proxies, timeouts) count; their hooks and preferences don't.
fn write_configuration(root: &Path, architecture: &str) -> Result<()> {
    let dump = Command::new("apt-config").arg("dump").output().context("can't run apt-config")?;
    let dump = String::from_utf8_lossy(&dump.stdout).into_owned();
    let mut text: String = dump
        .lines()
        .filter(|line| line.starts_with("Acquire::") && !line.starts_with("Acquire::IndexTargets"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let empty = root.join("empty");
    let place = |key: &str, path: PathBuf| format!("{key} \"{}\";\n", path.display());
    text.push_str(&place("Dir::State", root.join("state")));
    text.push_str(&place("Dir::State::status", root.join("status")));
    text.push_str(&place("Dir::Cache", root.join("cache")));
    text.push_str(&place("Dir::Log", root.join("log")));
    text.push_str(&place("Dir::Etc::sourcelist", root.join("debian.sources")));
    for key in ["sourceparts", "parts", "preferencesparts"] {
        text.push_str(&place(&format!("Dir::Etc::{key}"), empty.clone()));
    }
    text.push_str(&place("Dir::Etc::preferences", root.join("no-preferences")));
    text.push_str(&place("Dir::Etc::main", root.join("no-main")));
    text.push_str(
        "Acquire::Languages \"none\";\nAPT::Install-Recommends \"false\";\nAPT::Keep-Downloaded-Packages \"true\";\n",
    );
    // As root, apt would fetch as a user who can't write into this cache.
    text.push_str("APT::Sandbox::User \"root\";\n");
    if !architecture.is_empty() {
        text.push_str(&format!(
            "APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n"
        ));
    }
    let path = root.join("apt.conf");
    fs::write(&path, text)?;
    // A proxy's name may carry a password.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::failure;

    #[test]
    fn what_cannot_be_fetched_is_named_with_the_mirror_and_what_to_give_instead() {
        let text = failure("package lists", "http://deb.example/debian", "E: Temporary failure resolving\n");
        for word in
            ["package lists", "http://deb.example/debian", "ASSAY_DEBIAN_MIRROR", "--qemu", "--kernel", "E: Temp"]
        {
            assert!(text.contains(word), "{text}");
        }
    }
}
