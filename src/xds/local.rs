//! A resource whose content depends on where a client is, or on what it may see: how it is made is part of the
//! resource, and each content is made when the first client needs it, once for all like it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::client::Client;
use super::version::Version;
use super::view::Audience;
use super::viewer::Viewer;

/// What the contents of a resource differ by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The place of the client, and which implementation it is.
    Place,
    /// The view of the client.
    View,
}

/// How the contents of one resource are made. Pure: the same for clients that are equal in what they differ by.
pub trait Local: fmt::Debug + Send + Sync {
    /// Of all that the contents are made of: where it is equal, each content is.
    fn inputs(&self) -> Version;

    /// What they differ by: clients that have none of it get the usual content.
    fn by(&self) -> By;

    /// The encoded message as this client gets it.
    fn body(&self, viewer: &Viewer) -> Vec<u8>;

    /// By view: in which views the content is another one than before.
    fn concerns(&self) -> Option<Arc<Audience>> {
        None
    }

    /// By view: whether anything is for this fleet by its name.
    fn knows(&self, _fleet: &str) -> bool {
        false
    }
}

/// The contents that were made so far.
#[derive(Debug)]
pub(super) struct Locals<R> {
    inputs: Version,
    make: Arc<dyn Local>,
    first: OnceLock<Box<Made<R>>>,
}

/// One content, and the next one. A list, because few of the places that there are call a service; it is as long as
/// [`super::place::MAX_PLACES`] and the kinds of clients allow, or as there are views.
#[derive(Debug)]
struct Made<R> {
    of: Which,
    resource: Arc<R>,
    next: OnceLock<Box<Self>>,
}

/// Which of the contents.
#[derive(Debug, PartialEq, Eq)]
enum Which {
    Place(u8, Client),
    /// The rule, and the fleet where anything is for it by name.
    View(Arc<str>, Option<Arc<str>>),
}

impl<R> Locals<R> {
    pub(super) fn new(make: Arc<dyn Local>) -> Self {
        Self {
            inputs: make.inputs(),
            make,
            first: OnceLock::new(),
        }
    }

    pub(super) const fn inputs(&self) -> Version {
        self.inputs
    }

    pub(super) fn make(&self) -> &dyn Local {
        &*self.make
    }

    /// The content for this client, encoded when it is first asked for; `None`: the usual one.
    pub(super) fn get(&self, viewer: &Viewer, encode: impl Fn(Vec<u8>) -> R) -> Option<&Arc<R>> {
        let of = match self.make.by() {
            By::Place => Which::Place(viewer.place.as_ref()?.number(), viewer.client),
            By::View => {
                let view = viewer.view.as_ref()?;
                let is_known = view.own && self.make.knows(&viewer.fleet);
                Which::View(view.section.clone(), is_known.then(|| viewer.fleet.clone()))
            }
        };
        let mut slot = &self.first;
        loop {
            let made = slot.get_or_init(|| {
                Box::new(Made {
                    resource: Arc::new(encode(self.make.body(viewer))),
                    // A fleet that nothing is for has the content of its rule: the same for all of these.
                    of: match &of {
                        Which::Place(place, client) => Which::Place(*place, *client),
                        Which::View(section, fleet) => Which::View(section.clone(), fleet.clone()),
                    },
                    next: OnceLock::new(),
                })
            });
            if made.of == of {
                return Some(&made.resource);
            }
            slot = &made.next;
        }
    }
}

/// One by one: a long list would take the stack.
impl<R> Drop for Locals<R> {
    fn drop(&mut self) {
        let mut next = self.first.take();
        while let Some(mut made) = next {
            next = made.next.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{
        Claim, DeltaRequest, Draft, Generation, Kind, Limits, Locality, Names, Node, Reach, Resource,
        Response, Stream, Update, Variant,
    };
    use super::*;

    /// Contents are the place and this.
    #[derive(Debug)]
    struct Numbered(u8);

    impl Local for Numbered {
        fn inputs(&self) -> Version {
            Version(self.0.into())
        }

        fn by(&self) -> By {
            By::Place
        }

        fn body(&self, viewer: &Viewer) -> Vec<u8> {
            let zone = &viewer.place.as_ref().unwrap().zone;
            format!("{zone} {} {:?}", self.0, viewer.client).into_bytes()
        }
    }

    fn put(number: u8) -> Update {
        Update::Put(Draft {
            kind: Kind::Endpoints,
            name: "orders".into(),
            body: b"anywhere".to_vec(),
            needs: Vec::new(),
            reach: Reach::All,
            local: Some(Arc::new(Numbered(number))),
        })
    }

    struct Scene {
        names: Names,
        generation: Generation,
    }

    impl Scene {
        /// A client of this zone that asks for the resource; `holds`: in this version.
        fn connect(&mut self, zone: &str, holds: &str) -> (Stream, Option<Response>) {
            let mut stream = Stream::new(Variant::Delta, None, Limits::default());
            let node = Node {
                locality: Some(Locality {
                    zone: zone.to_owned(),
                    ..Locality::default()
                }),
                ..Node::default()
            };
            let request = |kind: Kind, names: &[&str]| DeltaRequest {
                node: Some(node.clone()),
                type_url: kind.type_url().into(),
                subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
                ..DeltaRequest::default()
            };
            let claim = Claim {
                name: "orders".to_owned(),
                version: holds.to_owned(),
            };
            // Clusters first: then what is claimed of endpoints is believed.
            let clusters = request(Kind::Cluster, &["orders"]);
            let endpoints = DeltaRequest {
                initial_versions: vec![claim],
                ..request(Kind::Endpoints, &["orders"])
            };
            for request in [clusters, endpoints] {
                stream
                    .handle_request(request, &mut self.names, &self.generation)
                    .unwrap();
            }
            let mut response = None;
            while let Some(next) = stream.poll_response(&self.generation, &self.names, Duration::ZERO) {
                response = Some(next).filter(|r| r.kind == Kind::Endpoints).or(response);
            }
            (stream, response)
        }

        fn publish(&mut self, number: u8) -> bool {
            let (next, changed) = self.generation.next(&mut self.names, &[put(number)]);
            self.generation = next;
            !changed.get(Kind::Endpoints).is_empty()
        }
    }

    #[test]
    fn each_place_has_its_content_once_and_a_version_of_it() {
        let mut scene = Scene {
            names: Names::default(),
            generation: Generation::default(),
        };
        assert!(scene.publish(1) && scene.generation.has_locals());
        let of = |response: &Option<Response>| response.as_ref().unwrap().resources[0].clone();
        let text = |resource: &Arc<Resource>| String::from_utf8(resource.body().unwrap().to_vec()).unwrap();
        let (first, second) = (scene.connect("a", "").1, scene.connect("a", "").1);
        let (other, nowhere) = (scene.connect("b", "").1, scene.connect("", "").1);
        assert_eq!(text(&of(&first)), "a 1 Envoy");
        assert!(Arc::ptr_eq(&of(&first), &of(&second)), "made once");
        assert_eq!(text(&of(&other)), "b 1 Envoy");
        assert_eq!(text(&of(&nowhere)), "anywhere");

        let held = of(&first).version.to_string();
        assert!(scene.connect("a", &held).1.is_none(), "it has that already");
        assert!(scene.connect("b", &held).1.is_some(), "it came from another zone");

        assert!(!scene.publish(1), "equal inputs are no change");
        assert!(
            scene.publish(2),
            "others are, though the plain content is the same"
        );
        assert_eq!(text(&of(&scene.connect("a", &held).1)), "a 2 Envoy");
        let orders = scene.names.find("orders").unwrap();
        let stand_in = scene.generation.get(Kind::Endpoints, orders).unwrap();
        assert_eq!(text(stand_in), "anywhere");
        assert!(stand_in.locals().is_some());
        let gone = Update::Remove(Kind::Endpoints, "orders".into());
        assert!(!scene.generation.next(&mut scene.names, &[gone]).0.has_locals());
    }
}
