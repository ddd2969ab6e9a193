//! A body on its way in: parts, as they come, and one piece in the end. The budget is asked for what is held: a buffer that
//! grows by doubling would hold three times the body.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body;

use super::error::Failure;
use crate::registry::budget::{Exhausted, Held, Share};

/// Parts are copied into pieces of this size: as they come, each may keep a whole buffer of its connection.
const PIECE: usize = 64 << 10;

/// A whole body, and its share of the bytes that all may hold.
pub(super) async fn collect<B>(mut body: B, limit: usize, share: Share) -> Result<(Bytes, Held), Failure>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let mut parts = Parts::of(share);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Body(Box::new(error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if parts.len + data.len() > limit {
            return Err(Failure::TooLong { limit });
        }
        parts.push(data).await.map_err(Failure::Memory)?;
    }
    parts.join().await.map_err(Failure::Memory)
}

struct Parts {
    share: Share,
    /// Each is full but the last.
    pieces: Vec<Vec<u8>>,
    len: usize,
}

impl Parts {
    const fn of(share: Share) -> Self {
        Self {
            share,
            pieces: Vec::new(),
            len: 0,
        }
    }

    async fn push(&mut self, data: Bytes) -> Result<(), Exhausted> {
        self.share.grow(data.len()).await?;
        self.len += data.len();
        let mut data = &data[..];
        while !data.is_empty() {
            if self.pieces.last().is_none_or(|piece| piece.len() == PIECE) {
                self.pieces.push(Vec::new());
            }
            let Some(piece) = self.pieces.last_mut() else {
                break;
            };
            let (fits, rest) = data.split_at(data.len().min(PIECE - piece.len()));
            piece.extend_from_slice(fits);
            data = rest;
        }
        Ok(())
    }

    /// Both are there for a moment, the pieces and the whole. A body for which there will never be room twice is joined
    /// nevertheless: it was let in, and each piece is freed once it is copied.
    async fn join(mut self) -> Result<(Bytes, Held), Exhausted> {
        if self.pieces.len() <= 1 {
            return Ok((self.pieces.pop().unwrap_or_default().into(), self.share.keep()));
        }
        let twice = match self.share.grow(self.len).await {
            Ok(()) => true,
            Err(Exhausted { most }) if self.len.saturating_mul(2) > most => false,
            Err(exhausted) => return Err(exhausted),
        };
        let mut all = Vec::with_capacity(self.len);
        for piece in self.pieces {
            all.extend_from_slice(&piece);
        }
        if twice {
            self.share.shrink(self.len);
        }
        Ok((all.into(), self.share.keep()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::budget::Budget;

    async fn joined(budget: &Budget, parts: &[usize]) -> Result<Bytes, Exhausted> {
        let mut all = Parts::of(budget.share());
        for (n, len) in parts.iter().enumerate() {
            all.push(vec![u8::try_from(n % 251).unwrap(); *len].into())
                .await?;
        }
        all.join().await.map(|(body, _)| body)
    }

    #[tokio::test]
    async fn parts_of_all_sizes_are_one_body() {
        let sizes = [1, PIECE - 2, 1, 7, 0, PIECE - 6, 3 * PIECE, 1, 5 * PIECE + 1];
        let body = joined(&Budget::default(), &sizes).await.unwrap();
        let right: Vec<u8> = (0_u8..).zip(sizes).flat_map(|(n, len)| vec![n; len]).collect();
        assert_eq!(body, right);
        assert_eq!(joined(&Budget::default(), &[]).await.unwrap(), b""[..]);
    }

    #[tokio::test]
    async fn a_body_may_have_all_that_answers_may_and_gives_back_what_it_took() {
        let budget = Budget::new(12 * PIECE);
        assert!(joined(&budget, &[PIECE; 4]).await.is_ok());
        assert!(joined(&budget, &[PIECE; 9]).await.is_ok());
        assert!(joined(&budget, &[PIECE; 10]).await.is_err());
        assert!(budget.share().grow(9 * PIECE).await.is_ok(), "all is given back");
    }
}
