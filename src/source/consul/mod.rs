//! placeholder
use super::*;
/// x
#[derive(Debug)]
pub struct ConsulWatcher;
impl ConsulWatcher {
    /// x
    #[must_use]
    pub fn new(_: &crate::config::ConsulSource) -> Self {
        Self
    }
}
impl Source for ConsulWatcher {
    fn run(self: Box<Self>, _: Sink, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move { stop.cancelled().await })
    }
}
