//! What becomes of a request: replayed on what is served, for one client or for all listeners.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::{Semaphore, oneshot};

use super::fleets;
use super::holders::Holders;
use super::service::explain;
use super::{Answer, Unanswered};
use crate::admin::{Admin, STOPPING};
use crate::hub::Order;
use crate::replay::{self, Outcome, Request, Served, Way, replay};
use crate::text::clip;
use crate::xds::{Client, Generation, Kind, NameId, Resource, Viewer};

/// Replays at once; others wait.
static PLACES: Semaphore = Semaphore::const_new(2);

/// Services about which something is said, and sentences about each.
const SERVICES: usize = 4;
const SENTENCES: usize = 10;

pub(super) async fn why(admin: &Admin, text: &str, client: Option<&str>) -> Result<Answer, Unanswered> {
    let request = Request::parse(text).map_err(|why| Unanswered::Wrong(format!("{why}\n")))?;
    let Some(generation) = admin.fanout.current() else {
        return Err(Unanswered::NotNow("nothing is served yet; see /readyz\n"));
    };
    let viewer = client.map(|node| viewer(admin, &generation, node)).transpose()?;
    let fleet = viewer.as_ref().map(|viewer| viewer.fleet.clone());
    let Ok(_place) = PLACES.acquire().await else {
        return Err(Unanswered::NotNow(STOPPING));
    };
    // Thousands of resources may be looked at: not on a thread that serves streams.
    let replayed = tokio::task::spawn_blocking({
        let (request, generation) = (request.clone(), generation.clone());
        move || {
            let ways = replay(&request, &Seen::new(generation.clone(), viewer.clone()));
            let of_others = viewer.map(|viewer| {
                let all = replay(&request, &Seen::new(generation.clone(), None));
                fleets::of_others(&generation, &viewer, &ways, &all)
            });
            (ways, of_others)
        }
    });
    let Ok((ways, of_others)) = replayed.await else {
        return Err(Unanswered::NotNow(STOPPING));
    };
    let of_fleets = of_others.unwrap_or_else(|| fleets::of_all(admin, &generation, &ways));
    let holders = Holders::on(admin, &ways, client);
    let mut words = match (&ways[..], client) {
        ([], Some(node)) => format!(
            "! no listener of this client ({}) takes requests for {}\n",
            clip(node),
            request.host
        ),
        ([], None) => format!(
            "! no listener that the bridge serves takes requests for {} (listeners of Envoy's own file are not seen here)\n",
            request.host
        ),
        (ways, _) => replay::words(ways),
    };
    for sentence in &of_fleets {
        let _ = writeln!(words, "  ! {sentence}");
    }
    words += &holders.words();
    let about = about(admin, &request, &ways).await?;
    for (service, sentences) in &about {
        for sentence in sentences.iter().take(SENTENCES) {
            // Writing into a String does not fail.
            let _ = writeln!(words, "about {service}: {sentence}");
        }
    }
    Ok(Answer {
        words,
        json: json!({
            "client": client,
            "fleet": fleet,
            "ways": ways,
            "other_fleets": of_fleets,
            "clients_without_it": holders.json(),
            "about": about,
        }),
    })
}

/// A client by its `node.id`.
fn viewer(admin: &Admin, generation: &Generation, node: &str) -> Result<Viewer, Unanswered> {
    let streams = admin.fanout.streams();
    let Some(stream) = streams.iter().find(|stream| stream.node == node) else {
        let mut nodes: Vec<&str> = streams.iter().map(|stream| stream.node.as_str()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let others = match nodes.len() {
            0 => ": none is".to_owned(),
            n => format!("; {n} are, such as {}", crate::text::list(&nodes, 5, n)),
        };
        return Err(Unanswered::Unknown(format!(
            "no client with node.id `{}` is connected{others}. On its machine `xds-bridge doctor envoy.yaml` says why\n",
            clip(node),
        )));
    };
    let fleet: Arc<str> = stream.fleet.as_str().into();
    Ok(Viewer {
        view: generation.rules().of(&fleet),
        ..Viewer::of(Client::of(&stream.agent), &fleet)
    })
}

/// Why the services behind the routes are as they are, and who asks for requests of this host in vain.
async fn about(
    admin: &Admin,
    request: &Request,
    ways: &[Way],
) -> Result<BTreeMap<String, Vec<String>>, Unanswered> {
    let mut about: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (reply, answer) = oneshot::channel();
    let order = Order::Contested {
        host: request.host.as_str().into(),
        reply,
    };
    let sent = admin.orders.send(order).await;
    let lost = answer.await.ok().filter(|_| sent.is_ok());
    for issue in lost.ok_or(Unanswered::NotNow(STOPPING))? {
        about.entry(issue.entry).or_default().push(issue.reason);
    }
    let mut services: BTreeSet<&str> = BTreeSet::new();
    for way in ways {
        if let Outcome::Clusters(targets) = &way.ending.outcome {
            let names = targets.iter().map(|target| target.cluster.as_str());
            services.extend(names.map(|name| name.split_once('@').map_or(name, |(service, _)| service)));
        }
    }
    // Whoever is called by its name and has no route.
    let first = request.host.split('.').next().unwrap_or_default();
    services.extend([request.host.as_str(), first]);
    for service in services.into_iter().take(SERVICES) {
        let Some(explanation) = explain(admin, service).await? else {
            continue;
        };
        let sentences = about.entry(service.to_owned()).or_default();
        for of in explanation.sources.iter().filter(|of| of.withheld > 0) {
            sentences.push(format!(
                "{} no longer lists {} of its instances, which is not believed yet",
                of.source, of.withheld
            ));
        }
        if explanation.kept_until.is_some() {
            sentences.push("it has no instances any more; its routes are kept".to_owned());
        }
        for issue in explanation.planned.iter().flat_map(|planned| &planned.issues) {
            if !sentences.contains(&issue.reason) {
                sentences.push(issue.reason.clone());
            }
        }
        sentences.push(format!("all about it: xds-bridge why {}", clip(service)));
    }
    Ok(about)
}

/// What one client gets, or all that is served.
struct Seen {
    generation: Arc<Generation>,
    viewer: Option<Viewer>,
    ids: HashMap<(Kind, Arc<str>), NameId>,
}

impl Seen {
    fn new(generation: Arc<Generation>, viewer: Option<Viewer>) -> Self {
        let kinds = [Kind::Listener, Kind::Route, Kind::Cluster, Kind::Endpoints];
        let of = |kind| {
            generation
                .all(kind)
                .map(move |(id, resource)| ((kind, resource.name.clone()), id))
        };
        let ids = kinds.into_iter().flat_map(of).collect();
        Self {
            generation,
            viewer,
            ids,
        }
    }

    /// Of what the client gets.
    fn names(&self, kind: Kind) -> Vec<Arc<str>> {
        let all = self.generation.all(kind);
        let mine = all.filter(|(id, _)| self.given(kind, *id).is_some());
        let mut names: Vec<Arc<str>> = mine.map(|(_, resource)| resource.name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// As the client gets it.
    fn given(&self, kind: Kind, id: NameId) -> Option<&Arc<Resource>> {
        let Some(viewer) = &self.viewer else {
            return self.generation.get(kind, id);
        };
        let resource = self.generation.get_for(viewer, kind, id)?;
        resource.reach.admits(viewer).then_some(resource)
    }
}

impl Served for Seen {
    fn listeners(&self) -> Vec<Arc<str>> {
        self.names(Kind::Listener)
    }

    fn routes(&self) -> Vec<Arc<str>> {
        self.names(Kind::Route)
    }

    fn body(&self, kind: replay::Kind, name: &str) -> Option<Bytes> {
        let kind = match kind {
            replay::Kind::Listener => Kind::Listener,
            replay::Kind::Route => Kind::Route,
            replay::Kind::Cluster => Kind::Cluster,
            replay::Kind::Endpoints => Kind::Endpoints,
        };
        let id = self.ids.get(&(kind, name.into()))?;
        self.given(kind, *id)?.body().ok()
    }
}
