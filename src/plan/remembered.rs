//! What was decided between services, and is to be decided the same way by a bridge that begins after this one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Holders, Policy};

/// All that was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// Services by name.
    pub services: BTreeMap<Arc<str>, Remembered>,
    /// Who has what, by exposure.
    pub holders: BTreeMap<Arc<str>, Holders>,
    /// Clusters of versions, such as `orders@9f31c2a`, and whose version each is: a service of that name came later. `None`:
    /// nobody knows, since an earlier version of the bridge wrote it.
    pub names: Option<BTreeMap<Arc<str>, Arc<str>>>,
}

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// What its instances declare together.
    pub elected: Arc<Policy>,
    /// The same below its policy documents, where that is something else.
    pub policy: Option<Arc<Policy>>,
    /// How long ago its last instance left; `None`: it had some.
    pub left_ago: Option<Duration>,
}
