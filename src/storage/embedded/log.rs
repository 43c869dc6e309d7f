//! The event log: reads here, writes through the committer.

use std::sync::{Arc, atomic::Ordering};

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};

use super::{
    engine::Engine,
    events::{Job, Stream},
    layout,
    queue::{Append, Committing, Op},
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
        self.0.push(Op::Append(Append { stream, batch, options, reply }))?;
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
        let oldest = stream.segments.read().first().map(|segment| segment.newest());
        if oldest.or_else(|| stream.oldest_fresh()).is_none_or(|oldest| oldest >= older_than) {
            return Ok(stream.bounds().first);
        }
        let (reply, answer) = oneshot::channel();
        self.0.tell_keeper(Job::Trim(stream, older_than, reply))?;
        answer.await.map_err(|_| self.0.dropped().into())
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
        // Some have no row yet.
        txn.remove(&open.catalog, layout::segment_key(stream.id, segment.first));
    }
    txn.commit()?;
    open.streams.write().remove(name);
    drop(stream.tail.lock().take());
    open.keeping.tell(Job::Forget(stream));
    Ok(())
}

impl Committing<'_> {
    pub(super) fn txn(&mut self) -> super::txn::Txn<'_> {
        super::txn::Txn::new(self.open, self.budget)
    }

    /// Deletes a keyspace; its files go once no read holds it any more.
    pub(super) fn drop_keyspace(&mut self, keyspace: &fjall::Keyspace) -> fjall::Result<()> {
        self.budget.forget(keyspace);
        self.open.db.delete_keyspace(keyspace.clone())
    }
}
