//! Every failure a client can see, as RFC 9457 `application/problem+json`.
//!
//! `detail` is built from codes, positions, counts and names of the schema or the operator; it never quotes
//! an event, a key, a token or a value of a field. The one exception is the original's text for a failed
//! validation of a field that is not personal, which drivers show to their users.
//!
//! Each code has a page `docs/errors/<code>.md`; `tests/tidy.rs` compares them with [`CODES`].

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::batch::{Verdict, Verdicts};
use crate::{
    actors::{
        AuditError, ControlError, ErasureError, OrderError, OverLimit, PlanError, PrincipalOrderError,
        ProjectOrderError, StreamOrderError, UsageError,
    },
    event::container::ContainerError,
    gateway::{AccessError, CensusError, ReadError, Refusal, RepeatError, TrialError},
    schema_code::CodeError,
    storage::{AppendError, LogError},
};

/// What a handler fails with.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("header Strm-Schema-Ref is missing: name the schema as handle/name/version")]
    SchemaHeaderMissing,
    #[error("a header is given twice or is not text")]
    HeaderInvalid,
    #[error("Idempotency-Key takes 1 to 255 characters")]
    IdempotencyKey,
    #[error("the body is larger than the limit")]
    BodyTooLarge,
    #[error("the body did not arrive in time")]
    BodyTooSlow,
    #[error("the body was cut off")]
    BodyCutOff,
    #[error("the body cannot be unpacked")]
    BodyBadlyPacked,
    #[error("Content-Encoding takes gzip, once")]
    EncodingUnknown,
    #[error("the body is not what this route takes: {0}")]
    BodyInvalid(String),
    #[error("the node holds as many bodies as it may: try again")]
    Overloaded,
    #[error("the node has as many readers as it may: try again later")]
    TooManyReaders,
    #[error(transparent)]
    Event(#[from] Refusal),
    #[error("the batch holds no event")]
    BatchEmpty,
    #[error("events were refused and nothing more was stored: see refused")]
    BatchRefused { verdicts: Box<Verdicts> },
    #[error("after {accepted} events were stored: {cause}")]
    BatchStopped { accepted: u64, cause: Box<ApiError> },
    #[error(transparent)]
    Container(ContainerError),
    #[error("the container was written with another schema than Strm-Schema-Ref names")]
    ContainerSchema,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("parameter {0}")]
    Parameter(&'static str),
    #[error("a web socket handshake is needed")]
    NotAWebSocket,
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Census(#[from] CensusError),
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Code(#[from] CodeError),
    #[error(transparent)]
    Trial(#[from] TrialError),
    #[error(transparent)]
    Repeat(#[from] RepeatError),
    #[error(transparent)]
    Erasure(ErasureError),
    #[error("no such erasure")]
    ErasureUnknown,
    #[error("subject: 1 to 65536 bytes")]
    SubjectInvalid,
    #[error("the work was broken off: look whether it was done")]
    Interrupted,
    #[error("no such route")]
    RouteUnknown,
    #[error("this route does not take this method")]
    MethodUnknown,
}

/// Code, status, and seconds after which a retry makes sense.
type Row = (&'static str, u16, Option<u32>);

impl ApiError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.row().0
    }

    /// Seconds after which a retry makes sense.
    #[must_use]
    pub fn retry_after_s(&self) -> Option<u32> {
        self.row().2
    }

    /// The status that goes with the code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.row().1
    }

    fn row(&self) -> Row {
        match self {
            Self::Access(error) => access_row(*error),
            Self::SchemaHeaderMissing => ("schema_header_missing", 400, None),
            Self::HeaderInvalid => ("header_invalid", 400, None),
            Self::IdempotencyKey => ("idempotency_key_invalid", 400, None),
            Self::BodyTooLarge => ("body_too_large", 413, None),
            Self::BodyTooSlow => ("body_too_slow", 408, None),
            Self::BodyCutOff => ("body_cut_off", 400, None),
            Self::BodyBadlyPacked => ("body_badly_packed", 400, None),
            Self::EncodingUnknown => ("encoding_unknown", 400, None),
            Self::BodyInvalid(_) => ("body_invalid", 400, None),
            Self::Overloaded => ("overloaded", 503, Some(1)),
            Self::TooManyReaders => ("too_many_readers", 503, Some(10)),
            Self::Event(refusal) => event_row(refusal),
            Self::BatchEmpty => ("batch_empty", 400, None),
            Self::BatchRefused { verdicts } => match verdicts.retry_after_s {
                Some(seconds) => ("batch_refused", 429, Some(seconds)),
                None => ("batch_refused", 400, None),
            },
            Self::BatchStopped { cause, .. } => cause.row(),
            Self::Container(_) => ("container_invalid", 400, None),
            Self::ContainerSchema => ("container_schema", 400, None),
            Self::Read(ReadError::Gone | ReadError::Log(LogError::UnknownStream)) => {
                ("stream_unknown", 404, None)
            }
            Self::Read(ReadError::Closing | ReadError::Log(LogError::Unavailable(_))) => {
                ("log_unavailable", 503, Some(2))
            }
            Self::Read(ReadError::Log(LogError::Damaged(_))) => ("log_damaged", 500, None),
            Self::Parameter(_) => ("parameter_invalid", 400, None),
            Self::NotAWebSocket => ("not_a_web_socket", 400, None),
            Self::Control(error) => control_row(error),
            Self::Census(CensusError) | Self::Usage(UsageError) => ("store_unavailable", 503, Some(2)),
            Self::Audit(AuditError::Unavailable) => ("audit_unavailable", 503, Some(2)),
            Self::Audit(AuditError::OutOfRange) => ("audit_out_of_range", 404, None),
            Self::Code(_) => ("schema_code_unsupported", 400, None),
            Self::Trial(TrialError::Log(LogError::UnknownStream)) => ("stream_unknown", 404, None),
            Self::Trial(TrialError::Log(LogError::Damaged(_))) => ("log_damaged", 500, None),
            Self::Trial(TrialError::Log(_)) => ("log_unavailable", 503, Some(2)),
            Self::Trial(TrialError::Keys(_)) => ("key_unavailable", 503, Some(2)),
            Self::Trial(TrialError::Busy) => ("overloaded", 503, Some(5)),
            Self::Repeat(RepeatError::OtherRequest) => ("idempotency_key_reused", 409, None),
            Self::Repeat(RepeatError::Busy) => ("idempotency_key_busy", 409, Some(1)),
            Self::Repeat(RepeatError::Full) => ("idempotency_keys_full", 429, Some(3600)),
            Self::Repeat(RepeatError::Unavailable) | Self::Interrupted => ("store_unavailable", 503, Some(2)),
            Self::Erasure(ErasureError::Unknown) => ("subject_unknown", 404, None),
            Self::Erasure(ErasureError::Keys(_)) => ("key_unavailable", 503, Some(2)),
            Self::Erasure(ErasureError::Control(error)) => control_row(error),
            Self::Erasure(ErasureError::Audit(_)) => ("audit_unavailable", 503, Some(2)),
            Self::ErasureUnknown => ("erasure_unknown", 404, None),
            Self::SubjectInvalid => ("subject_invalid", 400, None),
            Self::RouteUnknown => ("route_unknown", 404, None),
            Self::MethodUnknown => ("method_unknown", 405, None),
        }
    }
}

fn access_row(error: AccessError) -> Row {
    match error {
        AccessError::TokenMissing => ("token_missing", 401, None),
        AccessError::TokenExpired => ("token_expired", 401, None),
        AccessError::TokenInvalid => ("token_invalid", 401, None),
        AccessError::OtherStream => ("token_for_other_stream", 403, None),
        AccessError::CredentialsWrong => ("credentials_wrong", 401, None),
        AccessError::RefreshInvalid => ("refresh_token_invalid", 400, None),
        AccessError::ApiTokenMissing => ("api_token_missing", 401, None),
        AccessError::ApiTokenInvalid => ("api_token_invalid", 401, None),
        AccessError::Forbidden => ("role_forbids", 403, None),
        AccessError::NoReadGrant => ("read_grant_missing", 403, None),
        AccessError::Unseen => ("route_unknown", 404, None),
        AccessError::IssuerUnavailable => ("issuer_unavailable", 503, Some(5)),
        AccessError::TooManyFailures => ("too_many_failures", 429, Some(60)),
    }
}

fn event_row(refusal: &Refusal) -> Row {
    match refusal {
        Refusal::Plan(PlanError::SchemaUnknown) => ("schema_unknown", 404, None),
        Refusal::Plan(PlanError::ContractUnknown) => ("contract_unknown", 404, None),
        Refusal::Plan(PlanError::ContractNotActive(_)) => ("contract_not_active", 409, None),
        Refusal::Plan(PlanError::Unfit(_)) => ("contract_schema_unfit", 400, None),
        Refusal::Decode(error) => (error.code(), 400, None),
        Refusal::Violation(_) => ("validation_failed", 400, None),
        Refusal::TooLarge => ("event_too_large", 413, None),
        Refusal::DerivedStream => ("stream_is_derived", 403, None),
        Refusal::SubjectErased => ("subject_erased", 403, None),
        Refusal::Disabled => ("stream_disabled", 403, None),
        Refusal::OverLimit(OverLimit::Rate { retry_after_s }) => {
            ("stream_rate_exceeded", 429, Some(*retry_after_s))
        }
        Refusal::OverLimit(OverLimit::Count { retry_after_s }) => {
            ("stream_count_exceeded", 429, Some(*retry_after_s))
        }
        Refusal::Key(_) => ("key_unavailable", 503, Some(2)),
        Refusal::Log(AppendError::UnknownStream) => ("stream_unknown", 404, None),
        Refusal::Log(AppendError::Unavailable(_) | AppendError::WrongEnd { .. }) => {
            ("log_unavailable", 503, Some(2))
        }
        Refusal::Log(AppendError::Damaged(_)) => ("log_damaged", 500, None),
        Refusal::SealMismatch => ("seal_mismatch", 500, None),
    }
}

fn control_row(error: &ControlError) -> Row {
    match error {
        ControlError::StreamUnknown => ("stream_unknown", 404, None),
        ControlError::ContractUnknown => ("contract_unknown", 404, None),
        ControlError::ContractExists => ("contract_exists", 409, None),
        ControlError::SchemaExists => ("schema_exists", 409, None),
        ControlError::SchemaUnknown => ("schema_unknown", 404, None),
        ControlError::SchemaDocument(_) | ControlError::Schema(_) => ("schema_invalid", 400, None),
        ControlError::ContractDocument(_) | ControlError::Contract(_) => ("contract_invalid", 400, None),
        ControlError::State(_) => ("contract_state", 409, None),
        ControlError::StepForbidden => ("contract_step_forbidden", 403, None),
        ControlError::NotEditable => ("contract_not_editable", 409, None),
        ControlError::PreconditionFailed => ("precondition_failed", 412, None),
        ControlError::BuiltIn => ("contract_built_in", 409, None),
        ControlError::ContractInUse => ("contract_in_use", 409, None),
        ControlError::ContractMasks(_) => ("contract_masks", 409, None),
        ControlError::Stream(StreamOrderError::Exists) => ("stream_exists", 409, None),
        ControlError::Stream(StreamOrderError::SourceUnknown) => ("source_stream_unknown", 404, None),
        ControlError::Stream(StreamOrderError::HasDependents(_)) => ("stream_has_dependents", 409, None),
        ControlError::Stream(_) => ("stream_invalid", 400, None),
        ControlError::Principal(error) => principal_row(*error),
        ControlError::Project(error) => project_row(*error),
        ControlError::Order(error) => order_row(error),
        ControlError::Conflict => ("conflict", 409, Some(1)),
        ControlError::Unavailable => ("store_unavailable", 503, Some(2)),
    }
}

fn principal_row(error: PrincipalOrderError) -> Row {
    match error {
        PrincipalOrderError::Unknown => ("principal_unknown", 404, None),
        PrincipalOrderError::Exists => ("principal_exists", 409, None),
        PrincipalOrderError::BuiltIn => ("principal_built_in", 409, None),
        PrincipalOrderError::OwnRole => ("own_role", 403, None),
        PrincipalOrderError::LastAdmin => ("last_admin", 409, None),
        PrincipalOrderError::TokenUnknown => ("api_token_unknown", 404, None),
        PrincipalOrderError::GrantUnknown => ("read_grant_unknown", 404, None),
        PrincipalOrderError::Invalid(_) => ("principal_invalid", 400, None),
    }
}

fn project_row(error: ProjectOrderError) -> Row {
    match error {
        ProjectOrderError::Unknown => ("project_unknown", 404, None),
        ProjectOrderError::Exists => ("project_exists", 409, None),
        ProjectOrderError::BuiltIn => ("project_built_in", 409, None),
        ProjectOrderError::NotEmpty => ("project_not_empty", 409, None),
        ProjectOrderError::Archived => ("project_archived", 409, None),
        ProjectOrderError::MemberUnknown => ("member_unknown", 404, None),
        ProjectOrderError::OwnRole => ("own_role", 403, None),
        ProjectOrderError::Invalid(_) => ("project_invalid", 400, None),
    }
}

fn order_row(error: &OrderError) -> Row {
    match error {
        OrderError::CredentialUnknown => ("credential_unknown", 404, None),
        OrderError::PurposeUnknown(_) => ("purpose_unknown", 404, None),
        OrderError::PurposeExists | OrderError::PurposesFull => ("purpose_exists", 409, None),
        OrderError::PurposeInUse(_) => ("purpose_in_use", 409, None),
        OrderError::Purpose(_) => ("purpose_invalid", 400, None),
        OrderError::PolicyUnknown => ("policy_unknown", 404, None),
        OrderError::PolicyExists => ("policy_exists", 409, None),
        OrderError::PolicyNotActive(_) => ("policy_not_active", 409, None),
        OrderError::PolicyState(_) => ("policy_state", 409, None),
        OrderError::PolicyInUse(_) => ("policy_in_use", 409, None),
        OrderError::Policy(_) => ("policy_invalid", 400, None),
    }
}

macro_rules! codes {
    ($($code:literal,)*) => {
        /// Every code, as `docs/errors/` has pages for them.
        pub const CODES: &[&str] = &[$($code),*];

        /// The page of a code: what it means and what to do.
        #[must_use]
        pub(super) fn page(code: &str) -> Option<&'static str> {
            match code {
                $($code => Some(include_str!(concat!("../../docs/errors/", $code, ".md"))),)*
                _ => None,
            }
        }
    };
}

codes! {
    "api_token_invalid",
    "api_token_missing",
    "api_token_unknown",
    "audit_out_of_range",
    "audit_unavailable",
    "avro_invalid",
    "avro_too_deep",
    "avro_trailing_bytes",
    "avro_truncated",
    "batch_empty",
    "batch_refused",
    "body_badly_packed",
    "body_cut_off",
    "body_invalid",
    "body_too_large",
    "body_too_slow",
    "conflict",
    "consent_too_many",
    "container_invalid",
    "container_schema",
    "contract_built_in",
    "contract_exists",
    "contract_in_use",
    "contract_invalid",
    "contract_masks",
    "contract_mismatch",
    "contract_not_active",
    "contract_not_editable",
    "contract_schema_unfit",
    "contract_state",
    "contract_step_forbidden",
    "contract_unknown",
    "credential_unknown",
    "credentials_wrong",
    "encoding_unknown",
    "erasure_unknown",
    "event_too_large",
    "field_missing",
    "field_type",
    "field_unknown",
    "header_invalid",
    "idempotency_key_busy",
    "idempotency_key_invalid",
    "idempotency_key_reused",
    "idempotency_keys_full",
    "issuer_unavailable",
    "json_duplicate_key",
    "json_invalid",
    "json_too_deep",
    "key_field_empty",
    "key_unavailable",
    "last_admin",
    "log_damaged",
    "log_unavailable",
    "member_unknown",
    "meta_missing",
    "method_unknown",
    "not_a_web_socket",
    "overloaded",
    "own_role",
    "parameter_invalid",
    "principal_built_in",
    "principal_exists",
    "principal_invalid",
    "principal_unknown",
    "project_archived",
    "project_built_in",
    "project_exists",
    "project_invalid",
    "project_not_empty",
    "project_unknown",
    "read_grant_missing",
    "read_grant_unknown",
    "policy_exists",
    "policy_in_use",
    "policy_invalid",
    "policy_not_active",
    "policy_state",
    "policy_unknown",
    "precondition_failed",
    "purpose_exists",
    "purpose_in_use",
    "purpose_invalid",
    "purpose_unknown",
    "refresh_token_invalid",
    "role_forbids",
    "route_unknown",
    "schema_code_unsupported",
    "schema_exists",
    "schema_header_missing",
    "schema_invalid",
    "schema_mismatch",
    "schema_unknown",
    "seal_mismatch",
    "source_stream_unknown",
    "store_unavailable",
    "stream_count_exceeded",
    "stream_disabled",
    "stream_exists",
    "stream_has_dependents",
    "stream_invalid",
    "stream_is_derived",
    "stream_rate_exceeded",
    "stream_unknown",
    "subject_erased",
    "subject_invalid",
    "subject_unknown",
    "token_expired",
    "token_for_other_stream",
    "token_invalid",
    "token_missing",
    "too_large",
    "too_many_failures",
    "too_many_readers",
    "validation_failed",
    "value_too_long",
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.row().1).expect("the table holds valid statuses")
    }

    fn error_response(&self) -> HttpResponse {
        let (code, status, retry_after_s) = self.row();
        if status >= 500 && status != 503 {
            tracing::error!(code, "request failed");
        }
        let mut response = HttpResponse::build(self.status_code());
        if let Some(seconds) = retry_after_s {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        if status == 401 {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        if let ApiError::Event(Refusal::Violation(violation)) = self {
            return response.content_type("text/plain; charset=utf-8").body(violation.to_string());
        }
        let (accepted, refused) = match self {
            ApiError::BatchRefused { verdicts } => (Some(verdicts.accepted), Some(&verdicts.refused[..])),
            ApiError::BatchStopped { accepted, .. } => (Some(*accepted), None),
            _ => (None, None),
        };
        let title = self.status_code().canonical_reason().unwrap_or("error");
        let kind = format!("/problems/{code}");
        let problem = Problem { kind, title, status, code, detail: self.to_string(), accepted, refused };
        response.content_type("application/problem+json").json(problem)
    }
}

/// The body. `code` is the stable identifier; `detail` may be reworded in any release.
#[derive(Serialize, ToSchema)]
pub(super) struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<&'a [Verdict]>,
}
