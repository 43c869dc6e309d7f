//! `POST /api/v1/streams/{name}/explain`: a dry run of one event.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Payload},
};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{
        Object, Ref, Schema,
        schema::{AnyOfBuilder, Type},
    },
};

use super::{
    ApiError, Doors,
    body::Body,
    gate::{demand_stream, sees_schema},
    ingest::{schema_ref, text},
    openapi::{
        answers::{Asked, Looked, Read},
        names::{Binary, SchemaHeader, SerializationHeader},
    },
};
use crate::{
    domain::{ContractRef, Permission, StreamName},
    gateway::{Refusal, Seen},
};

/// What would become of the event.
#[derive(Serialize, ToSchema)]
#[schema(as = Explanation)]
struct ExplainAnswer<'a> {
    accepted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<RefusalAnswer>,
    schema: &'a str,
    #[serde(flatten)]
    #[schema(schema_with = seen_if_decoded)]
    seen: Option<Seen>,
}

/// An event that cannot be decoded shows nothing of itself.
fn seen_if_decoded() -> Schema {
    AnyOfBuilder::new().item(Ref::from_schema_name("Seen")).item(Object::with_type(Type::Object)).into()
}

/// Why it would be refused: as the problem document would say it, without any value.
#[derive(Serialize, ToSchema)]
#[schema(as = EventRefusal)]
struct RefusalAnswer {
    code: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    detail: String,
}

/// Says what would become of the event in the body. Stores nothing, makes no key.
#[utoipa::path(post, path = "/api/v1/streams/{name}/explain", operation_id = "explain", tag = "streams",
    request_body(content((Object = "application/json"), (Binary = "application/octet-stream"))),
    params(("name" = StreamName, Path), SchemaHeader, SerializationHeader),
    responses((status = 200, body = ExplainAnswer), Asked, Looked, Read))]
pub(super) async fn explain(
    request: HttpRequest,
    payload: Payload,
    name: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, stream) = demand_stream(&request, &doors, Permission::ViewResources, &name).await?;
    let (inventory, stream) = (identity.inventory(), &*stream);
    let schema = schema_ref(request.headers())?;
    let known = inventory.schema(schema).map(|known| &known.schema.reference);
    let known = known.filter(|reference| sees_schema(&identity, reference)).map(ContractRef::as_str);
    let declared = text(request.headers(), "strm-serialization-type")?;
    let body = Body::open(&request, payload, &doors, doors.limits.event_bytes_max)?.whole().await?;
    let explained = doors
        .intake
        .explain(stream, schema, declared, &body.bytes, |known| identity.sees(&known.definition.project));
    let answer = ExplainAnswer {
        accepted: explained.refusal.is_none(),
        refusal: explained.refusal.map(refusal),
        schema: known.unwrap_or_default(),
        seen: explained.seen,
    };
    Ok(HttpResponse::Ok().json(answer))
}

fn refusal(refusal: Refusal) -> RefusalAnswer {
    let (field, rule, detail) = match &refusal {
        Refusal::Violation(violation) => (
            Some(violation.field.to_string()),
            Some(format!("regex {}", violation.rule)),
            format!("the value of {} does not match its validation", violation.field),
        ),
        Refusal::Decode(error) => {
            let field = Some(error.place().path().to_owned()).filter(|path| !path.is_empty());
            (field, None, error.to_string())
        }
        other => (None, None, other.to_string()),
    };
    let error = ApiError::from(refusal);
    RefusalAnswer { code: error.code(), status: error.status(), field, rule, detail }
}
