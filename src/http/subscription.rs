//! Subscription actor: one live reader, in the worker thread of its connection.
//!
//! - **Owns** the connection's writing end and the position in the log.
//! - **Born** in `http::egress`, with the connection; dies with it. It is an actix actor because what it
//!   owns cannot leave its thread.
//! - **Spoken to** by its web socket's incoming frames only; its mailbox is bounded.
//! - **Fails** by closing the connection; the client comes back with the last sequence it saw.
//! - **Bounded**: it reads a page when the one before has been taken, so a slow client costs one page.

use std::{rc::Rc, time::Duration};

use actix::{Actor, ActorContext, AsyncContext, Context, StreamHandler, fut};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, ProtocolError, Session};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

use super::admission::ReaderPlace;
use crate::gateway::{LogReader, ReadError, ReadEvent};

/// How events are delimited in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// `id: SEQ`, `data: JSON`, empty line.
    ServerSent,
    /// One JSON event a line.
    Lines,
}

/// What a reader of a body asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub framing: Framing,
    /// Events at most.
    pub limit: Option<u64>,
    /// Go on at the end of the log.
    pub follow: bool,
}

type Page = Result<Bytes, actix_web::Error>;

/// Whether the reader is still let in: asked before every page, at every heartbeat, and whenever something that
/// may decide it has changed.
pub(super) struct Admits {
    pub still: Rc<dyn Fn() -> bool>,
    pub changes: watch::Receiver<u64>,
}

impl Admits {
    /// Returns when the reader is no longer let in.
    async fn revoked(&mut self) {
        loop {
            self.changes.mark_unchanged();
            if !(self.still)() || self.changes.changed().await.is_err() {
                return;
            }
        }
    }
}

enum Sink {
    WebSocket(Session),
    Body { pages: mpsc::Sender<Page>, order: Order },
}

/// The actor.
pub(super) struct Subscription {
    work: Option<(LogReader, Sink, Admits)>,
    session: Option<Session>,
    heard: Instant,
    _place: ReaderPlace,
}

impl Subscription {
    /// Starts a reader that writes to a web socket.
    pub(super) fn start_web_socket(
        reader: LogReader,
        session: Session,
        messages: AggregatedMessageStream,
        place: ReaderPlace,
        admits: Admits,
    ) {
        Subscription::create(|ctx| {
            ctx.add_stream(messages);
            let work = Some((reader, Sink::WebSocket(session.clone()), admits));
            Subscription { work, session: Some(session), heard: Instant::now(), _place: place }
        });
    }

    /// Starts a reader that writes to the body of an answer.
    pub(super) fn start_body(
        reader: LogReader,
        pages: mpsc::Sender<Page>,
        order: Order,
        place: ReaderPlace,
        admits: Admits,
    ) {
        let work = Some((reader, Sink::Body { pages, order }, admits));
        Subscription { work, session: None, heard: Instant::now(), _place: place }.start();
    }

    fn check_peer(&mut self, ctx: &mut Context<Subscription>) {
        let Some(session) = &self.session else { return };
        if self.heard.elapsed() > SILENCE_MAX {
            ctx.stop();
            return;
        }
        let mut session = session.clone();
        ctx.spawn(fut::wrap_future(async move { drop(session.ping(b"").await) }));
    }
}

impl Actor for Subscription {
    type Context = Context<Subscription>;

    fn started(&mut self, ctx: &mut Context<Subscription>) {
        ctx.set_mailbox_capacity(MAILBOX);
        if self.session.is_some() {
            ctx.run_interval(HEARTBEAT, Subscription::check_peer);
        }
        if let Some((reader, sink, mut admits)) = self.work.take() {
            // A client that takes nothing is cut off too: revoking does not wait for its page.
            let served = async move {
                let still = Rc::clone(&admits.still);
                tokio::select! {
                    () = pump(reader, sink, || still()) => {}
                    () = admits.revoked() => {}
                }
            };
            let done = fut::wrap_future::<_, Subscription>(served);
            ctx.spawn(fut::ActorFutureExt::map(done, |(), _, ctx: &mut Context<Subscription>| ctx.stop()));
        }
    }

    fn stopped(&mut self, _: &mut Context<Subscription>) {
        if let Some(session) = self.session.take() {
            actix_web::rt::spawn(async move { drop(session.close(Some(CloseCode::Normal.into())).await) });
        }
    }
}

impl StreamHandler<Result<AggregatedMessage, ProtocolError>> for Subscription {
    fn handle(&mut self, message: Result<AggregatedMessage, ProtocolError>, ctx: &mut Context<Subscription>) {
        self.heard = Instant::now();
        match message {
            Ok(AggregatedMessage::Ping(payload)) => {
                if let Some(mut session) = self.session.clone() {
                    ctx.spawn(fut::wrap_future(async move { drop(session.pong(&payload).await) }));
                }
            }
            Ok(AggregatedMessage::Close(_)) | Err(_) => ctx.stop(),
            Ok(_) => {}
        }
    }

    fn finished(&mut self, ctx: &mut Context<Subscription>) {
        ctx.stop();
    }
}

/// Reads and writes until the log, the order or the client ends.
async fn pump(mut reader: LogReader, mut sink: Sink, admits: impl Fn() -> bool) {
    let mut left = sink.limit();
    while left > 0 && admits() {
        let page = match reader.page().await {
            Ok(page) => page,
            Err(error) => return sink.fail(&error).await,
        };
        if page.is_empty() {
            if !sink.follows() {
                return;
            }
            match timeout(HEARTBEAT, reader.wait()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return sink.fail(&error).await,
                Err(_) if sink.beat().await => {}
                Err(_) => return,
            }
            continue;
        }
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(page.len());
        if !sink.write(&page[..wanted]).await {
            return;
        }
        left -= wanted as u64;
    }
}

impl Sink {
    fn limit(&self) -> u64 {
        match self {
            Sink::WebSocket(_) => u64::MAX,
            Sink::Body { order, .. } => order.limit.unwrap_or(u64::MAX),
        }
    }

    fn follows(&self) -> bool {
        match self {
            Sink::WebSocket(_) => true,
            Sink::Body { order, .. } => order.follow,
        }
    }

    /// Writes events, waiting for the client to take them. False when it is gone.
    async fn write(&mut self, events: &[ReadEvent]) -> bool {
        match self {
            Sink::WebSocket(session) => {
                for event in events {
                    let Ok(text) = bytestring::ByteString::try_from(event.json.clone()) else { continue };
                    if session.text(text).await.is_err() {
                        return false;
                    }
                }
                true
            }
            Sink::Body { pages, order } => pages.send(Ok(frame(order.framing, events))).await.is_ok(),
        }
    }

    /// Says that the connection lives. False when it does not.
    async fn beat(&mut self) -> bool {
        match self {
            // The actor pings its peer itself.
            Sink::WebSocket(_) => true,
            Sink::Body { pages, order } => match order.framing {
                Framing::ServerSent => pages.send(Ok(Bytes::from_static(b": ping\n\n"))).await.is_ok(),
                Framing::Lines => !pages.is_closed(),
            },
        }
    }

    async fn fail(self, error: &ReadError) {
        tracing::debug!(%error, "a reader ends");
        match self {
            Sink::WebSocket(session) => {
                let reason = CloseReason { code: CloseCode::Away, description: Some(error.to_string()) };
                drop(session.close(Some(reason)).await);
            }
            Sink::Body { pages, .. } => {
                let cut = actix_web::error::ErrorInternalServerError("the stream ended");
                drop(pages.send(Err(cut)).await);
            }
        }
    }
}

fn frame(framing: Framing, events: &[ReadEvent]) -> Bytes {
    let length: usize = events.iter().map(|event| event.json.len() + 32).sum();
    let mut out = BytesMut::with_capacity(length);
    for event in events {
        if framing == Framing::ServerSent {
            let mut number = itoa::Buffer::new();
            out.put_slice(b"id: ");
            out.put_slice(number.format(event.sequence).as_bytes());
            out.put_slice(b"\ndata: ");
        }
        out.put_slice(&event.json);
        out.put_slice(if framing == Framing::ServerSent { b"\n\n" } else { b"\n" });
    }
    out.freeze()
}

/// Messages from its own connection, which come one at a time.
const MAILBOX: usize = 16;
/// Time between signs of life to an idle client, and silence after which a web socket is closed.
const HEARTBEAT: Duration = Duration::from_secs(15);
const SILENCE_MAX: Duration = Duration::from_secs(60);
