//! What has arrived of a stream and is not read yet. Mostly a request comes in one piece, and is read where it lies. A large
//! one lies in many: a buffer that grows by doubling would be copied again and again, on a thread that serves streams.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Small pieces are joined up to this size.
const PIECE: usize = 64 << 10;

/// Bytes in the order they arrived.
#[derive(Debug)]
pub(super) enum Held {
    /// As it came.
    One(Bytes),
    /// Each of at most [`PIECE`].
    Many(Pieces),
}

#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: VecDeque<BytesMut>,
    len: usize,
}

impl Held {
    pub(super) const fn new() -> Self {
        Self::One(Bytes::new())
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(bytes) => bytes.len(),
            Self::Many(pieces) => pieces.len,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first bytes, if they are here.
    pub(super) fn prefix<const N: usize>(&self) -> Option<[u8; N]> {
        match self {
            Self::One(bytes) => bytes.first_chunk().copied(),
            Self::Many(pieces) => {
                let mut prefix = [0; N];
                let all = pieces.pieces.iter().flat_map(|piece| piece.iter());
                let copied = prefix.iter_mut().zip(all).map(|(to, byte)| *to = *byte).count();
                (copied == N).then_some(prefix)
            }
        }
    }

    pub(super) fn put(&mut self, data: Bytes) {
        match self {
            Self::One(bytes) if bytes.is_empty() => *self = Self::One(data),
            Self::One(bytes) => {
                let mut pieces = Pieces::default();
                pieces.put(bytes);
                pieces.put(&data);
                *self = Self::Many(pieces);
            }
            Self::Many(pieces) => pieces.put(&data),
        }
    }

    /// The first bytes; that number has to be there.
    pub(super) fn take(&mut self, length: usize) -> Self {
        let taken = match self {
            Self::One(bytes) => Self::One(bytes.split_to(length.min(bytes.len()))),
            Self::Many(pieces) => Self::Many(pieces.take(length)),
        };
        match self {
            Self::Many(pieces) if pieces.len <= PIECE => *self = Self::One(std::mem::take(pieces).join()),
            _ => {}
        }
        if self.is_empty() {
            *self = Self::new(); // its memory too
        }
        taken
    }

    /// In one piece.
    pub(super) fn join(self) -> Bytes {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(pieces) => pieces.join(),
        }
    }
}

impl Pieces {
    fn put(&mut self, mut data: &[u8]) {
        self.len += data.len();
        while !data.is_empty() {
            let room = self
                .pieces
                .back()
                .map_or(0, |piece| PIECE.saturating_sub(piece.len()));
            let (fits, rest) = data.split_at(data.len().min(if room == 0 { PIECE } else { room }));
            match self.pieces.back_mut().filter(|_| room > 0) {
                Some(piece) => piece.extend_from_slice(fits),
                None => self.pieces.push_back(BytesMut::from(fits)),
            }
            data = rest;
        }
    }

    fn take(&mut self, length: usize) -> Self {
        let mut taken = Self::default();
        while taken.len < length
            && let Some(piece) = self.pieces.front_mut()
        {
            let part = piece.split_to(piece.len().min(length - taken.len));
            taken.len += part.len();
            taken.pieces.push_back(part);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        self.len -= taken.len;
        taken
    }

    /// Each piece is freed once it is copied.
    fn join(mut self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.len);
        for piece in self.pieces.drain(..) {
            all.extend_from_slice(&piece);
        }
        all.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_their_order_however_they_come_and_go() {
        let all: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        for put in [3, 1_000, PIECE - 1, PIECE, PIECE + 1, 400_000] {
            for take in [5, 70_001, PIECE, 700_000] {
                let (mut held, mut back) = (Held::new(), Vec::new());
                for part in all.chunks(put) {
                    held.put(Bytes::copy_from_slice(part));
                    while held.len() >= take {
                        let prefix = held.prefix::<5>().unwrap();
                        let taken = held.take(take).join();
                        assert_eq!((&taken[..5], taken.len()), (&prefix[..], take));
                        back.extend_from_slice(&taken);
                    }
                }
                let rest = held.len();
                back.extend_from_slice(&held.take(rest).join());
                assert!(back == all, "{put} {take}");
                assert!(matches!(held, Held::One(rest) if rest.is_empty()));
            }
        }
        let mut few = Held::new();
        few.put(Bytes::from_static(b"ab"));
        few.put(Bytes::from_static(b"c"));
        assert_eq!((few.prefix::<3>(), few.prefix::<4>()), (Some(*b"abc"), None));
    }

    #[test]
    fn no_piece_of_many_is_large() {
        let mut held = Held::new();
        for _ in 0..50 {
            held.put(Bytes::from(vec![0; 16 << 10]));
        }
        let Held::Many(pieces) = held else {
            panic!("one piece")
        };
        assert!(pieces.pieces.iter().all(|piece| piece.len() <= PIECE));
        assert_eq!(pieces.pieces.len(), 13);
    }
}
