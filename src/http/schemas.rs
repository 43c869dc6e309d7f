//! `/api/v1/schemas`: show schemas, and classes to send with.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Query},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiError, Doors,
    gate::{identify, sees_contract, sees_schema},
    openapi::{
        answers::{Asked, Looked},
        names::{Handle, RefName, RefVersion},
    },
    paging::page,
};
use crate::{
    actors::{ControlError, KnownContract, KnownSchema},
    domain::{ContractRef, SchemaKind},
    gateway::Identity,
    schema_code::{self, Language},
};

/// A schema as the API shows it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Schema)]
struct SchemaAnswer<'a> {
    #[serde(rename = "ref")]
    reference: &'a ContractRef,
    kind: SchemaKind,
    /// CRC-64-AVRO of the canonical form, 16 hex digits.
    fingerprint: Option<String>,
    /// The contracts that name it, of those the caller sees.
    contracts: Vec<&'a ContractRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    definition: Option<&'a RawValue>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Schemas)]
struct SchemasAnswer<'a> {
    schemas: Vec<SchemaAnswer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    page_token: Option<String>,
    handle: Option<String>,
}

/// All schemas, by reference.
#[utoipa::path(get, path = "/api/v1/schemas", operation_id = "list_schemas", tag = "schemas",
    params(ListQuery),
    responses((status = 200, body = SchemasAnswer), Asked))]
pub(super) async fn list(
    request: HttpRequest,
    query: Query<ListQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let inventory = identity.inventory();
    let wanted = |known: &&KnownSchema| {
        sees_schema(&identity, &known.schema.reference)
            && query.handle.as_ref().is_none_or(|handle| handle_of(known) == handle)
    };
    let mut known: Vec<_> = inventory.schemas().map(|known| &**known).filter(wanted).collect();
    known.sort_by(|a, b| a.schema.reference.cmp(&b.schema.reference));
    let token = query.page_token.as_deref();
    let (known, next_page_token) = page(known, query.limit, token, |known| known.schema.reference.as_str())?;
    let schemas = known.into_iter().map(|known| answer(&identity, known, false)).collect();
    Ok(HttpResponse::Ok().json(SchemasAnswer { schemas, next_page_token }))
}

/// One schema, with its definition.
#[utoipa::path(get, path = "/api/v1/schemas/{handle}/{name}/{version}", operation_id = "get_schema", tag = "schemas",
    params(("handle" = Handle, Path), ("name" = RefName, Path), ("version" = RefVersion, Path)),
    responses((status = 200, body = SchemaAnswer), Asked, Looked))]
pub(super) async fn get(
    request: HttpRequest,
    path: Path<(String, String, String)>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let known = known_schema(&identity, &path)?;
    Ok(HttpResponse::Ok().json(answer(&identity, known, true)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CodeQuery {
    language: Language,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SchemaCode)]
struct CodeAnswer<'a> {
    #[serde(rename = "ref")]
    reference: &'a ContractRef,
    code: String,
}

/// Classes to send events of the schema with.
#[utoipa::path(get, path = "/api/v1/schemas/{handle}/{name}/{version}/code", operation_id = "get_schema_code", tag = "schemas",
    params(CodeQuery, ("handle" = Handle, Path), ("name" = RefName, Path), ("version" = RefVersion, Path)),
    responses((status = 200, body = CodeAnswer), Asked, Looked))]
pub(super) async fn code(
    request: HttpRequest,
    path: Path<(String, String, String)>,
    query: Query<CodeQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let schema = &known_schema(&identity, &path)?.schema;
    let code = schema_code::write(schema, query.language)?;
    Ok(HttpResponse::Ok().json(CodeAnswer { reference: &schema.reference, code }))
}

fn known_schema<'a>(
    identity: &'a Identity,
    (handle, name, version): &(String, String, String),
) -> Result<&'a KnownSchema, ApiError> {
    let known = identity.inventory().schema(&format!("{handle}/{name}/{version}"));
    let known = known.filter(|known| sees_schema(identity, &known.schema.reference));
    Ok(known.ok_or(ControlError::SchemaUnknown)?)
}

fn handle_of(known: &KnownSchema) -> &str {
    known.schema.reference.parts().0
}

fn answer<'a>(identity: &'a Identity, known: &'a KnownSchema, whole: bool) -> SchemaAnswer<'a> {
    let schema = &known.schema;
    let names = |known: &&'a Arc<KnownContract>| {
        known.contract.accepts_schema(&schema.reference) && sees_contract(identity, known)
    };
    let mut contracts: Vec<_> =
        identity.inventory().contracts().filter(names).map(|known| &known.contract.reference).collect();
    contracts.sort();
    SchemaAnswer {
        reference: &schema.reference,
        kind: schema.kind,
        fingerprint: known.plan.fingerprint().map(|print| format!("{print:016x}")),
        contracts,
        definition: serde_json::from_str(&schema.definition).ok().filter(|_| whole),
    }
}
