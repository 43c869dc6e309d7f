//! Roles, and what each may do: the one table of permissions.
//!
//! A role is held in two places: on the installation, by a principal, and in a project, by a member of it.
//! `member` on the installation is what everybody has and opens no project; every other role held there holds
//! in every project too. Source: the original's table, `reference/original-system.md` 8.5.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a principal is on the installation or in a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May do everything but read events. Held on the installation only.
    Admin,
    /// Makes projects, chooses who is in them and deletes what is in them.
    ProjectAdmin,
    /// Reviews data contracts; makes nothing in a project.
    Approver,
    /// Makes streams and contracts.
    Member,
}

/// The text is not a role. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is admin, project_admin, approver or member")]
pub struct RoleError;

/// What somebody may do. The last three are Sluice's own, the others the original's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Users, service accounts, their roles and tokens.
    ManagePrincipals,
    CreateProject,
    DeleteProject,
    ManageMembers,
    ViewInstallation,
    /// See a project and what is in it.
    ViewResources,
    /// Make streams, and change those there are.
    CreateResources,
    DeleteResources,
    CreateContracts,
    ViewContracts,
    /// Send back, approve, and activate what was not approved.
    ReviewContracts,
    /// The purpose map and the policies, which belong to the installation.
    ManagePolicies,
    /// Let a principal read the events of a stream.
    GrantReads,
    ViewAudit,
    /// See what is held of a data subject, and erase it.
    EraseSubjects,
}

impl Role {
    /// All roles, the mightiest first.
    pub const ALL: [Role; 4] = [Role::Admin, Role::ProjectAdmin, Role::Approver, Role::Member];

    /// The text form: `project_admin`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::ProjectAdmin => "project_admin",
            Role::Approver => "approver",
            Role::Member => "member",
        }
    }

    /// The table.
    #[must_use]
    pub fn allows(self, permission: Permission) -> bool {
        use Permission::*;
        let (project_admin, approver, member) = match permission {
            ManagePrincipals | EraseSubjects => (false, false, false),
            CreateProject | DeleteProject | ManageMembers | DeleteResources | GrantReads | ManagePolicies => {
                (true, false, false)
            }
            ViewInstallation | ViewResources | CreateContracts | ViewContracts => (true, true, true),
            CreateResources => (true, false, true),
            ReviewContracts => (false, true, false),
            ViewAudit => (true, true, false),
        };
        match self {
            Role::Admin => true,
            Role::ProjectAdmin => project_admin,
            Role::Approver => approver,
            Role::Member => member,
        }
    }

    /// Whether this role, held on the installation, holds in every project.
    #[must_use]
    pub fn is_everywhere(self) -> bool {
        self != Role::Member
    }
}

impl Permission {
    /// All permissions, in the order of the table.
    pub const ALL: [Permission; 15] = [
        Permission::ManagePrincipals,
        Permission::CreateProject,
        Permission::DeleteProject,
        Permission::ManageMembers,
        Permission::ViewInstallation,
        Permission::ViewResources,
        Permission::CreateResources,
        Permission::DeleteResources,
        Permission::CreateContracts,
        Permission::ViewContracts,
        Permission::ReviewContracts,
        Permission::ManagePolicies,
        Permission::GrantReads,
        Permission::ViewAudit,
        Permission::EraseSubjects,
    ];
}

impl Permission {
    /// The name it has in the audit log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Permission::ManagePrincipals => "manage_principals",
            Permission::CreateProject => "create_project",
            Permission::DeleteProject => "delete_project",
            Permission::ManageMembers => "manage_members",
            Permission::ViewInstallation => "view_installation",
            Permission::ViewResources => "view_resources",
            Permission::CreateResources => "create_resources",
            Permission::DeleteResources => "delete_resources",
            Permission::CreateContracts => "create_contracts",
            Permission::ViewContracts => "view_contracts",
            Permission::ReviewContracts => "review_contracts",
            Permission::ManagePolicies => "manage_policies",
            Permission::GrantReads => "grant_reads",
            Permission::ViewAudit => "view_audit",
            Permission::EraseSubjects => "erase_subjects",
        }
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Role, RoleError> {
        Role::ALL.into_iter().find(|role| role.as_str() == text).ok_or(RoleError)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_is_the_one_that_is_documented() {
        let expected = "\
                             admin project_admin approver member
            ManagePrincipals x     .             .        .
            CreateProject    x     x             .        .
            DeleteProject    x     x             .        .
            ManageMembers    x     x             .        .
            ViewInstallation x     x             x        x
            ViewResources    x     x             x        x
            CreateResources  x     x             .        x
            DeleteResources  x     x             .        .
            CreateContracts  x     x             x        x
            ViewContracts    x     x             x        x
            ReviewContracts  x     .             x        .
            ManagePolicies   x     x             .        .
            GrantReads       x     x             .        .
            ViewAudit        x     x             x        .
            EraseSubjects    x     .             .        .";
        let words = |text: &str| -> Vec<Vec<String>> {
            text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
        };
        let mut table = vec![Role::ALL.iter().map(ToString::to_string).collect::<Vec<_>>()];
        table.extend(Permission::ALL.iter().map(|permission| {
            let marks = Role::ALL.iter().map(|role| if role.allows(*permission) { "x" } else { "." });
            std::iter::once(format!("{permission:?}")).chain(marks.map(str::to_owned)).collect()
        }));
        assert_eq!(table, words(expected));
    }

    #[test]
    fn roles_are_written_as_they_are_stored() {
        for role in Role::ALL {
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert_eq!("owner".parse::<Role>(), Err(RoleError));
    }
}
