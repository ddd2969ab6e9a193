//! Rolling deploys under load, each server killed by SIGKILL as soon as the bridge says that it is safe. `make deploys`
//! is the long run of docs/deploys.md: `DEPLOY_ROUNDS=20`, its rows are printed.

mod crowd;
mod direct;
mod hooks;
mod killed;
mod rolling;
mod scene;
mod trouble;
