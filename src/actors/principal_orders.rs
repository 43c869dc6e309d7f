//! Orders about principals. One function per order; those about their API tokens and about what they may read
//! have rooms of their own. Called by `actors::registry`, one at a time, so that a rule that looks at several
//! principals cannot be raced.

use std::sync::Arc;

use super::{
    Inventory, KnownGrant, KnownPrincipal, RegistryHandle,
    api_tokens::{self, CreatedToken, NewToken, TokenChoice},
    ask::respond,
    audited::{change as change_of, changed, read_revoked},
    contract_orders::{Expected, demand_version},
    inventory_store::{PRINCIPAL, PROJECT, READ_GRANT},
    read_grants::{self, grant_name, project_of},
    registry::{ControlError, RegistryMsg, RegistryState, Reply},
    workshop::{RegistryWorkshop, document},
};
use crate::{
    audit::GrantEnd,
    clock::Timestamp,
    domain::{
        Principal, PrincipalId, PrincipalKind, ReadGrant, Role, StreamName, Who, principal::PrincipalError,
    },
};

/// A principal somebody wants.
pub struct NewPrincipal {
    pub id: PrincipalId,
    pub kind: PrincipalKind,
    pub name: String,
    pub email: Option<String>,
    pub role: Role,
}

/// What is to be different about a principal; None stays.
#[derive(Default)]
pub struct PrincipalChange {
    pub name: Option<String>,
    pub email: Option<String>,
    pub role: Option<Role>,
    pub disabled: Option<bool>,
}

/// Why an order about a principal was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrincipalOrderError {
    #[error("no such principal")]
    Unknown,
    #[error("there is or was a principal of this id: choose another")]
    Exists,
    #[error("the operator's token and its principal cannot be changed here")]
    BuiltIn,
    #[error("nobody changes their own role or disables themselves: ask another admin")]
    OwnRole,
    #[error("it is the last admin: only the operator's token may take that away")]
    LastAdmin,
    #[error("no such token")]
    TokenUnknown,
    #[error("no such grant")]
    GrantUnknown,
    #[error(transparent)]
    Invalid(#[from] PrincipalError),
}

impl From<PrincipalError> for ControlError {
    fn from(error: PrincipalError) -> ControlError {
        ControlError::Principal(PrincipalOrderError::Invalid(error))
    }
}

type KnownReply = Reply<Arc<KnownPrincipal>>;

pub(super) enum PrincipalOrder {
    Create { by: Who, new: NewPrincipal, reply: KnownReply },
    Change { by: Who, id: PrincipalId, change: PrincipalChange, expected: Expected, reply: KnownReply },
    Delete { by: Who, id: PrincipalId, expected: Expected, reply: Reply<()> },
    Meet { id: PrincipalId, name: String, email: Option<String>, reply: KnownReply },
    CreateToken { by: Who, id: PrincipalId, new: NewToken, reply: Reply<CreatedToken> },
    RevokeTokens { by: Who, id: PrincipalId, which: TokenChoice, reply: Reply<()> },
    GrantRead { by: Who, grant: ReadGrant, reply: Reply<Arc<KnownGrant>> },
    RevokeRead { by: Who, stream: StreamName, principal: PrincipalId, reply: Reply<()> },
}

impl PrincipalOrder {
    pub(super) async fn carry_out(self, state: &RegistryState) {
        match self {
            PrincipalOrder::Create { by, new, reply } => respond(reply, create(state, &by, new).await),
            PrincipalOrder::Change { by, id, change, expected, reply } => {
                respond(reply, self::change(state, &by, &id, change, expected).await);
            }
            PrincipalOrder::Delete { by, id, expected, reply } => {
                respond(reply, delete(state, &by, &id, expected).await);
            }
            PrincipalOrder::Meet { id, name, email, reply } => {
                respond(reply, meet(state, id, name, email).await);
            }
            PrincipalOrder::CreateToken { by, id, new, reply } => {
                respond(reply, api_tokens::create(state, &by, &id, new).await);
            }
            PrincipalOrder::RevokeTokens { by, id, which, reply } => {
                respond(reply, api_tokens::revoke(state, &by, &id, &which).await);
            }
            PrincipalOrder::GrantRead { by, grant, reply } => {
                respond(reply, read_grants::grant(state, &by, grant).await);
            }
            PrincipalOrder::RevokeRead { by, stream, principal, reply } => {
                respond(reply, read_grants::revoke(state, &by, &stream, &principal).await);
            }
        }
    }
}

impl RegistryHandle {
    /// Makes a user or a service account.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn create_principal(
        &self,
        by: Who,
        new: NewPrincipal,
    ) -> Result<Arc<KnownPrincipal>, ControlError> {
        self.ask_principal(|reply| PrincipalOrder::Create { by, new, reply }).await
    }

    /// Changes a principal.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn change_principal(
        &self,
        by: Who,
        id: PrincipalId,
        change: PrincipalChange,
        expected: Expected,
    ) -> Result<Arc<KnownPrincipal>, ControlError> {
        self.ask_principal(|reply| PrincipalOrder::Change { by, id, change, expected, reply }).await
    }

    /// Deletes a principal with its tokens, memberships and grants. Its id is not given again.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn delete_principal(
        &self,
        by: Who,
        id: PrincipalId,
        expected: Expected,
    ) -> Result<(), ControlError> {
        self.ask_principal(|reply| PrincipalOrder::Delete { by, id, expected, reply }).await
    }

    /// Writes down a person who logged in at the issuer for the first time.
    ///
    /// # Errors
    ///
    /// [`ControlError`]; [`PrincipalOrderError::Unknown`] for one that was deleted.
    pub async fn meet_person(
        &self,
        id: PrincipalId,
        name: String,
        email: Option<String>,
    ) -> Result<Arc<KnownPrincipal>, ControlError> {
        self.ask_principal(|reply| PrincipalOrder::Meet { id, name, email, reply }).await
    }

    pub(super) async fn ask_principal<T: Send + 'static>(
        &self,
        order: impl FnOnce(Reply<T>) -> PrincipalOrder,
    ) -> Result<T, ControlError> {
        self.ask(|reply| RegistryMsg::Principal(Box::new(order(reply)))).await
    }
}

async fn create(
    state: &RegistryState,
    by: &Who,
    new: NewPrincipal,
) -> Result<Arc<KnownPrincipal>, ControlError> {
    if new.id.is_of_issuer() {
        return Err(PrincipalError::IdOfIssuer.into());
    }
    let principal = principal_of(state, new);
    principal.validate()?;
    let id = principal.id.clone();
    demand_free(&state.args.workshop, &id).await?;
    put(state, by, &principal, 0, ("created", Some(principal.role.to_string()))).await?;
    known(&state.args.inventory.load(), &id)
}

async fn meet(
    state: &RegistryState,
    id: PrincipalId,
    name: String,
    email: Option<String>,
) -> Result<Arc<KnownPrincipal>, ControlError> {
    if let Some(known) = state.args.inventory.load().principal(&id) {
        return Ok(Arc::clone(known));
    }
    if state.args.workshop.holdings.get(PRINCIPAL, id.as_str()).await?.is_some() {
        return Err(PrincipalOrderError::Unknown.into());
    }
    let kind = PrincipalKind::User;
    let mut principal = principal_of(state, NewPrincipal { id, kind, name, email, role: Role::Member });
    // What an issuer says of somebody is shown, and may be in no form that could be.
    if principal.validate() == Err(PrincipalError::Name) {
        principal.name = String::new();
    }
    if principal.validate().is_err() {
        principal.email = None;
    }
    put(state, &Who::Node, &principal, 0, ("came from the issuer for the first time", None)).await?;
    known(&state.args.inventory.load(), &principal.id)
}

async fn change(
    state: &RegistryState,
    by: &Who,
    id: &PrincipalId,
    change: PrincipalChange,
    expected: Expected,
) -> Result<Arc<KnownPrincipal>, ControlError> {
    let inventory = state.args.inventory.load_full();
    let before = known(&inventory, id)?;
    demand_version(expected, before.version)?;
    let mut after = before.principal.clone();
    after.name = change.name.unwrap_or(after.name);
    after.email = change.email.filter(|email| !email.is_empty()).or(after.email);
    after.role = change.role.unwrap_or(after.role);
    after.disabled = change.disabled.unwrap_or(after.disabled);
    after.validate()?;
    let mighty = after.role != before.principal.role || after.disabled != before.principal.disabled;
    if mighty && is(by, id) {
        state.args.workshop.auditor.denied(by, "own_role");
        return Err(PrincipalOrderError::OwnRole.into());
    }
    demand_admin_left(&inventory, by, &before.principal, after.role == Role::Admin && after.is_active())?;
    let detail = format!("role {}{}", after.role, if after.disabled { ", disabled" } else { "" });
    put(state, by, &after, before.version, ("changed", Some(detail))).await?;
    known(&state.args.inventory.load(), id)
}

async fn delete(
    state: &RegistryState,
    by: &Who,
    id: &PrincipalId,
    expected: Expected,
) -> Result<(), ControlError> {
    let inventory = state.args.inventory.load_full();
    let before = known(&inventory, id)?;
    demand_version(expected, before.version)?;
    demand_admin_left(&inventory, by, &before.principal, false)?;
    let tombstone = Principal {
        name: String::new(),
        email: None,
        role: Role::Member,
        deleted: Some(state.args.workshop.clock.now()),
        tokens: Vec::new(),
        ..before.principal.clone()
    };
    let change = change_of;
    let mut changes = vec![change(PRINCIPAL, id.as_str(), before.version, Some(document(&tombstone)))];
    let mut actions = Vec::new();
    for known in inventory.projects().filter(|known| known.project.members.contains_key(id)) {
        let mut project = known.project.clone();
        project.members.remove(id);
        let body = Some(document(&project));
        changes.push(change(PROJECT, project.name.as_str(), known.version, body));
        let action = changed("project", project.name.as_str(), "no longer member", Some(id.to_string()));
        actions.push((Some(project.name), action));
    }
    for known in inventory.grants.values().filter_map(|of_stream| of_stream.get(id)) {
        changes.push(change(READ_GRANT, &grant_name(&known.grant), known.version, None));
        let action = read_revoked(&known.grant, Some(GrantEnd::PrincipalDeleted));
        actions.push((project_of(&inventory, &known.grant.stream), action));
    }
    actions.push((None, changed("principal", id.as_str(), "deleted", None)));
    state.args.workshop.apply_all(by, actions, changes).await?;
    state.reload().await?;
    Ok(())
}

/// The principal, if it is one that can be changed.
pub(super) fn known(inventory: &Inventory, id: &PrincipalId) -> Result<Arc<KnownPrincipal>, ControlError> {
    if *id == PrincipalId::operator() {
        return Err(PrincipalOrderError::BuiltIn.into());
    }
    inventory.principal(id).cloned().ok_or(PrincipalOrderError::Unknown.into())
}

/// Whether `by` is the principal `id`.
pub(super) fn is(by: &Who, id: &PrincipalId) -> bool {
    matches!(by, Who::Principal { id: author } if **author == *id.as_str())
}

/// Refuses what would leave no admin but the operator's token, unless that gives the order.
fn demand_admin_left(
    inventory: &Inventory,
    by: &Who,
    before: &Principal,
    stays_admin: bool,
) -> Result<(), ControlError> {
    let is_admin = |principal: &Principal| principal.role == Role::Admin && principal.is_active();
    let others = || inventory.principals().any(|p| p.principal.id != before.id && is_admin(&p.principal));
    if stays_admin || !is_admin(before) || *by == Who::operator() || others() {
        return Ok(());
    }
    Err(PrincipalOrderError::LastAdmin.into())
}

async fn demand_free(workshop: &RegistryWorkshop, id: &PrincipalId) -> Result<(), ControlError> {
    match workshop.holdings.get(PRINCIPAL, id.as_str()).await? {
        None => Ok(()),
        Some(_) => Err(PrincipalOrderError::Exists.into()),
    }
}

fn principal_of(state: &RegistryState, new: NewPrincipal) -> Principal {
    let created: Timestamp = state.args.workshop.clock.now();
    let NewPrincipal { id, kind, name, email, role } = new;
    Principal { id, kind, name, email, role, disabled: false, created, deleted: None, tokens: Vec::new() }
}

pub(super) async fn put(
    state: &RegistryState,
    by: &Who,
    principal: &Principal,
    version: u64,
    (said, detail): (&str, Option<String>),
) -> Result<(), ControlError> {
    let id = principal.id.as_str();
    let change = change_of(PRINCIPAL, id, version, Some(document(principal)));
    state.args.workshop.apply(by, None, changed("principal", id, said, detail), vec![change]).await?;
    Ok(state.reload().await?)
}
