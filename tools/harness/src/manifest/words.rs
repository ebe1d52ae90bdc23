//! The words of a manifest that stand for the policy's values.

use assay_plan::policy::{Allow, Use};
use serde::{Deserialize, Deserializer};

/// The uses that a claim can have: memory between VMs is claimed in another way.
#[derive(Deserialize)]
#[serde(remote = "Use", rename_all = "kebab-case")]
pub(super) enum UseWord {
    Ram,
    Dax,
    Aperture,
}

/// The relaxations.
#[derive(Deserialize)]
#[serde(remote = "Allow", rename_all = "kebab-case")]
enum AllowWord {
    MteHidden,
    NoTagAccess,
    NonCacheable,
    El2CacheMaintenance,
}

/// One of a list.
#[derive(Deserialize)]
struct Listed(#[serde(with = "AllowWord")] Allow);

pub(super) fn allow<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Allow>, D::Error> {
    Ok(Vec::<Listed>::deserialize(deserializer)?.into_iter().map(|Listed(allow)| allow).collect())
}

#[cfg(test)]
mod tests {
    use assay_plan::policy::{Allow, Use};

    use crate::manifest::Coherent;

    #[test]
    fn the_words_are_the_policys() {
        let read = |text: &str| toml::from_str::<Coherent>(&format!("region = \"r\"\n{text}")).unwrap();
        for use_ in [Use::Ram, Use::Dax, Use::Aperture] {
            assert_eq!(read(&format!("use = \"{use_}\"")).use_, use_);
        }
        for allow in Allow::ALL {
            assert_eq!(read(&format!("use = \"ram\"\nallow = [\"{}\"]", allow.name())).allow, [allow]);
        }
    }
}
