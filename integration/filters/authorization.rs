//! Somebody is asked whether a request may pass; without an answer it may not.

use std::net::SocketAddr;

use axum::extract::Request;
use axum::http::StatusCode;
use envoy_types::pb::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use envoy_types::pb::google::rpc::Status as Outcome;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Response, Status};

use super::{becomes, somewhere, status};
use crate::support::bridge::{Bridge, Step};
use crate::support::folder::Folder;
use crate::support::servers::Server;

/// Lets requests pass that have the header `t-pass`.
struct ByGrpc;

#[tonic::async_trait]
impl Authorization for ByGrpc {
    async fn check(&self, request: tonic::Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let request = request.into_inner().attributes.and_then(|all| all.request?.http);
        let passes = request.is_some_and(|request| request.headers.contains_key("t-pass"));
        let code = if passes { Code::Ok } else { Code::PermissionDenied };
        let status = Some(Outcome {
            code: code as i32,
            ..Outcome::default()
        });
        Ok(Response::new(CheckResponse {
            status,
            ..CheckResponse::default()
        }))
    }
}

async fn by_grpc() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = tonic::transport::Server::builder().add_service(AuthorizationServer::new(ByGrpc));
    let task = tokio::spawn(async move {
        let _ = server.serve_with_incoming(TcpIncoming::from(listener)).await;
    });
    (address, task)
}

/// The same by HTTP: the path begins with `/check`.
async fn by_http() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = axum::Router::new().fallback(async |request: Request| {
        let asked = request.uri().path().starts_with("/check/");
        if asked && request.headers().contains_key("t-pass") {
            StatusCode::OK
        } else {
            StatusCode::UNAUTHORIZED
        }
    });
    let task = tokio::spawn(async move {
        let _ = axum::serve(listener, router).await;
    });
    (address, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_answer_nobody_passes() {
    let server = Server::http("web").await;
    let web: &[(&str, &str)] = &[
        ("expose", "grpc,http,open"),
        ("route", "host=a.test"),
        ("route-2", "host=a.test path=/own respond=200:own"),
    ];
    let folder = Folder::of(&[("web", server.address, web)]);
    let [grpc, http, open] = [somewhere(), somewhere(), somewhere()];
    let exposure = |name: &str, at: SocketAddr, more: &str| {
        format!(
            "[exposures.{name}]\nhosts = [\"a.test\"]\n[exposures.{name}.authorization]\n{more}[listeners.{name}]\naddress = \
             \"{at}\"\nexposure = \"{name}\"\n"
        )
    };
    let by_http_only = "service = \"http-check\"\nprotocol = \"http\"\npath_prefix = \"/check\"\nrequest_headers = [\"t-pass\"]\n";
    let bridge = Bridge::start(&format!(
        "{}{}{}{}",
        folder.section(),
        exposure("grpc", grpc, "service = \"grpc-check\"\n"),
        exposure("http", http, by_http_only),
        exposure("open", open, &format!("{by_http_only}on_failure = \"allow\"\n")),
    ))
    .await;
    let _envoy = bridge.envoy(Step::Listeners, &[]).await;
    let pass = "t-pass: 1\r\n";
    // Nobody is there to be asked.
    becomes(open, ("a.test", "/", ""), 200).await;
    let before = server.requests();
    for at in [grpc, http] {
        becomes(at, ("a.test", "/", pass), 403).await;
        assert_eq!(status(at, "a.test", "/own", pass).await, Ok(403));
    }
    assert_eq!(server.requests(), before);

    let ((grpc_check, first), (http_check, second)) = (by_grpc().await, by_http().await);
    let checks = |both: bool| {
        let mut all = vec![("web", server.address, web)];
        if both {
            all.push(("grpc-check", grpc_check, &[("protocol", "grpc")]));
            all.push(("http-check", http_check, &[]));
        }
        folder.write(&all);
    };
    checks(true);
    for (at, refused) in [(grpc, 403), (http, 401), (open, 401)] {
        becomes(at, ("a.test", "/", pass), 200).await;
        becomes(at, ("a.test", "/", ""), refused).await;
        assert_eq!(status(at, "a.test", "/own", "").await, Ok(refused));
        assert_eq!(status(at, "a.test", "/own", pass).await, Ok(200));
    }
    checks(false);
    becomes(grpc, ("a.test", "/", pass), 403).await;
    becomes(http, ("a.test", "/", pass), 403).await;
    becomes(open, ("a.test", "/", ""), 200).await;
    first.abort();
    second.abort();
    bridge.assert_no_nacks().await;
}
