//! `sluice send`: a file of events to a stream, in file order, with a line for what was refused.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde_json::Value;

use super::{
    chunks::{CHUNK_BYTES, Chunk, ChunkError, Chunks, LINES_TYPE, REQUEST_BYTES_MAX},
    client::{Client, ClientError, is_retryable},
    credentials::CredentialArguments,
    failure::Failure,
    output,
    settings::Settings,
    stop,
    stream_client::{StreamClient, Verdict},
    tally::{Progress, Tally},
};
use crate::domain::{ContractRef, StreamName};

/// Times a request that was not carried out is sent again.
const RETRIES_MAX: u32 = 8;
/// Longest wait before a request is sent again.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Arguments of `sluice send`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Source stream to send to
    stream: StreamName,
    /// JSON lines or an Avro container; - reads standard input
    file: PathBuf,
    /// Schema of the events [default for JSON lines: the first event's strmMeta.eventContractRef]
    #[arg(long, value_name = "REF")]
    schema: Option<ContractRef>,
    /// All events or none; the file must fit one request (64 MiB)
    #[arg(long)]
    atomic: bool,
    /// No progress, only the final report
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    credentials: CredentialArguments,
}

/// Runs `sluice send`.
///
/// # Errors
///
/// The file cannot be read, a request failed, or an event was refused.
pub async fn run(settings: &Settings, arguments: Arguments) -> Result<()> {
    let (source, length) = open(&arguments.file)?;
    let chunk_bytes = if arguments.atomic { REQUEST_BYTES_MAX } else { CHUNK_BYTES };
    let chunks = Chunks::open(BufReader::with_capacity(256 * 1024, source), chunk_bytes)?;
    let content_type = chunks.content_type();
    let found = arguments.credentials.find(settings, &arguments.stream)?;
    let stream = StreamClient::connect(Client::anonymous(&settings.server)?, found).await?;
    let mut sending = Sending {
        stream,
        chunks: Some(chunks),
        content_type,
        schema: arguments.schema,
        atomic: arguments.atomic,
        tally: Tally::start(),
        progress: Progress::new(length, arguments.quiet),
    };
    let ended = tokio::select! {
        ended = sending.send_all() => ended,
        () = stop::asked() => Err(anyhow::anyhow!("stopped before the end of the file")),
    };
    sending.progress.end();
    sending.tally.report(settings.format)?;
    ended?;
    match sending.tally.refused {
        0 => Ok(()),
        _ if arguments.atomic => {
            bail!("nothing was stored, because events were refused and --atomic was given")
        }
        refused => bail!("{refused} events were refused; the others are stored"),
    }
}

fn open(path: &std::path::Path) -> Result<(Box<dyn Read + Send>, Option<u64>)> {
    if path.as_os_str() == "-" {
        return Ok((Box::new(std::io::stdin()), None));
    }
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = opened.map_err(|error| {
        Failure::new(
            format!("cannot read {}: {error}", path.display()),
            "name a file of JSON lines or an Avro container",
        )
    })?;
    Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
}

struct Sending {
    stream: StreamClient,
    /// Away while its next chunk is being read.
    chunks: Option<Chunks>,
    content_type: &'static str,
    schema: Option<ContractRef>,
    atomic: bool,
    tally: Tally,
    progress: Progress,
}

impl Sending {
    async fn send_all(&mut self) -> Result<()> {
        let mut bytes = 0;
        let mut next = self.next_chunk().await?;
        while let Some(mut chunk) = next {
            if self.atomic && self.next_chunk().await?.is_some() {
                return Err(ChunkError::NotAtomic.into());
            }
            let body = Bytes::from(std::mem::take(&mut chunk.body));
            let schema = self.schema_for(&body)?;
            let verdict = match self.post(schema.as_str(), &body).await {
                Ok(verdict) => verdict,
                Err(error) => {
                    self.tally.failed += chunk.events;
                    return Err(error).with_context(|| where_it_stopped(&chunk));
                }
            };
            self.tally.accepted += verdict.accepted;
            for refusal in &verdict.refused {
                self.tally.refuse(&chunk.place(refusal.index), &refusal.code, &refusal.detail);
            }
            bytes += body.len() as u64;
            self.progress.show(bytes, &self.tally);
            next = self.next_chunk().await?;
        }
        Ok(())
    }

    /// Reads on a thread of its own: standard input may keep silent, and Ctrl-C must be heard meanwhile.
    async fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let mut chunks = self.chunks.take().expect("a read that failed ends the sending");
        let (chunks, read) = tokio::task::spawn_blocking(move || {
            let read = chunks.next();
            (chunks, read)
        })
        .await?;
        self.chunks = Some(chunks);
        Ok(read?)
    }

    /// Sends one request; again when the node was busy or away, under a key that stores it once.
    async fn post(&self, schema: &str, body: &Bytes) -> Result<Verdict, ClientError> {
        let mut tries = 0;
        let once = uuid::Uuid::new_v4();
        loop {
            let sent = self.stream.post_events(schema, self.content_type, body.clone(), self.atomic, once);
            let error = match sent.await {
                Ok(verdict) => return Ok(verdict),
                Err(error) if is_retryable(&error) && tries < RETRIES_MAX => error,
                Err(error) => return Err(error),
            };
            tries += 1;
            let wait = match &error {
                ClientError::Busy { retry_after, .. } => {
                    (*retry_after).clamp(Duration::from_millis(100), WAIT_MAX)
                }
                _ => Duration::from_millis(250) * tries,
            };
            output::remark(&format!("{error}; trying again"));
            tokio::time::sleep(wait).await;
        }
    }

    /// The schema given, else the one the first event names; it is then kept for the whole file.
    fn schema_for(&mut self, body: &[u8]) -> Result<ContractRef, Failure> {
        if let Some(schema) = &self.schema {
            return Ok(schema.clone());
        }
        let named = if self.content_type == LINES_TYPE { first_contract(body) } else { None };
        let schema = named.ok_or_else(|| {
            Failure::new(
                "the file does not say which schema its events have",
                "give --schema handle/name/version",
            )
        })?;
        self.schema = Some(schema.clone());
        Ok(schema)
    }
}

fn where_it_stopped(chunk: &Chunk) -> String {
    format!("sending stopped at {}; what stood before it is settled", chunk.place(0))
}

fn first_contract(lines: &[u8]) -> Option<ContractRef> {
    let line = lines.split(|byte| *byte == b'\n').next()?;
    let event: Value = serde_json::from_slice(line).ok()?;
    event.pointer("/strmMeta/eventContractRef")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_found_in_the_first_event() {
        let lines = b"{\"strmMeta\":{\"eventContractRef\":\"acme/clicks/1.0.0\"}}\n{}\n";
        assert_eq!(first_contract(lines).unwrap().as_str(), "acme/clicks/1.0.0");
        assert_eq!(first_contract(b"{}\n"), None);
        assert_eq!(first_contract(b"not json\n"), None);
    }
}
