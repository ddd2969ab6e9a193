//! `/config_dump`: what is served, printed piece by piece beside the threads that serve streams, which go first.

use std::io::Write;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::executor::block_on;
use futures::stream;
use rustix::process::nice;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::fanout::Fanout;
use crate::render::{self, Wanted};
use crate::xds::{Generation, Kind};

/// Maximum of dumps at once, printed or not yet read: each keeps a thread and a generation.
const DUMPS: usize = 2;
/// Bytes of one piece of a dump.
const PIECE: usize = 64 << 10;
/// Pieces that wait for the client.
const PIECES: usize = 2;

/// How much its threads stand back (`nice`): printing thousands of resources takes a second, and while there is work
/// for streams, they get a tenth of a core.
const NICE: i32 = 10;

/// What a dump is to have.
#[derive(Debug, Deserialize)]
pub(super) struct Narrowed {
    r#type: Option<String>,
    name: Option<String>,
}

/// What all dumps share.
#[derive(Clone, Debug)]
pub(super) struct Dumps {
    places: Arc<Semaphore>,
    /// Held while a piece is printed, and never while a client is waited for: dumps take one core together.
    printer: Arc<Semaphore>,
}

impl Dumps {
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(DUMPS)),
            printer: Arc::new(Semaphore::new(1)),
        }
    }
}

pub(super) fn config_dump(fanout: &Fanout, query: Narrowed, dumps: &Dumps) -> Response {
    let kind = match query.r#type.as_deref() {
        None => None,
        Some(word) => match Kind::ALL.into_iter().find(|kind| kind.short() == word) {
            Some(kind) => Some(kind),
            None => {
                return (
                    StatusCode::BAD_REQUEST,
                    "type must be cds, eds, lds, rds or sds\n",
                )
                    .into_response();
            }
        },
    };
    let Some(generation) = fanout.current() else {
        let nothing = "nothing is served yet; see /readyz\n";
        return (StatusCode::SERVICE_UNAVAILABLE, nothing).into_response();
    };
    let Ok(place) = dumps.places.clone().try_acquire_owned() else {
        let busy = "other dumps are on their way; try again in a moment\n";
        return (StatusCode::SERVICE_UNAVAILABLE, busy).into_response();
    };
    let wanted = Wanted {
        kind,
        name: query.name,
    };
    let (pieces, sent) = mpsc::channel(PIECES);
    // A thread of its own: who has stood back cannot come forward again.
    let thread = std::thread::Builder::new().name("dump".to_owned());
    let out = Pieces::new(pieces, dumps.printer.clone());
    let printing = thread.spawn(move || print(&generation, &wanted, out, place));
    if printing.is_err() {
        let no_thread = "there is no thread for a dump now; try again in a moment\n";
        return (StatusCode::SERVICE_UNAVAILABLE, no_thread).into_response();
    }
    let body = stream::unfold(sent, async |mut sent| {
        let piece = sent.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), sent))
    });
    (
        [(header::CONTENT_TYPE, "application/json")],
        Body::from_stream(body),
    )
        .into_response()
}

fn print(generation: &Generation, wanted: &Wanted, mut out: Pieces, place: OwnedSemaphorePermit) {
    stand_back();
    out.turn = out.wait();
    // Who has gone needs no more of it; the place is free before the body ends.
    let _ = render::write_config_dump(generation, wanted, &mut out)
        .map_err(std::io::Error::from)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    drop(place);
}

/// The thread that calls this gets what the others leave. Only Linux has this for a thread; elsewhere nothing changes.
fn stand_back() {
    if cfg!(target_os = "linux") {
        // Refused, it prints all the same.
        let _ = nice(NICE);
    }
}

/// Text on its way to a client, in pieces: whoever writes waits for whoever reads.
struct Pieces {
    buffer: Vec<u8>,
    client: mpsc::Sender<Bytes>,
    printer: Arc<Semaphore>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Pieces {
    const fn new(client: mpsc::Sender<Bytes>, printer: Arc<Semaphore>) -> Self {
        Self {
            buffer: Vec::new(),
            client,
            printer,
            turn: None,
        }
    }

    /// Waits until no other dump is printed.
    fn wait(&self) -> Option<OwnedSemaphorePermit> {
        block_on(self.printer.clone().acquire_owned()).ok()
    }
}

impl Write for Pieces {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(text);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE + PIECE / 4));
        self.turn = None;
        let sent = self.client.blocking_send(piece.into());
        self.turn = self.wait();
        sent.map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::xds::{Draft, Reach, Update};

    #[tokio::test]
    async fn a_dump_that_nobody_reads_takes_the_place_of_others_and_gives_it_back() {
        let fanout = Fanout::new(1, false);
        // More than waits for a client that reads nothing.
        let put = |n: usize| {
            Update::Put(Draft {
                kind: Kind::Cluster,
                name: format!("c{n}").into(),
                body: Vec::new(),
                needs: Vec::new(),
                reach: Reach::All,
                local: None,
            })
        };
        let updates: Vec<Update> = (0..5_000).map(put).collect();
        fanout.publish(&updates, clock::now());
        let dumps = Dumps::new();
        let dump = || {
            let query = Narrowed {
                r#type: None,
                name: None,
            };
            config_dump(&fanout, query, &dumps)
        };
        let unread = dump();
        let first = dump();
        assert_eq!(
            (unread.status(), first.status()),
            (StatusCode::OK, StatusCode::OK)
        );
        assert_eq!(dump().status(), StatusCode::SERVICE_UNAVAILABLE);
        // Printed, although the other one waits for its client.
        let text = axum::body::to_bytes(first.into_body(), 1 << 24).await.unwrap();
        assert!(text.ends_with(b"}\n"));
        let read: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let clusters = read.pointer("/configs/0/dynamic_active_clusters").unwrap();
        assert_eq!(clusters.as_array().unwrap().len(), 5_000);
        drop((unread, dump())); // read to its end, the first one has given its place back
        let all = dumps.places.acquire_many(2);
        let freed = tokio::time::timeout(std::time::Duration::from_secs(20), all).await;
        assert!(freed.is_ok(), "dropped, the others too");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_the_thread_that_prints_stands_back() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let before = priority();
        let printing = std::thread::spawn(move || {
            stand_back();
            priority()
        });
        assert_eq!(printing.join().unwrap(), (before + NICE).min(19));
        assert_eq!(priority(), before);
    }
}
