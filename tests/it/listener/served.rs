//! A tiny application behind the listener, and raw sockets to talk to it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{App, HttpRequest, HttpResponse, web};
use futures_util::StreamExt;
use sluice::http::listener::{ListenerOptions, Listening, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

/// A running server; stops at once when dropped.
pub struct Served {
    pub addr: SocketAddr,
    pub handle: actix_server::ServerHandle,
    /// Calls of `/hang` that have neither answered nor been dropped.
    pub hanging: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Served {
    /// A server made elsewhere, stopped the same way.
    pub fn of(
        addr: SocketAddr,
        handle: actix_server::ServerHandle,
        thread: std::thread::JoinHandle<()>,
    ) -> Served {
        Served { addr, handle, hanging: Arc::default(), thread: Some(thread) }
    }
}

pub fn options() -> ListenerOptions {
    ListenerOptions {
        workers: 1,
        first_byte: Duration::from_millis(400),
        head: Duration::from_millis(400),
        keep_alive: Duration::from_millis(1500),
        shutdown: Duration::from_secs(5),
        ..ListenerOptions::new("127.0.0.1:0".parse().unwrap())
    }
}

pub fn start(options: ListenerOptions) -> Served {
    let hanging = Arc::new(AtomicUsize::new(0));
    let count = hanging.clone();
    let (send, receive) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let Listening { addr, handle, run } =
                serve(options, move || App::new().app_data(web::Data::from(count.clone())).configure(routes))
                    .unwrap();
            send.send((addr, handle)).unwrap();
            run.await.unwrap();
        });
    });
    let (addr, handle) = receive.recv().unwrap();
    Served { addr, handle, hanging, thread: Some(thread) }
}

pub fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/", web::get().to(async || HttpResponse::NoContent().finish()))
        .route("/len", web::post().to(length))
        .route("/echo", web::post().to(async |body: web::Payload| HttpResponse::Ok().streaming(body)))
        .route("/late", web::post().to(late))
        .route("/hang", web::get().to(hang))
        .route("/slow", web::get().to(slow))
        .route("/peer", web::get().to(peer))
        .route("/ws", web::get().to(web_socket));
}

async fn length(mut body: web::Payload) -> Result<HttpResponse, actix_web::Error> {
    let mut size = 0;
    while let Some(chunk) = body.next().await {
        size += chunk?.len();
    }
    Ok(HttpResponse::Ok().body(size.to_string()))
}

/// Looks at its body only after a while.
async fn late(body: web::Payload) -> Result<HttpResponse, actix_web::Error> {
    sleep(Duration::from_millis(800)).await;
    length(body).await
}

struct Hanging(Arc<AtomicUsize>);

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn hang(count: web::Data<AtomicUsize>) -> HttpResponse {
    count.fetch_add(1, Ordering::SeqCst);
    let _hanging = Hanging(count.into_inner());
    std::future::pending().await
}

async fn slow() -> HttpResponse {
    sleep(Duration::from_millis(400)).await;
    HttpResponse::Ok().body("done")
}

async fn peer(request: HttpRequest) -> HttpResponse {
    let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
    HttpResponse::Ok().body(format!("{} {}", request.peer_addr().unwrap(), host.unwrap_or_default()))
}

async fn web_socket(request: HttpRequest, body: web::Payload) -> Result<HttpResponse, actix_web::Error> {
    let (response, mut session, mut messages) = actix_ws::handle(&request, body)?;
    actix_web::rt::spawn(async move {
        while let Some(Ok(actix_ws::Message::Text(text))) = messages.next().await {
            session.text(text).await.unwrap();
        }
    });
    Ok(response)
}

pub async fn connect(served: &Served) -> TcpStream {
    let stream = TcpStream::connect(served.addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Everything the server says until it closes; `None` when it has not closed in `within`.
pub async fn until_closed(stream: &mut TcpStream, within: Duration) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let mut part = vec![0; 16 * 1024];
    timeout(within, async {
        // A reset is a close too.
        while let Ok(1..) = stream.read(&mut part).await.inspect(|size| all.extend_from_slice(&part[..*size]))
        {
        }
    })
    .await
    .ok()?;
    Some(all)
}

/// Writes until everything is written or the server has closed.
pub async fn write(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).await.is_ok()
}

/// One answer with a known length on a connection that stays open: its status line, head and body.
pub async fn answer(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(Duration::from_secs(3), stream.read_u8()).await.unwrap().unwrap());
    }
    let mut text = String::from_utf8(head).unwrap();
    let length =
        text.lines().find_map(|line| line.strip_prefix("content-length: ").map(|n| n.parse().unwrap()));
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.unwrap();
    text.push_str(&String::from_utf8(body).unwrap());
    text
}

pub async fn eventually(mut check: impl FnMut() -> bool) {
    for _ in 0..200 {
        if check() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("did not happen in 4 s");
}
