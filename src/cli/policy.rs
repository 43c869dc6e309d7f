//! `sluice create|get|list|activate|archive|delete policy`.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    client::Client,
    output::{self, Format, Table, items_at, text_at},
    settings::Settings,
};

/// Arguments of `sluice create policy`.
#[derive(clap::Args)]
pub struct CreateArguments {
    /// Name of the policy
    name: String,
    /// Days a key lives from its creation
    #[arg(long, alias = "retention", value_name = "DAYS")]
    retention_days: u32,
    /// What the policy is for
    #[arg(long, default_value = "")]
    description: String,
    /// On what legal ground data is kept that long
    #[arg(long, alias = "legal-grounds", value_name = "TEXT", default_value = "")]
    legal_ground: String,
    /// New events of a subject that was erased
    #[arg(long, value_enum, default_value_t = AfterErasure::Accept)]
    after_erasure: AfterErasure,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum AfterErasure {
    Accept,
    Refuse,
}

/// Arguments of the commands that take one policy.
#[derive(clap::Args)]
pub struct OneArgument {
    /// Name or id of the policy
    policy: String,
}

/// Runs `sluice create policy`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn create(settings: &Settings, arguments: CreateArguments) -> Result<()> {
    let after = match arguments.after_erasure {
        AfterErasure::Accept => "ACCEPT",
        AfterErasure::Refuse => "REFUSE",
    };
    let body = json!({
        "name": arguments.name,
        "description": arguments.description,
        "retentionDays": arguments.retention_days,
        "legalGround": arguments.legal_ground,
        "afterErasure": after,
    });
    let answer = Client::for_control(settings)?.call(Method::POST, &["policies"], Some(&body)).await?;
    output::show(settings.format, &answer, || vec![table(std::slice::from_ref(&answer))])?;
    if settings.format == Format::Table {
        output::remark(&format!("Streams can have it after: sluice activate policy \"{}\"", arguments.name));
    }
    Ok(())
}

/// Runs `sluice get policy`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn get(settings: &Settings, arguments: OneArgument) -> Result<()> {
    show_one(settings, Method::GET, &["policies", &arguments.policy]).await
}

/// Runs `sluice list policies`.
///
/// # Errors
///
/// The node refuses or cannot be reached.
pub async fn list(settings: &Settings) -> Result<()> {
    let answer = Client::for_control(settings)?.list(&["policies"], "policies", &[]).await?;
    output::show(settings.format, &answer, || vec![table(items_at(&answer, "/policies"))])
}

/// Runs `sluice activate policy`.
///
/// # Errors
///
/// The node refuses, for instance from the policy's state, or cannot be reached.
pub async fn activate(settings: &Settings, arguments: OneArgument) -> Result<()> {
    show_one(settings, Method::POST, &["policies", &arguments.policy, "activate"]).await
}

/// Runs `sluice archive policy`.
///
/// # Errors
///
/// The node refuses, for instance because a stream has it, or cannot be reached.
pub async fn archive(settings: &Settings, arguments: OneArgument) -> Result<()> {
    show_one(settings, Method::POST, &["policies", &arguments.policy, "archive"]).await
}

/// Runs `sluice delete policy`.
///
/// # Errors
///
/// The node refuses, for instance from the policy's state, or cannot be reached.
pub async fn delete(settings: &Settings, arguments: OneArgument) -> Result<()> {
    let policy = arguments.policy;
    Client::for_control(settings)?.call(Method::DELETE, &["policies", &policy], None).await?;
    match settings.format {
        Format::Table => output::print(&format!("Policy {policy} has been deleted\n")),
        Format::Plain => output::print(&format!("{policy}\n")),
        Format::Json => output::print(&format!("{:#}\n", json!({"policy": policy}))),
    }
}

async fn show_one(settings: &Settings, method: Method, path: &[&str]) -> Result<()> {
    let answer = Client::for_control(settings)?.call(method, path, None).await?;
    output::show(settings.format, &answer, || vec![table(std::slice::from_ref(&answer))])
}

fn table(policies: &[Value]) -> Table {
    let fields =
        ["/name", "/state", "/retentionDays", "/legalGround", "/afterErasure", "/description", "/id"];
    let row = |policy: &Value| fields.map(|at| text_at(policy, at)).to_vec();
    Table {
        headers: &["Name", "State", "Retention Days", "Legal Ground", "After Erasure", "Description", "ID"],
        rows: policies.iter().map(row).collect(),
    }
}
