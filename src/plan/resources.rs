//! The resources of a service that is registered. Pure.

use std::sync::Arc;

use super::callees::{clusters, has_api_listener, stopped, variants, variants_of_version};
use super::step::Planned;
use super::versions::Versions;
use crate::model::{Code, Effective, Issue, Network, Service};

/// Whether gRPC's own clients may dial a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ApiListener {
    #[default]
    Never,
    Yes,
    /// They could, and it is there but not for them now.
    NoLonger,
}

/// The resources of a service, and what its owner should know of them.
pub(super) fn resources(
    service: &Arc<Service>,
    versions: Option<&Versions>,
    effective: &Effective,
    network: &Network,
    api_listener: &mut ApiListener,
) -> (Vec<Planned>, Option<Issue>) {
    let name = &service.name;
    let wanted = has_api_listener(effective, &network.clusters.secrets);
    let taken = wanted && network.has_listener(name);
    *api_listener = match *api_listener {
        _ if wanted && !taken => ApiListener::Yes,
        ApiListener::Never => ApiListener::Never,
        ApiListener::Yes | ApiListener::NoLonger => ApiListener::NoLonger,
    };
    let (rule, locality) = (effective.cluster.all_unhealthy, effective.locality);
    let for_grpc = *api_listener == ApiListener::Yes;
    let own = versions.map_or(service, |versions| &versions.plain);
    let split = versions.and_then(|versions| versions.split.as_ref());
    let of_versions = versions.map_or(&[][..], |versions| &versions.services);
    let mut planned = Vec::with_capacity(2);
    for service in [own].into_iter().chain(of_versions) {
        planned.push(Planned::Cluster(service.name.clone(), effective.cluster.clone()));
        planned.push(Planned::Endpoints {
            service: service.clone(),
            on_all_unhealthy: rule,
            api_listener: for_grpc,
            locality,
        });
    }
    match api_listener {
        ApiListener::Never => {}
        ApiListener::Yes => {
            planned.push(Planned::ApiListener(name.clone(), split.cloned()));
            planned.extend(clusters(name, &effective.cluster));
            planned.extend(variants(own, split, rule, locality));
            for version in of_versions {
                planned.extend(clusters(&version.name, &effective.cluster));
                planned.extend(variants_of_version(version, rule, locality));
            }
        }
        ApiListener::NoLonger => {
            planned.extend(stopped(service, &effective.cluster));
            for version in of_versions {
                planned.extend(stopped(version, &effective.cluster));
            }
        }
    }
    let issue = taken.then(|| {
        let reason = format!(
            "gRPC clients cannot dial `xds:///{name}`: [listeners.{name}] has that name, and keeps it"
        );
        Issue::warning(&**name, reason).of_kind(Code::NameTaken)
    });
    (planned, issue)
}
