//! Client status discovery (CSDS): which client has what, for operators. The server's view: what each client was sent and
//! what it answered. Contents are left out: `/config_dump` has them, and no key of a secret is shown to anybody.

mod answer;
mod service;

pub(super) use service::{ClientStatus, PATHS};
