//! `/api/v1/streams`: make, show, change and delete streams.

use std::collections::BTreeMap;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, ETAG},
    web::{Data, Path, Payload, Query},
};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use zeroize::Zeroizing;

use super::{
    ApiError, Doors,
    document::{Mapped, document},
    gate::{self, demand_stream, identify},
    once::once,
    openapi::{
        answers::{Asked, Changed, Demanded, Looked, Matched, Read},
        names::{CreateHeader, ETag, IfMatch},
    },
    paging::page,
    precondition::{etag, if_match},
};
use crate::{
    actors::{
        ControlError, Inventory, KnownStream, NewDerivation, NewMasks, NewStream, StreamOrderError,
        StreamPatch,
    },
    clock::Timestamp,
    domain::{
        ConsentRule, ConsentRuleError, ContractRef, FieldPath, Permission, PolicyId, ProjectName,
        StreamLimits, StreamName, limits,
        mask::{MaskConfig, MaskHash, check_seed},
        stream_definition::{DefinitionError, StreamDefinition},
    },
    gateway::Identity,
};

/// What a client sends to make a stream.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewStream)]
struct StreamRequest {
    name: Option<StreamName>,
    /// None: that of the source, or the default one.
    project: Option<ProjectName>,
    #[serde(default)]
    #[schema(max_length = 1000)]
    description: Option<String>,
    #[serde(default)]
    #[schema(max_items = 20)]
    tags: Vec<String>,
    #[schema(minimum = 1, maximum = 3650)]
    retention_days: Option<u32>,
    derived_from: Option<StreamName>,
    #[serde(default)]
    #[schema(max_items = 50)]
    purposes: Vec<NamedPurpose>,
    #[serde(default)]
    cumulative: bool,
    #[serde(default)]
    #[schema(value_type = Vec<MaskedFields>)]
    masked_fields: Vec<Mapped<MaskedFields>>,
    mask_seed: Option<String>,
    #[serde(default)]
    hash_type: Option<MaskHash>,
    #[serde(default)]
    as_received: bool,
    #[serde(default)]
    #[schema(value_type = StreamLimits)]
    limits: Mapped<StreamLimits>,
    /// Id or name of an ACTIVE one.
    policy: Option<String>,
}

/// A purpose by its level, or by its name in the purpose map.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum NamedPurpose {
    Level(i32),
    Name(String),
}

/// What a client sends to change a stream: what is left out stays, null takes limits and policy away.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = StreamChange)]
struct PatchRequest {
    #[schema(max_length = 1000)]
    description: Option<String>,
    #[schema(max_items = 20)]
    tags: Option<Vec<String>>,
    #[schema(minimum = 1, maximum = 3650)]
    retention_days: Option<u32>,
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<StreamLimits>)]
    limits: Option<Option<Mapped<StreamLimits>>>,
    #[serde(default, deserialize_with = "present")]
    policy: Option<Option<String>>,
}

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(given: D) -> Result<Option<T>, D::Error> {
    T::deserialize(given).map(Some)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MaskedFields {
    #[serde(rename = "ref")]
    reference: ContractRef,
    fields: Vec<FieldPath>,
}

/// A stream as the API shows it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Stream)]
struct StreamAnswer<'a> {
    #[serde(rename = "ref")]
    reference: Ref<'a>,
    project: &'a ProjectName,
    enabled: bool,
    description: &'a str,
    tags: &'a [String],
    retention_days: u32,
    created: Timestamp,
    derived: Option<DerivedAnswer<'a>>,
    limits: &'a StreamLimits,
    policy: Option<PolicyAnswer<'a>>,
    credentials: Vec<CredentialAnswer<'a>>,
}

/// The policy of a stream. A policy of a stream is never deleted, so it has a name.
#[derive(Serialize, ToSchema)]
#[schema(as = StreamPolicy)]
struct PolicyAnswer<'a> {
    id: PolicyId,
    name: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = StreamRef)]
struct Ref<'a> {
    name: &'a StreamName,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Derivation)]
struct DerivedAnswer<'a> {
    source: &'a StreamName,
    purposes: Vec<i32>,
    #[serde(rename = "type")]
    kind: &'static str,
    #[schema(value_type = BTreeMap<String, Vec<FieldPath>>)]
    masked: BTreeMap<&'a ContractRef, &'a [FieldPath]>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FirstCredential)]
struct CredentialAnswer<'a> {
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Streams)]
struct StreamsAnswer<'a> {
    streams: Vec<StreamAnswer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// What deleting a stream would delete.
#[derive(Serialize, ToSchema)]
#[schema(as = Deletion)]
struct DeletionAnswer {
    streams: Vec<DoomedAnswer>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DoomedStream)]
struct DoomedAnswer {
    name: StreamName,
    derived_from: Option<StreamName>,
    events: u64,
    keys: u64,
    credentials: usize,
}

#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    tag: Option<String>,
    source: Option<StreamName>,
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    page_token: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeleteQuery {
    #[serde(default)]
    recursive: bool,
    #[serde(default)]
    dry_run: bool,
}

/// Makes a stream; its secret is told here and never again.
#[utoipa::path(post, path = "/api/v1/streams", operation_id = "create_stream", tag = "streams",
    request_body = StreamRequest,
    params(CreateHeader),
    responses((status = 201, body = StreamAnswer, headers(("ETag" = ETag))), Asked, Demanded, Looked, Read, Changed))]
pub(super) async fn create(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let (maker, registry) = (identity.clone(), doors.registry.clone());
    once(&request, payload, &doors, &identity, async move |wanted: StreamRequest| {
        let new = new_stream(wanted, &maker)?;
        demand_new(&maker, &new)?;
        let created = registry.create_stream(maker.who(), new).await?;
        let secret = (created.client_id.as_str(), created.client_secret.text());
        let inventory = registry.inventory();
        let mut response = HttpResponse::Created();
        response.insert_header((CACHE_CONTROL, "no-store"));
        if let Some(known) = inventory.stream(&created.definition.name) {
            response.insert_header((ETAG, etag(known.version)));
        }
        Ok(response.json(answer(&created.definition, &inventory, Some(secret))))
    })
    .await
}

/// Streams that the caller sees by name, in pages; those with a tag, those derived from a source.
#[utoipa::path(get, path = "/api/v1/streams", operation_id = "list_streams", tag = "streams",
    params(ListQuery),
    responses((status = 200, body = StreamsAnswer), Asked))]
pub(super) async fn list(
    request: HttpRequest,
    query: Query<ListQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let identity = identify(&request, &doors).await?;
    let inventory = identity.inventory();
    let wanted = |stream: &&StreamDefinition| {
        identity.sees(&stream.project)
            && query.tag.as_ref().is_none_or(|tag| stream.tags.contains(tag))
            && query
                .source
                .as_ref()
                .is_none_or(|source| stream.derived.as_ref().is_some_and(|d| d.source == *source))
    };
    let mut streams: Vec<_> = inventory.streams().map(|known| &known.definition).filter(wanted).collect();
    streams.sort_by(|a, b| a.name.cmp(&b.name));
    let (streams, next_page_token) =
        page(streams, query.limit, query.page_token.as_deref(), |stream| stream.name.as_str())?;
    let streams = streams.into_iter().map(|definition| answer(definition, inventory, None)).collect();
    Ok(HttpResponse::Ok().json(StreamsAnswer { streams, next_page_token }))
}

/// One stream.
#[utoipa::path(get, path = "/api/v1/streams/{name}", operation_id = "get_stream", tag = "streams",
    params(("name" = StreamName, Path)),
    responses((status = 200, body = StreamAnswer, headers(("ETag" = ETag))), Asked, Looked))]
pub(super) async fn get(
    request: HttpRequest,
    name: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_stream(&request, &doors, Permission::ViewResources, &name).await?;
    Ok(shown(&known, identity.inventory()))
}

/// Changes a stream, with `If-Match` only the version the client has seen.
#[utoipa::path(patch, path = "/api/v1/streams/{name}", operation_id = "update_stream", tag = "streams",
    request_body = PatchRequest,
    params(("name" = StreamName, Path), IfMatch),
    responses((status = 200, body = StreamAnswer, headers(("ETag" = ETag))), Asked, Demanded, Looked, Read, Changed, Matched))]
pub(super) async fn change(
    request: HttpRequest,
    payload: Payload,
    name: Path<String>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_stream(&request, &doors, Permission::CreateResources, &name).await?;
    let expected = if_match(request.headers())?;
    let wanted: PatchRequest = document(&request, payload, &doors).await?;
    let PatchRequest { description, tags, retention_days, enabled, limits, policy } = wanted;
    if retention_days.is_some_and(|days| days < known.definition.retention_days) {
        // It ends events.
        identity.demand_in(Permission::DeleteResources, &known.definition.project)?;
    }
    let limits = limits.map(|limits| limits.unwrap_or_default().0);
    let limited = limits.is_some_and(|limits| limits.events_max.is_some());
    let patch = StreamPatch { description, tags, retention_days, enabled, limits, policy };
    let name = known.definition.name.clone();
    let known = doors.registry.change_stream(identity.who(), name, expected, patch).await?;
    if limited {
        doors.usage.seed_limit(&known).await;
    }
    Ok(shown(&known, &doors.registry.inventory()))
}

/// Deletes a stream, with `recursive=true` also what derives from it; with `dryRun=true` only says what.
#[utoipa::path(delete, path = "/api/v1/streams/{name}", operation_id = "delete_stream", tag = "streams",
    params(DeleteQuery, ("name" = StreamName, Path)),
    responses((status = 200, body = DeletionAnswer), (status = 204), Asked, Demanded, Looked, Changed))]
pub(super) async fn delete(
    request: HttpRequest,
    name: Path<String>,
    query: Query<DeleteQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let (identity, known) = demand_stream(&request, &doors, Permission::DeleteResources, &name).await?;
    let name = known.definition.name.clone();
    // Also what derives from it, which may be another project's: its name is not told.
    let may = |project| identity.may_in(Permission::DeleteResources, project);
    if !identity.inventory().derived_from(&name).all(|derived| may(&derived.definition.project)) {
        return Err(identity.refused(Permission::DeleteResources.as_str()).into());
    }
    if query.dry_run {
        return deletion(&doors, &name, query.recursive).await;
    }
    doors.registry.delete_stream(identity.who(), name, query.recursive).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn deletion(doors: &Doors, name: &StreamName, recursive: bool) -> Result<HttpResponse, ApiError> {
    let doomed = doors.registry.deletion_plan(name, recursive)?;
    let names: Vec<_> = doomed.iter().map(|known| known.definition.name.clone()).collect();
    let holdings = doors.census.count(&names).await?;
    let streams = doomed.iter().zip(holdings).map(|(known, holding)| DoomedAnswer {
        name: known.definition.name.clone(),
        derived_from: known.definition.derived.as_ref().map(|derived| derived.source.clone()),
        events: holding.events,
        keys: holding.keys,
        credentials: known.definition.credentials.len(),
    });
    Ok(HttpResponse::Ok().json(DeletionAnswer { streams: streams.collect() }))
}

fn shown(known: &KnownStream, inventory: &Inventory) -> HttpResponse {
    HttpResponse::Ok().insert_header((ETAG, etag(known.version))).json(answer(
        &known.definition,
        inventory,
        None,
    ))
}

/// Refuses a stream that the caller may not make: where it goes, what it derives from, what it masks by.
fn demand_new(identity: &Identity, new: &NewStream) -> Result<(), ApiError> {
    gate::demand_project_of(identity, Permission::CreateResources, &new.project)?;
    let Some(derived) = &new.derived else { return Ok(()) };
    let source = identity.inventory().stream(&derived.source);
    let source = source.filter(|source| identity.sees(&source.definition.project));
    let source = source.ok_or(ControlError::Stream(StreamOrderError::SourceUnknown))?;
    identity.demand_in(Permission::CreateResources, &source.definition.project)?;
    for reference in derived.masks.iter().flat_map(|masks| masks.config.patterns.keys()) {
        if gate::seen_contract(identity, reference.as_str()).is_none() {
            let unknown = StreamOrderError::MaskContractUnknown(reference.to_string());
            return Err(ControlError::Stream(unknown).into());
        }
    }
    Ok(())
}

fn new_stream(wanted: StreamRequest, identity: &Identity) -> Result<NewStream, ApiError> {
    let inventory = identity.inventory();
    let level = |purpose: &NamedPurpose| match purpose {
        NamedPurpose::Level(level) => Ok(*level),
        NamedPurpose::Name(name) => inventory.purpose_level(name).map_err(ControlError::from),
    };
    let refuse = |error: DefinitionError| ControlError::Stream(StreamOrderError::Definition(error));
    if wanted.purposes.len() > limits::CONSENT_LEVELS_MAX {
        return Err(refuse(ConsentRuleError::TooMany.into()).into());
    }
    let purposes = wanted.purposes.iter().map(level).collect::<Result<Vec<i32>, _>>()?;
    let derived = match wanted.derived_from {
        None if purposes.is_empty() && wanted.masked_fields.is_empty() => None,
        None => return Err(ControlError::Stream(StreamOrderError::PurposesWithoutSource).into()),
        Some(source) => {
            let rule = match (wanted.cumulative, &purposes[..]) {
                (false, purposes) => ConsentRule::granular(purposes.iter().copied()),
                (true, [level]) => ConsentRule::cumulative(*level),
                (true, _) => return Err(ControlError::Stream(StreamOrderError::CumulativeTakesOne).into()),
            };
            let rule = rule.map_err(|error| refuse(error.into()))?;
            let masks = masks(wanted.masked_fields, wanted.mask_seed, wanted.hash_type)
                .map_err(|error| refuse(error.into()))?;
            Some(NewDerivation { source, rule, masks, as_received: wanted.as_received })
        }
    };
    let source = derived.as_ref().and_then(|derived| identity.inventory().stream(&derived.source));
    let project = wanted.project.or_else(|| source.map(|source| source.definition.project.clone()));
    Ok(NewStream {
        name: wanted.name,
        project: project.unwrap_or_default(),
        description: wanted.description.unwrap_or_default(),
        tags: wanted.tags,
        retention_days: wanted.retention_days,
        derived,
        limits: wanted.limits.0,
        policy: wanted.policy,
    })
}

fn masks(
    wanted: Vec<Mapped<MaskedFields>>,
    seed: Option<String>,
    hash: Option<MaskHash>,
) -> Result<Option<NewMasks>, crate::domain::mask::MaskError> {
    if wanted.is_empty() {
        return Ok(None);
    }
    let mut config = MaskConfig { hash: hash.unwrap_or_default(), ..MaskConfig::default() };
    for Mapped(MaskedFields { reference, fields }) in wanted {
        config.patterns.entry(reference).or_default().extend(fields);
    }
    config.validate()?;
    let seed = seed.filter(|seed| !seed.is_empty()).map(Zeroizing::new);
    if let Some(seed) = &seed {
        check_seed(seed)?;
    }
    Ok(Some(NewMasks { config, seed }))
}

fn answer<'a>(
    definition: &'a StreamDefinition,
    inventory: &'a Inventory,
    secret: Option<(&str, &'a str)>,
) -> StreamAnswer<'a> {
    let credential = |client_id: &'a str| {
        let told = secret.filter(|(id, _)| *id == client_id);
        CredentialAnswer { client_id, client_secret: told.map(|(_, secret)| secret) }
    };
    StreamAnswer {
        reference: Ref { name: &definition.name },
        project: &definition.project,
        enabled: definition.enabled,
        description: &definition.description,
        tags: &definition.tags,
        retention_days: definition.retention_days,
        created: definition.created,
        derived: definition.derived.as_ref().map(|derived| DerivedAnswer {
            source: &derived.source,
            purposes: derived.rule.levels(),
            kind: match derived.rule {
                ConsentRule::Granular(_) => "GRANULAR",
                ConsentRule::Cumulative(_) => "CUMULATIVE",
            },
            masked: derived
                .masks
                .iter()
                .flat_map(|masks| &masks.patterns)
                .map(|(reference, fields)| (reference, &fields[..]))
                .collect(),
        }),
        limits: &definition.limits,
        policy: definition.policy.map(|id| PolicyAnswer {
            id,
            name: inventory.policies().get(&id).map(|known| known.policy.name.as_str()),
        }),
        credentials: definition.credentials.iter().map(|stored| credential(&stored.client_id)).collect(),
    }
}
