//! Reads discovery responses from the pieces in which they arrive, without keeping them: the
//! client shares the machine with the server, so it looks at the little that it must. Fields
//! are told apart by number (`envoy/service/discovery/v3/discovery.proto`), resources skipped.

/// What is kept of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) version: String,
    pub(crate) type_url: String,
    pub(crate) nonce: String,
    /// How many resources it carries.
    pub(crate) resources: u32,
    /// How many it removes (delta).
    pub(crate) removed: u32,
    /// Names and versions of the resources (delta), if they are recorded.
    pub(crate) held: Vec<(String, String)>,
}

/// The state between two pieces.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    delta: bool,
    record: bool,
    /// What could not be read yet, never more than one field's beginning.
    rest: Vec<u8>,
    /// So many bytes are of no interest.
    skip: usize,
    /// Bytes of the present message that were not read yet; `None` between messages.
    left: Option<usize>,
    seen: Seen,
}

impl Decoder {
    /// `record`: also note each resource's name and version.
    pub(crate) fn new(delta: bool, record: bool) -> Self {
        Self {
            delta,
            record,
            ..Self::default()
        }
    }

    /// Takes a piece in; gives the responses that end in it.
    pub(crate) fn feed(&mut self, piece: &[u8], mut out: impl FnMut(Seen)) {
        let skipped = self.skip.min(piece.len());
        self.skip -= skipped;
        let piece = &piece[skipped..];
        let mut joined = std::mem::take(&mut self.rest);
        let data = if joined.is_empty() {
            piece
        } else {
            joined.extend_from_slice(piece);
            &joined[..]
        };
        let mut at = 0;
        loop {
            if self.left == Some(0) && self.skip == 0 {
                self.left = None;
                out(std::mem::take(&mut self.seen));
            }
            match self.step(&data[at..]) {
                Some(read) => at += read,
                None => break,
            }
        }
        self.rest = data[at..].to_vec();
    }

    /// Reads one thing; `None` when it is not all there.
    fn step(&mut self, data: &[u8]) -> Option<usize> {
        let Some(left) = self.left else {
            // gRPC: a flag and the length of the message.
            let head = data.get(..5)?;
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            self.left = Some(length as usize);
            return Some(5);
        };
        if self.skip > 0 || data.is_empty() {
            return None;
        }
        let (tag, a) = varint(data)?;
        let (value, b) = varint(&data[a..])?;
        let shape = tag & 7;
        if shape == 0 {
            self.left = Some(left - a - b); // a number: nothing that is needed
            return Some(a + b);
        }
        assert_eq!(shape, 2, "a field of a discovery response has an unknown shape");
        let (field, length, begin) = (tag >> 3, value, a + b);
        let keep = match field {
            1 | 4 | 5 => true,
            2 => self.delta && self.record,
            _ => false,
        };
        if keep {
            let content = data.get(begin..begin + length)?;
            let text = || String::from_utf8_lossy(content).into_owned();
            match field {
                1 => self.seen.version = text(),
                4 => self.seen.type_url = text(),
                5 => self.seen.nonce = text(),
                _ => self.seen.held.push(name_and_version(content)),
            }
        }
        self.seen.resources += u32::from(field == 2);
        self.seen.removed += u32::from(field == 6 && self.delta);
        self.left = Some(left - begin - length);
        let here = length.min(data.len() - begin);
        self.skip = length - here;
        Some(begin + here)
    }
}

/// Of a delta `Resource`: version 1, name 3.
fn name_and_version(mut data: &[u8]) -> (String, String) {
    let (mut name, mut version) = (String::new(), String::new());
    while let Some((tag, a)) = varint(data) {
        let Some((value, b)) = varint(&data[a..]) else {
            break;
        };
        let end = if tag & 7 == 2 { a + b + value } else { a + b };
        let text = || String::from_utf8_lossy(data.get(a + b..end).unwrap_or_default()).into_owned();
        match tag {
            0x0a => version = text(),
            0x1a => name = text(),
            _ => {}
        }
        data = data.get(end..).unwrap_or_default();
    }
    (name, version)
}

fn varint(data: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, byte) in data.iter().take(10).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}
