//! Masks of a derived stream: which fields become one-way codes, and which code. Configuration only; the
//! codes themselves are made in `crypto::mask`.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ContractRef, FieldPath, FieldPathError, RefError, limits};

/// Which code a mask writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum MaskHash {
    /// Lower-case hex of the first 16 bytes of HMAC-SHA256(seed, value).
    #[default]
    #[serde(rename = "HMAC_SHA256")]
    HmacSha256,
    /// The original's. No protection against somebody who can guess values.
    #[serde(rename = "MURMUR3")]
    Murmur3,
}

/// Masks of one derived stream. Each pattern list holds every field once, none under `strmMeta`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MaskConfig {
    #[serde(default)]
    pub hash: MaskHash,
    /// Secret. In a stored definition: the seed wrapped under the master key, base64. Empty: not chosen yet.
    #[serde(default)]
    pub seed: String,
    /// The masked fields of each contract.
    pub patterns: BTreeMap<ContractRef, Vec<FieldPath>>,
}

/// Why masks cannot be made as asked. Names fields and contracts, which are no secrets; never the seed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    #[error("a mask has the form handle/name/version:field,field")]
    Form,
    #[error("a mask starts with the reference of a contract: {0}")]
    Reference(#[from] RefError),
    #[error("a mask names fields: {0}")]
    Field(#[from] FieldPathError),
    #[error("{contract}: field {field} reaches into strmMeta, which is the same in every stream")]
    Meta { contract: ContractRef, field: FieldPath },
    #[error("{contract}: field {field} is masked twice")]
    Repeated { contract: ContractRef, field: FieldPath },
    #[error("{contract}: a mask names at least one field")]
    Empty { contract: ContractRef },
    #[error("masks name 1 to {contracts} contracts with at most {fields} fields each",
        contracts = limits::MASK_CONTRACTS_MAX, fields = limits::MASK_FIELDS_MAX)]
    TooMany,
    #[error("a mask seed takes at most {max} bytes", max = limits::MASK_SEED_BYTES_MAX)]
    Seed,
}

impl MaskConfig {
    /// Masks from their command-line form, `REF:f1,f2` each. Several may name one contract.
    ///
    /// # Errors
    ///
    /// When one does not have that form, or they break a rule together.
    pub fn parse<'a>(masks: impl IntoIterator<Item = &'a str>) -> Result<MaskConfig, MaskError> {
        let mut config = MaskConfig::default();
        for mask in masks {
            let (reference, fields) = mask.split_once(':').ok_or(MaskError::Form)?;
            let patterns = config.patterns.entry(reference.trim().parse()?).or_default();
            for field in fields.split(',') {
                patterns.push(field.trim().parse()?);
            }
        }
        config.validate().map(|()| config)
    }

    /// Checks masks that were read from a request.
    ///
    /// # Errors
    ///
    /// When a limit is passed, or a list is empty, repeats a field, or names one under `strmMeta`.
    pub fn validate(&self) -> Result<(), MaskError> {
        if !(1..=limits::MASK_CONTRACTS_MAX).contains(&self.patterns.len()) {
            return Err(MaskError::TooMany);
        }
        for (contract, fields) in &self.patterns {
            let contract = || contract.clone();
            if fields.is_empty() {
                return Err(MaskError::Empty { contract: contract() });
            }
            if fields.len() > limits::MASK_FIELDS_MAX {
                return Err(MaskError::TooMany);
            }
            for (at, field) in fields.iter().enumerate() {
                if field.is_meta() {
                    return Err(MaskError::Meta { contract: contract(), field: field.clone() });
                }
                if fields[..at].contains(field) {
                    return Err(MaskError::Repeated { contract: contract(), field: field.clone() });
                }
            }
        }
        Ok(())
    }
}

/// Checks a seed somebody chose, before it is wrapped.
///
/// # Errors
///
/// When it is longer than the original allowed.
pub fn check_seed(seed: &str) -> Result<(), MaskError> {
    if seed.len() > limits::MASK_SEED_BYTES_MAX { Err(MaskError::Seed) } else { Ok(()) }
}

impl fmt::Debug for MaskConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskConfig")
            .field("hash", &self.hash)
            .field("patterns", &self.patterns)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(mask: &str) -> String {
        MaskConfig::parse([mask]).unwrap_err().to_string()
    }

    #[test]
    fn the_command_line_form_is_read() {
        let config = MaskConfig::parse(["acme/click/1.0.0:email, customer/id", "acme/buy/1.0.0:a"]).unwrap();
        let clicks = &config.patterns[&"acme/click/1.0.0".parse::<ContractRef>().unwrap()];
        assert_eq!(clicks.iter().map(FieldPath::as_str).collect::<Vec<_>>(), ["email", "customer/id"]);
        assert_eq!((config.patterns.len(), config.hash), (2, MaskHash::HmacSha256));
        let twice = MaskConfig::parse(["acme/click/1.0.0:a", "acme/click/1.0.0:b"]).unwrap();
        assert_eq!(twice.patterns.values().next().unwrap().len(), 2);
    }

    #[test]
    fn every_refusal_names_the_rule() {
        assert!(refusal("email").starts_with("a mask has the form"));
        assert!(refusal("acme:email").starts_with("a mask starts with the reference"));
        assert!(refusal("acme/click/1.0.0:").starts_with("a mask names fields"));
        assert!(refusal("acme/click/1.0.0:a,,b").starts_with("a mask names fields"));
        assert_eq!(refusal("acme/click/1.0.0:a,a"), "acme/click/1.0.0: field a is masked twice");
        let meta = refusal("acme/click/1.0.0:strmMeta/keyLink");
        assert!(meta.starts_with("acme/click/1.0.0: field strmMeta/keyLink reaches into strmMeta"));
        assert_eq!(MaskConfig::parse([]), Err(MaskError::TooMany));
        assert_eq!(check_seed(&"x".repeat(1001)), Err(MaskError::Seed));
    }

    #[test]
    fn the_seed_is_stored_and_never_printed() {
        let mut config = MaskConfig::parse(["acme/click/1.0.0:email"]).unwrap();
        config.seed = "hi-there".into();
        assert!(!format!("{config:?}").contains("hi-there"));
        let stored = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<MaskConfig>(&stored).unwrap(), config);
        assert_eq!(serde_json::to_string(&MaskHash::Murmur3).unwrap(), "\"MURMUR3\"");
    }
}
