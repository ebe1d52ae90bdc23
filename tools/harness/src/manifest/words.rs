//! The words of a manifest that stand for the policy's values.

use assay_plan::policy::{Allow, ProofAt, Use};
use serde::de::Error;
use serde::{Deserialize as _, Deserializer};

pub(super) fn use_<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Use, D::Error> {
    let word = String::deserialize(deserializer)?;
    Use::from_name(&word).ok_or_else(|| D::Error::custom(word))
}

pub(super) fn proof<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ProofAt, D::Error> {
    let word = String::deserialize(deserializer)?;
    ProofAt::from_name(&word).ok_or_else(|| D::Error::custom(word))
}

pub(super) fn allow<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Allow>, D::Error> {
    let words = Vec::<String>::deserialize(deserializer)?;
    words.into_iter().map(|word| Allow::from_name(&word).ok_or_else(|| D::Error::custom(word))).collect()
}
