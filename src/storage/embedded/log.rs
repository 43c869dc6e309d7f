//! The event log: reads here, writes through the committer.

use std::sync::{Arc, atomic::Ordering};

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};

use super::{
    engine::Engine,
    layout,
    queue::{Append, Committing, Op},
    streams::{Segment, Stream},
};
use crate::{
    clock::Timestamp,
    domain::{RecordBatch, StreamName},
    storage::{AppendError, AppendOptions, Appended, Bounds, Chunk, EventLog, Hint, LogError},
};

/// The logs of one node.
pub(super) struct Logs(pub Arc<Engine>);

impl Logs {
    fn stream(&self, name: &StreamName) -> Result<Arc<Stream>, LogError> {
        let open = self.0.open()?;
        let stream = open.streams.read().get(name).cloned();
        stream.ok_or(LogError::UnknownStream)
    }
}

#[async_trait]
impl EventLog for Logs {
    async fn create(&self, stream: &StreamName) -> Result<(), LogError> {
        let name = stream.clone();
        Ok(self.0.manage(move |committing| create(committing, name)).await?)
    }

    async fn delete(&self, stream: &StreamName) -> Result<(), LogError> {
        let name = stream.clone();
        Ok(self.0.manage(move |committing| delete(committing, &name)).await?)
    }

    async fn append(
        &self,
        stream: &StreamName,
        batch: RecordBatch,
        options: AppendOptions,
    ) -> Result<Appended, AppendError> {
        let stream = self.stream(stream).map_err(|error| match error {
            LogError::UnknownStream => AppendError::UnknownStream,
            LogError::Unavailable(unavailable) => AppendError::Unavailable(unavailable),
            LogError::Damaged(cause) => AppendError::Damaged(cause),
        })?;
        let (reply, answer) = oneshot::channel();
        self.0.queue.push(Op::Append(Append { stream, batch, options, reply }))?;
        answer.await.unwrap_or_else(|_| Err(self.0.dropped().into()))
    }

    async fn read(&self, stream: &StreamName, from: u64, max_bytes: usize) -> Result<Vec<Chunk>, LogError> {
        let stream = self.stream(stream)?;
        if stream.is_warm(from) {
            return stream.read(from, max_bytes);
        }
        let read = tokio::task::spawn_blocking(move || stream.read(from, max_bytes));
        read.await.map_err(|panic| LogError::Damaged(panic.into()))?
    }

    async fn bounds(&self, stream: &StreamName) -> Result<Bounds, LogError> {
        Ok(self.stream(stream)?.bounds())
    }

    async fn last(&self, stream: &StreamName) -> Result<Option<(u64, Chunk)>, LogError> {
        let stream = self.stream(stream)?;
        if stream.is_warm(stream.end().saturating_sub(1)) {
            return stream.last();
        }
        let last = tokio::task::spawn_blocking(move || stream.last());
        last.await.map_err(|panic| LogError::Damaged(panic.into()))?
    }

    fn tail(&self, stream: &StreamName) -> watch::Receiver<u64> {
        let known = self
            .stream(stream)
            .ok()
            .and_then(|stream| stream.tail.lock().as_ref().map(watch::Sender::subscribe));
        known.unwrap_or_else(|| watch::channel(0).1)
    }

    async fn trim(&self, stream: &StreamName, older_than: Timestamp) -> Result<u64, LogError> {
        let stream = self.stream(stream)?;
        let due = |segment: &Arc<Segment>| segment.newest.load(Ordering::Relaxed) < older_than.0;
        if !stream.segments.read().first().is_some_and(due) {
            return Ok(stream.bounds().first);
        }
        Ok(self.0.manage(move |committing| trim(committing, &stream, older_than)).await?)
    }

    async fn put_hint(&self, derived: &StreamName, hint: Hint) -> Result<(), LogError> {
        let stream = self.stream(derived)?;
        *stream.hint.lock() = Some(hint);
        if !stream.hint_changed.swap(true, Ordering::Relaxed) {
            self.0.open()?.hints.lock().push(stream);
        }
        Ok(())
    }

    async fn hint(&self, derived: &StreamName) -> Result<Option<Hint>, LogError> {
        Ok(*self.stream(derived)?.hint.lock())
    }
}

fn create(committing: &mut Committing<'_>, name: StreamName) -> fjall::Result<()> {
    let open = committing.open;
    if open.streams.read().contains_key(&name) {
        return Ok(());
    }
    let id = open.next_stream_id.fetch_add(1, Ordering::Relaxed);
    let mut txn = committing.txn();
    txn.put_unread(&open.catalog, &layout::stream_key(name.as_str()), layout::stream_row(id, 1));
    txn.put_unread(&open.catalog, layout::NEXT_ID, (id + 1).to_le_bytes().to_vec());
    txn.commit()?;
    let stream = Arc::new(Stream::new(name.clone(), id, 1, Vec::new(), None));
    open.streams.write().insert(name, stream);
    Ok(())
}

fn delete(committing: &mut Committing<'_>, name: &StreamName) -> fjall::Result<()> {
    let open = committing.open;
    let Some(stream) = open.streams.read().get(name).cloned() else { return Ok(()) };
    let mut txn = committing.txn();
    txn.remove(&open.catalog, layout::stream_key(name.as_str()));
    txn.remove(&open.catalog, layout::hint_key(stream.id));
    for segment in stream.segments.read().iter() {
        txn.remove(&open.catalog, layout::segment_key(stream.id, segment.first));
    }
    txn.commit()?;
    open.streams.write().remove(name);
    drop(stream.tail.lock().take());
    let segments = std::mem::take(&mut *stream.segments.write());
    committing.drop_segments(&segments)
}

fn trim(committing: &mut Committing<'_>, stream: &Stream, older_than: Timestamp) -> fjall::Result<u64> {
    let open = committing.open;
    if stream.deleted() {
        return Ok(stream.end());
    }
    let kept = stream.segments.read().clone();
    let due = kept.iter().take_while(|segment| segment.newest.load(Ordering::Relaxed) < older_than.0).count();
    let dropped = &kept[..due];
    let mut txn = committing.txn();
    for segment in dropped {
        txn.remove(&open.catalog, layout::segment_key(stream.id, segment.first));
    }
    // An emptied log goes on where it was.
    let row = layout::stream_row(stream.id, stream.end());
    if due == kept.len() {
        txn.put_unread(&open.catalog, &layout::stream_key(stream.name.as_str()), row);
    }
    txn.commit()?;
    stream.segments.write().drain(..due);
    committing.drop_segments(dropped)?;
    Ok(stream.bounds().first)
}

impl Committing<'_> {
    pub(super) fn txn(&mut self) -> super::txn::Txn<'_> {
        super::txn::Txn::new(self.open, self.budget)
    }

    fn drop_segments(&mut self, segments: &[Arc<Segment>]) -> fjall::Result<()> {
        for segment in segments {
            self.drop_keyspace(&segment.keyspace)?;
        }
        Ok(())
    }

    /// Deletes a keyspace; its files go once no read holds it any more.
    pub(super) fn drop_keyspace(&mut self, keyspace: &fjall::Keyspace) -> fjall::Result<()> {
        self.budget.forget(keyspace);
        self.open.db.delete_keyspace(keyspace.clone())
    }
}
