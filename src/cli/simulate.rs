//! `sluice simulate`: random events at a steady rate, sent whether or not the node keeps up (open loop).

use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use uuid::Uuid;

use super::{
    client::{Client, ClientError},
    credentials::CredentialArguments,
    example_events::{Consents, DEFAULT_PURPOSES, EXAMPLE_REF, Generator},
    output,
    settings::Settings,
    stop,
    stream_client::{StreamClient, Verdict},
    tally::{Progress, Tally},
};
use crate::domain::StreamName;

/// Shortest time between two requests: above 50 events/s several events share one.
const TICK: Duration = Duration::from_millis(20);
/// Events of one request, at most; about 1.3 MB.
const BATCH_MAX: u64 = 5_000;
/// Requests under way at once, at most. Beyond it the simulator falls behind its rate and catches up later.
const FLIGHTS_MAX: usize = 32;

/// Arguments of `sluice simulate`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Source stream to send to
    stream: StreamName,
    /// Events per second
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    rate: f64,
    /// Events to send [default: until Ctrl-C]
    #[arg(long)]
    count: Option<u64>,
    /// Sessions the events are spread over
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    sessions: u64,
    /// Consents to draw from: sets separated by commas, levels by slashes; an empty set is no consent
    #[arg(long, default_value = DEFAULT_PURPOSES, allow_hyphen_values = true)]
    purposes: Consents,
    /// Makes the events the same in every run
    #[arg(long)]
    seed: Option<u64>,
    /// No progress, only the final report
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    credentials: CredentialArguments,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=10_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number of events per second from 0.001 to 10000000".to_owned()),
    }
}

/// Runs `sluice simulate`.
///
/// # Errors
///
/// The first request failed, an answer says that no event can be accepted, or (with `--count`) not every
/// event was accepted.
pub async fn run(settings: &Settings, arguments: Arguments) -> Result<()> {
    let found = arguments.credentials.find(settings, &arguments.stream)?;
    let stream = StreamClient::connect(Client::anonymous(&settings.server)?, found).await?;
    if !arguments.quiet {
        let target = &arguments.stream;
        output::remark(&format!(
            "sending {EXAMPLE_REF} events to stream {target}, {} per second",
            arguments.rate
        ));
    }
    let mut simulation = Simulation {
        stream,
        generator: Generator::new(arguments.seed, arguments.sessions, arguments.purposes),
        flights: JoinSet::new(),
        tally: Tally::start(),
        progress: Progress::new(arguments.count, arguments.quiet),
        ever_answered: false,
    };
    let ended = simulation.fly(arguments.rate, arguments.count.unwrap_or(u64::MAX)).await;
    simulation.progress.end();
    simulation.tally.report(settings.format)?;
    ended?;
    let tally = &simulation.tally;
    if arguments.count.is_some() && tally.refused + tally.failed > 0 {
        bail!("{} events were not accepted", tally.refused + tally.failed);
    }
    Ok(())
}

/// One request's events and what became of them.
struct Landed {
    events: u64,
    outcome: Result<Verdict, ClientError>,
}

struct Simulation {
    stream: StreamClient,
    generator: Generator,
    flights: JoinSet<Landed>,
    tally: Tally,
    progress: Progress,
    /// Whether the node ever took a request: before that a failure ends the run, later it is counted.
    ever_answered: bool,
}

impl Simulation {
    /// Sends event `k` when `k / rate` seconds have passed, until `limit` are sent or a stop is asked for.
    async fn fly(&mut self, rate: f64, limit: u64) -> Result<()> {
        let started = Instant::now();
        let mut sent = 0;
        let mut rested_at = started;
        let mut stopped = std::pin::pin!(stop::asked());
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while sent < limit {
            let batch = due(started.elapsed(), rate).min(limit).saturating_sub(sent).min(BATCH_MAX);
            if batch > 0 && self.flights.len() < FLIGHTS_MAX && Instant::now() >= rested_at {
                self.launch(batch);
                sent += batch;
                rested_at = Instant::now() + TICK;
            }
            let next = started + Duration::from_secs_f64(sent_seconds(sent, rate));
            let wake = next.max(rested_at);
            tokio::select! {
                () = &mut stopped => return self.land_all(sent).await,
                () = tokio::time::sleep_until(wake), if sent < limit && self.flights.len() < FLIGHTS_MAX => {}
                Some(landed) = self.flights.join_next() => self.land(landed?)?,
                _ = ticks.tick() => self.progress.show(sent, &self.tally),
            }
        }
        self.land_all(sent).await
    }

    fn launch(&mut self, events: u64) {
        let stream = self.stream.clone();
        if events == 1 {
            let event = self.generator.draw().to_json();
            self.flights.spawn(async move {
                let outcome = stream.post_event(EXAMPLE_REF, event).await;
                Landed { events, outcome: one_verdict(outcome) }
            });
            return;
        }
        let mut body = Vec::new();
        for _ in 0..events {
            body.extend_from_slice(&self.generator.draw().to_json());
            body.push(b'\n');
        }
        self.flights.spawn(async move {
            let sent = stream.post_events(
                EXAMPLE_REF,
                "application/x-ndjson",
                Bytes::from(body),
                false,
                Uuid::new_v4(),
            );
            Landed { events, outcome: sent.await }
        });
    }

    fn land(&mut self, landed: Landed) -> Result<()> {
        match landed.outcome {
            Ok(verdict) => {
                self.ever_answered = true;
                self.tally.accepted += verdict.accepted;
                for refusal in verdict.refused {
                    self.tally.refuse("an event", &refusal.code, &refusal.detail);
                }
                Ok(())
            }
            Err(error) => {
                self.tally.failed += landed.events;
                let passes = matches!(
                    error,
                    ClientError::Unreachable { .. }
                        | ClientError::Interrupted { .. }
                        | ClientError::Busy { .. }
                );
                if passes && self.ever_answered { Ok(()) } else { Err(error.into()) }
            }
        }
    }

    async fn land_all(&mut self, sent: u64) -> Result<()> {
        while let Some(landed) = self.flights.join_next().await {
            self.land(landed?)?;
            self.progress.show(sent, &self.tally);
        }
        Ok(())
    }
}

/// A refusal of the only event of a request is that event's, not the run's.
fn one_verdict(outcome: Result<(), ClientError>) -> Result<Verdict, ClientError> {
    match outcome {
        Ok(()) => Ok(Verdict { accepted: 1, refused: Vec::new() }),
        Err(ClientError::Refused(problem)) if matches!(problem.status, 400 | 422) => {
            let refusal =
                super::stream_client::Refusal { index: 0, code: problem.code, detail: problem.detail };
            Ok(Verdict { accepted: 0, refused: vec![refusal] })
        }
        Err(error) => Err(error),
    }
}

/// Events due after `elapsed`: the first at once.
fn due(elapsed: Duration, rate: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive and far below 2^63"
    )]
    let whole = (elapsed.as_secs_f64() * rate) as u64;
    whole + 1
}

fn sent_seconds(sent: u64, rate: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
    let sent = sent as f64;
    (sent / rate).min(86_400.0 * 365.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_fall_due_by_the_clock_alone() {
        assert_eq!(due(Duration::ZERO, 10.0), 1);
        assert_eq!(due(Duration::from_millis(99), 10.0), 1);
        assert_eq!(due(Duration::from_millis(100), 10.0), 2);
        assert_eq!(due(Duration::from_secs(10), 1000.0), 10_001);
    }

    #[test]
    fn rates_are_positive_numbers() {
        assert!(rate("0.5").is_ok() && rate("100000").is_ok());
        for wrong in ["0", "-1", "NaN", "inf", "ten"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
