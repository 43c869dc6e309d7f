//! The grammar: every command and its arguments. What they do is in the file of their noun.

use clap::{Parser, Subcommand};

use super::{
    audit, check, completion, contract, credential, demo, erase, explain, listen, output::Form, policy,
    principal, project, purpose, schema, send, serve, settings::ConnectionArguments, simulate, stream,
    stream_settings, usage,
};

/// Privacy event gateway: contracts, session keys, consent and the stream in one binary.
#[derive(Parser)]
#[command(name = "sluice", version, max_term_width = 100, arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
    /// Form of the result
    #[arg(short, long, global = true, value_enum, default_value_t = Form::Table)]
    pub(super) output: Form,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Run a node
    Serve(serve::Arguments),
    /// Show in one minute what a node does, on a throw-away one
    Demo(demo::Arguments),
    /// Make a stream, a data contract, a user, a service account, a token or a project
    #[command(subcommand, arg_required_else_help = true)]
    Create(Create),
    /// Show a stream or a data contract
    #[command(subcommand, arg_required_else_help = true)]
    Get(Get),
    /// Show all streams or data contracts
    #[command(subcommand, arg_required_else_help = true)]
    List(List),
    /// Delete a stream or a data contract
    #[command(subcommand, arg_required_else_help = true)]
    Delete(Delete),
    /// Ask for the review of a data contract
    #[command(subcommand, arg_required_else_help = true)]
    Review(Step),
    /// Take a data contract back to DRAFT, to edit it
    #[command(subcommand, arg_required_else_help = true)]
    Revise(Step),
    /// Approve a data contract that somebody else made
    #[command(subcommand, arg_required_else_help = true)]
    Approve(Step),
    /// Let events use a data contract, which can then no longer change
    #[command(subcommand, arg_required_else_help = true)]
    Activate(Change),
    /// Let no more events use a data contract
    #[command(subcommand, arg_required_else_help = true)]
    Archive(Change),
    /// Change a stream, a user, a service account or a project
    #[command(subcommand, arg_required_else_help = true)]
    Update(Update),
    /// Put a principal into a project
    #[command(subcommand, arg_required_else_help = true)]
    Add(Add),
    /// Take a principal out of a project
    #[command(subcommand, arg_required_else_help = true)]
    Remove(Remove),
    /// Let a principal read the events of a stream
    #[command(subcommand, arg_required_else_help = true)]
    Grant(Grant),
    /// Take back a grant or an API token
    #[command(subcommand, arg_required_else_help = true)]
    Revoke(Revoke),
    /// Show who you are to the node
    Whoami,
    /// Replace credentials of a stream
    #[command(subcommand, arg_required_else_help = true)]
    Rotate(Rotate),
    /// Let a stream take and get events again
    #[command(subcommand, arg_required_else_help = true)]
    Enable(Switch),
    /// Let a stream neither take nor get events
    #[command(subcommand, arg_required_else_help = true)]
    Disable(Switch),
    /// Show what a stream took, gave on and refused
    Usage(usage::Arguments),
    /// Send random events to a stream
    #[command(alias = "sim")]
    Simulate(simulate::Arguments),
    /// Send a file of events to a stream
    Send(send::Arguments),
    /// Print the events of a stream, one JSON object a line
    Listen(listen::Arguments),
    /// Read, prove and verify the audit log
    #[command(subcommand, arg_required_else_help = true)]
    Audit(audit::Audit),
    /// Show which data subjects there are keys of
    #[command(subcommand, arg_required_else_help = true)]
    Subjects(erase::Subjects),
    /// Forget a data subject: destroy every key that holds data of it
    Erase(erase::EraseArguments),
    /// Check a data contract without making it
    #[command(subcommand, arg_required_else_help = true)]
    Check(Check),
    /// Say what would become of an event: accepted or not, and what each derived stream would see
    Explain(explain::Arguments),
    /// Print the completion script of a shell
    Completion(completion::Arguments),
    /// Print the version
    Version,
}

#[derive(Subcommand)]
pub(super) enum Create {
    /// Make a source or derived stream
    #[command(alias = "streams")]
    Stream(stream::CreateArguments),
    /// Make a data contract from files
    #[command(aliases = ["contracts", "data-contract"])]
    Contract(contract::CreateArguments),
    /// Make a user, without a token
    User(principal::CreateArguments),
    /// Make a service account, without a token
    ServiceAccount(principal::CreateArguments),
    /// Make an API token, which is shown once
    Token(principal::TokenArguments),
    /// Make a project
    Project(project::CreateArguments),
    /// Issue further credentials of a stream
    Credentials(credential::CreateArguments),
    /// Give a consent level a name
    #[command(aliases = ["purposes", "purpose-mapping"])]
    Purpose(purpose::CreateArguments),
    /// Say how long keys live, and on what legal ground
    #[command(alias = "policies")]
    Policy(policy::CreateArguments),
}

#[derive(Subcommand)]
pub(super) enum Get {
    /// Show one stream
    #[command(alias = "streams")]
    Stream(stream::GetArguments),
    /// Show one data contract
    #[command(aliases = ["contracts", "data-contract"])]
    Contract(contract::GetArguments),
    /// Show one user
    User(principal::OneArgument),
    /// Show one service account
    ServiceAccount(principal::OneArgument),
    /// Show one project
    Project(project::OneArgument),
    /// Show one policy
    #[command(alias = "policies")]
    Policy(policy::OneArgument),
    /// Show one schema
    #[command(alias = "schemas")]
    Schema(schema::GetArguments),
    /// Print classes to send events of a schema with
    SchemaCode(schema::CodeArguments),
}

#[derive(Subcommand)]
pub(super) enum List {
    /// Show all streams
    #[command(alias = "stream")]
    Streams(stream::ListArguments),
    /// Show all data contracts
    #[command(aliases = ["contract", "data-contract", "data-contracts"])]
    Contracts(contract::ListArguments),
    /// Show all users and service accounts
    Principals,
    /// Show all users
    #[command(alias = "user")]
    Users,
    /// Show all service accounts
    #[command(alias = "service-account")]
    ServiceAccounts,
    /// Show the API tokens of a principal
    #[command(alias = "token")]
    Tokens(principal::TokensOfArgument),
    /// Show all projects
    #[command(alias = "project")]
    Projects,
    /// Show who is in a project
    Members(project::OneArgument),
    /// Show who may read a stream by a grant
    Grants(project::GrantsArgument),
    /// Show the credentials of a stream, without secrets
    Credentials(credential::ListArguments),
    /// Show the purpose map
    #[command(aliases = ["purpose", "purpose-mappings"])]
    Purposes,
    /// Show all policies
    #[command(alias = "policy")]
    Policies,
    /// Show all schemas
    #[command(alias = "schema")]
    Schemas,
}

#[derive(Subcommand)]
pub(super) enum Delete {
    /// Delete streams with their events
    #[command(alias = "streams")]
    Stream(stream::DeleteArguments),
    /// Delete a data contract that is still a draft
    #[command(aliases = ["contracts", "data-contract"])]
    Contract(contract::OneArgument),
    /// Delete a user with its tokens, memberships and grants
    User(principal::OneArgument),
    /// Delete a service account with its tokens, memberships and grants
    ServiceAccount(principal::OneArgument),
    /// Delete a project that nothing belongs to
    Project(project::OneArgument),
    /// Revoke credentials of a stream: their tokens and connections end
    Credentials(credential::DeleteArguments),
    /// Take the name of a consent level away
    #[command(aliases = ["purposes", "purpose-mapping"])]
    Purpose(purpose::OneArgument),
    /// Delete a policy that is not active
    #[command(alias = "policies")]
    Policy(policy::OneArgument),
}

#[derive(Subcommand)]
pub(super) enum Rotate {
    /// Issue new credentials instead of old ones
    Credentials(credential::RotateArguments),
}

#[derive(Subcommand)]
pub(super) enum Update {
    /// Change description, tags, retention, limits or policy
    #[command(alias = "streams")]
    Stream(stream_settings::UpdateArguments),
    /// Change a user's name, address or role, or disable it
    User(principal::UpdateArguments),
    /// Change a service account's name or role, or disable it
    ServiceAccount(principal::UpdateArguments),
    /// Change a project's description, archive it or open it again
    Project(project::UpdateArguments),
}

#[derive(Subcommand)]
pub(super) enum Add {
    /// Put a principal into a project, or give it another role there
    Member(project::AddArguments),
}

#[derive(Subcommand)]
pub(super) enum Remove {
    /// Take a principal out of a project
    Member(project::RemoveArguments),
}

#[derive(Subcommand)]
pub(super) enum Grant {
    /// Let a principal read the events of a stream
    Read(project::GrantArguments),
}

#[derive(Subcommand)]
pub(super) enum Revoke {
    /// End a grant, and the readers that read by it
    Read(project::UngrantArguments),
    /// Revoke an API token, or all of a principal
    Token(principal::RevokeArguments),
}

#[derive(Subcommand)]
pub(super) enum Switch {
    /// The stream
    #[command(alias = "streams")]
    Stream(stream_settings::SwitchArguments),
}

#[derive(Subcommand)]
pub(super) enum Check {
    /// Validate a data contract, and try it on the recent traffic of a stream
    #[command(aliases = ["contracts", "data-contract"])]
    Contract(check::Arguments),
}

#[derive(Subcommand)]
pub(super) enum Step {
    /// The data contract
    #[command(aliases = ["contracts", "data-contract"])]
    Contract(contract::OneArgument),
}

#[derive(Subcommand)]
pub(super) enum Change {
    /// The data contract
    #[command(aliases = ["contracts", "data-contract"])]
    Contract(contract::OneArgument),
    /// The policy
    #[command(alias = "policies")]
    Policy(policy::OneArgument),
}
