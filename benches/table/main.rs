//! `scripts/bench`: figures as ratios to a yardstick in the same run (`DESIGN` 12).
//!
//! ```text
//! workload    the events            load     closed and open loops, raw HTTP/1.1
//! node        processes under test  report   the table, and the same as JSON lines
//! rows/       one file per group of rows of the table
//! ```
//! A row interleaves what it compares (A B A) and checks that what was answered is stored.
#![allow(clippy::print_stdout, reason = "the table is the output")]

mod load;
mod node;
mod report;
mod rows;
mod workload;

use anyhow::{Context, Result};
use clap::Parser;

use self::report::Report;

/// Figures of `DESIGN` 12, as ratios to a yardstick in the same run.
#[derive(Parser)]
struct Args {
    /// Groups to run, all by default.
    #[arg(long, value_delimiter = ',', value_parser = rows::NAMES)]
    rows: Vec<String>,
    /// Short runs: shows that the harness works, not what Sluice can do.
    #[arg(long)]
    quick: bool,
    /// One JSON object a row instead of the table.
    #[arg(long)]
    json: bool,
    /// Serves the bare handler on this port: the yardstick, started by the harness itself.
    #[arg(long, hide = true)]
    yardstick: Option<u16>,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(port) = args.yardstick {
        return node::serve_yardstick(port);
    }
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut report = Report::new(args.json, args.quick);
    report.load_average()?;
    for name in rows::NAMES.iter().filter(|name| args.rows.is_empty() || args.rows.iter().any(|r| r == *name))
    {
        runtime.block_on(rows::run(name, &mut report)).with_context(|| format!("rows of {name}"))?;
    }
    report.load_average()
}
