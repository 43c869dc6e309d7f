//! `/api/v1/erasures`: forgetting data subjects, and the receipts that say so.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Payload, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    ApiError, Doors,
    gate::demand,
    once::once,
    openapi::{
        answers::{Asked, Changed, Demanded, Looked, Read},
        names::CreateHeader,
    },
    paging::PageQuery,
    subjects::check_subject,
};
use crate::{
    actors::{ErasureError, InclusionProof},
    clock::Timestamp,
    domain::{
        Erasure, Mark, Permission, SubjectHolding,
        erasure::{GRADE, pseudonym},
    },
};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewErasure)]
struct ErasureRequest {
    /// The value of the data subject field, at most 65,536 bytes.
    #[schema(min_length = 1, max_length = 16384)]
    subject: String,
    /// Say what would be destroyed, and destroy nothing.
    #[serde(default)]
    dry_run: bool,
}

/// How far an erasure is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Progress {
    /// A dry run.
    Nothing,
    Ordered,
    /// No key opens any more.
    Completed,
    /// No key can be rebuilt from the disk any more.
    Settled,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Erasure)]
struct ErasureAnswer {
    /// None: a dry run.
    id: Option<Uuid>,
    /// Pseudonym: 32 hexadecimal digits.
    subject: String,
    state: Progress,
    keys: u64,
    sessions: u64,
    streams: u64,
    /// Days since 1970-01-01 whose epochs hold or held the keys.
    days: Vec<u32>,
    ordered: Option<Timestamp>,
    completed: Option<Timestamp>,
    settled: Option<Timestamp>,
    /// 1: safe from whoever has disks, servers and backups but not the master key.
    grade: u8,
    /// It had been done before: nothing was left to do.
    repeated: bool,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Erasures)]
struct ErasuresAnswer {
    erasures: Vec<ErasureAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// Everything a receipt says stands in entries of the audit log, under a signed checkpoint.
#[derive(Serialize, ToSchema)]
#[schema(as = ErasureReceipt)]
struct ReceiptAnswer {
    erasure: Uuid,
    /// `erasure_ordered`, `erasure_completed` and, once it is settled, `erasure_settled`.
    proofs: Vec<InclusionProof>,
}

impl ErasureAnswer {
    fn new(subject: String, held: SubjectHolding) -> ErasureAnswer {
        let SubjectHolding { keys, sessions, streams, days } = held;
        ErasureAnswer {
            id: None,
            subject,
            state: Progress::Nothing,
            keys,
            sessions,
            streams,
            days,
            ordered: None,
            completed: None,
            settled: None,
            grade: GRADE,
            repeated: false,
        }
    }

    fn of(subject: String, erasure: &Erasure, repeated: bool) -> ErasureAnswer {
        let at = |mark: &Option<Mark>| mark.map(|mark| mark.at);
        let (completed, settled) = (at(&erasure.completed), at(&erasure.settled));
        ErasureAnswer {
            id: Some(erasure.id),
            state: match (completed, settled) {
                (_, Some(_)) => Progress::Settled,
                (Some(_), None) => Progress::Completed,
                (None, None) => Progress::Ordered,
            },
            ordered: Some(erasure.ordered),
            completed,
            settled,
            repeated,
            ..ErasureAnswer::new(subject, erasure.held.clone())
        }
    }
}

/// Forgets a data subject: its keys are destroyed when this answers. 200 instead of 201: a dry run, or nothing was left
/// to do.
#[utoipa::path(post, path = "/api/v1/erasures", operation_id = "create_erasure", tag = "subjects",
    request_body = ErasureRequest,
    params(CreateHeader),
    responses((status = 201, body = ErasureAnswer), (status = 200, body = ErasureAnswer),
        Asked, Demanded, Looked, Read, Changed))]
pub(super) async fn create(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = demand(&request, &doors, Permission::EraseSubjects).await?;
    let (by, erasures) = (identity.who(), doors.erasures.clone());
    once(&request, payload, &doors, &identity, async move |wanted: ErasureRequest| {
        check_subject(&wanted.subject)?;
        if wanted.dry_run {
            let (subject, held) = erasures.preview(by, &wanted.subject).await?;
            return Ok(HttpResponse::Ok().json(ErasureAnswer::new(subject, held)));
        }
        let done = erasures.erase(by, &wanted.subject).await?;
        let mut response = if done.repeated { HttpResponse::Ok() } else { HttpResponse::Created() };
        Ok(response.json(ErasureAnswer::of(done.pseudonym, &done.erasure, done.repeated)))
    })
    .await
}

/// The erasures, oldest first, in pages.
#[utoipa::path(get, path = "/api/v1/erasures", operation_id = "list_erasures", tag = "subjects",
    params(PageQuery),
    responses((status = 200, body = ErasuresAnswer), Asked, Demanded))]
pub(super) async fn list(
    request: HttpRequest,
    query: Query<PageQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = demand(&request, &doors, Permission::EraseSubjects).await?;
    let ledger = identity.inventory().ledger();
    let mut all: Vec<_> = ledger
        .flat_map(|erased| erased.erasures.iter().map(|erasure| (pseudonym(erased.subject), erasure)))
        .collect();
    let place = |(_, erasure): &(String, &Erasure)| format!("{:020}{}", erasure.ordered.0, erasure.id);
    all.sort_by_key(place);
    let (all, next_page_token) = query.of(all, place)?;
    let erasures = all.into_iter().map(|(subject, erasure)| ErasureAnswer::of(subject, erasure, false));
    Ok(HttpResponse::Ok().json(ErasuresAnswer { erasures: erasures.collect(), next_page_token }))
}

/// The receipt of an erasure, which is checked without the node. Before it is settled, without the last proof.
#[utoipa::path(get, path = "/api/v1/erasures/{id}/receipt", operation_id = "get_erasure_receipt", tag = "subjects",
    params(("id" = Uuid, Path)),
    responses((status = 200, body = ReceiptAnswer), Asked, Demanded, Looked))]
pub(super) async fn receipt(
    request: HttpRequest,
    id: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = demand(&request, &doors, Permission::EraseSubjects).await?;
    let mut erasures = identity.inventory().ledger().flat_map(|erased| &erased.erasures);
    let found = erasures.find(|erasure| erasure.id.to_string() == *id);
    let erasure = found.ok_or(ApiError::ErasureUnknown)?;
    let marks = [erasure.completed, erasure.settled];
    let entries = marks.iter().flatten().map(|mark| mark.entry);
    let size = Some(doors.auditor.size());
    let mut proofs = Vec::new();
    for entry in std::iter::once(erasure.ordered_entry).chain(entries) {
        proofs.push(doors.auditor.inclusion(entry, size).await?);
    }
    Ok(HttpResponse::Ok().json(ReceiptAnswer { erasure: erasure.id, proofs }))
}

impl From<ErasureError> for ApiError {
    fn from(error: ErasureError) -> ApiError {
        ApiError::Erasure(error)
    }
}
