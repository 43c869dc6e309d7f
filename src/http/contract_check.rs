//! `POST /api/v1/contracts/check`: validates a contract without making it, and tries it on real traffic.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Payload},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiError, Doors,
    document::document,
    gate::{self, identify},
    openapi::answers::{Asked, Changed, Demanded, Looked, OfLog, Read},
};
use crate::{
    actors::{ControlError, fitting_schema},
    audit::Action,
    domain::{Contract, ContractRef, Permission, Schema, StreamName},
    event::EventPlan,
    gateway::{Refusal, TrafficReport, Trial},
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ContractCheck)]
struct CheckRequest {
    /// Default: the one the contract document names; none at all: a name that no contract has.
    #[serde(rename = "ref")]
    reference: Option<ContractRef>,
    schema: Option<String>,
    contract: String,
    /// A source stream whose traffic it is tried on.
    against: Option<StreamName>,
    /// How far back, seconds. Range 1 to 604800, default 3600.
    #[schema(minimum = 1, maximum = 604800)]
    last_s: Option<u32>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ContractVerdict)]
struct CheckAnswer {
    valid: bool,
    #[serde(rename = "ref")]
    reference: ContractRef,
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic: Option<TrafficReport>,
}

/// Checks a contract as its creation would. Changes nothing.
#[utoipa::path(post, path = "/api/v1/contracts/check", operation_id = "check_contract", tag = "contracts",
    request_body = CheckRequest,
    responses((status = 200, body = CheckAnswer), Asked, Demanded, Looked, Read, Changed, OfLog))]
pub(super) async fn check(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let wanted: CheckRequest = document(&request, payload, &doors).await?;
    let last_s = wanted.last_s.unwrap_or(LAST_S_DEFAULT);
    if !(1..=LAST_S_MAX).contains(&last_s) {
        return Err(ApiError::Parameter("last_s: 1 to 604800 seconds"));
    }
    let named = wanted.reference.clone().or_else(|| Contract::named_in(&wanted.contract));
    let reference = named.clone().unwrap_or_else(|| NAMELESS.parse().expect("a reference"));
    let contract = Contract::parse(&reference, &wanted.contract).map_err(ControlError::ContractDocument)?;
    let schema = wanted.schema.as_ref().map(|text| Schema::parse(&contract.schema_ref, text));
    let schema = schema.transpose().map_err(ControlError::SchemaDocument)?;
    gate::demand_schemas(&identity, &contract, schema.as_ref())?;
    let inventory = identity.inventory();
    let schema = fitting_schema(inventory, &contract, schema.as_ref())?;
    let contract = Arc::new(contract);
    let plan =
        EventPlan::compile(Arc::clone(&schema), Arc::clone(&contract), &[]).map_err(ControlError::from)?;
    let warnings = contract.warnings().into_iter().chain(plan.warnings()).collect();
    let traffic = match &wanted.against {
        None => None,
        Some(name) => {
            let stream = gate::seen_stream(&identity, Permission::CreateResources, name)?;
            if stream.definition.derived.is_some() {
                return Err(Refusal::DerivedStream.into());
            }
            let trial = Trial { contract, schema, same_contract_only: named.is_some(), last_s };
            let action = Action::TrafficChecked { stream: name.clone(), contract: reference.clone() };
            doors.auditor.record(identity.who(), action).await?;
            let mut report = doors.intake.try_contract(stream, trial).await?;
            report.derived.retain(|count| {
                let known = inventory.stream(&count.stream);
                known.is_some_and(|known| identity.sees(&known.definition.project))
            });
            Some(report)
        }
    };
    Ok(HttpResponse::Ok().json(CheckAnswer { valid: true, reference, warnings, traffic }))
}

const NAMELESS: &str = "check/contract/0.0.0";
const LAST_S_DEFAULT: u32 = 3600;
const LAST_S_MAX: u32 = 7 * 24 * 3600;
