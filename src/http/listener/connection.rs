//! One connection from accept to close, and what a worker makes once for all of its connections.

use std::{fmt, io, net::SocketAddr, rc::Rc, time::Duration};

use actix_http::{HttpService, Request, Response, body::MessageBody};
use actix_server::GracefulShutdownSignal;
use actix_service::{IntoServiceFactory, Service, ServiceExt, ServiceFactory, fn_factory};
use actix_web::dev::AppConfig;
use bytes::BytesMut;
use futures_util::future::LocalBoxFuture;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;

use super::{
    ListenerOptions,
    h1_io::H1Io,
    h2::{self, H2Engine},
    h2_io::H2Io,
    sniff::{Protocol, sniff},
    socket::{Socket, Transport},
    tls::ALPN_H2,
};

/// How long a connection lingers after an early answer, so that the client reads it before the reset.
const LINGER: Duration = Duration::from_secs(1);

/// What every worker starts from.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) addr: SocketAddr,
    pub(super) acceptor: Option<TlsAcceptor>,
    pub(super) stopping: GracefulShutdownSignal,
    pub(super) options: ListenerOptions,
}

/// Serves one connection to its end.
pub(super) type Connection = Rc<dyn Fn(TcpStream) -> LocalBoxFuture<'static, ()>>;

/// Starts a worker: one `App` service, shared by both engines.
pub(super) async fn start<I, S, B>(plan: Plan, app: I) -> Result<Connection, ()>
where
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    S::Service: 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    // The only constructor outside actix-web; its name says tests, its release notes promise nothing.
    let config = AppConfig::__priv_test_new(plan.acceptor.is_some(), plan.addr.to_string(), plan.addr);
    let app = app.into_factory().new_service(config).await.map_err(|error| {
        tracing::error!(?error, "application could not be started");
    })?;
    let app = Rc::new(app.map_err(|error: S::Error| Response::from(error.into())));

    let (shared, stopping) = (app.clone(), plan.stopping.clone());
    let mut h1 = HttpService::build()
        .keep_alive(plan.options.keep_alive)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(LINGER)
        .local_addr(plan.addr)
        .graceful_shutdown_signal(move || notified(stopping.clone()));
    if plan.acceptor.is_some() {
        h1 = h1.secure();
    }
    let h1 = h1.h1(fn_factory(move || std::future::ready(Ok::<_, ()>(shared.clone()))));
    let h1 = Rc::new(h1.new_service(()).await?);
    let h2 = Rc::new(H2Engine::new(app, &plan.options));

    let plan = Rc::new(plan);
    Ok(Rc::new(move |stream| {
        let (plan, h1, h2) = (plan.clone(), h1.clone(), h2.clone());
        Box::pin(async move {
            let peer = stream.peer_addr().ok();
            let opened = tokio::select! {
                biased;
                opened = open(stream, &plan) => opened,
                () = plan.stopping.notified() => return,
            };
            let closed = match opened {
                Err(error) => Err(error.to_string()),
                Ok((Protocol::Http1, socket)) => {
                    let served = h1.call((H1Io::new(socket, &plan.options), peer));
                    served.await.map_err(|error| error.to_string())
                }
                Ok((Protocol::Http2, socket)) => {
                    let io = H2Io::new(socket, &plan.options);
                    h2::serve(&h2, io, peer, &plan.options, &plan.stopping)
                        .await
                        .map_err(|error| error.to_string())
                }
            };
            if let Err(reason) = closed {
                tracing::debug!(reason, "connection ended early");
            }
        })
    }))
}

async fn notified(stopping: GracefulShutdownSignal) {
    stopping.notified().await;
}

/// TLS handshake and choice of protocol, both within the first-byte deadline.
async fn open(mut stream: TcpStream, plan: &Plan) -> io::Result<(Protocol, Socket)> {
    stream.set_nodelay(true)?;
    let Some(acceptor) = &plan.acceptor else {
        let (protocol, read) = sniff(&mut stream, &plan.options).await?;
        return Ok((protocol, Socket::new(Transport::Clear(stream), read)));
    };
    let stream = timeout(plan.options.first_byte, acceptor.accept(stream)).await??;
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(ALPN_H2) => Protocol::Http2,
        _ => Protocol::Http1,
    };
    Ok((protocol, Socket::new(Transport::Tls(Box::new(stream)), BytesMut::new())))
}
