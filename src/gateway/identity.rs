//! Who works with the control plane, and what they may do. `actors` changes it; here it is only asked.
//!
//! ```text
//! slt_<id>_<secret>    an API token: the id finds the principal in one look-up, the hash of the whole decides
//! three parts, dots    a token of the configured issuer, for people
//! anything else        the operator's token, or nothing
//! ```
//! Every request looks its token up in the snapshot, and nothing is remembered between two: what is revoked
//! or disabled is refused by the next request, and open readers ask again before every page.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    Access, AccessError, Caller,
    access::bearer,
    oidc::{Issuer, Person},
};
use crate::{
    actors::{AuditorHandle, Inventory, KnownPrincipal, KnownStream, RegistryHandle},
    audit::LoginMeans,
    clock::Timestamp,
    crypto::verify_secret,
    domain::{ApiToken, Permission, PrincipalId, PrincipalKind, Project, ProjectName, Role, StreamName, Who},
};

/// Where people log in, and where those who come for the first time are written down.
pub(super) struct Front {
    pub issuer: Issuer,
    pub registry: RegistryHandle,
}

/// A principal that was let in, with the snapshot it was let in by.
#[derive(Clone)]
pub struct Identity {
    id: PrincipalId,
    kind: PrincipalKind,
    /// On the installation: of the principal itself, and what its issuer says.
    roles: Vec<Role>,
    proof: Proof,
    inventory: Arc<Inventory>,
    /// Counts what it was refused.
    auditor: AuditorHandle,
}

/// What it came in with.
#[derive(Clone)]
enum Proof {
    Operator,
    Token(ApiToken),
    Issuer { expires: Timestamp },
}

/// Who reads a stream.
#[derive(Clone)]
pub enum Reader {
    /// With the stream's own credentials.
    Client(Caller),
    /// By a grant.
    Principal { identity: Box<Identity>, stream: Arc<KnownStream> },
}

impl Reader {
    /// What is read.
    #[must_use]
    pub fn stream(&self) -> &Arc<KnownStream> {
        match self {
            Reader::Client(caller) => &caller.stream,
            Reader::Principal { stream, .. } => stream,
        }
    }

    /// Who reads.
    #[must_use]
    pub fn who(&self) -> Who {
        match self {
            Reader::Client(caller) => caller.who(),
            Reader::Principal { identity, .. } => identity.who(),
        }
    }
}

impl Identity {
    /// As the author of a change.
    #[must_use]
    pub fn who(&self) -> Who {
        Who::Principal { id: self.id.shared() }
    }

    #[must_use]
    pub fn id(&self) -> &PrincipalId {
        &self.id
    }

    #[must_use]
    pub fn kind(&self) -> PrincipalKind {
        self.kind
    }

    /// Roles on the installation, the mightiest first.
    #[must_use]
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// The API token it came in with.
    #[must_use]
    pub fn token(&self) -> Option<&ApiToken> {
        match &self.proof {
            Proof::Token(token) => Some(token),
            _ => None,
        }
    }

    /// The snapshot that permissions were taken from. What a handler shows must come from it too.
    #[must_use]
    pub fn inventory(&self) -> &Arc<Inventory> {
        &self.inventory
    }

    /// Whether it may do what belongs to no project.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        self.roles.iter().any(|role| role.allows(permission))
    }

    /// Whether it may do this in a project.
    #[must_use]
    pub fn may_in(&self, permission: Permission, project: &ProjectName) -> bool {
        self.roles_in(project).any(|role| role.allows(permission))
    }

    /// Whether a project, and what is in it, exists for this principal.
    #[must_use]
    pub fn sees(&self, project: &ProjectName) -> bool {
        self.may_in(Permission::ViewResources, project)
    }

    /// The roles that count in a project: that of the member, and those that hold everywhere.
    pub fn roles_in(&self, project: &ProjectName) -> impl Iterator<Item = Role> {
        let known = self.inventory.project(project);
        let everywhere =
            self.roles.iter().copied().filter(move |role| known.is_some() && role.is_everywhere());
        let member = known.and_then(|known| known.project.members.get(&self.id).copied());
        everywhere.chain(member)
    }

    /// The projects it sees, by name.
    pub fn projects(&self) -> impl Iterator<Item = &Project> {
        self.inventory.projects().map(|known| &known.project).filter(|project| self.sees(&project.name))
    }

    /// Refuses what it may not do on the installation.
    ///
    /// # Errors
    ///
    /// [`AccessError::Forbidden`].
    pub fn demand(&self, permission: Permission) -> Result<Who, AccessError> {
        if self.may(permission) { Ok(self.who()) } else { Err(self.refused(permission.as_str())) }
    }

    /// Counts something it was refused for the audit log.
    #[must_use]
    pub fn refused(&self, to: &'static str) -> AccessError {
        self.auditor.denied(&self.who(), to);
        AccessError::Forbidden
    }

    /// Refuses what it may not do in a project.
    ///
    /// # Errors
    ///
    /// [`AccessError::Unseen`]: to this principal the project does not exist; [`AccessError::Forbidden`].
    pub fn demand_in(&self, permission: Permission, project: &ProjectName) -> Result<Who, AccessError> {
        if !self.sees(project) {
            // Counted as any other refusal; the caller is told that there is nothing.
            self.auditor.denied(&self.who(), permission.as_str());
            return Err(AccessError::Unseen);
        }
        if self.may_in(permission, project) { Ok(self.who()) } else { Err(self.refused(permission.as_str())) }
    }
}

impl Access {
    /// Who sent a request to the control plane with this `Authorization` header.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub async fn authorize(&self, authorization: Option<&str>) -> Result<Identity, AccessError> {
        let token = bearer(authorization).ok_or(AccessError::ApiTokenMissing)?;
        if let Some(rest) = token.strip_prefix(API_TOKEN_PREFIX) {
            return self.holder(token, rest);
        }
        match &self.0.front {
            Some(front) if token.split('.').count() == 3 => {
                let person = front.issuer.verify(token, self.0.clock.now()).await;
                let person = person.map_err(|error| self.refuse(LoginMeans::IssuerToken, None, error))?;
                self.person(front, person).await
            }
            _ if verify_secret(token, &self.0.admin_hash) => Ok(self.operator()),
            _ => Err(self.refuse(LoginMeans::ApiToken, None, AccessError::ApiTokenInvalid)),
        }
    }

    /// Counts a failed login, if `error` is one, and gives `error` back. The audit log says how many there
    /// were of whom, never with which token.
    fn refuse(&self, with: LoginMeans, holder: Option<&PrincipalId>, error: AccessError) -> AccessError {
        if matches!(error, AccessError::ApiTokenInvalid | AccessError::TokenExpired) {
            self.0.auditor.token_refused(with, holder);
        }
        error
    }

    /// Who reads the stream called `name` with this `Authorization` header: a client of the stream, or a
    /// principal with a grant on it.
    ///
    /// # Errors
    ///
    /// [`AccessError`]; [`AccessError::Unseen`] for a stream that does not exist, or not for this principal.
    pub async fn reader(&self, authorization: Option<&str>, name: &str) -> Result<Reader, AccessError> {
        let refused = match self.caller(authorization) {
            Ok(caller) if caller.stream.definition.name.as_str() == name => {
                return Ok(Reader::Client(caller));
            }
            Ok(_) => return Err(AccessError::OtherStream),
            Err(AccessError::TokenInvalid) => AccessError::TokenInvalid,
            Err(error) => return Err(error),
        };
        let identity = self.authorize(authorization).await.map_err(|error| match error {
            AccessError::ApiTokenInvalid => refused,
            error => error,
        })?;
        let stream: Option<StreamName> = name.parse().ok();
        let stream = stream.and_then(|name| identity.inventory.stream(&name)).ok_or(AccessError::Unseen)?;
        let stream = Arc::clone(stream);
        if self.is_granted(&identity.inventory, &stream, &identity.id) {
            return Ok(Reader::Principal { identity: Box::new(identity), stream });
        }
        if identity.sees(&stream.definition.project) {
            identity.auditor.denied(&identity.who(), "read_events");
            Err(AccessError::NoReadGrant)
        } else {
            Err(AccessError::Unseen)
        }
    }

    /// Whether a reader that was let in would still be, for connections that outlive their request.
    #[must_use]
    pub fn still_reads(&self, reader: &Reader) -> bool {
        let (identity, stream) = match reader {
            Reader::Client(caller) => return self.still_admits(caller),
            Reader::Principal { identity, stream } => (identity, stream),
        };
        let (inventory, now) = (self.0.inventory.load(), self.0.clock.now());
        let active = || inventory.principal(&identity.id).is_some_and(|known| known.principal.is_active());
        let proven = match &identity.proof {
            Proof::Operator => true,
            Proof::Issuer { expires } => now < *expires && active(),
            Proof::Token(token) => {
                let holder = inventory.token_holder(&token.id);
                let stored = holder.and_then(|holder| holder.principal.token(&token.id));
                stored.is_some_and(|stored| stored.is_good(now)) && active()
            }
        };
        proven && self.is_granted(&inventory, stream, &identity.id)
    }

    /// When an API token was last used since this node started.
    #[must_use]
    pub fn last_used(&self, token_id: &str) -> Option<Timestamp> {
        self.0.last_used.get(token_id).map(|used| *used)
    }

    fn is_granted(&self, inventory: &Inventory, stream: &KnownStream, id: &PrincipalId) -> bool {
        let definition = &stream.definition;
        let same =
            inventory.stream(&definition.name).is_some_and(|s| s.definition.created == definition.created);
        let grant = inventory.read_grant(&definition.name, id);
        same && grant.is_some_and(|known| known.grant.is_good(self.0.clock.now()))
    }

    fn operator(&self) -> Identity {
        Identity {
            id: PrincipalId::operator(),
            kind: PrincipalKind::ServiceAccount,
            roles: vec![Role::Admin],
            proof: Proof::Operator,
            inventory: self.0.inventory.load_full(),
            auditor: self.0.auditor.clone(),
        }
    }

    fn holder(&self, token: &str, rest: &str) -> Result<Identity, AccessError> {
        let inventory = self.0.inventory.load_full();
        let id = rest.split('_').next().unwrap_or_default();
        let holder: Option<&Arc<KnownPrincipal>> = inventory.token_holder(id);
        let stored = holder.and_then(|holder| holder.principal.token(id));
        let hash = stored.and_then(|stored| STANDARD.decode(&stored.hash).ok()?.try_into().ok());
        // An unknown token takes as long as a wrong one.
        let right = verify_secret(token, &hash.unwrap_or([0; 32])) && hash.is_some();
        let named = stored.and(holder).map(|holder| &holder.principal.id);
        let refuse = |error| self.refuse(LoginMeans::ApiToken, named, error);
        let (Some(holder), Some(stored), true) = (holder, stored, right) else {
            return Err(refuse(AccessError::ApiTokenInvalid));
        };
        let (principal, now) = (&holder.principal, self.0.clock.now());
        if !principal.is_active() || stored.revoked.is_some() {
            return Err(refuse(AccessError::ApiTokenInvalid));
        }
        if !stored.is_good(now) {
            return Err(refuse(AccessError::TokenExpired));
        }
        self.0.last_used.insert(stored.id.as_str().into(), now);
        Ok(Identity {
            id: principal.id.clone(),
            kind: principal.kind,
            roles: vec![principal.role],
            proof: Proof::Token(stored.clone()),
            inventory: Arc::clone(&inventory),
            auditor: self.0.auditor.clone(),
        })
    }

    /// A person whose token of the issuer was good.
    async fn person(&self, front: &Front, person: Person) -> Result<Identity, AccessError> {
        let Person { id, name, email, mut roles, expires } = person;
        let met = self.0.inventory.load().principal(&id).cloned();
        let known = match met {
            Some(known) => known,
            None => match front.registry.meet_person(id, name, email).await {
                Ok(known) => known,
                Err(crate::actors::ControlError::Unavailable) => return Err(AccessError::IssuerUnavailable),
                // It was deleted: its id is known, and nothing else of it.
                Err(_) => {
                    return Err(self.refuse(LoginMeans::IssuerToken, None, AccessError::ApiTokenInvalid));
                }
            },
        };
        if !known.principal.is_active() {
            let holder = Some(&known.principal.id);
            return Err(self.refuse(LoginMeans::IssuerToken, holder, AccessError::ApiTokenInvalid));
        }
        roles.push(known.principal.role);
        roles.sort();
        roles.dedup();
        Ok(Identity {
            id: known.principal.id.clone(),
            kind: known.principal.kind,
            roles,
            proof: Proof::Issuer { expires },
            inventory: self.0.inventory.load_full(),
            auditor: self.0.auditor.clone(),
        })
    }
}

/// Begins every API token, so that a secret scanner can know one.
const API_TOKEN_PREFIX: &str = "slt_";
