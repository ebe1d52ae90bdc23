//! Finds the Debian mirror that this machine already uses, so that the private apt asks nobody else.
//!
//! Reads apt's own configuration in both of its formats (one-line and deb822) and never changes it.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

/// One configured place that serves Debian packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) uri: String,
    pub(crate) suites: Vec<String>,
    pub(crate) components: Vec<String>,
    /// The value of `Signed-By`, verbatim: a path, a fingerprint or an embedded key of many lines.
    pub(crate) signed_by: Option<String>,
}

impl Source {
    /// The same place with other suites, as a deb822 stanza.
    pub(crate) fn stanza(&self, suites: &[&str]) -> String {
        let mut stanza = format!("Types: deb\nURIs: {}\nSuites: {}\nComponents: main\n", self.uri, suites.join(" "));
        if let Some(key) = &self.signed_by {
            stanza.push_str(&format!("Signed-By: {key}\n"));
        }
        stanza
    }

    /// Its URI without a user's name and password.
    pub(crate) fn shown(&self) -> String {
        match (self.uri.split_once("//"), self.uri.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}//{host}"),
            _ => self.uri.clone(),
        }
    }

    fn serves(&self, archive: &str) -> bool {
        // `mirror+file:/etc/apt/mirrors/debian.list` is how Debian's cloud images name theirs.
        let last = self.uri.trim_end_matches('/').rsplit('/').next().unwrap_or("");
        last.trim_end_matches(".list") == archive && self.components.iter().any(|name| name == "main")
    }
}

/// The places that serve the archive and, if configured, its security updates.
pub(crate) struct Debian {
    pub(crate) archive: Source,
    pub(crate) security: Option<Source>,
}

/// Looks through `apt_etc` (usually `/etc/apt`). `ASSAY_DEBIAN_MIRROR` gives the archive's URI instead,
/// for systems that are not Debian.
///
/// # Errors
/// Nothing there serves Debian.
pub(crate) fn debian(apt_etc: &Path) -> Result<Debian> {
    let all = read_all(apt_etc);
    let security = all.iter().find(|source| source.serves("debian-security")).cloned();
    if let Ok(uri) = std::env::var("ASSAY_DEBIAN_MIRROR") {
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let signed_by = Path::new(keyring).exists().then(|| keyring.to_owned());
        let archive = Source { uri, suites: Vec::new(), components: vec!["main".into()], signed_by };
        return Ok(Debian { archive, security });
    }
    match all.into_iter().find(|source| source.serves("debian")) {
        Some(archive) => Ok(Debian { archive, security }),
        None => bail!(
            "no source in {} serves Debian's archive.\n\
             Set ASSAY_DEBIAN_MIRROR to a mirror's URI (its keyring comes with the package \
             debian-archive-keyring), or do without: `--qemu PATH` names a QEMU 8.2 or newer, \
             `--kernel FILE --initrd FILE` an arm64 Linux",
            apt_etc.display()
        ),
    }
}

fn read_all(apt_etc: &Path) -> Vec<Source> {
    let mut files = vec![apt_etc.join("sources.list")];
    if let Ok(folder) = fs::read_dir(apt_etc.join("sources.list.d")) {
        files.extend(folder.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mut found = Vec::new();
    for path in files {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => found.extend(text.lines().filter_map(one_line)),
            Some("sources") => found.extend(stanzas(&text).iter().flat_map(|stanza| deb822(stanza))),
            _ => {}
        }
    }
    found
}

/// `deb [signed-by=…] URI SUITE COMPONENT…`
fn one_line(line: &str) -> Option<Source> {
    let rest = line.split('#').next()?.trim().strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t']) {
        return None;
    }
    let rest = rest.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => ("", rest),
    };
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by=").map(str::to_owned));
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source { uri: words.next()?, suites: vec![words.next()?], components: words.collect(), signed_by })
}

fn stanzas(text: &str) -> Vec<Vec<(String, String)>> {
    let mut all = vec![Vec::<(String, String)>::new()];
    for line in text.lines() {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            all.push(Vec::new());
        } else if line.starts_with([' ', '\t']) {
            // A continuation: embedded keys keep their leading blank, apt's own form.
            if let Some((_, value)) = all.last_mut().and_then(|stanza| stanza.last_mut()) {
                value.push('\n');
                value.push_str(line);
            }
        } else if let (Some((key, value)), Some(stanza)) = (line.split_once(':'), all.last_mut()) {
            stanza.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    all
}

fn deb822(stanza: &[(String, String)]) -> Vec<Source> {
    let field = |name: &str| stanza.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let words =
        |name: &str| -> Vec<String> { field(name).unwrap_or("").split_whitespace().map(str::to_owned).collect() };
    if field("enabled") == Some("no") || !words("types").iter().any(|kind| kind == "deb") {
        return Vec::new();
    }
    let source = |uri| Source {
        uri,
        suites: words("suites"),
        components: words("components"),
        signed_by: field("signed-by").map(str::to_owned),
    };
    words("uris").into_iter().map(source).collect()
}

#[cfg(test)]
mod tests {
    use super::{Source, deb822, one_line, stanzas};

    #[test]
    fn a_one_line_entry_gives_uri_suite_components_and_key() {
        let source =
            one_line("deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian trixie main contrib # x").unwrap();
        assert_eq!(source.uri, "http://mirror.example/debian");
        assert_eq!(source.suites, ["trixie"]);
        assert_eq!(source.components, ["main", "contrib"]);
        assert_eq!(source.signed_by.as_deref(), Some("/k.gpg"));
        assert!(source.serves("debian"));
    }

    #[test]
    fn a_users_password_is_not_shown() {
        let source = |uri: &str| one_line(&format!("deb {uri} bookworm main")).unwrap();
        assert_eq!(source("https://me:secret@mirror.example/debian").shown(), "https://mirror.example/debian");
        assert_eq!(source("http://mirror.example/debian").shown(), "http://mirror.example/debian");
    }

    #[test]
    fn sources_of_source_packages_and_comments_are_passed_over() {
        assert_eq!(one_line("deb-src http://mirror.example/debian trixie main"), None);
        assert_eq!(one_line("# deb http://mirror.example/debian trixie main"), None);
    }

    #[test]
    fn a_deb822_stanza_keeps_an_embedded_key_whole() {
        let text = "Types: deb\nURIs: http://mirror.example/debian/\nSuites: bookworm bookworm-updates\n\
                    Components: main\nSigned-By:\n -----BEGIN\n .\n -----END\n\nEnabled: no\nTypes: deb\nURIs: http://x/debian\n";
        let found: Vec<Source> = stanzas(text).iter().flat_map(|stanza| deb822(stanza)).collect();
        assert_eq!(found.len(), 1);
        assert!(found[0].serves("debian"));
        assert_eq!(
            found[0].stanza(&["bookworm-backports"]),
            "Types: deb\nURIs: http://mirror.example/debian/\nSuites: bookworm-backports\nComponents: main\n\
             Signed-By: \n -----BEGIN\n .\n -----END\n"
        );
    }

    #[test]
    fn a_vendor_that_has_a_main_component_is_not_taken_for_debian() {
        let source = one_line("deb https://apt.vendor.example bookworm main").unwrap();
        assert!(!source.serves("debian"));
    }
}
