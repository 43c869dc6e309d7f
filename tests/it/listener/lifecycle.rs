//! Start and stop: addresses, certificates, protocols over TLS, a graceful end.

use std::{sync::Arc, time::Duration};

use hyper::Method;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use sluice::http::listener::{ListenError, ListenerOptions, TlsFiles, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    http2::{client, request},
    served::{answer, connect, options, routes, start, until_closed, write},
};

#[tokio::test]
async fn tls_offers_both_protocols_and_a_client_without_choice_gets_http1() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap()).unwrap();
    let served = start(ListenerOptions { tls: Some(files.clone()), ..options() });

    let offers: [&[&[u8]]; 3] = [&[b"h2", b"http/1.1"], &[b"http/1.1"], &[]];
    for offer in offers {
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = offer.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut mute = connector.connect(name.clone(), connect(&served).await).await.unwrap();
        let mut said = Vec::new();
        let closed = timeout(Duration::from_secs(2), mute.read_to_end(&mut said)).await;
        assert!(closed.is_ok() && !said.starts_with(b"HTTP"), "no request came after the handshake");
        let mut stream = connector.connect(name, connect(&served).await).await.unwrap();
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let answer = client.send_request(request(Method::GET, "/"), true).unwrap().0;
            assert_eq!(answer.await.unwrap().status(), 204);
        } else {
            assert!(!offer.contains(&b"h2".as_slice()));
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).await.unwrap();
            assert!(said.starts_with("HTTP/1.1 204"), "{said}");
        }
    }

    let mut silent = connect(&served).await;
    assert!(
        until_closed(&mut silent, Duration::from_secs(2)).await.is_some(),
        "a handshake must come in time"
    );
    let mut clear = connect(&served).await;
    write(&mut clear, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let said = until_closed(&mut clear, Duration::from_secs(2)).await.unwrap();
    assert!(!said.starts_with(b"HTTP"));

    let swapped = TlsFiles { cert: files.key.clone(), key: files.cert.clone() };
    for tls in [swapped, TlsFiles { cert: folder.path().join("absent"), ..files }] {
        let refused = serve(ListenerOptions { tls: Some(tls), ..options() }, || {
            actix_web::App::new().configure(routes)
        });
        assert!(matches!(refused.err(), Some(ListenError::Certificate(_))));
    }
}

#[tokio::test]
async fn a_taken_address_and_senseless_options_are_told() {
    let served = start(options());
    let app = || actix_web::App::new().configure(routes);
    let taken = serve(ListenerOptions { addr: served.addr, ..options() }, app);
    assert!(matches!(taken.err(), Some(ListenError::AddressInUse(addr)) if addr == served.addr));
    let none = serve(ListenerOptions { workers: 0, ..options() }, app);
    assert!(matches!(none.err(), Some(ListenError::Option("workers"))));
}

#[tokio::test]
async fn stopping_lets_running_requests_end_and_closes_everything_else() {
    let served = start(ListenerOptions {
        first_byte: Duration::from_secs(60),
        keep_alive: Duration::from_secs(60),
        ..options()
    });
    let mut silent = connect(&served).await;
    let mut idle = connect(&served).await;
    write(&mut idle, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    answer(&mut idle).await;
    let idle_h2 = client(&served).await;
    let mut busy = connect(&served).await;
    write(&mut busy, b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (busy_answer, _) = client(&served).await.send_request(request(Method::GET, "/slow"), true).unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;

    let stopped = tokio::spawn(served.handle.stop(true));
    assert_eq!(busy_answer.await.unwrap().status(), 200);
    let said = until_closed(&mut busy, Duration::from_secs(2)).await.unwrap();
    assert!(said.starts_with(b"HTTP/1.1 200") && said.ends_with(b"done"));
    assert!(until_closed(&mut silent, Duration::from_secs(2)).await.is_some());
    assert!(until_closed(&mut idle, Duration::from_secs(2)).await.is_some());
    timeout(Duration::from_secs(4), stopped).await.unwrap().unwrap();
    let refused = async { idle_h2.ready().await.is_err() };
    let _ = timeout(Duration::from_secs(1), refused).await;
}
