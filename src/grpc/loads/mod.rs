//! Load reports on the port: which streams are admitted (`service`), and the bytes of one (`body`). What reports mean is
//! decided in `loads`; they come together in `intake`.

mod body;
mod client;
mod service;

pub(super) use service::{LoadReports, PATH};
