//! What the bytes of a request become: a message, or for who reads them where they lie, the bytes.

use bytes::Bytes;
use prost::Message;
use tonic::Status;

use crate::xds::has_more_entries;

/// What the bytes of a request become.
pub(in crate::grpc) trait Incoming: Sized + Send + 'static {
    /// Of a large request this is done aside, and it may have at most this number of entries.
    fn read(bytes: Bytes, entries: Option<usize>) -> Result<Self, Status>;
}

impl<M: Message + Default + 'static> Incoming for M {
    fn read(bytes: Bytes, entries: Option<usize>) -> Result<Self, Status> {
        if let Some(entries) = entries.filter(|most| has_more_entries(&bytes, *most)) {
            let why = format!("a request of more than {entries} names and claims");
            return Err(Status::out_of_range(why));
        }
        M::decode(bytes).map_err(|e| Status::internal(e.to_string()))
    }
}
