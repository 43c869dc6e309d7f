//! HTTP/2 by hyper over the same `App` service that serves HTTP/1.1.
//!
//! Per connection: 128 streams, 32 KiB of header list, a window of 512 KiB for each stream and 2 MiB for all,
//! few resets, a ping after a silent while.
//! hyper gives a body's window back only for data that was polled, so a handler that stops reading stops the
//! client. A stream the client resets drops its handler's future.

use std::{
    cell::Cell,
    future::Future,
    io,
    marker::PhantomData,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::{
    BoxedPayloadStream, Payload, Request, Response,
    body::{BodySize, BoxBody, MessageBody},
    error::PayloadError,
    header,
};
use actix_server::GracefulShutdownSignal;
use actix_service::Service;
use bytes::Bytes;
use futures_util::{Stream, future::LocalBoxFuture};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, sleep_until};

use super::{ListenerOptions, h2_io::H2Io};

/// Bytes a client may send ahead of one handler, and ahead of all handlers of a connection: a handler that
/// stops reading must not stop the others.
const STREAM_WINDOW_BYTES: u32 = 512 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * STREAM_WINDOW_BYTES;
/// Bytes of one response waiting for the client's window.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Streams reset before the server looked at them, and streams reset for the client's errors; then GOAWAY.
const RESETS_PENDING_MAX: usize = 32;
const RESETS_LOCAL_MAX: usize = 256;
/// A ping after this long without a frame; a peer that does not answer in [`PING_TIMEOUT`] is gone.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// An idle connection's time to take its GOAWAY.
const GOAWAY_TIMEOUT: Duration = Duration::from_secs(5);

/// A worker's HTTP/2 side.
pub(super) struct H2Engine<S> {
    app: Rc<S>,
    builder: http2::Builder<WorkerTasks>,
}

impl<S> H2Engine<S> {
    pub(super) fn new(app: Rc<S>, options: &ListenerOptions) -> H2Engine<S> {
        let mut builder = http2::Builder::new(WorkerTasks);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(options.h2_streams_max)
            .max_header_list_size(options.h2_header_list_bytes)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
            .max_local_error_reset_streams(RESETS_LOCAL_MAX)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        H2Engine { app, builder }
    }
}

/// Serves one connection to its end. GOAWAY is sent when the server stops, or when no stream was open for
/// the keep-alive time.
pub(super) async fn serve<S, B>(
    engine: &H2Engine<S>,
    io: H2Io,
    peer: Option<SocketAddr>,
    options: &ListenerOptions,
    stopping: &GracefulShutdownSignal,
) -> Result<(), hyper::Error>
where
    S: Service<Request> + 'static,
    S::Response: Into<Response<B>>,
    S::Error: Into<Response<BoxBody>>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    let streams = Rc::new(Streams { open: Cell::new(0), idle_since: Cell::new(Instant::now()) });
    let service =
        StreamService { app: engine.app.clone(), peer, streams: streams.clone(), body: PhantomData };
    let mut connection = pin!(engine.builder.serve_connection(TokioIo::new(io), service));
    let mut stop = pin!(stopping.notified());
    let mut idle = pin!(sleep_until(Instant::now() + options.keep_alive));
    let mut leaving = false;
    loop {
        tokio::select! {
            biased;
            served = connection.as_mut() => return served,
            () = stop.as_mut(), if !leaving => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = idle.as_mut() => {
                let now = Instant::now();
                let idle_until = streams.idle_until(now, options.keep_alive);
                match (idle_until > now, leaving) {
                    (true, _) => idle.as_mut().reset(idle_until),
                    (false, false) => {
                        leaving = true;
                        connection.as_mut().graceful_shutdown();
                        idle.as_mut().reset(now + GOAWAY_TIMEOUT);
                    }
                    (false, true) => return Ok(()),
                }
            }
        }
    }
}

/// Open streams of a connection, and since when there is none.
struct Streams {
    open: Cell<usize>,
    idle_since: Cell<Instant>,
}

impl Streams {
    fn idle_until(&self, now: Instant, keep_alive: Duration) -> Instant {
        let since = if self.open.get() == 0 { self.idle_since.get() } else { now };
        since + keep_alive
    }
}

/// Counts one stream for as long as it lives.
struct OpenStream(Rc<Streams>);

impl OpenStream {
    fn new(streams: &Rc<Streams>) -> OpenStream {
        streams.open.set(streams.open.get() + 1);
        OpenStream(streams.clone())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        if self.0.open.get() == 0 {
            self.0.idle_since.set(Instant::now());
        }
    }
}

/// Runs a connection's streams on the worker that owns it.
#[derive(Clone)]
struct WorkerTasks;

impl<F> hyper::rt::Executor<F> for WorkerTasks
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, stream: F) {
        actix_rt::spawn(stream);
    }
}

struct StreamService<S, B> {
    app: Rc<S>,
    peer: Option<SocketAddr>,
    streams: Rc<Streams>,
    body: PhantomData<fn() -> B>,
}

impl<S, B> hyper::service::Service<hyper::Request<Incoming>> for StreamService<S, B>
where
    S: Service<Request> + 'static,
    S::Response: Into<Response<B>>,
    S::Error: Into<Response<BoxBody>>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = hyper::Response<StreamBody>;
    type Error = RefusedHead;
    type Future = LocalBoxFuture<'static, Result<Self::Response, RefusedHead>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let open = OpenStream::new(&self.streams);
        let bodyless = request.method() == hyper::Method::HEAD;
        let answer = request_in(request, self.peer).map(|request| self.app.call(request));
        Box::pin(async move {
            match answer {
                None => Ok(plain_bad_request()),
                Some(answer) => match answer.await {
                    Ok(response) => response_out(response.into(), bodyless, open),
                    Err(error) => response_out(error.into(), bodyless, open),
                },
            }
        })
    }
}

fn plain_bad_request() -> hyper::Response<StreamBody> {
    let mut response = hyper::Response::new(StreamBody::empty());
    *response.status_mut() = hyper::StatusCode::BAD_REQUEST;
    response
}

/// hyper's request as actix's; `None` for a request Sluice refuses: `CONNECT`, or two different hosts.
///
/// `:scheme` is ignored on purpose: a published driver says `https` over clear text.
fn request_in(request: hyper::Request<Incoming>, peer: Option<SocketAddr>) -> Option<Request> {
    let (parts, body) = request.into_parts();
    if parts.method == hyper::Method::CONNECT {
        return None;
    }
    let payload = if body.is_end_stream() {
        Payload::None
    } else {
        Payload::Stream { payload: Box::pin(StreamPayload(body)) as BoxedPayloadStream }
    };
    let mut request = Request::with_payload(payload);
    let head = request.head_mut();
    head.version = actix_http::Version::HTTP_2;
    head.peer_addr = peer;
    head.method = actix_http::Method::from_bytes(parts.method.as_str().as_bytes()).ok()?;
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    head.uri = actix_http::Uri::from_maybe_shared(Bytes::copy_from_slice(target.as_bytes())).ok()?;
    for (name, value) in &parts.headers {
        let name = header::HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
        head.headers.append(name, header::HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    if let Some(authority) = parts.uri.authority() {
        match head.headers.get(header::HOST) {
            Some(host) if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => {
                return None;
            }
            Some(_) => {}
            None => {
                let host = header::HeaderValue::from_bytes(authority.as_str().as_bytes()).ok()?;
                head.headers.insert(header::HOST, host);
            }
        }
    }
    Some(request)
}

fn response_out<B: MessageBody + 'static>(
    response: Response<B>,
    bodyless: bool,
    open: OpenStream,
) -> Result<hyper::Response<StreamBody>, RefusedHead> {
    let (head, body) = response.map_into_boxed_body().into_parts();
    let size = body.size();
    let body = if bodyless { StreamBody::empty() } else { StreamBody { body, _open: Some(open) } };
    let mut response = hyper::Response::new(body);
    *response.status_mut() = hyper::StatusCode::from_u16(head.status().as_u16()).map_err(|_| RefusedHead)?;
    let headers = response.headers_mut();
    headers.reserve(head.headers().len() + 2);
    for (name, value) in head.headers() {
        let name =
            hyper::header::HeaderName::from_bytes(name.as_str().as_bytes()).map_err(|_| RefusedHead)?;
        let value = hyper::header::HeaderValue::from_bytes(value.as_bytes()).map_err(|_| RefusedHead)?;
        headers.append(name, value);
    }
    if let BodySize::Sized(size) = size {
        headers.entry(hyper::header::CONTENT_LENGTH).or_insert(size.into());
    }
    Ok(response)
}

/// A handler's head cannot be said in HTTP/2; the stream is reset.
#[derive(Debug, thiserror::Error)]
#[error("response head cannot be sent")]
struct RefusedHead;

/// A handler's body ended in an error; the stream is reset, so that the client sees it is cut.
#[derive(Debug, thiserror::Error)]
#[error("response body failed")]
struct BodyFailed;

/// The request's body; a chunk that is not polled keeps its part of the window.
struct StreamPayload(Incoming);

impl Stream for StreamPayload {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            return Poll::Ready(match std::task::ready!(Pin::new(&mut self.0).poll_frame(cx)) {
                None => None,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(Ok(data)),
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => {
                    let cause = io::Error::new(io::ErrorKind::UnexpectedEof, error);
                    Some(Err(PayloadError::Incomplete(Some(cause))))
                }
            });
        }
    }
}

/// The response's body. hyper wants an error that may cross threads, so the handler's own is only logged.
struct StreamBody {
    body: BoxBody,
    _open: Option<OpenStream>,
}

impl StreamBody {
    fn empty() -> StreamBody {
        StreamBody { body: BoxBody::new(()), _open: None }
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = BodyFailed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailed>>> {
        let polled = self.get_mut().body.as_pin_mut().poll_next(cx);
        polled.map(|chunk| chunk.map(|chunk| chunk.map(Frame::data).map_err(|_| BodyFailed)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.body.size(), BodySize::None | BodySize::Sized(0))
    }

    fn size_hint(&self) -> SizeHint {
        match self.body.size() {
            BodySize::None => SizeHint::with_exact(0),
            BodySize::Sized(size) => SizeHint::with_exact(size),
            BodySize::Stream => SizeHint::default(),
        }
    }
}
