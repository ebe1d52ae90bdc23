//! The words of the VM tree that stand for one of a few values.

use super::{Allow, CpuClaim, Use};

impl Use {
    /// Reads the manifest's word.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "ram" => Self::Ram,
            "dax" => Self::Dax,
            "aperture" => Self::Aperture,
            _ => return None,
        })
    }

    /// Returns the manifest's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ram => "ram",
            Self::Dax => "dax",
            Self::Aperture => "aperture",
        }
    }
}

impl Allow {
    /// Reads the manifest's word.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "mte-hidden" => Self::MteHidden,
            "non-cacheable" => Self::NonCacheable,
            "no-tag-access" => Self::NoTagAccess,
            "el2-cache-maintenance" => Self::El2CacheMaintenance,
            _ => return None,
        })
    }

    /// Returns the manifest's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::MteHidden => "mte-hidden",
            Self::NonCacheable => "non-cacheable",
            Self::NoTagAccess => "no-tag-access",
            Self::El2CacheMaintenance => "el2-cache-maintenance",
        }
    }
}

impl CpuClaim {
    /// Returns how many vCPUs that makes.
    pub const fn count(&self) -> usize {
        match self {
            Self::Count(count) => *count,
            Self::List(list) => list.len(),
        }
    }
}
