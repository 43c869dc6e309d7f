//! Orders about projects and their members. One function per order; called by `actors::registry`, one at a time.

use std::sync::Arc;

use super::{
    Inventory, KnownProject, RegistryHandle,
    ask::respond,
    audited::{change as change_of, changed},
    contract_orders::{Expected, demand_version},
    inventory_store::PROJECT,
    principal_orders,
    registry::{ControlError, RegistryMsg, RegistryState, Reply},
    workshop::document,
};
use crate::domain::{PrincipalId, Project, ProjectName, ProjectState, Role, Who, project::ProjectError};

/// What is to be different about a project; None stays.
#[derive(Default)]
pub struct ProjectChange {
    pub description: Option<String>,
    pub state: Option<ProjectState>,
}

/// Why an order about a project was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProjectOrderError {
    #[error("no such project")]
    Unknown,
    #[error("there is a project of this name already")]
    Exists,
    #[error("the default project is always there")]
    BuiltIn,
    #[error("streams or contracts belong to it: delete them first")]
    NotEmpty,
    #[error("the project is archived: it takes nothing new")]
    Archived,
    #[error("no such member of the project")]
    MemberUnknown,
    #[error("nobody changes their own role in a project: ask another")]
    OwnRole,
    #[error(transparent)]
    Invalid(#[from] ProjectError),
}

impl From<ProjectError> for ControlError {
    fn from(error: ProjectError) -> ControlError {
        ControlError::Project(ProjectOrderError::Invalid(error))
    }
}

type KnownReply = Reply<Arc<KnownProject>>;

pub(super) enum ProjectOrder {
    Create { by: Who, name: ProjectName, description: String, reply: KnownReply },
    Change { by: Who, name: ProjectName, change: ProjectChange, expected: Expected, reply: KnownReply },
    Delete { by: Who, name: ProjectName, expected: Expected, reply: Reply<()> },
    SetMember { by: Who, name: ProjectName, member: PrincipalId, role: Role, reply: KnownReply },
    RemoveMember { by: Who, name: ProjectName, member: PrincipalId, reply: Reply<()> },
}

impl ProjectOrder {
    pub(super) async fn carry_out(self, state: &RegistryState) {
        match self {
            ProjectOrder::Create { by, name, description, reply } => {
                respond(reply, create(state, &by, name, description).await);
            }
            ProjectOrder::Change { by, name, change, expected, reply } => {
                respond(reply, self::change(state, &by, &name, change, expected).await);
            }
            ProjectOrder::Delete { by, name, expected, reply } => {
                respond(reply, delete(state, &by, &name, expected).await);
            }
            ProjectOrder::SetMember { by, name, member, role, reply } => {
                respond(reply, set_member(state, &by, &name, member, role).await);
            }
            ProjectOrder::RemoveMember { by, name, member, reply } => {
                respond(reply, remove_member(state, &by, &name, &member).await);
            }
        }
    }
}

impl RegistryHandle {
    /// Makes a project without members.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn create_project(
        &self,
        by: Who,
        name: ProjectName,
        description: String,
    ) -> Result<Arc<KnownProject>, ControlError> {
        self.ask_project(|reply| ProjectOrder::Create { by, name, description, reply }).await
    }

    /// Changes a project.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn change_project(
        &self,
        by: Who,
        name: ProjectName,
        change: ProjectChange,
        expected: Expected,
    ) -> Result<Arc<KnownProject>, ControlError> {
        self.ask_project(|reply| ProjectOrder::Change { by, name, change, expected, reply }).await
    }

    /// Deletes a project that nothing belongs to.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn delete_project(
        &self,
        by: Who,
        name: ProjectName,
        expected: Expected,
    ) -> Result<(), ControlError> {
        self.ask_project(|reply| ProjectOrder::Delete { by, name, expected, reply }).await
    }

    /// Puts a principal into a project, or gives a member another role.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn set_member(
        &self,
        by: Who,
        name: ProjectName,
        member: PrincipalId,
        role: Role,
    ) -> Result<Arc<KnownProject>, ControlError> {
        self.ask_project(|reply| ProjectOrder::SetMember { by, name, member, role, reply }).await
    }

    /// Takes a principal out of a project.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn remove_member(
        &self,
        by: Who,
        name: ProjectName,
        member: PrincipalId,
    ) -> Result<(), ControlError> {
        self.ask_project(|reply| ProjectOrder::RemoveMember { by, name, member, reply }).await
    }

    async fn ask_project<T: Send + 'static>(
        &self,
        order: impl FnOnce(Reply<T>) -> ProjectOrder,
    ) -> Result<T, ControlError> {
        self.ask(|reply| RegistryMsg::Project(Box::new(order(reply)))).await
    }
}

async fn create(
    state: &RegistryState,
    by: &Who,
    name: ProjectName,
    description: String,
) -> Result<Arc<KnownProject>, ControlError> {
    if state.args.inventory.load().project(&name).is_some() {
        return Err(ProjectOrderError::Exists.into());
    }
    let project = Project { description, ..Project::new(name.clone(), state.args.workshop.clock.now()) };
    put(state, by, &project, 0, ("created", None)).await?;
    known(&state.args.inventory.load(), &name)
}

async fn change(
    state: &RegistryState,
    by: &Who,
    name: &ProjectName,
    change: ProjectChange,
    expected: Expected,
) -> Result<Arc<KnownProject>, ControlError> {
    let before = known(&state.args.inventory.load(), name)?;
    demand_version(expected, before.version)?;
    let mut after = before.project.clone();
    after.description = change.description.unwrap_or(after.description);
    after.state = change.state.unwrap_or(after.state);
    if name.is_default() && after.state != ProjectState::Operational {
        return Err(ProjectOrderError::BuiltIn.into());
    }
    put(state, by, &after, before.version, ("changed", Some(format!("{:?}", after.state)))).await?;
    known(&state.args.inventory.load(), name)
}

async fn delete(
    state: &RegistryState,
    by: &Who,
    name: &ProjectName,
    expected: Expected,
) -> Result<(), ControlError> {
    let inventory = state.args.inventory.load_full();
    let before = known(&inventory, name)?;
    demand_version(expected, before.version)?;
    if name.is_default() {
        return Err(ProjectOrderError::BuiltIn.into());
    }
    let streams = inventory.streams().any(|known| known.definition.project == *name);
    if streams || inventory.contracts().any(|known| known.contract.project == *name) {
        return Err(ProjectOrderError::NotEmpty.into());
    }
    let change = change_of(PROJECT, name.as_str(), before.version, None);
    let action = changed("project", name.as_str(), "deleted", None);
    state.args.workshop.apply(by, Some(name), action, vec![change]).await?;
    state.reload().await?;
    Ok(())
}

async fn set_member(
    state: &RegistryState,
    by: &Who,
    name: &ProjectName,
    member: PrincipalId,
    role: Role,
) -> Result<Arc<KnownProject>, ControlError> {
    let inventory = state.args.inventory.load_full();
    let before = known(&inventory, name)?;
    principal_orders::known(&inventory, &member)?;
    if principal_orders::is(by, &member) && before.project.members.get(&member) != Some(&role) {
        state.args.workshop.auditor.denied(by, "own_role");
        return Err(ProjectOrderError::OwnRole.into());
    }
    let mut after = before.project.clone();
    after.members.insert(member.clone(), role);
    put(state, by, &after, before.version, ("member", Some(format!("{member} {role}")))).await?;
    known(&state.args.inventory.load(), name)
}

async fn remove_member(
    state: &RegistryState,
    by: &Who,
    name: &ProjectName,
    member: &PrincipalId,
) -> Result<(), ControlError> {
    let before = known(&state.args.inventory.load(), name)?;
    let mut after = before.project.clone();
    if after.members.remove(member).is_none() {
        return Err(ProjectOrderError::MemberUnknown.into());
    }
    put(state, by, &after, before.version, ("no longer member", Some(member.to_string()))).await?;
    Ok(())
}

/// Refuses a project that takes no new streams and contracts.
pub(super) fn demand_open(inventory: &Inventory, name: &ProjectName) -> Result<(), ControlError> {
    match known(inventory, name)?.project.state {
        ProjectState::Operational => Ok(()),
        ProjectState::Archived => Err(ProjectOrderError::Archived.into()),
    }
}

fn known(inventory: &Inventory, name: &ProjectName) -> Result<Arc<KnownProject>, ControlError> {
    inventory.project(name).cloned().ok_or(ProjectOrderError::Unknown.into())
}

async fn put(
    state: &RegistryState,
    by: &Who,
    project: &Project,
    version: u64,
    (said, detail): (&str, Option<String>),
) -> Result<(), ControlError> {
    project.validate()?;
    let name = &project.name;
    let change = change_of(PROJECT, name.as_str(), version, Some(document(project)));
    let action = changed("project", name.as_str(), said, detail);
    state.args.workshop.apply(by, Some(name), action, vec![change]).await?;
    Ok(state.reload().await?)
}
