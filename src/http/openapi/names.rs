//! The shapes of what the domain reads from text, and of headers: as their parsers take them.

use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, RefOr, Required, Schema, SchemaFormat,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::{AdditionalProperties, Type},
    },
};

use crate::{
    audit::Action,
    clock::Timestamp,
    domain::{ContractRef, FieldPath, PrincipalId, ProjectName, StreamName},
};

/// The first part of a reference.
pub(in crate::http) struct Handle;
/// The second part of a reference.
pub(in crate::http) struct RefName;
/// The third part of a reference.
pub(in crate::http) struct RefVersion;
/// Bytes, as they are.
pub(in crate::http) struct Binary;
/// A step of a contract's life.
pub(in crate::http) struct Step;
/// `"7"`: what `If-Match` takes.
pub(in crate::http) struct ETag;

macro_rules! texts {
    ($($name:ident: $pattern:literal, $min:literal to $max:literal, $about:literal;)*) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let text = ObjectBuilder::new().schema_type(Type::String).description(Some($about));
                text.pattern(Some($pattern)).min_length(Some($min)).max_length(Some($max)).into()
            }
        }

        impl ToSchema for $name {}
    )*};
}

texts! {
    StreamName: "^[A-Za-z0-9][A-Za-z0-9_-]*$", 2 to 100, "Name of a stream.";
    ProjectName: "^[A-Za-z0-9][A-Za-z0-9_-]*$", 2 to 100, "Name of a project.";
    PrincipalId: "^[a-z0-9][a-z0-9._:-]*$", 2 to 100, "Id of a user or a service account.";
    ContractRef:
        "^[A-Za-z0-9][A-Za-z0-9_-]{0,98}[A-Za-z0-9]/[A-Za-z0-9_-][A-Za-z0-9_.-]{1,99}/[0-9]{1,9}[.][0-9]{1,9}[.][0-9]{1,9}$",
        11 to 255, "Reference of a contract or a schema: handle/name/version.";
    FieldPath: "^[^/\\u0000-\\u001f\\u007f-\\u009f]+(/[^/\\u0000-\\u001f\\u007f-\\u009f]+)*$", 1 to 500,
        "Names of a schema's fields from the outermost inwards, at most 500 bytes.";
    Handle: "^[A-Za-z0-9][A-Za-z0-9_-]*[A-Za-z0-9]$", 2 to 100, "Handle of a reference.";
    RefName: "^[A-Za-z0-9_-][A-Za-z0-9_.-]*$", 2 to 100, "Name of a reference.";
    RefVersion: "^[0-9]{1,9}[.][0-9]{1,9}[.][0-9]{1,9}$", 5 to 29, "Version of a reference.";
    ETag: "^\"[0-9]+\"$", 3 to 22, "The version of the document.";
}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Integer);
        let number = number.format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)));
        number.description(Some("Milliseconds since 1970-01-01T00:00:00Z.")).into()
    }
}

impl ToSchema for Timestamp {}

impl PartialSchema for Action {
    fn schema() -> RefOr<Schema> {
        let kind = ObjectBuilder::new().schema_type(Type::String).description(Some("What was done."));
        let any = AdditionalProperties::FreeForm(true);
        let about = "The other fields are those of its type; types are only ever added.";
        let action = ObjectBuilder::new().property("type", kind).required("type");
        action.additional_properties(Some(any)).description(Some(about)).into()
    }
}

impl ToSchema for Action {}

impl PartialSchema for Binary {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
            .into()
    }
}

impl ToSchema for Binary {}

impl PartialSchema for Step {
    fn schema() -> RefOr<Schema> {
        let names = ["review", "revise", "approve", "activate", "archive"];
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).into()
    }
}

impl ToSchema for Step {}

macro_rules! headers {
    ($($(#[$doc:meta])* $name:ident: $header:literal, $required:ident, $shape:expr, $about:literal;)*) => {$(
        $(#[$doc])*
        pub(in crate::http) struct $name;

        impl IntoParams for $name {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                let shape: fn(ObjectBuilder) -> ObjectBuilder = $shape;
                let text = shape(ObjectBuilder::new().schema_type(Type::String)).build();
                let parameter = ParameterBuilder::new().name($header).parameter_in(ParameterIn::Header);
                let parameter = parameter.required(Required::$required).description(Some($about));
                vec![parameter.schema(Some(text)).build()]
            }
        }
    )*};
}

headers! {
    IfMatch: "If-Match", False, |text| text.pattern(Some(r#"^([*]|(W/)?"[^"]*"( *, *(W/)?"[^"]*")*)$"#)),
        "Change only what still has one of these versions: `ETag`s in a list, or `*`.";
    SchemaHeader: "Strm-Schema-Ref", True, |text| text.min_length(Some(1)),
        "The schema of the event: handle/name/version.";
    SerializationHeader: "Strm-Serialization-Type", False, |text| text,
        "How the event is serialized where its body does not tell.";
    OnceHeader: "Idempotency-Key", False, |text| text.min_length(Some(1)).max_length(Some(255)),
        "The same key again within 10 minutes stores nothing again.";
    CreateHeader: "Idempotency-Key", False,
        |text| text.min_length(Some(1)).max_length(Some(255)).pattern(Some("^[!-~]*$")),
        "The same request with the same key within 24 hours gets the first answer again.";
    ResumeHeader: "Last-Event-ID", False, |text| text.pattern(Some("^[0-9]{1,20}$")),
        "Go on after this sequence; wins over `from`.";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    fn fits<T: PartialSchema>(text: &str) -> bool {
        let RefOr::T(Schema::Object(object)) = T::schema() else { unreachable!() };
        let length = object.min_length.unwrap()..=object.max_length.unwrap();
        let pattern = object.pattern.unwrap();
        length.contains(&text.chars().count()) && Regex::new(&pattern).unwrap().is_match(text)
    }

    proptest! {
        #[test]
        fn the_described_shape_of_a_name_is_what_its_parser_takes(
            text in "[A-Za-z0-9_.:/-]{0,12}|[a-z0-9]{1,4}/[a-z._-]{1,4}/[0-9]{1,10}[.][0-9][.][0-9]|\\PC{0,4}|.{0,6}",
        ) {
            prop_assert_eq!(fits::<StreamName>(&text), text.parse::<StreamName>().is_ok());
            prop_assert_eq!(fits::<ProjectName>(&text), text.parse::<ProjectName>().is_ok());
            prop_assert_eq!(fits::<PrincipalId>(&text), text.parse::<PrincipalId>().is_ok());
            prop_assert_eq!(fits::<ContractRef>(&text), text.parse::<ContractRef>().is_ok());
            prop_assert_eq!(fits::<FieldPath>(&text), text.parse::<FieldPath>().is_ok());
        }
    }

    #[test]
    fn the_longest_names_fit_and_longer_ones_do_not() {
        for (length, good) in [(1, false), (2, true), (100, true), (101, false)] {
            let name = "a".repeat(length);
            assert_eq!(fits::<StreamName>(&name), good);
            assert_eq!(fits::<Handle>(&name) && fits::<RefName>(&name), good);
            let reference = format!("{name}/ab/1.0.0");
            assert_eq!(
                (fits::<ContractRef>(&reference), reference.parse::<ContractRef>().is_ok()),
                (good, good)
            );
        }
    }
}
