//! What the host says of itself.

use std::fs;

/// The release's code name (`bookworm`), empty if the system has none.
pub(crate) fn codename() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    field(&text, "VERSION_CODENAME").unwrap_or_default()
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(line.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn the_code_name_is_read_with_and_without_quotes() {
        assert_eq!(field("ID=debian\nVERSION_CODENAME=trixie\n", "VERSION_CODENAME").as_deref(), Some("trixie"));
        assert_eq!(field("VERSION_CODENAME=\"noble\"", "VERSION_CODENAME").as_deref(), Some("noble"));
        assert_eq!(field("ID=arch\n", "VERSION_CODENAME"), None);
    }
}
