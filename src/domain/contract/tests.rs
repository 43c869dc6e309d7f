//! The life of a contract, its stored form and its warnings.

use super::*;

fn contract() -> Contract {
    let reference: ContractRef = "acme/click/1.0.0".parse().unwrap();
    Contract::new(reference.clone(), reference, "sessionId".parse().unwrap())
}

fn personal(path: &str) -> PersonalField {
    PersonalField { path: path.parse().unwrap(), level: 1, equality_class: None }
}

#[test]
fn a_contract_takes_only_the_steps_of_its_life() {
    use ContractState::{Active, Approved, Archived, Draft, InReview};
    let legal = [
        (Draft, InReview),
        (Draft, Active),
        (InReview, Active),
        (InReview, Approved),
        (InReview, Draft),
        (Approved, Active),
        (Approved, Draft),
        (Active, Archived),
        (Archived, Active),
    ];
    for from in ContractState::ALL {
        for to in ContractState::ALL {
            assert_eq!(from.step(to).is_ok(), legal.contains(&(from, to)), "{from} to {to}");
        }
    }
    let refused = Draft.step(Archived).unwrap_err();
    assert_eq!(refused.to_string(), "a contract in state DRAFT cannot become ARCHIVED");
}

#[test]
fn states_are_stored_by_their_names_in_documents() {
    for state in ContractState::ALL {
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
    }
}

#[test]
fn a_stored_contract_comes_back_as_it_was() {
    let mut contract = contract();
    contract.personal_fields = vec![personal("customer/id"), personal("email")];
    contract.personal_fields[1].equality_class = Some(String::new());
    contract.validations =
        vec![Validation { field: "email".parse().unwrap(), rule: Rule::Regex { pattern: ".+@.+".into() } }];
    contract.data_subject_field = Some("customer/id".parse().unwrap());
    contract.suite = Suite::Aes256Siv;
    let stored = serde_json::to_string(&contract).unwrap();
    assert_eq!(serde_json::from_str::<Contract>(&stored).unwrap(), contract);
}

#[test]
fn names_that_promise_few_values_are_warned_of() {
    for name in
        ["gender", "userAge", "home_country", "postcode", "ZIP", "zip-code", "birthYear", "maritalStatus"]
    {
        assert!(suggests_few_values(name), "{name}");
    }
    for name in ["page", "email", "sessionId", "storage", "message", "cityzen", "userId"] {
        assert!(!suggests_few_values(name), "{name}");
    }
}

#[test]
fn warnings_name_the_field() {
    let mut contract = contract();
    contract.personal_fields = vec![personal("customer/gender"), personal("sessionId")];
    let warnings = contract.warnings();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("customer/gender: "));
    contract.personal_fields.clear();
    contract.data_subject_field = Some("customer/id".parse().unwrap());
    let warnings = contract.warnings();
    assert!(warnings[0].starts_with("sessionId: the key field is not personal"));
    assert!(warnings[1].starts_with("customer/id: the data subject field is not personal"));
}
