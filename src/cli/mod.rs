//! The command line, verb then noun: `sluice create stream clicks`. A client of the HTTP API and of nothing
//! else, apart from `serve` and `demo`, which run a node.
//!
//! - `settings`, `credentials`: which node, which token, which stream secret
//! - `client`, `stream_client`, `sse`: the API and its failures
//! - `output`, `failure`, `tally`: what a person or a program sees
//! - one file per noun or command: `stream`, `contract`, `simulate`, `send`, `listen`, `serve`, `demo`, …
//!
//! Exit codes: 0 only on success, 1 for a failure, 2 for arguments that are not understood.

mod audit;
mod check;
mod chunks;
mod client;
mod completion;
mod contract;
mod credential;
mod credentials;
mod demo;
mod erase;
mod example_events;
mod explain;
mod failure;
mod grammar;
mod listen;
mod output;
mod policy;
mod principal;
mod project;
mod purpose;
mod receipt;
mod schema;
mod send;
mod serve;
mod settings;
mod simulate;
mod sse;
mod stop;
mod stream;
mod stream_client;
mod stream_settings;
mod tally;
mod usage;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, FromArgMatches};
use serde_json::json;

use self::{
    grammar::{
        Add, Arguments, Change, Check, Command, Create, Delete, Get, Grant, List, Remove, Revoke, Rotate,
        Step, Switch, Update,
    },
    output::{Form, Format},
    settings::Settings,
};

/// Runs the command the process was started with.
pub fn main() -> ExitCode {
    let matches = Arguments::command().get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match run(arguments, &matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::remark(failure::describe(&error).trim_end());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments, matches: &clap::ArgMatches) -> Result<()> {
    let format = arguments.output.format();
    let csv = arguments.output == Form::Csv;
    if csv && !matches!(arguments.command, Command::Usage(_)) {
        anyhow::bail!("only usage has a CSV form: give -o table, plain or json");
    }
    match arguments.command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Demo(arguments) => wait(demo::run(arguments)),
        Command::Completion(arguments) => completion::run::<Arguments>(&arguments),
        Command::Version => version(format),
        Command::Usage(usage) => {
            let settings = Settings::resolve(arguments.connection, matches, format)?;
            wait(usage::run(&settings, usage, csv))
        }
        Command::Audit(audit::Audit::Verify(arguments)) => audit::verify(format, arguments),
        command => {
            let settings = Settings::resolve(arguments.connection, matches, format)?;
            wait(call(command, &settings))
        }
    }
}

/// The commands that talk to a node.
async fn call(command: Command, settings: &Settings) -> Result<()> {
    match command {
        Command::Delete(what) => delete(what, settings).await,
        Command::Get(what) => get(what, settings).await,
        Command::Create(what) => create(what, settings).await,
        Command::List(what) => list(what, settings).await,
        Command::Update(Update::Stream(arguments)) => stream_settings::update(settings, arguments).await,
        command @ (Command::Update(_)
        | Command::Add(_)
        | Command::Remove(_)
        | Command::Grant(_)
        | Command::Revoke(_)) => change_access(command, settings).await,
        Command::Whoami => principal::whoami(settings).await,
        Command::Activate(Change::Policy(arguments)) => policy::activate(settings, arguments).await,
        Command::Archive(Change::Policy(arguments)) => policy::archive(settings, arguments).await,
        Command::Rotate(Rotate::Credentials(arguments)) => credential::rotate(settings, arguments).await,
        Command::Enable(Switch::Stream(arguments)) => {
            stream_settings::switch(settings, arguments, true).await
        }
        Command::Disable(Switch::Stream(arguments)) => {
            stream_settings::switch(settings, arguments, false).await
        }
        Command::Activate(Change::Contract(arguments)) => {
            contract::step(settings, arguments, "activate").await
        }
        Command::Archive(Change::Contract(arguments)) => contract::step(settings, arguments, "archive").await,
        Command::Review(Step::Contract(arguments)) => contract::step(settings, arguments, "review").await,
        Command::Revise(Step::Contract(arguments)) => contract::step(settings, arguments, "revise").await,
        Command::Approve(Step::Contract(arguments)) => contract::step(settings, arguments, "approve").await,
        Command::Simulate(arguments) => simulate::run(settings, arguments).await,
        Command::Send(arguments) => send::run(settings, arguments).await,
        Command::Check(Check::Contract(arguments)) => check::run(settings, arguments).await,
        Command::Explain(arguments) => explain::run(settings, arguments).await,
        Command::Listen(arguments) => listen::run(settings, arguments).await,
        Command::Audit(command) => audit::run(settings, command).await,
        Command::Subjects(command) => erase::subjects(settings, command).await,
        Command::Erase(arguments) => erase::run(settings, arguments).await,
        Command::Serve(_)
        | Command::Demo(_)
        | Command::Completion(_)
        | Command::Version
        | Command::Usage(_) => {
            unreachable!("run handles the commands without a node")
        }
    }
}

async fn list(what: List, settings: &Settings) -> Result<()> {
    match what {
        List::Principals => principal::list(settings, None).await,
        List::Users => principal::list(settings, Some("user")).await,
        List::ServiceAccounts => principal::list(settings, Some("service_account")).await,
        List::Tokens(arguments) => principal::list_tokens(settings, arguments).await,
        List::Projects => project::list(settings).await,
        List::Members(arguments) => project::list_members(settings, arguments).await,
        List::Grants(arguments) => project::list_grants(settings, arguments).await,
        List::Streams(arguments) => stream::list(settings, arguments).await,
        List::Credentials(arguments) => credential::list(settings, arguments).await,
        List::Purposes => purpose::list(settings).await,
        List::Policies => policy::list(settings).await,
        List::Contracts(arguments) => contract::list(settings, arguments).await,
        List::Schemas => schema::list(settings).await,
    }
}

async fn create(what: Create, settings: &Settings) -> Result<()> {
    match what {
        Create::Stream(arguments) => stream::create(settings, arguments).await,
        Create::Contract(arguments) => contract::create(settings, arguments).await,
        Create::User(arguments) => principal::create(settings, "user", arguments).await,
        Create::ServiceAccount(arguments) => principal::create(settings, "service_account", arguments).await,
        Create::Token(arguments) => principal::create_token(settings, arguments).await,
        Create::Project(arguments) => project::create(settings, arguments).await,
        Create::Credentials(arguments) => credential::create(settings, arguments).await,
        Create::Purpose(arguments) => purpose::create(settings, arguments).await,
        Create::Policy(arguments) => policy::create(settings, arguments).await,
    }
}

async fn get(what: Get, settings: &Settings) -> Result<()> {
    match what {
        Get::User(arguments) | Get::ServiceAccount(arguments) => principal::get(settings, arguments).await,
        Get::Project(arguments) => project::get(settings, arguments).await,
        Get::Stream(arguments) => stream::get(settings, arguments).await,
        Get::Contract(arguments) => contract::get(settings, arguments).await,
        Get::Policy(arguments) => policy::get(settings, arguments).await,
        Get::Schema(arguments) => schema::get(settings, arguments).await,
        Get::SchemaCode(arguments) => schema::code(settings, arguments).await,
    }
}

async fn delete(what: Delete, settings: &Settings) -> Result<()> {
    match what {
        Delete::User(arguments) | Delete::ServiceAccount(arguments) => {
            principal::delete(settings, arguments).await
        }
        Delete::Project(arguments) => project::delete(settings, arguments).await,
        Delete::Stream(arguments) => stream::delete(settings, arguments).await,
        Delete::Contract(arguments) => contract::delete(settings, arguments).await,
        Delete::Credentials(arguments) => credential::delete(settings, arguments).await,
        Delete::Purpose(arguments) => purpose::delete(settings, arguments).await,
        Delete::Policy(arguments) => policy::delete(settings, arguments).await,
    }
}

/// The commands that change who may do what.
async fn change_access(command: Command, settings: &Settings) -> Result<()> {
    match command {
        Command::Update(Update::User(arguments) | Update::ServiceAccount(arguments)) => {
            principal::update(settings, arguments).await
        }
        Command::Update(Update::Project(arguments)) => project::update(settings, arguments).await,
        Command::Add(Add::Member(arguments)) => project::add_member(settings, arguments).await,
        Command::Remove(Remove::Member(arguments)) => project::remove_member(settings, arguments).await,
        Command::Grant(Grant::Read(arguments)) => project::grant_read(settings, arguments).await,
        Command::Revoke(Revoke::Read(arguments)) => project::revoke_read(settings, arguments).await,
        Command::Revoke(Revoke::Token(arguments)) => principal::revoke_token(settings, arguments).await,
        _ => unreachable!("call handles the other commands"),
    }
}

fn wait(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let outcome = runtime.block_on(work);
    // A blocking read of standard input must not keep the process.
    runtime.shutdown_background();
    outcome
}

fn version(format: Format) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    match format {
        Format::Table => output::print(&format!("sluice {version}\n")),
        Format::Plain => output::print(&format!("{version}\n")),
        Format::Json => output::print(&format!("{:#}\n", json!({"version": version}))),
    }
}

#[cfg(test)]
mod tests;
