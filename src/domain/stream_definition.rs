//! A stream as the registry keeps it. Holds no clear secret: client secrets are hashed, mask seeds wrapped.

use serde::{Deserialize, Serialize};

use super::{
    ConsentRule, ConsentRuleError, LimitError, PolicyId, ProjectName, StreamLimits, StreamName, limits,
    mask::{MaskConfig, MaskError},
};
use crate::clock::Timestamp;

/// Days events are kept when nothing else is said.
pub const RETENTION_DAYS_DEFAULT: u32 = 7;

/// One source or derived stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamDefinition {
    pub name: StreamName,
    /// What it belongs to.
    #[serde(default)]
    pub project: ProjectName,
    /// At most 1000 characters.
    #[serde(default)]
    pub description: String,
    /// At most 20 of at most 100 characters.
    #[serde(default)]
    pub tags: Vec<String>,
    /// A stream that is not takes no events and is not derived from.
    pub enabled: bool,
    pub created: Timestamp,
    /// 1..=3650.
    #[serde(default = "retention_days_default")]
    pub retention_days: u32,
    /// None: a source stream.
    #[serde(default)]
    pub derived: Option<Derivation>,
    #[serde(default)]
    pub credentials: Vec<StoredCredential>,
    #[serde(default)]
    pub limits: StreamLimits,
    /// Which policy new keys are made under.
    #[serde(default)]
    pub policy: Option<PolicyId>,
}

/// How a derived stream is made from its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Derivation {
    pub source: StreamName,
    pub rule: ConsentRule,
    #[serde(default)]
    pub masks: Option<MaskConfig>,
    /// Raised when the rule changes: the derived log starts anew.
    pub generation: u32,
    /// Keep the serialization the event arrived in instead of writing JSON.
    #[serde(default)]
    pub as_received: bool,
    /// First sequence of the source log this stream ever sees.
    #[serde(default)]
    pub begins_at: u64,
}

/// A client that may send to or read the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredCredential {
    pub client_id: String,
    /// Base64 of the hash of the client secret.
    pub secret_hash: String,
    pub created: Timestamp,
    /// From then on it is as if it were not there: it was replaced, and had some time left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// Why a stream cannot be as asked. The caller asks for something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    #[error("description: at most {max} characters", max = limits::STREAM_DESCRIPTION_CHARS_MAX)]
    Description,
    #[error("tags: at most {max}", max = limits::STREAM_TAGS_MAX)]
    Tags,
    #[error("tags: each has 1 to {max} characters", max = limits::TITLE_CHARS_MAX)]
    Tag,
    #[error("tags: the same one twice")]
    TagRepeated,
    #[error("retentionDays: 1 to {max}", max = limits::RETENTION_DAYS_MAX)]
    Retention,
    #[error("credentials: at most {max}, each of a client id of its own", max = limits::STREAM_CREDENTIALS_MAX)]
    Credentials,
    #[error("derivedFrom: a stream cannot derive from itself")]
    DerivesFromItself,
    #[error("purposes: {0}")]
    Rule(#[from] ConsentRuleError),
    #[error("maskedFields: {0}")]
    Masks(#[from] MaskError),
    #[error("limits: {0}")]
    Limits(#[from] LimitError),
    #[error("limits: a derived stream has none, give them to its source")]
    LimitsOfDerived,
    #[error("policy: a derived stream has none, keys are made for its source")]
    PolicyOfDerived,
}

impl StreamDefinition {
    /// An enabled source stream without credentials.
    #[must_use]
    pub fn source(name: StreamName, created: Timestamp) -> StreamDefinition {
        StreamDefinition {
            name,
            project: ProjectName::default(),
            description: String::new(),
            tags: Vec::new(),
            enabled: true,
            created,
            retention_days: RETENTION_DAYS_DEFAULT,
            derived: None,
            credentials: Vec::new(),
            limits: StreamLimits::default(),
            policy: None,
        }
    }

    /// Checks what can be said without looking at other streams.
    ///
    /// # Errors
    ///
    /// The first rule that is broken, by the name of its field in the API.
    pub fn validate(&self) -> Result<(), DefinitionError> {
        if self.description.chars().count() > limits::STREAM_DESCRIPTION_CHARS_MAX {
            return Err(DefinitionError::Description);
        }
        validate_tags(&self.tags)?;
        if !(1..=limits::RETENTION_DAYS_MAX).contains(&self.retention_days) {
            return Err(DefinitionError::Retention);
        }
        let ids = &self.credentials;
        let repeated = |at: usize| ids[..at].iter().any(|other| other.client_id == ids[at].client_id);
        if ids.len() > limits::STREAM_CREDENTIALS_MAX || (0..ids.len()).any(repeated) {
            return Err(DefinitionError::Credentials);
        }
        self.limits.validate()?;
        self.derived.as_ref().map_or(Ok(()), |derived| self.validate_derivation(derived))
    }

    fn validate_derivation(&self, derived: &Derivation) -> Result<(), DefinitionError> {
        if derived.source == self.name {
            return Err(DefinitionError::DerivesFromItself);
        }
        if !self.limits.is_none() {
            return Err(DefinitionError::LimitsOfDerived);
        }
        if self.policy.is_some() {
            return Err(DefinitionError::PolicyOfDerived);
        }
        derived.rule.validate()?;
        derived.masks.as_ref().map_or(Ok(()), MaskConfig::validate)?;
        Ok(())
    }
}

fn validate_tags(tags: &[String]) -> Result<(), DefinitionError> {
    if tags.len() > limits::STREAM_TAGS_MAX {
        return Err(DefinitionError::Tags);
    }
    for (at, tag) in tags.iter().enumerate() {
        if !(1..=limits::TITLE_CHARS_MAX).contains(&tag.chars().count()) {
            return Err(DefinitionError::Tag);
        }
        if tags[..at].contains(tag) {
            return Err(DefinitionError::TagRepeated);
        }
    }
    Ok(())
}

fn retention_days_default() -> u32 {
    RETENTION_DAYS_DEFAULT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> StreamDefinition {
        StreamDefinition::source("clicks".parse().unwrap(), Timestamp(1))
    }

    fn derived() -> StreamDefinition {
        let derivation = Derivation {
            source: "clicks".parse().unwrap(),
            rule: ConsentRule::granular([1, 2]).unwrap(),
            masks: Some(MaskConfig::parse(["acme/click/1.0.0:email"]).unwrap()),
            generation: 1,
            as_received: false,
            begins_at: 7,
        };
        StreamDefinition { name: "clicks-M1-2".parse().unwrap(), derived: Some(derivation), ..source() }
    }

    fn refusal(change: impl FnOnce(&mut StreamDefinition)) -> String {
        let mut definition = derived();
        change(&mut definition);
        definition.validate().unwrap_err().to_string()
    }

    #[test]
    fn a_stored_stream_comes_back_as_it_was() {
        let mut definition = derived();
        let (client_id, secret_hash) = ("stream-1".to_owned(), "aGFzaA==".to_owned());
        definition.credentials.push(StoredCredential {
            client_id,
            secret_hash,
            created: Timestamp(2),
            expires: None,
        });
        assert_eq!(definition.validate(), Ok(()));
        let stored = serde_json::to_value(&definition).unwrap();
        assert_eq!(stored["derived"]["asReceived"], false);
        assert_eq!(stored["credentials"][0]["clientId"], "stream-1");
        assert_eq!(serde_json::from_value::<StreamDefinition>(stored).unwrap(), definition);
    }

    #[test]
    fn what_a_document_leaves_out_gets_the_defaults() {
        let text = r#"{"name": "clicks", "enabled": true, "created": 1}"#;
        assert_eq!(serde_json::from_str::<StreamDefinition>(text).unwrap(), source());
    }

    #[test]
    fn every_refusal_names_the_field_and_the_rule() {
        let tag = |n: usize| n.to_string();
        assert_eq!(refusal(|s| s.description = "x".repeat(1001)), "description: at most 1000 characters");
        assert_eq!(refusal(|s| s.tags = (0..21).map(tag).collect()), "tags: at most 20");
        assert_eq!(refusal(|s| s.tags = vec!["x".repeat(101)]), "tags: each has 1 to 100 characters");
        assert_eq!(refusal(|s| s.tags = vec![String::new()]), "tags: each has 1 to 100 characters");
        assert_eq!(refusal(|s| s.tags = vec!["a".into(), "a".into()]), "tags: the same one twice");
        assert_eq!(refusal(|s| s.retention_days = 0), "retentionDays: 1 to 3650");
        assert_eq!(refusal(|s| s.retention_days = 3651), "retentionDays: 1 to 3650");
        let rule = |s: &mut StreamDefinition| s.derived.as_mut().unwrap().rule = ConsentRule::Cumulative(-1);
        assert_eq!(refusal(rule), "purposes: a purpose is in the range 0 to 999");
        let masks =
            |s: &mut StreamDefinition| s.derived.as_mut().unwrap().masks = Some(MaskConfig::default());
        assert!(refusal(masks).starts_with("maskedFields: masks name 1 to 64 contracts"));
        assert!(refusal(|s| s.name = "clicks".parse().unwrap()).starts_with("derivedFrom: "));
    }
}
