//! One answer over HTTP/1.1, written byte by byte as it is wanted, right or wrong.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// Pieces of a body by their number.
type Piece = Box<dyn Fn(u64) -> Vec<u8> + Send + Sync>;

/// How the length is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// As it is; the whole is made first.
    Length,
    /// So much, whatever follows.
    Claimed(u64),
    Chunked,
    /// No head of ours: what is written is all there is.
    Raw,
}

pub(crate) struct Answer {
    status: &'static str,
    index: String,
    headers: String,
    framing: Framing,
    first: Vec<u8>,
    piece: Piece,
    pieces: u64,
    last: Vec<u8>,
    pause: Duration,
    /// The connection ends after it.
    close: bool,
}

impl Answer {
    /// A right one.
    pub(crate) fn of(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: "200 OK",
            index: "1500".to_owned(),
            headers: String::new(),
            framing: Framing::Length,
            first: body.into(),
            piece: Box::new(|_| Vec::new()),
            pieces: 0,
            last: Vec::new(),
            pause: Duration::ZERO,
            close: false,
        }
    }

    /// No head: these bytes.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            framing: Framing::Raw,
            ..Self::of(bytes)
        }
        .closing()
    }

    /// So many pieces follow, then an end.
    pub(crate) fn then(
        mut self,
        pieces: u64,
        piece: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
        last: &str,
    ) -> Self {
        self.pieces = pieces;
        self.piece = Box::new(piece);
        last.as_bytes().clone_into(&mut self.last);
        self
    }

    /// The same piece for ever; without a length of its own in chunks.
    pub(crate) fn for_ever(mut self, piece: impl Into<Vec<u8>>) -> Self {
        let piece = piece.into();
        if self.framing == Framing::Length {
            self.framing = Framing::Chunked;
        }
        self.then(u64::MAX, move |_| piece.clone(), "")
    }

    pub(crate) fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    pub(crate) fn claims(mut self, length: u64) -> Self {
        self.framing = Framing::Claimed(length);
        self
    }

    pub(crate) fn status(mut self, status: &'static str) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn index(mut self, index: impl Into<String>) -> Self {
        self.index = index.into();
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.extend([name, ": ", value, "\r\n"]);
        self
    }

    pub(crate) fn each(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    pub(crate) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// Writes it; whether the connection goes on.
    pub(crate) async fn write(self, tcp: &mut TcpStream) -> std::io::Result<bool> {
        let mut body = self.first;
        if self.framing == Framing::Length {
            for n in 0..self.pieces {
                body.extend((self.piece)(n));
            }
            body.extend(&self.last);
        }
        let length = match self.framing {
            Framing::Length => format!("Content-Length: {}\r\n", body.len()),
            Framing::Claimed(length) => format!("Content-Length: {length}\r\n"),
            Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
            Framing::Raw => String::new(),
        };
        if self.framing != Framing::Raw {
            let (status, index, headers) = (self.status, self.index, self.headers);
            let head = format!(
                "HTTP/1.1 {status}\r\nX-Consul-Index: {index}\r\nX-Consul-KnownLeader: true\r\n{headers}{length}\r\n"
            );
            tcp.write_all(head.as_bytes()).await?;
        }
        let chunked = self.framing == Framing::Chunked;
        piece(tcp, chunked, &body).await?;
        if self.framing != Framing::Length {
            for n in 0..self.pieces {
                if !self.pause.is_zero() {
                    tokio::time::sleep(self.pause).await;
                }
                piece(tcp, chunked, &(self.piece)(n)).await?;
            }
            piece(tcp, chunked, &self.last).await?;
        }
        if chunked {
            tcp.write_all(b"0\r\n\r\n").await?;
        }
        Ok(!self.close)
    }
}

async fn piece(tcp: &mut TcpStream, chunked: bool, bytes: &[u8]) -> std::io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    if !chunked {
        return tcp.write_all(bytes).await;
    }
    tcp.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
    tcp.write_all(bytes).await?;
    tcp.write_all(b"\r\n").await
}
