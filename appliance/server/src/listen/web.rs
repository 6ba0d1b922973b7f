//! The web side of the port: there is none yet, and whoever asks is told so in the form of RFC 9457.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::error::Ending;

/// How long one connection may take, whatever it asks.
const CONNECTION_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of requests that are held.
const BUFFER_MAX: usize = 16 << 10;

/// Answers every request of a connection.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    greeting: Duration,
) -> Result<(), Ending> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(greeting)
        .keep_alive(false)
        .max_buf_size(BUFFER_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(8)
        .max_header_list_size(8 << 10)
        .initial_connection_window_size(64 << 10);
    let connection = builder.serve_connection(TokioIo::new(stream), service_fn(not_found));
    match timeout(CONNECTION_LIMIT, connection).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Ending::Lost(std::io::Error::other(error))),
        Err(_) => Err(Ending::NoGreeting(CONNECTION_LIMIT)),
    }
}

async fn not_found(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let problem = concat!(
        r#"{"type":"about:blank","title":"Not Found","status":404,"#,
        r#""detail":"This appliance has no web pages. Use the command keepfast on the appliance."}"#,
        "\n"
    );
    let mut response = Response::new(Full::from(problem));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let json = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}
