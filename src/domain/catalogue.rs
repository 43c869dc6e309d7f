//! The built-in schemas and contracts: public, ACTIVE, known to every driver of the original. They are part of
//! the binary and cannot be changed. Files: `catalogue/` at the top of the repository.

use super::{Contract, ContractRef, ContractState, Schema};

macro_rules! files {
    ($folder:literal, $($name:literal $version:literal),+) => {
        [$((
            concat!("strmprivacy/", $name, "/", $version),
            include_str!(concat!("../../catalogue/", $folder, "/strmprivacy-", $name, "-", $version, ".json")),
        )),+]
    };
}

const SCHEMAS: [(&str, &str); 5] = files!(
    "schemas",
    "demo" "1.0.2",
    "example" "1.3.0",
    "example" "1.5.0",
    "clickstream" "1.0.0",
    "online-retail" "1.0.0"
);
const CONTRACTS: [(&str, &str); 4] = files!(
    "contracts",
    "example" "1.3.0",
    "example" "1.5.0",
    "clickstream" "1.0.0",
    "online-retail" "1.0.0"
);

/// The built-in schemas.
#[must_use]
pub fn schemas() -> Vec<Schema> {
    let read =
        |(name, text)| Schema::parse(&reference(name), text).expect("a test reads every built-in schema");
    SCHEMAS.into_iter().map(read).collect()
}

/// Whether a schema of this name is built in. Costs the same whatever is asked for.
#[must_use]
pub fn has_schema(reference: &ContractRef) -> bool {
    SCHEMAS.iter().filter(|(name, _)| *name == reference.as_str()).count() > 0
}

/// The built-in contracts. The schemas they name are among [`schemas`].
#[must_use]
pub fn contracts() -> Vec<Contract> {
    let read = |(name, text)| {
        let read = Contract::parse(&reference(name), text).expect("a test reads every built-in contract");
        Contract { state: ContractState::Active, is_public: true, ..read }
    };
    CONTRACTS.into_iter().map(read).collect()
}

fn reference(text: &str) -> ContractRef {
    text.parse().expect("a test reads every built-in reference")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_built_in_contract_is_active_public_and_has_its_schemas() {
        let schemas = schemas();
        let known = |reference: &ContractRef| schemas.iter().any(|schema| schema.reference == *reference);
        assert_eq!((schemas.len(), contracts().len()), (5, 4));
        for contract in contracts() {
            assert!(contract.is_public && contract.state == ContractState::Active);
            assert!(known(&contract.schema_ref) && contract.other_schema_refs.iter().all(known));
        }
    }

    #[test]
    fn every_built_in_schema_is_avro_with_the_meta_section_first() {
        for schema in schemas() {
            assert!(apache_avro::Schema::parse_str(&schema.definition).is_ok(), "{}", schema.reference);
            let definition: Value = serde_json::from_str(&schema.definition).unwrap();
            assert_eq!(definition["fields"][0]["name"], "strmMeta", "{}", schema.reference);
        }
    }

    /// The drivers of the original send the schema `demo/1.0.2` with the contract `example/1.3.0`.
    #[test]
    fn the_example_contract_takes_the_schema_the_drivers_send() {
        let contracts = contracts();
        assert!(contracts[0].accepts_schema(&reference("strmprivacy/demo/1.0.2")));
        assert!(!contracts[1].accepts_schema(&reference("strmprivacy/demo/1.0.2")));
    }

    /// Against the files as the original published them.
    #[test]
    fn fields_levels_and_rules_are_those_of_the_original() {
        let published = [
            include_str!("../../tests/data/contract-strmprivacy-example-1.3.0.json"),
            include_str!("../../tests/data/contract-strmprivacy-example-1.5.0.json"),
            include_str!("../../tests/data/contract-strmprivacy-clickstream-1.0.0.json"),
            include_str!("../../tests/data/contract-strmprivacy-online-retail-1.0.0.json"),
        ];
        for (contract, published) in contracts().iter().zip(published) {
            let mut published: Value = serde_json::from_str(published).unwrap();
            published.as_object_mut().unwrap().remove("schemaRefs_accepted_in_Strm-Schema-Ref");
            let read = Contract::parse(&contract.reference, &published.to_string()).unwrap();
            assert_eq!(read.key_field, contract.key_field);
            assert_eq!(read.personal_fields, contract.personal_fields);
            assert_eq!(read.validations, contract.validations);
            assert_eq!(read.data_subject_field, contract.data_subject_field);
        }
    }
}
