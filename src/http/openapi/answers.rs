//! Refusals by what a handler does before it answers: an annotation names those that its handler does.
//!
//! Every one is a problem document of one shape; which codes a status has is in `docs/errors`.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use utoipa::{
    IntoResponses,
    openapi::{
        ContentBuilder, HeaderBuilder, Object, Ref, RefOr, Response, ResponseBuilder,
        schema::{SchemaType, Type},
    },
};

macro_rules! refusals {
    ($($(#[$about:meta])* $name:ident: $($status:literal)*;)*) => {$(
        $(#[$about])*
        pub(in crate::http) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$($status),*].into_iter().map(|status| (status.to_string(), shared(status).into())).collect()
            }
        }
    )*};
}

refusals! {
    /// Finds out who asks by a token of the control plane, and reads headers and parameters.
    Asked: 400 401 429 503;
    /// Asks whether the caller's role allows it.
    Demanded: 403;
    /// Looks for something by a name of the path, the query or the body.
    Looked: 404;
    /// Reads a body.
    Read: 400 408 413 503;
    /// Makes or changes something whose state may forbid that.
    Changed: 409;
    /// Heeds `If-Match`.
    Matched: 412;
    /// Reads a log, which may be damaged.
    OfLog: 500 503;
    /// Finds out who asks by the token of a stream.
    OfStream: 400 401 403 404;
    /// Takes events.
    Taken: 408 409 413 429 500 503;
}

/// What the sets refer to, by name.
pub(super) fn refusals() -> impl Iterator<Item = (String, Response)> {
    STATUSES.into_iter().map(|status| (name(status).replace(' ', ""), refusal(status)))
}

/// What a status says.
pub(super) fn name(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default()
}

fn shared(status: u16) -> Ref {
    Ref::from_response_name(name(status).replace(' ', ""))
}

fn refusal(status: u16) -> Response {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response =
        ResponseBuilder::new().description(name(status)).content("application/problem+json", problem);
    match status {
        401 => response.header("WWW-Authenticate", header("How to authenticate.", Type::String)),
        409 | 429 | 503 => {
            response.header("Retry-After", header("Seconds after which a retry makes sense.", Type::Integer))
        }
        _ => response,
    }
    .build()
}

fn header(about: &str, kind: Type) -> utoipa::openapi::Header {
    let schema = Object::with_type(SchemaType::Type(kind));
    HeaderBuilder::new().schema(Some(schema)).description(Some(about)).build()
}

const STATUSES: [u16; 11] = [400, 401, 403, 404, 408, 409, 412, 413, 429, 500, 503];
