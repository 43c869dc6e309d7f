//! The gate of the control plane: who asks, and whether they may.
//!
//! What belongs to a project that the caller cannot see is answered as what does not exist: the same status,
//! the same body. What the caller sees but may not touch is answered 403. The decision falls before the body of
//! a request is read.

use std::sync::Arc;

use actix_web::{HttpRequest, http::header::AUTHORIZATION};

use super::{ApiError, Doors, ingest::text};
use crate::{
    actors::{
        ControlError, KnownContract, KnownPrincipal, KnownProject, KnownStream, PrincipalOrderError,
        ProjectOrderError,
    },
    domain::{
        Contract, ContractRef, ContractRights, ContractStep, Permission, PrincipalId, Project, ProjectName,
        Role, Schema, StreamName, Who, catalogue,
    },
    gateway::{AccessError, Identity},
};

/// Who asks.
pub(super) async fn identify(request: &HttpRequest, doors: &Doors) -> Result<Identity, ApiError> {
    Ok(doors.access.authorize(text(request.headers(), AUTHORIZATION.as_str())?).await?)
}

/// What the caller's roles are, as text: the same text, the same say.
pub(super) fn say(identity: &Identity) -> String {
    let works_on = |project: &Project| Some((project.name.clone(), *project.members.get(identity.id())?));
    let mut projects: Vec<_> = identity.projects().filter_map(works_on).collect();
    projects.sort_by(|a, b| a.0.cmp(&b.0));
    format!("{:?} {projects:?}", identity.roles())
}

/// Refuses a caller whose token or roles are no longer what they were when `before` was found out: a body may
/// take half a minute to come.
pub(super) async fn demand_unchanged(
    request: &HttpRequest,
    doors: &Doors,
    before: &Identity,
) -> Result<(), ApiError> {
    let now = identify(request, doors).await?;
    if say(&now) == say(before) { Ok(()) } else { Err(AccessError::Forbidden.into()) }
}

/// Who asks, if it may do this on the installation.
pub(super) async fn demand(
    request: &HttpRequest,
    doors: &Doors,
    permission: Permission,
) -> Result<Identity, ApiError> {
    let identity = identify(request, doors).await?;
    identity.demand(permission)?;
    Ok(identity)
}

/// Who asks, and the stream, if it may do this with it.
pub(super) async fn demand_stream(
    request: &HttpRequest,
    doors: &Doors,
    permission: Permission,
    name: &str,
) -> Result<(Identity, Arc<KnownStream>), ApiError> {
    let identity = identify(request, doors).await?;
    let name: Option<StreamName> = name.parse().ok();
    let known = name.and_then(|name| identity.inventory().stream(&name).cloned());
    let known = known.ok_or(ControlError::StreamUnknown)?;
    identity
        .demand_in(permission, &known.definition.project)
        .map_err(|error| unseen_as(error, ControlError::StreamUnknown))?;
    Ok((identity, known))
}

/// The stream called `name`, if the caller may do this with it.
pub(super) fn seen_stream<'a>(
    identity: &'a Identity,
    permission: Permission,
    name: &StreamName,
) -> Result<&'a Arc<KnownStream>, ApiError> {
    let known = identity.inventory().stream(name).ok_or(ControlError::StreamUnknown)?;
    identity
        .demand_in(permission, &known.definition.project)
        .map_err(|error| unseen_as(error, ControlError::StreamUnknown))?;
    Ok(known)
}

/// Who asks, and the contract, if it may do this with it.
pub(super) async fn demand_contract(
    request: &HttpRequest,
    doors: &Doors,
    permission: Permission,
    reference: &str,
) -> Result<(Identity, Arc<KnownContract>), ApiError> {
    let identity = identify(request, doors).await?;
    let known = seen_contract(&identity, reference).cloned().ok_or(ControlError::ContractUnknown)?;
    demand_contract_of(&identity, permission, &known)?;
    Ok((identity, known))
}

/// Refuses what the caller may not do with a contract it sees. A public one may be looked at by everybody.
pub(super) fn demand_contract_of(
    identity: &Identity,
    permission: Permission,
    known: &KnownContract,
) -> Result<Who, ApiError> {
    if permission == Permission::ViewContracts && known.contract.is_public {
        return Ok(identity.who());
    }
    identity.demand_in(permission, &known.contract.project).map_err(|error| match error {
        AccessError::Unseen if known.contract.is_public => AccessError::Forbidden.into(),
        error => unseen_as(error, ControlError::ContractUnknown),
    })
}

/// What the caller's roles allow for a step of a contract's life.
pub(super) fn contract_rights(
    identity: &Identity,
    known: &KnownContract,
    step: ContractStep,
) -> ContractRights {
    let project = &known.contract.project;
    let may = |permission| identity.may_in(permission, project);
    let is_admin = identity.roles_in(project).any(|role| role == Role::Admin);
    let belongs = identity.sees(project);
    match step {
        // What ends a contract takes who may delete what is in the project.
        ContractStep::Archive | ContractStep::Delete => ContractRights {
            may_edit: may(Permission::DeleteResources),
            may_review: false,
            is_admin,
            belongs,
        },
        _ => ContractRights {
            may_edit: may(Permission::CreateResources),
            may_review: may(Permission::ReviewContracts),
            is_admin,
            belongs,
        },
    }
}

/// The contract, if there is one for the caller.
pub(super) fn seen_contract<'a>(identity: &'a Identity, reference: &str) -> Option<&'a Arc<KnownContract>> {
    identity.inventory().contract(reference).filter(|known| sees_contract(identity, known))
}

/// Whether there is this contract for the caller.
pub(super) fn sees_contract(identity: &Identity, known: &KnownContract) -> bool {
    known.contract.is_public || identity.sees(&known.contract.project)
}

/// Whether there is this schema for the caller: it is built in, or a contract that the caller sees accepts it.
pub(super) fn sees_schema(identity: &Identity, reference: &ContractRef) -> bool {
    let mut contracts = identity.inventory().contracts();
    catalogue::has_schema(reference)
        || contracts.any(|c| c.contract.accepts_schema(reference) && sees_contract(identity, c))
}

/// Refuses a contract that names another project's schema: with it the caller would be shown it. A schema whose
/// very text the caller gives is no secret to it, and one that does not exist is refused elsewhere.
pub(super) fn demand_schemas(
    identity: &Identity,
    contract: &Contract,
    given: Option<&Schema>,
) -> Result<(), ControlError> {
    for reference in std::iter::once(&contract.schema_ref).chain(&contract.other_schema_refs) {
        let Some(known) = identity.inventory().schema(reference.as_str()) else { continue };
        let same =
            |given: &Schema| given.reference == *reference && given.definition == known.schema.definition;
        let seen = given.is_some_and(same) || sees_schema(identity, reference);
        // A name that is taken by another text is told by the order itself.
        let taken = given.is_some_and(|given| given.reference == *reference);
        if !seen && !taken {
            return Err(ControlError::SchemaUnknown);
        }
    }
    Ok(())
}

/// Who asks, and the project, if it may do this with it.
pub(super) async fn demand_project(
    request: &HttpRequest,
    doors: &Doors,
    permission: Permission,
    name: &str,
) -> Result<(Identity, Arc<KnownProject>), ApiError> {
    let identity = identify(request, doors).await?;
    let unknown = || ControlError::Project(ProjectOrderError::Unknown);
    let name: ProjectName = name.parse().map_err(|_| unknown())?;
    demand_project_of(&identity, permission, &name)?;
    let known = identity.inventory().project(&name).cloned().ok_or_else(unknown)?;
    Ok((identity, known))
}

/// Refuses what the caller may not do in a project.
pub(super) fn demand_project_of(
    identity: &Identity,
    permission: Permission,
    name: &ProjectName,
) -> Result<Who, ApiError> {
    let unknown = || ControlError::Project(ProjectOrderError::Unknown);
    identity.demand_in(permission, name).map_err(|error| unseen_as(error, unknown()))
}

/// Who asks, and the principal `id`: everybody sees themselves, who manages principals sees all.
pub(super) async fn demand_principal(
    request: &HttpRequest,
    doors: &Doors,
    id: &str,
    by_itself: bool,
) -> Result<(Identity, Arc<KnownPrincipal>), ApiError> {
    let identity = identify(request, doors).await?;
    let unknown = || ControlError::Principal(PrincipalOrderError::Unknown);
    let id: PrincipalId = id.parse().map_err(|_| unknown())?;
    let manages = identity.may(Permission::ManagePrincipals);
    let itself = id == *identity.id();
    if !manages && !itself {
        return Err(unknown().into());
    }
    if id == PrincipalId::operator() {
        return Err(ControlError::Principal(PrincipalOrderError::BuiltIn).into());
    }
    let known = identity.inventory().principal(&id).cloned().ok_or_else(unknown)?;
    if !manages && !by_itself {
        return Err(identity.refused(Permission::ManagePrincipals.as_str()).into());
    }
    Ok((identity, known))
}

fn unseen_as(error: AccessError, unknown: ControlError) -> ApiError {
    match error {
        AccessError::Unseen => unknown.into(),
        error => error.into(),
    }
}
