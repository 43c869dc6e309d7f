//! Reading a JSON document of the control plane: an object, with the fields that are known and no others.

use std::{fmt, marker::PhantomData};

use actix_web::{HttpRequest, web::Payload};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{
    ApiError, Doors,
    body::Body,
    gate::{demand_unchanged, identify},
};
use crate::domain::limits;

/// A struct out of an object, and not out of an array of its fields, which serde also takes for one.
#[derive(Default)]
pub(super) struct Mapped<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Mapped<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Mapped<T>, D::Error> {
        struct Object<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Mapped<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Mapped<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Mapped)
            }
        }

        deserializer.deserialize_map(Object(PhantomData))
    }
}

/// The document in the body, from a caller who is after it who it was before.
///
/// # Errors
///
/// [`ApiError::BodyInvalid`], and those of reading a body.
pub(super) async fn document<T: DeserializeOwned>(
    request: &HttpRequest,
    payload: Payload,
    doors: &Doors,
) -> Result<T, ApiError> {
    let before = identify(request, doors).await?;
    let body = Body::open(request, payload, doors, DOCUMENT_BYTES_MAX)?.whole().await?;
    demand_unchanged(request, doors, &before).await?;
    parse(&body.bytes)
}

/// The document in `bytes`.
///
/// # Errors
///
/// [`ApiError::BodyInvalid`]: says what and where, and quotes no value.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map(|Mapped(document)| document).map_err(|error| {
        // serde quotes a value it did not like, and that may be a secret; names of fields it may quote.
        let said = error.to_string();
        let quotes = ["invalid type", "invalid value", "unknown variant"].iter().any(|s| said.starts_with(s));
        let kind =
            if quotes { "a field has the wrong type" } else { said.split(" at line").next().unwrap_or("") };
        ApiError::BodyInvalid(format!("{kind}, line {} column {}", error.line(), error.column()))
    })
}

/// A contract and its schema as texts in JSON, each escaped.
pub(super) const DOCUMENT_BYTES_MAX: usize = 4 * limits::DOCUMENT_BYTES_MAX;
