//! Snapshots of a Consul, taken and restored by its own program.

use std::path::Path;

use tokio::process::Command;

use super::consul::Consul;
use super::process;

impl Consul {
    /// All that it knows goes into this file.
    pub(crate) async fn save(&self, file: &Path) {
        self.snapshot("save", file).await;
    }

    /// What it knew then is all that it knows.
    pub(crate) async fn restore(&self, file: &Path) {
        self.snapshot("restore", file).await;
    }

    async fn snapshot(&self, what: &str, file: &Path) {
        let output = Command::new(process::tool("CONSUL_BIN", "consul"))
            .args(["snapshot", what])
            .arg(format!("-http-addr={}", self.url()))
            .arg(file)
            .output()
            .await
            .expect("consul starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "consul snapshot {what}: {said}");
    }
}
