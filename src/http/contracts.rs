//! `/api/v1/contracts`: make, show, change and delete data contracts, and the steps of their life.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::ETAG,
    web::{Data, Path, Payload, Query},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiError, Doors,
    document::document,
    gate::{self, contract_rights, demand_contract, identify},
    once::once,
    openapi::{
        answers::{Asked, Changed, Demanded, Looked, Matched, Read},
        names::{CreateHeader, ETag, Handle, IfMatch, RefName, RefVersion, Step},
    },
    paging::page,
    precondition::{etag, if_match},
};
use crate::{
    actors::{ControlError, Inventory, KnownContract, KnownStream, NewContract},
    domain::{
        Contract, ContractRef, ContractState, ContractStep, FieldPath, Permission, PersonalField,
        ProjectName, Rule, Schema, SchemaKind, StepTaken, StreamName, Suite,
    },
    event::{ContractChanges, Version},
    gateway::Identity,
};

/// What a client sends to make a contract, or to replace a draft: the two documents as text.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewContract)]
struct ContractRequest {
    /// May be left out where the path names it.
    #[serde(rename = "ref")]
    reference: Option<ContractRef>,
    #[serde(default)]
    project: ProjectName,
    #[serde(default)]
    schema: Option<String>,
    contract: String,
    #[serde(default)]
    public: bool,
}

/// A contract as the API shows it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Contract)]
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
    history: &'a [StepTaken],
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<SchemaAnswer<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Validation)]
struct ValidationAnswer<'a> {
    field: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    value: &'a str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SchemaText)]
struct SchemaAnswer<'a> {
    kind: SchemaKind,
    #[schema(value_type = Option<Object>)]
    definition: Option<&'a RawValue>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Contracts)]
struct ContractsAnswer<'a> {
    contracts: Vec<ContractAnswer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

type RefPath = Path<(String, String, String)>;

#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    page_token: Option<String>,
    state: Option<ContractState>,
    handle: Option<String>,
}

/// Makes a contract in state DRAFT.
#[utoipa::path(post, path = "/api/v1/contracts", operation_id = "create_contract", tag = "contracts",
    request_body = ContractRequest,
    params(CreateHeader),
    responses((status = 201, body = ContractAnswer, headers(("ETag" = ETag))), Asked, Demanded, Looked, Read, Changed))]
pub(super) async fn create(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let (maker, door) = (identity.clone(), doors.clone());
    once(&request, payload, &doors, &identity, async move |wanted: ContractRequest| {
        let by = gate::demand_project_of(&maker, Permission::CreateContracts, &wanted.project)?;
        let reference = wanted.reference.clone();
        let reference = reference.ok_or_else(|| ApiError::BodyInvalid("field ref is missing".to_owned()))?;
        let mut new = parse(&maker, &reference, &wanted)?;
        new.contract.project = wanted.project;
        let made = door.registry.create_contract(by, new).await?;
        Ok(show(HttpResponse::Created(), &door, &made))
    })
    .await
}

/// Puts another text in the place of a DRAFT.
#[utoipa::path(put, path = "/api/v1/contracts/{handle}/{name}/{version}", operation_id = "update_contract", tag = "contracts",
    request_body = ContractRequest,
    params(("handle" = Handle, Path), ("name" = RefName, Path), ("version" = RefVersion, Path), IfMatch),
    responses((status = 200, body = ContractAnswer, headers(("ETag" = ETag))), Asked, Demanded, Looked, Read, Changed, Matched))]
pub(super) async fn replace(
    request: HttpRequest,
    payload: Payload,
    path: RefPath,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let wanted = named(&path);
    let (identity, known) = demand_contract(&request, &doors, Permission::CreateContracts, &wanted).await?;
    let expected = if_match(request.headers())?;
    let reference = known.contract.reference.clone();
    let wanted: ContractRequest = document(&request, payload, &doors).await?;
    if wanted.reference.as_ref().is_some_and(|named| *named != reference) {
        return Err(ApiError::BodyInvalid("field ref is not the reference of the path".to_owned()));
    }
    let mut new = parse(&identity, &reference, &wanted)?;
    new.contract.project = known.contract.project.clone();
    let rights = contract_rights(&identity, &known, ContractStep::Edit);
    let known = doors.registry.replace_contract(identity.who(), rights, new, expected).await?;
    Ok(show(HttpResponse::Ok(), &doors, &known))
}

fn parse(
    identity: &Identity,
    reference: &ContractRef,
    wanted: &ContractRequest,
) -> Result<NewContract, ControlError> {
    let mut contract =
        Contract::parse(reference, &wanted.contract).map_err(ControlError::ContractDocument)?;
    contract.is_public |= wanted.public;
    let schema = wanted.schema.as_ref().map(|text| Schema::parse(&contract.schema_ref, text));
    let schema = schema.transpose().map_err(ControlError::SchemaDocument)?;
    gate::demand_schemas(identity, &contract, schema.as_ref())?;
    Ok(NewContract { contract, schema })
}

/// Contracts that the caller sees by reference, page by page.
#[utoipa::path(get, path = "/api/v1/contracts", operation_id = "list_contracts", tag = "contracts",
    params(ListQuery),
    responses((status = 200, body = ContractsAnswer), Asked))]
pub(super) async fn list(
    request: HttpRequest,
    query: Query<ListQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let inventory = identity.inventory();
    let wanted = |known: &&Arc<KnownContract>| {
        let contract = &known.contract;
        gate::sees_contract(&identity, known)
            && query.state.is_none_or(|state| contract.state == state)
            && query.handle.as_ref().is_none_or(|handle| contract.reference.parts().0 == handle)
    };
    let mut known: Vec<_> = inventory.contracts().filter(wanted).collect();
    known.sort_by(|a, b| a.contract.reference.cmp(&b.contract.reference));
    let token = query.page_token.as_deref();
    let (known, next_page_token) =
        page(known, query.limit, token, |known| known.contract.reference.as_str())?;
    let contracts = known.into_iter().map(|known| answer(known, None, Vec::new())).collect();
    Ok(HttpResponse::Ok().json(ContractsAnswer { contracts, next_page_token }))
}

/// One contract, with its schema.
#[utoipa::path(get, path = "/api/v1/contracts/{handle}/{name}/{version}", operation_id = "get_contract", tag = "contracts",
    params(("handle" = Handle, Path), ("name" = RefName, Path), ("version" = RefVersion, Path)),
    responses((status = 200, body = ContractAnswer, headers(("ETag" = ETag))), Asked, Looked))]
pub(super) async fn get(
    request: HttpRequest,
    path: RefPath,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let wanted = named(&path);
    let (identity, known) = demand_contract(&request, &doors, Permission::ViewContracts, &wanted).await?;
    let inventory = identity.inventory();
    let schema = inventory.schema(known.contract.schema_ref.as_str()).map(|known| &known.schema);
    let answer = answer(&known, schema, warnings(inventory, &known.contract));
    Ok(HttpResponse::Ok().insert_header((ETAG, etag(known.version))).json(answer))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ChangesQuery {
    /// The version to compare with; none: the one before.
    from: Option<String>,
}

/// What a version changes, and which derived streams mask by one of the two.
#[derive(Serialize, ToSchema)]
#[schema(as = ContractDifference)]
struct ChangesAnswer {
    #[serde(flatten)]
    changes: ContractChanges,
    masks: Vec<MaskChange>,
}

#[derive(Serialize, ToSchema)]
struct MaskChange {
    stream: StreamName,
    from: Vec<FieldPath>,
    to: Vec<FieldPath>,
}

/// What this version changes of an earlier one.
#[utoipa::path(get, path = "/api/v1/contracts/{handle}/{name}/{version}/changes", operation_id = "get_contract_changes", tag = "contracts",
    params(ChangesQuery, ("handle" = Handle, Path), ("name" = RefName, Path), ("version" = RefVersion, Path)),
    responses((status = 200, body = ChangesAnswer), Asked, Looked))]
pub(super) async fn changes(
    request: HttpRequest,
    path: RefPath,
    query: Query<ChangesQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) =
        demand_contract(&request, &doors, Permission::ViewContracts, &named(&path)).await?;
    let inventory = identity.inventory();
    let reference = known.contract.reference.clone();
    let new = version(inventory, &reference)?;
    let seen = |known: &&Arc<KnownContract>| gate::sees_contract(&identity, known);
    let from = match &query.from {
        None => {
            inventory.contract_before(&reference).filter(seen).map(|known| known.contract.reference.clone())
        }
        Some(text) => {
            let (handle, name, _) = reference.parts();
            let before = format!("{handle}/{name}/{text}");
            Some(before.parse().map_err(|_| ApiError::Parameter("from: a version N.N.N"))?)
        }
    };
    if from.as_ref().is_some_and(|from| gate::seen_contract(&identity, from.as_str()).is_none()) {
        return Err(ControlError::ContractUnknown.into());
    }
    let old = from.as_ref().map(|from| version(inventory, from)).transpose()?;
    let masked = |of: Option<&ContractRef>, stream: &KnownStream| {
        let masks = stream.definition.derived.as_ref()?.masks.as_ref()?;
        masks.patterns.get(of?).cloned()
    };
    let mut masks: Vec<MaskChange> = Vec::new();
    for stream in inventory.streams().filter(|stream| identity.sees(&stream.definition.project)) {
        let (from, to) = (masked(from.as_ref(), stream), masked(Some(&reference), stream));
        if from != to {
            let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
            masks.push(MaskChange { stream: stream.definition.name.clone(), from, to });
        }
    }
    masks.sort_by(|a, b| a.stream.cmp(&b.stream));
    let changes = ContractChanges::between(old, new);
    Ok(HttpResponse::Ok().json(ChangesAnswer { changes, masks }))
}

fn version<'a>(inventory: &'a Inventory, reference: &ContractRef) -> Result<Version<'a>, ControlError> {
    let known = inventory.contract(reference.as_str()).ok_or(ControlError::ContractUnknown)?;
    let contract = &*known.contract;
    let schema = inventory.schema(contract.schema_ref.as_str()).ok_or(ControlError::SchemaUnknown)?;
    Ok(Version { contract, schema: &schema.schema })
}

/// Takes a contract one step of its life further: review, revise, approve, activate, archive.
#[utoipa::path(post, path = "/api/v1/contracts/{handle}/{name}/{version}/{step}", operation_id = "step_contract", tag = "contracts",
    params(("handle" = Handle, Path), ("name" = RefName, Path), ("version" = RefVersion, Path), ("step" = Step, Path), IfMatch),
    responses((status = 200, body = ContractAnswer, headers(("ETag" = ETag))), Asked, Demanded, Looked, Changed, Matched))]
pub(super) async fn step(
    request: HttpRequest,
    path: Path<(String, String, String, String)>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (handle, name, version, step) = path.into_inner();
    let step = ContractStep::named(&step).ok_or(ApiError::RouteUnknown)?;
    let wanted = format!("{handle}/{name}/{version}");
    let (identity, known) = demand_contract(&request, &doors, Permission::ViewContracts, &wanted).await?;
    let expected = if_match(request.headers())?;
    let rights = contract_rights(&identity, &known, step);
    let reference = known.contract.reference.clone();
    let known = doors.registry.step_contract(identity.who(), rights, reference, step, expected).await?;
    Ok(show(HttpResponse::Ok(), &doors, &known))
}

/// Deletes a contract that was never ACTIVE.
#[utoipa::path(delete, path = "/api/v1/contracts/{handle}/{name}/{version}", operation_id = "delete_contract", tag = "contracts",
    params(("handle" = Handle, Path), ("name" = RefName, Path), ("version" = RefVersion, Path), IfMatch),
    responses((status = 204), Asked, Demanded, Looked, Changed, Matched))]
pub(super) async fn delete(
    request: HttpRequest,
    path: RefPath,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let wanted = named(&path);
    let (identity, known) = demand_contract(&request, &doors, Permission::ViewContracts, &wanted).await?;
    let expected = if_match(request.headers())?;
    // A project's admin deletes what others made; an author his own, while it is not in use.
    let rights = contract_rights(&identity, &known, ContractStep::Delete);
    let reference = known.contract.reference.clone();
    doors.registry.delete_contract(identity.who(), rights, reference, expected).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn show(mut response: HttpResponseBuilder, doors: &Doors, known: &KnownContract) -> HttpResponse {
    let inventory = doors.registry.inventory();
    response.insert_header((ETAG, etag(known.version))).json(answer(
        known,
        None,
        warnings(&inventory, &known.contract),
    ))
}

fn named(path: &RefPath) -> String {
    let (handle, name, version) = &**path;
    format!("{handle}/{name}/{version}")
}

/// `warnings` takes compiling the contract: said of one contract, not of each of a list.
fn answer<'a>(
    known: &'a KnownContract,
    schema: Option<&'a Schema>,
    warnings: Vec<String>,
) -> ContractAnswer<'a> {
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
        history: &contract.history,
        warnings,
        schema: schema.map(|schema| SchemaAnswer {
            kind: schema.kind,
            definition: serde_json::from_str(&schema.definition).ok(),
        }),
    }
}

/// What the author should look at again: said of the contract alone, and of it on its schema.
fn warnings(inventory: &Inventory, contract: &Contract) -> Vec<String> {
    let mut warnings = contract.warnings();
    let schema = contract.schema_ref.as_str();
    if let Ok(reading) = inventory.reading_plan(schema, contract.reference.as_str(), &[]) {
        warnings.extend(reading.plan.warnings());
    }
    warnings
}
