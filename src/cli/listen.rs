//! `sluice listen`: the events of a stream on standard output, one JSON object a line.
//!
//! Following uses server-sent events, whose ids let a lost connection resume without gap or repetition.

use std::time::Duration;

use anyhow::Result;
use reqwest::Response;

use super::{
    client::{Client, ClientError, Problem},
    credentials::CredentialArguments,
    output,
    settings::Settings,
    sse::{SseEvent, SseReader},
    stop,
    stream_client::{ReadFrom, StreamClient},
};
use crate::domain::StreamName;

/// Waits between attempts to connect again: from the first to the last, doubling.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// Arguments of `sluice listen`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Source or derived stream to read
    stream: StreamName,
    /// Where to begin: earliest, latest or a sequence number
    #[arg(long, default_value = "latest", value_parser = start)]
    from: String,
    /// Events to print before ending [default: until Ctrl-C]
    #[arg(long)]
    count: Option<u64>,
    /// End at the present end of the stream instead of waiting for new events
    #[arg(long)]
    no_follow: bool,
    /// Read with your API token, by a grant, instead of the stream's credentials
    #[arg(long)]
    granted: bool,
    #[command(flatten)]
    credentials: CredentialArguments,
}

fn start(text: &str) -> Result<String, String> {
    if matches!(text, "earliest" | "latest") || text.parse::<u64>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("a start is earliest, latest or a sequence number".to_owned())
}

/// Runs `sluice listen`.
///
/// # Errors
///
/// The node refused, or the first connection failed. A later loss of the connection is got over.
pub async fn run(settings: &Settings, arguments: Arguments) -> Result<()> {
    let count = arguments.count.unwrap_or(u64::MAX);
    if count == 0 {
        return Ok(());
    }
    let anonymous = Client::anonymous(&settings.server)?;
    let client = if arguments.granted {
        StreamClient::by_grant(anonymous, settings.token()?)
    } else {
        StreamClient::connect(anonymous, arguments.credentials.find(settings, &arguments.stream)?).await?
    };
    let listener = Listener {
        client,
        stream: arguments.stream,
        from: arguments.from,
        limit: arguments.count,
        left: count,
        last_id: None,
    };
    tokio::select! {
        ended = listener.listen(arguments.no_follow) => ended,
        () = stop::asked() => match arguments.count {
            None => Ok(()),
            Some(_) => Err(anyhow::anyhow!("stopped before the events asked for had come")),
        },
    }
}

struct Listener {
    client: StreamClient,
    stream: StreamName,
    from: String,
    limit: Option<u64>,
    left: u64,
    last_id: Option<String>,
}

/// Why reading one connection ended.
enum End {
    /// Everything asked for was printed, or nobody reads any more.
    Done,
    /// The connection ended; there is more.
    Lost,
}

impl Listener {
    async fn listen(mut self, no_follow: bool) -> Result<()> {
        if no_follow {
            return self.print_present().await;
        }
        let mut wait = BACKOFF.0;
        let mut connected_before = false;
        loop {
            let before = self.left;
            match self.connect().await {
                Ok(response) => {
                    connected_before = true;
                    if matches!(self.print_events(response).await?, End::Done) {
                        return Ok(());
                    }
                }
                Err(error) if connected_before && passes(&error) => {}
                Err(error) => return Err(error.into()),
            }
            if self.left < before {
                wait = BACKOFF.0;
            }
            output::remark("the connection ended; connecting again");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(BACKOFF.1);
        }
    }

    async fn connect(&self) -> Result<Response, ClientError> {
        // A sequence after the last one says the same as its id, whichever the node looks at first.
        let after =
            self.last_id.as_ref().and_then(|id| id.parse::<u64>().ok()).map(|id| (id + 1).to_string());
        let what = ReadFrom {
            from: after.as_deref().unwrap_or(&self.from),
            limit: self.limit.map(|_| self.left),
            follow: true,
            last_event_id: self.last_id.as_deref(),
        };
        self.client.read(&self.stream, &what, "text/event-stream").await
    }

    async fn print_events(&mut self, mut response: Response) -> Result<End> {
        let mut reader = SseReader::default();
        while let Ok(Some(bytes)) = response.chunk().await {
            for event in reader.feed(&bytes)? {
                if !self.print_event(event)? || self.left == 0 {
                    return Ok(End::Done);
                }
            }
        }
        Ok(End::Lost)
    }

    /// Prints one event; `false` when nobody reads any more.
    fn print_event(&mut self, event: SseEvent) -> Result<bool> {
        let mut line = event.data.into_bytes();
        line.push(b'\n');
        let open = output::write_line_buffered(&line)?;
        self.last_id = event.id;
        self.left -= 1;
        Ok(open)
    }

    /// Prints what the stream holds now, as it comes.
    async fn print_present(self) -> Result<()> {
        let what = ReadFrom { from: &self.from, limit: self.limit, follow: false, last_event_id: None };
        let mut response = self.client.read(&self.stream, &what, "application/x-ndjson").await?;
        while let Some(bytes) = response.chunk().await.map_err(|error| self.client.failed(error))? {
            if !output::write_line_buffered(&bytes)? {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Whether waiting helps: the node is away or cannot serve now.
fn passes(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } | ClientError::Interrupted { .. } | ClientError::Busy { .. } => true,
        ClientError::Refused(Problem { status, .. }) => *status >= 500,
        ClientError::Foreign { .. } => true,
        ClientError::Unauthorized { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::start;

    #[test]
    fn a_start_is_a_word_or_a_sequence() {
        for right in ["earliest", "latest", "0", "17"] {
            assert!(start(right).is_ok(), "{right}");
        }
        for wrong in ["", "first", "-1", "1.5"] {
            assert!(start(wrong).is_err(), "{wrong}");
        }
    }
}
