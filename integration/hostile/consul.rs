//! A Consul agent of a hundred services that turns hostile in one kind of answer, and good again.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::answer::Answer;
use crate::scene::{Registry, SERVICES, Stage, service, turned};

/// Which answers are hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    Names,
    Health,
    Keys,
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) about: About,
    /// The last part of the path.
    pub(crate) name: String,
    index: Option<u64>,
    /// So many hostile answers were given before this.
    pub(crate) nth: u64,
}

impl Ask {
    /// Not of one key or service.
    pub(crate) fn is_list(&self) -> bool {
        self.name.is_empty()
    }
}

pub(crate) struct Case {
    pub(crate) about: About,
    pub(crate) answer: Box<dyn Fn(&Ask) -> Answer + Send + Sync>,
    /// Given again at once, also to who knows its index.
    pub(crate) at_once: bool,
    /// Nothing need be said of it.
    pub(crate) quiet: bool,
}

pub(crate) struct Consul {
    address: SocketAddr,
    stage: watch::Sender<Stage>,
    _serving: JoinSet<()>,
}

impl Consul {
    pub(crate) async fn start(case: Case) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let stage = watch::Sender::new(Stage::Good(1));
        let (case, changes) = (Arc::new((case, AtomicU64::new(0))), stage.subscribe());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                connections.spawn(serve(tcp, case.clone(), changes.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            stage,
            _serving: serving,
        }
    }
}

impl Registry for Consul {
    fn source(&self) -> String {
        format!(
            "[sources.hostile]\nkind = \"consul\"\naddress = \"http://{}\"\n",
            self.address
        )
    }

    fn stage(&self) -> &watch::Sender<Stage> {
        &self.stage
    }
}

async fn serve(mut tcp: TcpStream, case: Arc<(Case, AtomicU64)>, mut stage: watch::Receiver<Stage>) {
    let mut read = Vec::new();
    while let Some(head) = head(&mut tcp, &mut read).await {
        let mut ask = ask(&head);
        loop {
            let now = *stage.borrow_and_update();
            let hostile = now == Stage::Hostile && ask.about == case.0.about && ask.name != "consul";
            let index = match now {
                Stage::Good(port) => u64::from(port) * 1_000,
                Stage::Hostile if hostile => 1_500,
                Stage::Hostile => 1_000,
            };
            if ask.index.is_some_and(|known| known >= index) && !(hostile && case.0.at_once) {
                if stage.changed().await.is_err() {
                    return;
                }
                continue;
            }
            ask.nth = case.1.fetch_add(u64::from(hostile), Ordering::Relaxed);
            let answer = if hostile {
                (case.0.answer)(&ask)
            } else {
                good(&ask, now, index)
            };
            // Hostility ends with its stage, also in the middle of an endless answer.
            let written = tokio::select! {
                written = answer.write(&mut tcp) => written,
                () = turned(&mut stage, Stage::Hostile), if hostile => return,
            };
            match written {
                Ok(true) => break,
                Ok(false) | Err(_) => return,
            }
        }
    }
}

fn good(ask: &Ask, stage: Stage, index: u64) -> Answer {
    let port = match stage {
        Stage::Good(port) => port,
        Stage::Hostile => 1,
    };
    match ask.about {
        About::Names => {
            let mut body = r#"{"consul":[]"#.to_owned();
            for n in 0..SERVICES {
                write!(body, ",\"{}\":[]", service(n)).expect("a string");
            }
            Answer::of(body + "}")
        }
        About::Health => Answer::of(format!("[{}]", instance(&ask.name, "i", "10.0.0.1", port, ""))),
        About::Keys => Answer::of("").status("404 Not Found"),
    }
    .index(index.to_string())
}

/// One entry of a health answer; `more` stands in the service.
pub(crate) fn instance(name: &str, id: &str, address: &str, port: u16, more: &str) -> String {
    format!(
        r#"{{"Node":{{"Node":"n","Address":"10.0.0.1","Datacenter":"dc1"}},"Service":{{"ID":"{id}","Service":"{name}","Address":"{address}","Port":{port}{more}}},"Checks":[]}}"#
    )
}

fn ask(head: &str) -> Ask {
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let about = if path.starts_with("/v1/catalog/services") {
        About::Names
    } else if path.starts_with("/v1/kv/") {
        About::Keys
    } else {
        About::Health
    };
    let index = query
        .split('&')
        .find_map(|part| part.strip_prefix("index=")?.parse().ok());
    Ask {
        about,
        name: path.rsplit('/').next().unwrap_or_default().to_owned(),
        index,
        nth: 0,
    }
}

/// The next request's head; its body, if any, is read and dropped.
async fn head(tcp: &mut TcpStream, read: &mut Vec<u8>) -> Option<String> {
    let end = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if tcp.read_buf(read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let whole = end + length.unwrap_or(0_usize);
    while read.len() < whole {
        if tcp.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
    read.drain(..whole);
    Some(head)
}
