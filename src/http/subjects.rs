//! `/api/v1/subjects`: of which data subjects there are keys. Ids come in bodies and never leave; what is shown is a
//! pseudonym.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Payload, Query},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    ApiError, Doors,
    document::document,
    gate::demand,
    openapi::answers::{Asked, Demanded, Looked, Read},
};
use crate::{
    actors::ControlError,
    clock::Timestamp,
    domain::{Permission, StreamName, erasure::subject_of, limits::KEY_VALUE_BYTES_MAX},
};

#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SubjectsQuery {
    /// Only subjects of this source stream.
    #[param(value_type = Option<StreamName>)]
    stream: Option<String>,
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    page_token: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Subject)]
struct SubjectAnswer {
    /// Pseudonym: 32 hexadecimal digits.
    subject: String,
    keys: u64,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Subjects)]
struct SubjectsAnswer {
    subjects: Vec<SubjectAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SubjectQuestion)]
struct SubjectRequest {
    /// The value of the data subject field, at most 65,536 bytes.
    #[schema(min_length = 1, max_length = 16384)]
    subject: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SubjectKey)]
struct KeyAnswer {
    key_link: Uuid,
    stream: StreamName,
    created: Timestamp,
    /// From then on no event is sealed with it.
    expires: Timestamp,
    /// When its policy says that it is destroyed; null: with its day.
    ends: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SubjectKeys)]
struct KeysAnswer {
    subject: String,
    key_links: Vec<KeyAnswer>,
}

/// Data subjects that there are keys of, by pseudonym, in pages.
#[utoipa::path(get, path = "/api/v1/subjects", operation_id = "list_subjects", tag = "subjects",
    params(SubjectsQuery),
    responses((status = 200, body = SubjectsAnswer), Asked, Demanded, Looked))]
pub(super) async fn list(
    request: HttpRequest,
    query: Query<SubjectsQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = demand(&request, &doors, Permission::EraseSubjects).await?;
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::Parameter("limit: 1 to 1000"));
    }
    let wrong = ApiError::Parameter("pageToken: not one that was given out");
    let after = match query.page_token.as_deref() {
        None => None,
        Some(token) => Some(subject_of(token).ok_or(wrong)?),
    };
    let stream = match query.stream.as_deref() {
        None => None,
        Some(name) => {
            let name = name.parse().map_err(|_| ControlError::StreamUnknown)?;
            identity.inventory().stream(&name).ok_or(ControlError::StreamUnknown)?;
            Some(name)
        }
    };
    let mut found = doors.erasures.subjects(stream.as_ref(), after, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next_page_token = found.last().filter(|_| more).map(|last| last.pseudonym.clone());
    let subjects =
        found.into_iter().map(|known| SubjectAnswer { subject: known.pseudonym, keys: known.keys });
    Ok(HttpResponse::Ok().json(SubjectsAnswer { subjects: subjects.collect(), next_page_token }))
}

/// The keys that hold data of a subject. Leaves an entry in the audit log.
#[utoipa::path(post, path = "/api/v1/subjects/keylinks", operation_id = "list_subject_keylinks", tag = "subjects",
    request_body = SubjectRequest,
    responses((status = 200, body = KeysAnswer), Asked, Demanded, Looked, Read))]
pub(super) async fn key_links(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let by = demand(&request, &doors, Permission::EraseSubjects).await?.who();
    let wanted: SubjectRequest = document(&request, payload, &doors).await?;
    check_subject(&wanted.subject)?;
    let (subject, keys) = doors.erasures.key_links(by, &wanted.subject).await?;
    let key_links = keys.into_iter().map(|key| KeyAnswer {
        key_link: key.link.0,
        stream: key.stream,
        created: key.created,
        expires: key.expires,
        ends: key.ends,
    });
    Ok(HttpResponse::Ok().json(KeysAnswer { subject, key_links: key_links.collect() }))
}

/// Refuses what no event can name.
pub(super) fn check_subject(subject: &str) -> Result<(), ApiError> {
    if (1..=KEY_VALUE_BYTES_MAX).contains(&subject.len()) { Ok(()) } else { Err(ApiError::SubjectInvalid) }
}

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;
