//! The command line, verb then noun: `sluice create stream clicks`. A client of the HTTP API and of nothing
//! else, apart from `serve` and `demo`, which run a node.
//!
//! - `settings`, `credentials`: which node, which token, which stream secret
//! - `client`, `stream_client`, `sse`: the API and its failures
//! - `output`, `failure`, `tally`: what a person or a program sees
//! - one file per noun or command: `stream`, `contract`, `simulate`, `send`, `listen`, `serve`, `demo`, …
//!
//! Exit codes: 0 only on success, 1 for a failure, 2 for arguments that are not understood.

mod check;
mod chunks;
mod client;
mod completion;
mod contract;
mod credentials;
mod demo;
mod example_events;
mod explain;
mod failure;
mod listen;
mod output;
mod schema;
mod send;
mod serve;
mod settings;
mod simulate;
mod sse;
mod stop;
mod stream;
mod stream_client;
mod tally;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use serde_json::json;

use self::{
    output::Format,
    settings::{ConnectionArguments, Settings},
};

/// Privacy event gateway: contracts, session keys, consent and the stream in one binary.
#[derive(Parser)]
#[command(name = "sluice", version, max_term_width = 100, arg_required_else_help = true)]
struct Arguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// Form of the result
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node
    Serve(serve::Arguments),
    /// Show in one minute what a node does, on a throw-away one
    Demo(demo::Arguments),
    /// Make a stream or a data contract
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
    Review(Change),
    /// Take a data contract back to DRAFT, to edit it
    #[command(subcommand, arg_required_else_help = true)]
    Revise(Change),
    /// Approve a data contract that somebody else made
    #[command(subcommand, arg_required_else_help = true)]
    Approve(Change),
    /// Let events use a data contract, which can then no longer change
    #[command(subcommand, arg_required_else_help = true)]
    Activate(Change),
    /// Let no more events use a data contract
    #[command(subcommand, arg_required_else_help = true)]
    Archive(Change),
    /// Send random events to a stream
    #[command(alias = "sim")]
    Simulate(simulate::Arguments),
    /// Send a file of events to a stream
    Send(send::Arguments),
    /// Print the events of a stream, one JSON object a line
    Listen(listen::Arguments),
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
enum Create {
    /// Make a source or derived stream
    #[command(alias = "streams")]
    Stream(stream::CreateArguments),
    /// Make a data contract from files
    #[command(aliases = ["contracts", "data-contract"])]
    Contract(contract::CreateArguments),
}

#[derive(Subcommand)]
enum Get {
    /// Show one stream
    #[command(alias = "streams")]
    Stream(stream::GetArguments),
    /// Show one data contract
    #[command(aliases = ["contracts", "data-contract"])]
    Contract(contract::GetArguments),
    /// Show one schema
    #[command(alias = "schemas")]
    Schema(schema::GetArguments),
    /// Print classes to send events of a schema with
    SchemaCode(schema::CodeArguments),
}

#[derive(Subcommand)]
enum List {
    /// Show all streams
    #[command(alias = "stream")]
    Streams,
    /// Show all data contracts
    #[command(aliases = ["contract", "data-contract", "data-contracts"])]
    Contracts(contract::ListArguments),
    /// Show all schemas
    #[command(alias = "schema")]
    Schemas,
}

#[derive(Subcommand)]
enum Delete {
    /// Delete streams with their events
    #[command(alias = "streams")]
    Stream(stream::DeleteArguments),
    /// Delete a data contract that is still a draft
    #[command(aliases = ["contracts", "data-contract"])]
    Contract(contract::OneArgument),
}

#[derive(Subcommand)]
enum Check {
    /// Validate a data contract, and try it on the recent traffic of a stream
    #[command(aliases = ["contracts", "data-contract"])]
    Contract(check::Arguments),
}

#[derive(Subcommand)]
enum Change {
    /// The data contract
    #[command(aliases = ["contracts", "data-contract"])]
    Contract(contract::OneArgument),
}

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
    let format = arguments.output;
    match arguments.command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Demo(arguments) => wait(demo::run(arguments)),
        Command::Completion(arguments) => completion::run::<Arguments>(&arguments),
        Command::Version => version(format),
        command => {
            let settings = Settings::resolve(arguments.connection, matches, format)?;
            wait(call(command, &settings))
        }
    }
}

/// The commands that talk to a node.
async fn call(command: Command, settings: &Settings) -> Result<()> {
    match command {
        Command::Create(Create::Stream(arguments)) => stream::create(settings, arguments).await,
        Command::Create(Create::Contract(arguments)) => contract::create(settings, arguments).await,
        Command::Get(Get::Stream(arguments)) => stream::get(settings, arguments).await,
        Command::Get(Get::Contract(arguments)) => contract::get(settings, arguments).await,
        Command::List(List::Streams) => stream::list(settings).await,
        Command::List(List::Contracts(arguments)) => contract::list(settings, arguments).await,
        Command::Get(Get::Schema(arguments)) => schema::get(settings, arguments).await,
        Command::Get(Get::SchemaCode(arguments)) => schema::code(settings, arguments).await,
        Command::List(List::Schemas) => schema::list(settings).await,
        Command::Delete(Delete::Stream(arguments)) => stream::delete(settings, arguments).await,
        Command::Delete(Delete::Contract(arguments)) => contract::delete(settings, arguments).await,
        Command::Activate(Change::Contract(arguments)) => {
            contract::step(settings, arguments, "activate").await
        }
        Command::Archive(Change::Contract(arguments)) => contract::step(settings, arguments, "archive").await,
        Command::Review(Change::Contract(arguments)) => contract::step(settings, arguments, "review").await,
        Command::Revise(Change::Contract(arguments)) => contract::step(settings, arguments, "revise").await,
        Command::Approve(Change::Contract(arguments)) => contract::step(settings, arguments, "approve").await,
        Command::Simulate(arguments) => simulate::run(settings, arguments).await,
        Command::Send(arguments) => send::run(settings, arguments).await,
        Command::Check(Check::Contract(arguments)) => check::run(settings, arguments).await,
        Command::Explain(arguments) => explain::run(settings, arguments).await,
        Command::Listen(arguments) => listen::run(settings, arguments).await,
        Command::Serve(_) | Command::Demo(_) | Command::Completion(_) | Command::Version => {
            unreachable!("run handles the commands without a node")
        }
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
