//! Dials TARGET (`xds:///orders`) and calls METHOD (`/shop.Orders/Get`) again and again: a
//! line for each call, `ok NAME` of the instance that answered or `failed CODE WORDS`. Ends
//! when it is killed. The bootstrap's file is named by `GRPC_XDS_BOOTSTRAP`. With `CALL_VERSION`, each call asks for that
//! version by the metadata `x-version`.

use std::error::Error;
use std::io::Write as _;
use std::time::Duration;

use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use tonic_xds::{XdsChannelBuilder, XdsChannelConfig, XdsUri};

/// Between two calls.
const PACE: Duration = Duration::from_millis(20);

/// No answer in so long is a failure.
const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(target), Some(method)) = (args.next(), args.next()) else {
        return Err("usage: grpc-rust TARGET METHOD".into());
    };
    let path = PathAndQuery::try_from(method)?;
    let channel =
        XdsChannelBuilder::new(XdsChannelConfig::new(XdsUri::parse(&target)?)).build_grpc_channel()?;
    let version = match std::env::var("CALL_VERSION") {
        Ok(version) => Some(version.parse::<MetadataValue<_>>()?),
        Err(_) => None,
    };
    let mut out = std::io::stdout();
    loop {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        let path = path.clone();
        let call = async {
            grpc.ready()
                .await
                .map_err(|e| Status::unavailable(format!("{e:?}")))?;
            let codec = ProstCodec::<String, String>::default();
            let mut request = Request::new(String::new());
            if let Some(version) = &version {
                request.metadata_mut().insert("x-version", version.clone());
            }
            grpc.unary(request, path, codec).await
        };
        let line = match tokio::time::timeout(DEADLINE, call).await {
            Ok(Ok(answer)) => format!("ok {}", answer.into_inner()),
            Ok(Err(status)) => format!(
                "failed {:?} {}",
                status.code(),
                status.message().replace('\n', " ")
            ),
            Err(_) => "failed DeadlineExceeded no answer".to_owned(),
        };
        writeln!(out, "{line}")?;
        out.flush()?;
        tokio::time::sleep(PACE).await;
    }
}
