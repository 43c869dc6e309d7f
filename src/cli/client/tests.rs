//! Answers of a node, and of things that are no node, to errors with a next step.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// Answers one request with `answer` and gives what `GET /api/v1/streams` made of it.
async fn call_answered(answer: &'static str) -> ClientError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let answering = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let length = socket.read(&mut request).await.unwrap();
        socket.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let settings = Settings::for_node(server, "a-token\n".to_owned(), "/nowhere".into());
    let client = Client::for_control(&settings).unwrap();
    let error = client.call(Method::GET, &["streams"], None).await.unwrap_err();
    let request = answering.await.unwrap().to_lowercase();
    assert!(request.starts_with("get /api/v1/streams http/1.1"), "{request}");
    assert!(request.contains("authorization: bearer a-token\r\n"), "{request}");
    error
}

#[tokio::test]
async fn a_problem_document_says_what_failed_and_its_code_what_to_do() {
    let error = call_answered(
        "HTTP/1.1 409 Conflict\r\ncontent-type: application/problem+json\r\nconnection: close\r\n\r\n\
         {\"type\":\"about:blank\",\"title\":\"Conflict\",\"status\":409,\"code\":\"stream_has_dependents\",\
         \"detail\":\"2 streams\\u001b[31m derive from it\"}",
    )
    .await;
    assert_eq!(error.to_string(), "2 streams [31m derive from it (409 stream_has_dependents)");
    assert!(error.next_step().unwrap().contains("--recursive"));
}

#[tokio::test]
async fn a_refused_token_is_named_by_its_origin_and_never_shown() {
    let error = call_answered(
        "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/problem+json\r\nconnection: close\r\n\r\n\
         {\"status\":401,\"code\":\"unauthorized\",\"detail\":\"the token is not valid\"}",
    )
    .await;
    assert!(is_unauthorized(&error));
    assert!(error.to_string().ends_with("the token or credentials came from the node"), "{error}");
    assert!(!format!("{error:?}").contains("a-token"));
    assert!(error.next_step().unwrap().contains("--token-file"));
}

#[tokio::test]
async fn a_busy_node_says_when_to_try_again() {
    let error = call_answered(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 7\r\ncontent-type: application/problem+json\r\n\
         connection: close\r\n\r\n{\"title\":\"no quorum\"}",
    )
    .await;
    assert!(is_retryable(&error));
    assert_eq!(error.next_step().unwrap(), "try again in 7 s");
}

#[tokio::test]
async fn what_is_no_node_is_told_apart() {
    let error =
        call_answered("HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n<html>")
            .await;
    assert!(matches!(error, ClientError::Foreign { .. }), "{error:?}");
    let error = call_answered("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html>").await;
    assert!(matches!(error, ClientError::Foreign { .. }), "{error:?}");
    let error =
        call_answered("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\n\r\n")
            .await;
    assert!(matches!(error, ClientError::Foreign { .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_cut_off_may_have_been_carried_out() {
    let error = call_answered("HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{").await;
    assert!(matches!(error, ClientError::Interrupted { .. }) && !is_retryable(&error), "{error:?}");
}

#[tokio::test]
async fn without_a_node_the_next_step_is_to_start_one() {
    let server = Server::parse("http://127.0.0.1:1").unwrap();
    let settings = Settings::for_node(server, "t".to_owned(), "/nowhere".into());
    let error =
        Client::for_control(&settings).unwrap().call(Method::GET, &["streams"], None).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot reach http://127.0.0.1:1: connection refused (os error 111)");
    assert!(error.next_step().unwrap().starts_with("start one with: sluice serve"));
    let text = super::super::failure::describe(&error.into());
    assert!(
        text.starts_with("error: cannot reach") && text.contains("\nnext step: start one with"),
        "{text}"
    );
}
