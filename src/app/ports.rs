//! The ports: taken at the start, so that one that another program has is found at once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};

use super::AppError;
use crate::config::{ClientRule, TlsFiles, Xds};
use crate::fanout::Fanout;
use crate::grpc::{self, Demands};
use crate::xds::Limits;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// The options of the discovery port, from `[xds]`. `operators`: the file of their token.
///
/// # Errors
/// [`AppError::Tls`]: its files are read here.
pub fn port(xds: &Xds, operators: Option<PathBuf>) -> Result<grpc::Options, AppError> {
    let files = |files: &TlsFiles| grpc::Files {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        client_ca: files.client_ca.clone(),
        crl: files.crl.clone(),
    };
    let tls = xds.tls.as_ref().map(|tls| grpc::Tls::load(files(tls)));
    Ok(grpc::Options {
        engine: Limits {
            names: xds.max_names,
            ..Limits::default()
        },
        tls: tls.transpose()?.map(Arc::new),
        operators,
        rules: xds.clients.iter().map(rule).collect(),
        max_connections: xds.max_connections,
        max_streams_per_connection: xds.max_streams_per_connection,
        max_request_bytes: xds.max_request_bytes,
        max_request_memory: xds.max_request_memory,
        max_requests_per_second: xds.max_requests_per_second,
        new_streams_per_second: xds.new_streams_per_second,
        max_first_responses: xds.max_first_responses,
        max_stream_age: xds.max_stream_age,
    })
}

/// What streams that begin go by, from now on.
pub(super) fn tune(demands: &Demands, fanout: &Fanout, xds: &Xds) {
    fanout.set_max_streams(xds.max_streams);
    demands.change(|options| {
        options.max_requests_per_second = xds.max_requests_per_second;
        options.max_stream_age = xds.max_stream_age;
        options.rules = xds.clients.iter().map(rule).collect();
    });
}

fn rule(rule: &ClientRule) -> grpc::Rule {
    grpc::Rule::new(&rule.san, rule.node_ids.clone(), rule.fleets.clone())
}

/// A port that is ours, and closed: connections are refused until it listens.
pub(super) struct Reserved {
    socket: TcpSocket,
    refused: Box<dyn Fn(std::io::Error) -> AppError + Send>,
}

impl Reserved {
    pub(super) fn listen(self) -> Result<TcpListener, AppError> {
        self.socket.listen(BACKLOG).map_err(self.refused)
    }
}

/// Takes a port, so that one that another program has is found at once.
pub(super) fn reserve(
    address: SocketAddr,
    what: &'static str,
    key: &'static str,
) -> Result<Reserved, AppError> {
    let refused = move |source| AppError::Listen {
        address,
        what,
        key,
        source,
    };
    let bound = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // A bridge that was killed leaves connections behind, which do not block its successor.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    };
    Ok(Reserved {
        socket: bound().map_err(refused)?,
        refused: Box::new(refused),
    })
}
