//! Access logs on the port: which streams are admitted (`service`), and the bytes of one (`body`). What entries mean is
//! decided in `errors`; they come together in `intake`.

mod body;
mod client;
mod service;

pub(super) use service::{AccessLogs, PATH};
