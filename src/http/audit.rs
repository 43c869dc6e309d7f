//! `/api/v1/audit`: the audit log and its proofs. Permission ViewAudit on the installation.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiError, Doors,
    gate::demand,
    openapi::answers::{Asked, Demanded, Looked},
};
use crate::{
    actors::{
        AuditPage, ConsistencyProof, ControlError, InclusionProof, Inventory, KnownContract, SignedCheckpoint,
    },
    audit::{ExposureQuestion, Filter},
    clock::Timestamp,
    domain::{ContractRef, FieldPath, Permission},
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EntriesQuery {
    who: Option<String>,
    action: Option<String>,
    stream: Option<String>,
    purpose: Option<i32>,
    since: Option<i64>,
    until: Option<i64>,
    #[serde(default)]
    from: u64,
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SizeQuery {
    size: Option<u64>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ConsistencyQuery {
    from: u64,
    to: Option<u64>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExposureQuery {
    field: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FieldExposure)]
struct ExposureAnswer<'a> {
    contract: &'a ContractRef,
    field: &'a FieldPath,
    /// Purpose of the field; null for one that is not personal and stands in clear in every stream.
    level: Option<i32>,
    #[serde(flatten)]
    exposures: crate::audit::Exposures,
}

/// `GET /api/v1/audit/entries`: a page of entries, oldest first; go on with `from` = `next`.
#[utoipa::path(get, path = "/api/v1/audit/entries", operation_id = "list_audit", tag = "audit",
    params(EntriesQuery),
    responses((status = 200, body = AuditPage), Asked, Demanded))]
pub(super) async fn entries(
    request: HttpRequest,
    query: Query<EntriesQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    demand(&request, &doors, Permission::ViewAudit).await?;
    let query = query.into_inner();
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::Parameter("limit: 1 to 1000"));
    }
    let filter = Filter {
        who: query.who,
        action: query.action,
        stream: query.stream,
        purpose: query.purpose,
        since: query.since.map(Timestamp),
        until: query.until.map(Timestamp),
    };
    Ok(HttpResponse::Ok().json(doors.auditor.list(&filter, query.from, limit).await?))
}

/// `GET /api/v1/audit/checkpoint`: a signed checkpoint, and the public key it is checked with.
#[utoipa::path(get, path = "/api/v1/audit/checkpoint", operation_id = "get_audit_checkpoint", tag = "audit",
    params(SizeQuery),
    responses((status = 200, body = SignedCheckpoint), Asked, Demanded, Looked))]
pub(super) async fn checkpoint(
    request: HttpRequest,
    query: Query<SizeQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    demand(&request, &doors, Permission::ViewAudit).await?;
    Ok(HttpResponse::Ok().json(doors.auditor.checkpoint(query.size)?))
}

/// `GET /api/v1/audit/proof/{index}`: that an entry is in the log.
#[utoipa::path(get, path = "/api/v1/audit/proof/{index}", operation_id = "prove_audit", tag = "audit",
    params(SizeQuery, ("index" = u64, Path)),
    responses((status = 200, body = InclusionProof), Asked, Demanded, Looked))]
pub(super) async fn proof(
    request: HttpRequest,
    index: Path<String>,
    query: Query<SizeQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    demand(&request, &doors, Permission::ViewAudit).await?;
    let index = index.parse().map_err(|_| ApiError::Parameter("index: a number, from 0"))?;
    Ok(HttpResponse::Ok().json(doors.auditor.inclusion(index, query.size).await?))
}

/// `GET /api/v1/audit/consistency`: that the log only grew between two sizes.
#[utoipa::path(get, path = "/api/v1/audit/consistency", operation_id = "prove_audit_consistency", tag = "audit",
    params(ConsistencyQuery),
    responses((status = 200, body = ConsistencyProof), Asked, Demanded, Looked))]
pub(super) async fn consistency(
    request: HttpRequest,
    query: Query<ConsistencyQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    demand(&request, &doors, Permission::ViewAudit).await?;
    Ok(HttpResponse::Ok().json(doors.auditor.consistency(query.from, query.to)?))
}

/// `GET /api/v1/audit/exposure?field=REF:PATH`: who could read a field in clear, and since when.
#[utoipa::path(get, path = "/api/v1/audit/exposure", operation_id = "get_audit_exposure", tag = "audit",
    params(ExposureQuery),
    responses((status = 200, body = ExposureAnswer), Asked, Demanded, Looked))]
pub(super) async fn exposure(
    request: HttpRequest,
    query: Query<ExposureQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    demand(&request, &doors, Permission::ViewAudit).await?;
    let form = ApiError::Parameter("field: handle/name/version:path of a field");
    let parse = |text: &str| -> Option<(ContractRef, FieldPath)> {
        let (contract, field) = text.split_once(':')?;
        Some((contract.parse().ok()?, field.parse().ok()?))
    };
    let (contract, field) = parse(&query.field).ok_or(form)?;
    let inventory = doors.registry.inventory();
    let known = inventory.contract(contract.as_str()).ok_or(ControlError::ContractUnknown)?;
    let level = known.contract.personal_fields.iter().find(|known| known.path == field).map(|f| f.level);
    let exposures = match level {
        None if !has_field(&inventory, known, &field) => {
            return Err(ApiError::Parameter("field: the schema of this contract has no field of this path"));
        }
        None => crate::audit::Exposures::default(),
        Some(level) => {
            let question = ExposureQuestion { contract: contract.clone(), field: field.clone(), level };
            doors.auditor.exposures(&question, &inventory).await?
        }
    };
    Ok(HttpResponse::Ok().json(ExposureAnswer { contract: &contract, field: &field, level, exposures }))
}

fn has_field(inventory: &Inventory, known: &KnownContract, field: &FieldPath) -> bool {
    let contract = &known.contract;
    let wanted = std::slice::from_ref(field);
    inventory.reading_plan(contract.schema_ref.as_str(), contract.reference.as_str(), wanted).is_ok_and(
        |reading| {
            reading.unmaskable.contains(field)
                || reading.plan.fields().iter().any(|known| known.path == *field)
        },
    )
}

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;
