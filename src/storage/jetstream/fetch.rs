//! Reading many messages with one request, from whichever replica answers.
//!
//! A replica that lags knows fewer messages at the end and has no gaps, so that what it returns is right.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;

use super::{
    connection::{Nats, unavailable},
    log::{damaged, js_name, subject},
    message,
};
use crate::{
    domain::{RecordBatch, StreamName},
    storage::{Chunk, LogError, Unavailable},
};

/// Messages from sequence `from` on as one chunk; none when the replica knows none.
pub(super) async fn fetch(
    nats: &Nats,
    stream: &StreamName,
    from: u64,
    max_bytes: usize,
) -> Result<Vec<Chunk>, LogError> {
    let inbox = nats.client.new_inbox();
    let mut answers = nats.client.subscribe(inbox.clone()).await.map_err(unavailable)?;
    let question = serde_json::json!({
        "seq": from,
        "next_by_subj": subject(stream),
        "batch": MESSAGES_MAX,
        "max_bytes": max_bytes.clamp(1, BYTES_MAX),
    });
    let at = format!("$JS.API.DIRECT.GET.{}", js_name(stream));
    let question = Bytes::from(question.to_string());
    nats.client.publish_with_reply(at, inbox, question).await.map_err(unavailable)?;
    let (mut batch, mut first, mut next) = (RecordBatch::default(), None, None);
    loop {
        let answer = tokio::time::timeout(ANSWER_WITHIN, answers.next()).await;
        let answer = answer.map_err(unavailable)?;
        let Some(answer) = answer else {
            return Err(Unavailable::Backend("the connection to NATS has ended".into()).into());
        };
        // 204: the end of what was asked for; 404: nothing there; 503: nobody answers. The leader decides.
        if answer.status.is_some() {
            break;
        }
        let Some(headers) = answer.headers else { break };
        let seq = headers.get("Nats-Sequence").and_then(|seq| seq.as_str().parse::<u64>().ok());
        let Some(seq) = seq else { break };
        if next.is_some_and(|next| next != seq) {
            return Err(damaged(stream, seq, "records before it are missing"));
        }
        message::pack(&headers, &answer.payload, &mut batch)
            .map_err(|_| damaged(stream, seq, "a message is not a record"))?;
        first.get_or_insert(seq);
        next = Some(seq + 1);
    }
    Ok(first
        .map(|first_seq| Chunk { first_seq, count: batch.count(), bytes: batch.into_bytes() })
        .into_iter()
        .collect())
}

/// Messages of one answer.
const MESSAGES_MAX: u32 = 1000;
/// Bytes of one answer.
const BYTES_MAX: usize = 4 << 20;
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
