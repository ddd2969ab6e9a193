//! Client status (rule 56): what each client has, who may ask, and what a question may cost.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::service::status::v3::client_status_discovery_service_client::ClientStatusDiscoveryServiceClient;
use envoy_types::pb::envoy::service::status::v3::{ClientConfig, ClientStatusRequest, ConfigStatus};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{NodeMatcher, StringMatcher};
use tonic::{Code, Request, Status};
use xds_bridge::grpc::Options;
use xds_bridge::xds::{DeltaRequest, Kind};

use crate::port::{PATIENCE, Port, Talk};

fn of_nodes(ids: &[&str]) -> ClientStatusRequest {
    let matcher = |id: &&str| NodeMatcher {
        node_id: Some(StringMatcher {
            match_pattern: Some(MatchPattern::Exact((*id).to_owned())),
            ignore_case: false,
        }),
        ..NodeMatcher::default()
    };
    ClientStatusRequest {
        node_matchers: ids.iter().map(matcher).collect(),
        ..ClientStatusRequest::default()
    }
}

/// By a stream, which is asked once.
async fn ask(
    port: &Port,
    request: ClientStatusRequest,
    token: Option<&str>,
) -> Result<Vec<ClientConfig>, Status> {
    let mut client = ClientStatusDiscoveryServiceClient::new(port.plain().await?);
    let mut request = Request::new(tokio_stream::once(request));
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let answered = async {
        let mut answers = client.stream_client_status(request).await?.into_inner();
        answers.message().await
    };
    let answer = tokio::time::timeout(PATIENCE, answered)
        .await
        .expect("an answer")?;
    Ok(answer.expect("one answer").config)
}

/// How each cluster of one client stands, once it is like this.
async fn until(port: &Port, node: &str, wanted: &[(&str, ConfigStatus)]) -> ClientConfig {
    let wanted: BTreeMap<String, i32> = wanted
        .iter()
        .map(|(name, status)| ((*name).to_owned(), *status as i32))
        .collect();
    let reached = async {
        loop {
            let all = ask(port, of_nodes(&[node]), None).await.expect("an answer");
            if let [config] = &all[..] {
                let clusters = config
                    .generic_xds_configs
                    .iter()
                    .filter(|one| one.type_url == Kind::Cluster.type_url());
                let seen: BTreeMap<String, i32> = clusters
                    .map(|one| (one.name.clone(), one.config_status))
                    .collect();
                if seen == wanted {
                    return config.clone();
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.expect("the state")
}

#[tokio::test]
async fn rule_56_each_resource_is_synced_not_sent_stale_or_refused() {
    let port = Port::start(Options::default(), 1, 10).await;
    let channel = port.plain().await.unwrap();
    let mut talk = Talk::open(&channel, "edge-1", "edge").await.unwrap();
    talk.say(Kind::Cluster, DeltaRequest::default()).await;
    let first = talk.hear().await.unwrap().expect("clusters");
    until(&port, "edge-1", &[("c0", ConfigStatus::Stale)]).await;
    // While one response is unanswered, nothing more is sent.
    port.publish(&["c1".to_owned()], "one");
    until(
        &port,
        "edge-1",
        &[("c0", ConfigStatus::Stale), ("c1", ConfigStatus::NotSent)],
    )
    .await;
    let answered = |nonce: String, error| DeltaRequest {
        nonce,
        error,
        ..DeltaRequest::default()
    };
    talk.say(Kind::Cluster, answered(first.nonce, None)).await;
    let second = talk.hear().await.unwrap().expect("the other one");
    talk.say(Kind::Cluster, answered(second.nonce, None)).await;
    let config = until(
        &port,
        "edge-1",
        &[("c0", ConfigStatus::Synced), ("c1", ConfigStatus::Synced)],
    )
    .await;
    let node = config.node.expect("who it is");
    assert_eq!(
        (&*node.id, &*node.cluster, &*node.user_agent_name),
        ("edge-1", "edge", "envoy")
    );
    assert!(
        config
            .generic_xds_configs
            .iter()
            .all(|one| one.xds_config.is_none()),
        "contents are left out"
    );
    assert!(
        config
            .generic_xds_configs
            .iter()
            .all(|one| !one.version_info.is_empty())
    );
    port.publish(&["c1".to_owned()], "bad");
    let third = talk.hear().await.unwrap().expect("another content");
    let error = Some(xds_bridge::xds::Error {
        message: "c1: not like this".to_owned(),
        ..Default::default()
    });
    talk.say(Kind::Cluster, answered(third.nonce, error)).await;
    let refused = until(
        &port,
        "edge-1",
        &[("c0", ConfigStatus::Synced), ("c1", ConfigStatus::Error)],
    )
    .await;
    let words: Vec<&str> = refused
        .generic_xds_configs
        .iter()
        .filter_map(|one| Some(one.error_state.as_ref()?.details.as_str()))
        .collect();
    assert_eq!(words, ["c1: not like this"]);

    // Matchers are alternatives; without any, all clients.
    let mut other = Talk::open(&channel, "edge-2", "edge").await.unwrap();
    other.clusters().await.unwrap();
    for (ids, wanted) in [
        (&["edge-1"][..], 1),
        (&["edge-1", "edge-2"], 2),
        (&["nobody"], 0),
        (&[], 2),
    ] {
        assert_eq!(
            ask(&port, of_nodes(ids), None).await.unwrap().len(),
            wanted,
            "{ids:?}"
        );
    }
    let mut client = ClientStatusDiscoveryServiceClient::new(channel);
    let once = client.fetch_client_status(of_nodes(&["edge-2"])).await.unwrap();
    assert_eq!(once.into_inner().config.len(), 1);
}

#[tokio::test]
async fn the_status_of_clients_is_for_operators_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let options = Options {
        operators: Some(file.clone()),
        ..Options::default()
    };
    let port = Port::start(options, 1, 10).await;
    let code = async |token| {
        ask(&port, of_nodes(&[]), token)
            .await
            .map(drop)
            .map_err(|status| status.code())
    };
    assert_eq!(
        code(Some("secret")).await,
        Err(Code::PermissionDenied),
        "there is no file"
    );
    std::fs::write(&file, "secret\n").unwrap();
    assert_eq!(code(None).await, Err(Code::PermissionDenied));
    assert_eq!(code(Some("secre")).await, Err(Code::PermissionDenied));
    assert_eq!(code(Some("secret")).await, Ok(()));
    let refused = "xds_bridge_streams_refused_total{reason=\"identity\"}";
    assert_eq!(port.metric(refused), 3);
    let many = of_nodes(&["x"; 65]);
    let error = ask(&port, many, Some("secret"))
        .await
        .expect_err("too many matchers");
    assert_eq!(error.code(), Code::InvalidArgument);
    // The length of a question is bounded, too.
    let long = "x".repeat(100 << 10);
    let error = ask(&port, of_nodes(&[&long]), Some("secret"))
        .await
        .expect_err("too long");
    assert_eq!(error.code(), Code::ResourceExhausted);
    port.metric_is("xds_bridge_status_streams", 0).await;
}
