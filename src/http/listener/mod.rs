//! Accepting connections: TLS, HTTP/1.1 and HTTP/2 on one port, with a deadline and a limit on everything.
//!
//! ```text
//!           tls (ALPN) ─┐            ┌─ h1_io ─ actix-http h1 ─┐
//!  accept ──┤           ├─ protocol ─┤                         ├─ one App per worker
//!           sniff ──────┘            └─ h2_io ─ hyper http2 ───┘
//! ```
//!
//! actix-web's own HTTP/2 engine has neither a stream limit nor a header limit, and its port detection
//! neither waits for a split preface nor gives up on an idle one. So each connection is looked at here, and
//! both engines call the same `App` service. What an engine does not check itself is checked on the bytes
//! below it: [`h1_io`] (strict message framing) and [`h2_io`] (frame budget).
//!
//! A body's size and deadline are the handler's business; nothing here reads a body.

mod connection;
mod deadlines;
mod h1_framing;
mod h1_io;
mod h2;
mod h2_io;
mod sniff;
mod socket;
mod tls;

use std::{fmt, io, net::SocketAddr, time::Duration};

use actix_http::{Request, Response, body::MessageBody};
use actix_server::{Server, ServerHandle};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, fn_factory, fn_service};
use actix_web::dev::AppConfig;
use tokio::net::TcpStream;

pub use self::tls::TlsFiles;

/// Connections the kernel may hold before a worker takes them.
const BACKLOG: i32 = 2048;
/// Workers at most (a limit of `actix_server`).
const WORKERS_MAX: usize = 512;

/// Where to listen and how long and how much a client may take.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// Address to bind. Port 0 takes a free one; [`Listening::addr`] says which.
    pub addr: SocketAddr,
    /// Certificate and key in PEM; clear text when absent.
    pub tls: Option<TlsFiles>,
    /// Worker threads, 1..=512. A connection stays on one worker for life.
    pub workers: usize,
    /// A new connection's first byte in clear text, or its whole TLS handshake; `head` starts after it.
    /// Default 10 s.
    pub first_byte: Duration,
    /// A request's head, from its first byte to its last. Default 5 s.
    pub head: Duration,
    /// A connection without a request. Default 75 s.
    pub keep_alive: Duration,
    /// A client that takes no byte of what is ready to be sent. Default 60 s.
    pub write_stall: Duration,
    /// Running requests when the server stops, rounded up to whole seconds. Default 30 s.
    pub shutdown: Duration,
    /// Open connections over all workers; more wait in the kernel's queue. Default 25,600.
    pub connections_max: usize,
    /// Bytes of an HTTP/1 request head, line ends included. Default 32 KiB.
    pub h1_head_bytes: usize,
    /// Concurrent requests on one HTTP/2 connection. Default 128.
    pub h2_streams_max: u32,
    /// Bytes of one HTTP/2 request's header list (RFC 9113, 6.5.2). Default 32 KiB.
    pub h2_header_list_bytes: u32,
}

impl ListenerOptions {
    /// The defaults, in clear text, with one worker per processor.
    #[must_use]
    pub fn new(addr: SocketAddr) -> ListenerOptions {
        ListenerOptions {
            addr,
            tls: None,
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            first_byte: Duration::from_secs(10),
            head: Duration::from_secs(5),
            keep_alive: Duration::from_secs(75),
            write_stall: Duration::from_secs(60),
            shutdown: Duration::from_secs(30),
            connections_max: 25_600,
            h1_head_bytes: 32 * 1024,
            h2_streams_max: 128,
            h2_header_list_bytes: 32 * 1024,
        }
    }
}

/// A bound listener. Nothing is accepted until [`Listening::run`] is polled.
pub struct Listening {
    /// The address bound, with the real port.
    pub addr: SocketAddr,
    /// Pauses, resumes and stops the server from anywhere.
    pub handle: ServerHandle,
    /// Resolves when the server has stopped. Must be polled inside a tokio or actix runtime; workers get an
    /// actix `System` only when the polling thread has one. Dropping it stops the server at once.
    pub run: Server,
}

/// Why a listener could not be set up. A person has to change the configuration or the machine.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process listens there.
    #[error("address {0} is in use")]
    AddressInUse(SocketAddr),
    /// The address is not this machine's, or the port needs a privilege.
    #[error("cannot listen on {addr}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Certificate(#[from] tls::CertificateError),
    /// `workers` is not in 1..=512 or another number is zero.
    #[error("listener option {0} is out of range")]
    Option(&'static str),
}

/// Binds and prepares a server that runs `app_factory`'s `App` once per worker for both protocols.
///
/// `app_factory` is what `actix_web::HttpServer::new` takes: a closure that returns an `App`.
///
/// # Errors
///
/// See [`ListenError`]; none is worth a retry without a change.
pub fn serve<F, I, S, B>(options: ListenerOptions, app_factory: F) -> Result<Listening, ListenError>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    S::Service: 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    check(&options)?;
    let acceptor = options.tls.as_ref().map(tls::acceptor).transpose()?;
    let listener = bind(options.addr)?;
    let addr = listener.local_addr().map_err(|source| ListenError::Bind { addr: options.addr, source })?;

    let builder = Server::build()
        .workers(options.workers)
        .max_concurrent_connections((options.connections_max / options.workers).max(1))
        .shutdown_timeout(options.shutdown.as_secs() + u64::from(options.shutdown.subsec_nanos() > 0))
        .disable_signals();
    let plan = connection::Plan { addr, acceptor, stopping: builder.graceful_shutdown_signal(), options };
    let service = move || {
        let (plan, app_factory) = (plan.clone(), app_factory.clone());
        fn_factory(move || {
            let start = connection::start(plan.clone(), app_factory());
            async move {
                let connection = start.await?;
                Ok::<_, ()>(fn_service(move |stream: TcpStream| {
                    let served = connection(stream);
                    async move {
                        served.await;
                        Ok::<_, ()>(())
                    }
                }))
            }
        })
    };
    let run =
        builder.listen("http", listener, service).map_err(|source| ListenError::Bind { addr, source })?.run();
    Ok(Listening { addr, handle: run.handle(), run })
}

fn check(options: &ListenerOptions) -> Result<(), ListenError> {
    let zero = |value: Duration| value.is_zero();
    let wrong = [
        ("workers", !(1..=WORKERS_MAX).contains(&options.workers)),
        ("first_byte", zero(options.first_byte)),
        ("head", zero(options.head)),
        ("keep_alive", zero(options.keep_alive)),
        ("write_stall", zero(options.write_stall)),
        ("connections_max", options.connections_max == 0),
        ("h1_head_bytes", options.h1_head_bytes == 0),
        ("h2_streams_max", options.h2_streams_max == 0),
        ("h2_header_list_bytes", options.h2_header_list_bytes == 0),
    ];
    match wrong.iter().find(|(_, wrong)| *wrong) {
        Some((name, _)) => Err(ListenError::Option(name)),
        None => Ok(()),
    }
}

/// Binds by hand because `ServerBuilder::bind` does not tell which port it got.
fn bind(addr: SocketAddr) -> Result<std::net::TcpListener, ListenError> {
    use socket2::{Domain, Protocol, Socket, Type};
    let listening = || -> io::Result<std::net::TcpListener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    listening().map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::AddressInUse(addr),
        _ => ListenError::Bind { addr, source },
    })
}
