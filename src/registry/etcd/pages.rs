//! A listing of etcd, page by page, each at the revision of the first. What a page may weigh is bounded
//! by asking for fewer keys where the values are large; never holds more than one page.

use etcd_client::{GetOptions, KvClient};
use tokio::time::timeout;

use super::error::Error;
use super::{CALL_TIMEOUT, Kv, Origin};
use crate::registry::budget::{Budget, Share};

/// Keys of a page of small values. Pages of 1,000 made a listing quadratic in etcd, which counts what
/// follows for each: 91 s for a million keys.
const PAGE: i64 = 10_000;
/// Keys of the first page, which shows how large the values are.
const FIRST_PAGE: i64 = 1_000;
/// What a key takes beside its own bytes, once it is decoded.
const PER_KEY: usize = 512;
/// What a page should weigh, bytes. Values of up to 1.6 KB still fill pages of [`PAGE`] keys.
const WEIGHT: usize = 16 * 1024 * 1024;

/// All keys of a prefix at one revision (`etcdserverpb.KV/Range`), in the order of their keys.
pub struct Pages {
    client: KvClient,
    from: Vec<u8>,
    end: Vec<u8>,
    limit: i64,
    more: bool,
    revision: i64,
    origin: Origin,
    /// Read already, so that revision and origin are known.
    first: Option<Vec<Kv>>,
    budget: Budget,
    /// Of the page that was read last, until the next one is asked for.
    page: Share,
}

impl Pages {
    /// Reads the first page. Linearizable: what was written before is in it.
    /// A page larger than `longest` is asked for again with fewer keys.
    pub(super) async fn open(
        client: KvClient,
        prefix: &[u8],
        end: Vec<u8>,
        budget: &Budget,
        longest: usize,
    ) -> Result<Self, Error> {
        let mut pages = Self {
            client: client.max_decoding_message_size(longest),
            budget: budget.clone(),
            page: budget.share(),
            from: prefix.to_vec(),
            end,
            limit: first_limit(budget.part()),
            more: true,
            revision: 0,
            origin: Origin {
                cluster_id: 0,
                raft_term: 0,
                raft_index: None,
            },
            first: None,
        };
        pages.first = pages.read().await?;
        Ok(pages)
    }

    /// The revision that all pages show.
    #[must_use]
    pub const fn revision(&self) -> i64 {
        self.revision
    }

    /// Which cluster, and which stretch of its history, answered.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The next page; `None`: that was the last one.
    ///
    /// # Errors
    /// [`Error::Compacted`] when a compaction overtook the paging; else what the member answered.
    pub async fn next(&mut self) -> Result<Option<Vec<Kv>>, Error> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Result<Option<Vec<Kv>>, Error> {
        while self.more {
            // The page before is used up; this one takes this room while it is decoded.
            let room = WEIGHT.min(self.budget.part());
            self.page = self.budget.share();
            grow(&mut self.page, room).await?;
            let options = GetOptions::new()
                .with_range(self.end.clone())
                .with_limit(self.limit)
                .with_revision(self.revision);
            let answer = timeout(CALL_TIMEOUT, self.client.get(self.from.clone(), Some(options))).await;
            let mut page = match answer.map_err(|_| Error::Silent)?.map_err(Error::from) {
                Err(Error::TooLarge { .. }) if self.limit > 1 => {
                    self.limit = (self.limit / 10).max(1);
                    continue;
                }
                other => other?,
            };
            let header = page.header().ok_or(Error::Protocol("a range without a header"))?;
            if self.revision == 0 {
                self.revision = header.revision();
                self.origin = Origin {
                    cluster_id: header.cluster_id(),
                    raft_term: header.raft_term(),
                    raft_index: None,
                };
            }
            let more = page.more();
            let kvs = page.take_kvs();
            let weight: usize = kvs.iter().map(|kv| kv.key().len() + kv.value().len()).sum();
            let taken = kvs.len().saturating_mul(PER_KEY).saturating_add(weight);
            match grow(&mut self.page, taken.saturating_sub(room)).await {
                Err(Error::Memory(_)) if self.limit > 1 => {
                    self.limit = (self.limit / 10).max(1);
                    continue;
                }
                other => other?,
            }
            self.more = more;
            self.limit = next_limit(self.limit, kvs.len(), weight, self.budget.part());
            self.page.shrink(room.saturating_sub(taken));
            let kvs: Vec<Kv> = kvs
                .into_iter()
                .map(|kv| {
                    let revisions = (kv.mod_revision(), kv.create_revision());
                    let (key, value) = kv.into_key_value();
                    Kv::new(key, value, revisions)
                })
                .collect();
            match kvs.last() {
                // A listing that does not go on would never end.
                Some(last) if last.key < self.from => {
                    return Err(Error::Protocol("a page of a listing again"));
                }
                Some(last) => {
                    self.from.clone_from(&last.key);
                    self.from.push(0);
                }
                None => self.more = false,
            }
            return Ok(Some(kvs));
        }
        Ok(None)
    }
}

async fn grow(share: &mut Share, bytes: usize) -> Result<(), Error> {
    let grown = timeout(CALL_TIMEOUT, share.grow(bytes)).await;
    grown.map_err(|_| Error::Silent)?.map_err(Error::Memory)
}

/// Keys of the first page, where one message may hold this number of bytes.
fn first_limit(part: usize) -> i64 {
    i64::try_from(part / (2 * PER_KEY))
        .unwrap_or(FIRST_PAGE)
        .clamp(1, FIRST_PAGE)
}

/// Keys of the next page, after one with this number of keys and bytes, where one message may hold `part` bytes. Grows step by
/// step: what follows may be larger.
fn next_limit(limit: i64, keys: usize, weight: usize, part: usize) -> i64 {
    let keys = keys.max(1);
    let decoded = keys.saturating_mul(PER_KEY).saturating_add(weight);
    let fit = (keys.saturating_mul(WEIGHT) / weight.max(1)).min(keys.saturating_mul(part) / decoded);
    i64::try_from(fit)
        .unwrap_or(PAGE)
        .min(limit.saturating_mul(10))
        .clamp(1, PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_values_make_small_pages_and_small_ones_large() {
        let next = |limit, keys, weight| next_limit(limit, keys, weight, 64 << 20);
        assert_eq!(next(FIRST_PAGE, 1000, 300_000), PAGE);
        assert_eq!(next(PAGE, 10_000, 16_000_000), PAGE, "1.6 KB each");
        assert_eq!(next(PAGE, 10_000, 60_000_000), 2796);
        assert_eq!(next(10, 10, 14_000_000), 11, "1.4 MB each");
        assert_eq!(next(11, 11, 3_300), 110, "not all at once");
        assert_eq!(next(1, 1, 60_000_000), 1);
        assert_eq!(next(5, 0, 0), 50);
    }

    #[test]
    fn a_page_fits_into_its_part() {
        assert_eq!(first_limit(64 << 20), FIRST_PAGE);
        assert_eq!(first_limit(64 << 10), 64);
        assert_eq!(first_limit(10), 1);
        assert_eq!(
            next_limit(FIRST_PAGE, 1000, 100_000, 4 << 20),
            6_853,
            "612 bytes each"
        );
        assert_eq!(next_limit(64, 64, 64 * 88, 64 << 10), 109);
    }

    #[test]
    fn a_value_beyond_the_cap_leaves_its_size_only() {
        let kv = |len| Kv::new(b"k".to_vec(), vec![b'x'; len], (7, 5));
        let (fits, beyond) = (kv(super::super::MAX_VALUE), kv(super::super::MAX_VALUE + 1));
        assert_eq!((fits.value.len(), fits.size), (1_572_864, 1_572_864));
        assert_eq!((beyond.value.len(), beyond.size), (0, 1_572_865));
        assert_eq!((beyond.mod_revision, beyond.create_revision), (7, 5));
    }
}
