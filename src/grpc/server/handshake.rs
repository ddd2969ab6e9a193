//! One TLS handshake, and the words for one that failed: an operator sees who was refused and why, once a
//! minute for each kind of reason. Decides nothing: rustls does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{AlertDescription, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::{GREETING, TLS_HANDSHAKE};
use crate::floods::{Floods, Kind};
use crate::metrics::Metrics;
use crate::places::Place;

const PLAINTEXT: Kind = Kind::new("plaintext to the TLS port");
const UNCERTIFIED: Kind = Kind::new("client without a certificate");
const REFUSED: Kind = Kind::new("client certificate refused");
const REFUSES: Kind = Kind::new("bridge certificate refused");
const OTHER: Kind = Kind::new("TLS handshake failed");

/// Why there is no TLS with a client.
enum Failed {
    /// It left, or was asked to, before it said anything: a port scan, or a load balancer's probe.
    Silent,
    /// Its first byte begins no TLS.
    Plaintext,
    /// It is too slow.
    Late,
    /// Its place is another's.
    Evicted,
    Tls(io::Error),
}

/// The connection with TLS; `None`, counted and logged, where there is none.
pub(super) async fn shake(
    config: Arc<ServerConfig>,
    stream: TcpStream,
    address: SocketAddr,
    place: &Place,
    (metrics, floods): (&Metrics, &Floods),
) -> Option<TlsStream<TcpStream>> {
    let done = tokio::select! {
        () = place.out().cancelled() => Err(Failed::Evicted),
        done = tokio::time::timeout(GREETING, begun(config, stream, place)) => done.unwrap_or(Err(Failed::Late)),
    };
    match done {
        Ok(stream) => Some(stream),
        Err(failed) => {
            metrics.tls_handshake_failures.inc();
            log(&failed, address, floods);
            None
        }
    }
}

async fn begun(
    config: Arc<ServerConfig>,
    stream: TcpStream,
    place: &Place,
) -> Result<TlsStream<TcpStream>, Failed> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(0) | Err(_) => return Err(Failed::Silent),
        Ok(_) => place.speaks(true),
    }
    if first != [TLS_HANDSHAKE] {
        return Err(Failed::Plaintext);
    }
    TlsAcceptor::from(config)
        .accept(stream)
        .await
        .map_err(Failed::Tls)
}

fn log(failed: &Failed, address: SocketAddr, floods: &Floods) {
    let has_line = |kind| floods.has_line(kind, Some(address.ip()));
    match failed {
        Failed::Silent => tracing::debug!(%address, "a client left before its TLS handshake"),
        Failed::Evicted => tracing::debug!(%address, "a silent client made room for another"),
        Failed::Late => {
            tracing::debug!(%address, after = ?GREETING, "no TLS with this client: it is too slow");
        }
        Failed::Plaintext => {
            if has_line(PLAINTEXT) {
                tracing::warn!(
                    %address,
                    "a client speaks plaintext to this port, which is TLS: its bootstrap needs a transport socket \
                     (xds-bridge bootstrap --ca FILE)"
                );
            }
        }
        Failed::Tls(error) => {
            let (kind, words) = said(error);
            if has_line(kind) {
                tracing::warn!(%address, reason = %error, "{words}");
            }
        }
    }
}

fn said(error: &io::Error) -> (Kind, &'static str) {
    use rustls::Error;
    let error = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    match error {
        Some(Error::NoCertificatesPresented) => (UNCERTIFIED, "a client shows no certificate: refused"),
        Some(Error::InvalidCertificate(_)) => (REFUSED, "a client's certificate is not accepted: refused"),
        Some(Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate,
        )) => (REFUSES, "a client does not accept the certificate of this bridge"),
        _ => (OTHER, "no TLS with a client"),
    }
}
