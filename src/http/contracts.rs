//! `/api/v1/contracts`: make, show, activate, archive and delete data contracts.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Payload},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    ApiError, Doors,
    gate::{self, demand_contract, identify},
    streams::document,
};
use crate::{
    actors::{ControlError, KnownContract, NewContract},
    domain::{
        Contract, ContractRef, ContractState, Permission, PersonalField, ProjectName, Rule, Schema,
        SchemaKind, Suite,
    },
};

/// What a client sends to make a contract: the two documents as text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContractRequest {
    #[serde(rename = "ref")]
    reference: ContractRef,
    #[serde(default)]
    project: ProjectName,
    #[serde(default)]
    schema: Option<String>,
    contract: String,
    #[serde(default)]
    public: bool,
}

/// A contract as the API shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContractAnswer<'a> {
    #[serde(rename = "ref")]
    reference: &'a ContractRef,
    project: &'a ProjectName,
    state: ContractState,
    is_public: bool,
    schema_ref: &'a ContractRef,
    key_field: &'a str,
    personal_fields: &'a [PersonalField],
    validations: Vec<ValidationAnswer<'a>>,
    data_subject_field: Option<&'a str>,
    cipher_suite: Suite,
    title: &'a str,
    description: &'a str,
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<SchemaAnswer<'a>>,
}

#[derive(Serialize)]
struct ValidationAnswer<'a> {
    field: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
struct SchemaAnswer<'a> {
    kind: SchemaKind,
    definition: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct ContractsAnswer<'a> {
    contracts: Vec<ContractAnswer<'a>>,
}

type RefPath = Path<(String, String, String)>;

/// Makes a contract in state DRAFT.
pub(super) async fn create(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let wanted: ContractRequest = document(&request, payload, &doors).await?;
    let by = gate::demand_project_of(&identity, Permission::CreateContracts, &wanted.project)?;
    let mut contract =
        Contract::parse(&wanted.reference, &wanted.contract).map_err(ControlError::ContractDocument)?;
    contract.is_public |= wanted.public;
    contract.project = wanted.project;
    let schema = match &wanted.schema {
        Some(text) => Some(Schema::parse(&contract.schema_ref, text).map_err(ControlError::SchemaDocument)?),
        None => None,
    };
    gate::demand_schemas(&identity, &contract, schema.as_ref())?;
    let made = doors.registry.create_contract(by, NewContract { contract, schema }).await?;
    Ok(HttpResponse::Created().json(answer(&made, None)))
}

/// All contracts that the caller sees, by reference.
pub(super) async fn list(request: HttpRequest, doors: Data<Doors>) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let seen = identity.inventory().contracts();
    let mut known: Vec<_> = seen.filter(|known| gate::sees_contract(&identity, known)).collect();
    known.sort_by(|a, b| a.contract.reference.cmp(&b.contract.reference));
    let contracts = known.into_iter().map(|known| answer(known, None)).collect();
    Ok(HttpResponse::Ok().json(ContractsAnswer { contracts }))
}

/// One contract, with its schema.
pub(super) async fn get(
    request: HttpRequest,
    path: RefPath,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let wanted = reference(&path);
    let (identity, known) = demand_contract(&request, &doors, Permission::ViewContracts, &wanted).await?;
    let schema = identity.inventory().schema(known.contract.schema_ref.as_str()).map(|known| &known.schema);
    Ok(HttpResponse::Ok().json(answer(&known, schema)))
}

/// Takes a contract to ACTIVE: events are accepted under it from now on.
pub(super) async fn activate(
    request: HttpRequest,
    path: RefPath,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    step(&request, &path, &doors, ContractState::Active).await
}

/// Takes a contract to ARCHIVED: no more events are accepted under it.
pub(super) async fn archive(
    request: HttpRequest,
    path: RefPath,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    step(&request, &path, &doors, ContractState::Archived).await
}

/// Deletes a contract that was never ACTIVE.
pub(super) async fn delete(
    request: HttpRequest,
    path: RefPath,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let wanted = reference(&path);
    let (identity, known) = demand_contract(&request, &doors, Permission::DeleteResources, &wanted).await?;
    doors.registry.delete_contract(identity.who(), known.contract.reference.clone()).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn step(
    request: &HttpRequest,
    path: &RefPath,
    doors: &Doors,
    to: ContractState,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) =
        demand_contract(request, doors, Permission::ViewContracts, &reference(path)).await?;
    let permission = match (known.contract.state, to) {
        (ContractState::Approved, ContractState::Active) => Permission::CreateContracts,
        (_, ContractState::Archived) => Permission::DeleteResources,
        // Activating what nobody approved takes who may approve.
        _ => Permission::ReviewContracts,
    };
    let by = gate::demand_contract_of(&identity, permission, &known)?;
    let known = doors.registry.step_contract(by, known.contract.reference.clone(), to).await?;
    Ok(HttpResponse::Ok().json(answer(&known, None)))
}

fn reference(path: &RefPath) -> String {
    let (handle, name, version) = &**path;
    format!("{handle}/{name}/{version}")
}

fn answer<'a>(known: &'a KnownContract, schema: Option<&'a Schema>) -> ContractAnswer<'a> {
    let contract = &known.contract;
    let validation = |validation: &'a crate::domain::Validation| match &validation.rule {
        Rule::Regex { pattern } => {
            ValidationAnswer { field: validation.field.as_str(), kind: "regex", value: pattern }
        }
    };
    ContractAnswer {
        reference: &contract.reference,
        project: &contract.project,
        state: contract.state,
        is_public: contract.is_public,
        schema_ref: &contract.schema_ref,
        key_field: contract.key_field.as_str(),
        personal_fields: &contract.personal_fields,
        validations: contract.validations.iter().map(validation).collect(),
        data_subject_field: contract.data_subject_field.as_ref().map(|field| field.as_str()),
        cipher_suite: contract.suite,
        title: &contract.about.title,
        description: &contract.about.description,
        warnings: contract.warnings(),
        schema: schema.map(|schema| SchemaAnswer {
            kind: schema.kind,
            definition: serde_json::from_str(&schema.definition).ok(),
        }),
    }
}
