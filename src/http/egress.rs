//! Reading a stream live or from the past: web socket, SSE and NDJSON. By a token of the stream, or, but for
//! the web socket, by a principal with a grant on it: being admin is not enough.

use std::rc::Rc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL},
    web::{Data, Path, Payload, Query},
};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::IntoParams;

use super::{
    ApiError, Doors,
    ingest::text,
    openapi::{
        answers::{Asked, OfLog, OfStream},
        names::ResumeHeader,
    },
    subscription::{Admits, Framing, Order, Subscription},
};
use crate::{
    actors::ControlError,
    domain::StreamName,
    gateway::{AccessError, Start},
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    from: Option<String>,
    limit: Option<u64>,
    follow: Option<bool>,
}

/// `GET /ws`: the stream of the token, live, one JSON text frame an event. The original's.
#[utoipa::path(get, path = "/ws", operation_id = "listen_web_socket", tag = "events",
    security(("stream_token" = [])),
    responses((status = 101, description = "A web socket: one JSON text frame an event."), OfStream, OfLog))]
pub(super) async fn web_socket(
    request: HttpRequest,
    payload: Payload,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let caller = doors.access.caller(text(request.headers(), AUTHORIZATION.as_str())?)?;
    let place = doors.admission.reader()?;
    let name = caller.stream.definition.name.clone();
    let reader = doors.library.open(name, Start::Latest).await?;
    let seat = doors.auditor.attached(caller.who(), &caller.stream).await?;
    let (response, session, messages) =
        actix_ws::handle(&request, payload).map_err(|_| ApiError::NotAWebSocket)?;
    let messages = messages
        .max_frame_size(INBOUND_BYTES_MAX)
        .aggregate_continuations()
        .max_continuation_size(INBOUND_BYTES_MAX);
    let changes = doors.registry.changes();
    let admits = move || seat.still(doors.access.still_admits(&caller));
    Subscription::start_web_socket(
        reader,
        session,
        messages,
        place,
        Admits { still: Rc::new(admits), changes },
    );
    Ok(response)
}

/// `GET /streams/{name}/events`: SSE, or NDJSON where `Accept` asks for it.
#[utoipa::path(get, path = "/streams/{name}/events", operation_id = "listen", tag = "events",
    security(("stream_token" = []), ("api_token" = [])),
    params(EventsQuery, ("name" = StreamName, Path), ResumeHeader),
    responses((status = 200, content((String = "text/event-stream"), (String = "application/x-ndjson"))), OfStream, Asked, OfLog))]
pub(super) async fn events(
    request: HttpRequest,
    name: Path<String>,
    query: Query<EventsQuery>,
    doors: Data<Doors>,
) -> Result<HttpResponse, ApiError> {
    let headers = request.headers();
    let authorization = text(headers, AUTHORIZATION.as_str())?;
    let who = doors.access.reader(authorization, &name).await.map_err(|error| match error {
        AccessError::Unseen => ControlError::StreamUnknown.into(),
        error => ApiError::from(error),
    })?;
    let lines = text(headers, ACCEPT.as_str())?.is_some_and(|accept| accept.contains("application/x-ndjson"));
    let resume = text(headers, "last-event-id")?;
    let start = start(query.from.as_deref(), resume)?;
    let place = doors.admission.reader()?;
    let reader = doors.library.open(who.stream().definition.name.clone(), start).await?;
    let seat = doors.auditor.attached(who.who(), who.stream()).await?;
    let framing = if lines { Framing::Lines } else { Framing::ServerSent };
    let order = Order { framing, limit: query.limit, follow: query.follow.unwrap_or(true) };
    tracing::info!(who = ?who.who(), stream = %who.stream().definition.name, "a reader comes");
    let (sender, receiver) = mpsc::channel::<Result<Bytes, actix_web::Error>>(PAGES_WAITING);
    let changes = doors.registry.changes();
    let admits = move || seat.still(doors.access.still_reads(&who));
    Subscription::start_body(reader, sender, order, place, Admits { still: Rc::new(admits), changes });
    let body = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|page| (page, receiver))
    });
    let kind = if lines { "application/x-ndjson" } else { "text/event-stream" };
    Ok(HttpResponse::Ok().content_type(kind).insert_header((CACHE_CONTROL, "no-store")).streaming(body))
}

fn start(from: Option<&str>, resume: Option<&str>) -> Result<Start, ApiError> {
    let sequence = |text: &str| text.parse::<u64>().ok();
    if let Some(last) = resume {
        let last = sequence(last).ok_or(ApiError::Parameter("Last-Event-ID: a sequence number"))?;
        return Ok(Start::Sequence(last.saturating_add(1)));
    }
    match from {
        None | Some("latest") => Ok(Start::Latest),
        Some("earliest") => Ok(Start::Earliest),
        Some(text) => sequence(text)
            .map(Start::Sequence)
            .ok_or(ApiError::Parameter("from: earliest, latest or a sequence")),
    }
}

/// A consumer of a web socket has nothing to say but pings.
const INBOUND_BYTES_MAX: usize = 4 << 10;
/// Pages between reader and connection.
const PAGES_WAITING: usize = 1;
