//! With Consul: servers that restart, die, freeze or are wiped, agents, and rights that are lost.

mod agent;
mod cluster;
mod restart;
mod rights;
mod scene;
mod streaming;
mod wiped;
