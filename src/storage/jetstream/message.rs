//! A record as a NATS message: the envelope in headers, the sealed body as payload.

use async_nats::HeaderMap;
use bytes::Bytes;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    domain::{KeyLink, Levels, Record, RecordBatch, RecordDamaged, RecordHead, Serialization},
};

/// Headers of a record.
pub(super) fn headers(head: &RecordHead<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Sluice-Schema", head.schema);
    headers.insert("Sluice-Contract", head.contract);
    headers.insert("Sluice-Key-Link", head.key_link.0.to_string());
    let levels: Vec<String> = head.consent.iter().map(|level| level.to_string()).collect();
    headers.insert("Sluice-Consent", levels.join(","));
    headers.insert("Sluice-Serialization", (head.serialization as u8).to_string());
    headers.insert("Sluice-Accepted", head.accepted.0.to_string());
    if head.source_seq != 0 {
        headers.insert("Sluice-Source-Seq", head.source_seq.to_string());
    }
    headers
}

/// Payload of a record.
pub(super) fn payload(record: &Record<'_>) -> Bytes {
    Bytes::copy_from_slice(record.body)
}

/// Packs a message as the record it was.
pub(super) fn pack(
    headers: &HeaderMap,
    payload: &[u8],
    batch: &mut RecordBatch,
) -> Result<(), RecordDamaged> {
    read(headers, payload, batch).ok_or(RecordDamaged)
}

fn read(headers: &HeaderMap, payload: &[u8], batch: &mut RecordBatch) -> Option<()> {
    let text = |name: &'static str| headers.get(name).map(|value| value.as_str());
    let serialization = match text("Sluice-Serialization")? {
        "0" => Serialization::AvroBinary,
        "1" => Serialization::AvroJson,
        "2" => Serialization::Json,
        _ => return None,
    };
    let levels = text("Sluice-Consent")?.split(',').filter(|level| !level.is_empty());
    let levels: Vec<i32> = levels.map(str::parse).collect::<Result<_, _>>().ok()?;
    let source_seq = text("Sluice-Source-Seq").map_or(Ok(0), str::parse).ok()?;
    let head = RecordHead {
        serialization,
        accepted: Timestamp(text("Sluice-Accepted")?.parse().ok()?),
        source_seq,
        key_link: KeyLink(Uuid::parse_str(text("Sluice-Key-Link")?).ok()?),
        schema: text("Sluice-Schema")?,
        contract: text("Sluice-Contract")?,
        consent: Levels::Plain(&levels),
    };
    batch.push(&head, payload);
    Some(())
}
