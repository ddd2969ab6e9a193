//! Servers and clients of HTTP/1.1 by TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::task::AbortOnDropHandle;

use super::pki::Ca;

/// Longer than that nobody takes to connect or answer.
const PATIENCE: Duration = Duration::from_secs(10);

fn trusting(ca: &Ca) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(ca.pem.as_bytes()).expect("a certificate");
    roots.add(ca).expect("a CA");
    roots
}

/// What servers show, and which clients they take.
fn acceptor(chain: &str, key: &str, clients: Option<&Ca>, protocols: &[&[u8]]) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = match clients {
        Some(ca) => WebPkiClientVerifier::builder_with_provider(trusting(ca).into(), provider.clone())
            .build()
            .expect("a verifier"),
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_file(chain).expect("a certificate")],
            PrivateKeyDer::from_pem_file(key).expect("a key"),
        )
        .expect("a pair");
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// TLS in front of a gRPC server: it takes only clients of this CA, if there is one.
pub(crate) async fn front(
    server: SocketAddr,
    [chain, key]: &[String; 2],
    clients: Option<&Ca>,
) -> (SocketAddr, AbortOnDropHandle<()>) {
    let acceptor = acceptor(chain, key, clients, &[b"h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                if let Ok(mut behind) = TcpStream::connect(server).await {
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
                }
            });
        }
    });
    (address, AbortOnDropHandle::new(task))
}

/// A server of HTTP/1.1 by TLS that answers with the name that it was asked for; it takes only clients of this CA, if there
/// is one.
pub(crate) async fn server(chain: &str, key: &str, clients: Option<&Ca>) -> (SocketAddr, JoinHandle<()>) {
    let acceptor = acceptor(chain, key, clients, &[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let asked = stream.get_ref().1.server_name().unwrap_or("-").to_owned();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                        return;
                    }
                    request.extend(byte);
                }
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{asked}",
                    asked.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (address, task)
}

/// A connection of a client that trusts this CA, for this name.
pub(crate) async fn open(
    at: SocketAddr,
    host: &'static str,
    ca: &Ca,
) -> Result<TlsStream<TcpStream>, String> {
    open_as(at, host, ca, None).await
}

/// The same; it shows this certificate, with its key, if there is one.
pub(crate) async fn open_as(
    at: SocketAddr,
    host: &'static str,
    ca: &Ca,
    identity: Option<&[String; 2]>,
) -> Result<TlsStream<TcpStream>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(trusting(ca));
    let config = match identity {
        Some([chain, key]) => {
            let chain = CertificateDer::pem_file_iter(chain).expect("a chain");
            let chain = chain.collect::<Result<Vec<_>, _>>().expect("a chain");
            let key = PrivateKeyDer::from_pem_file(key).expect("a key");
            config.with_client_auth_cert(chain, key).expect("an identity")
        }
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from(host).expect("a name");
    let connect = async {
        let stream = TcpStream::connect(at).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    };
    let connected = tokio::time::timeout(PATIENCE, connect).await;
    let connected = connected.map_err(|_| "no connection".to_owned())?;
    connected.map_err(|e| e.to_string())
}

/// The answer to a request, after which the connection ends.
pub(crate) async fn exchange(stream: &mut TlsStream<TcpStream>, host: &str) -> Result<String, String> {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let talk = async {
        stream
            .write_all(request.as_bytes())
            .await
            .map_err(|e| e.to_string())?;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        Ok(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, talk).await;
    answer.map_err(|_| "no answer".to_owned())?
}

/// Its last line.
pub(crate) async fn request(stream: &mut TlsStream<TcpStream>, host: &str) -> Result<String, String> {
    let answer = exchange(stream, host).await?;
    Ok(answer.lines().last().unwrap_or_default().to_owned())
}

/// What a client that trusts this CA gets for a request by TLS, and the certificate that it was shown.
pub(crate) async fn get(at: SocketAddr, host: &'static str, ca: &Ca) -> Result<(String, Vec<u8>), String> {
    let mut stream = open(at, host, ca).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(|all| all.first());
    let shown = shown.map(|certificate| certificate.to_vec()).unwrap_or_default();
    Ok((request(&mut stream, host).await?, shown))
}
