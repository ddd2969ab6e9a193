//! HTTP/1 as bytes: a server whose connections can be watched, and requests that no client library sends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// No answer in so long is a failure.
const DEADLINE: Duration = Duration::from_secs(40);

/// A server that answers each request with its name, and never closes a connection. A request for
/// `/after/MS` is answered so much later; one that asks for an upgrade gets its bytes back.
pub(crate) struct RawServer {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Connections that the other side has closed.
    closed: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl RawServer {
    /// Starts it.
    pub(crate) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let closed = Arc::new(AtomicUsize::new(0));
        let count = closed.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let count = count.clone();
                tokio::spawn(async move {
                    if serve(stream, name).await.is_ok() {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self {
            address,
            closed,
            task,
        }
    }

    /// How many connections the other side has closed in order.
    pub(crate) fn closed(&self) -> usize {
        self.closed.load(Ordering::Relaxed)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until the other side closes.
async fn serve(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    while let Some(head) = head(&mut stream).await? {
        let path = head.split(' ').nth(1).unwrap_or_default();
        if let Some(ms) = path.strip_prefix("/after/").and_then(|ms| ms.parse().ok()) {
            tokio::time::sleep(Duration::from_millis(ms)).await; // this is its work
        }
        if head.to_ascii_lowercase().contains("\r\nupgrade:") {
            let switch =
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
            stream.write_all(switch.as_bytes()).await?;
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await?;
            return Ok(());
        }
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// A head up to its empty line; `None`: the other side has closed.
async fn head(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return Ok(None);
        }
        bytes.extend(byte);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// What is answered to these bytes, up to the end of the connection (ask for `Connection: close`, or send
/// HTTP/1.0): its status and its last line.
pub(crate) async fn exchange(address: SocketAddr, request: &str) -> Result<(u16, String), String> {
    let (status, answer) = whole(address, request).await?;
    Ok((status, answer.lines().last().unwrap_or_default().to_owned()))
}

/// The same with all of the answer, the head, too.
pub(crate) async fn whole(address: SocketAddr, request: &str) -> Result<(u16, String), String> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(DEADLINE, talk).await;
    let answer = answer
        .map_err(|_| format!("no answer in {DEADLINE:?}"))?
        .map_err(|e| e.to_string())?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("no status in {answer:?}"))?;
    Ok((status, answer))
}

/// GET with this host, by HTTP/1.1.
pub(crate) async fn get(address: SocketAddr, host: &str, path: &str) -> Result<(u16, String), String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    exchange(address, &request).await
}

/// Asks for an upgrade; the connection, if it is switched, else the status.
pub(crate) async fn upgrade(address: SocketAddr, host: &str) -> Result<TcpStream, String> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
        let request = format!(
            "GET /chat HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream
            .write_all(request.as_bytes())
            .await
            .map_err(|e| e.to_string())?;
        let head = head(&mut stream).await.map_err(|e| e.to_string())?;
        let head = head.ok_or("closed without an answer")?;
        if head.starts_with("HTTP/1.1 101 ") {
            return Ok(stream);
        }
        Err(head.split(' ').nth(1).unwrap_or_default().to_owned())
    };
    let answer = tokio::time::timeout(DEADLINE, talk).await;
    answer.map_err(|_| format!("no answer in {DEADLINE:?}"))?
}
