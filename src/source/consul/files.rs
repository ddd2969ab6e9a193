//! Watches the files of a source while it runs: the token's and those of TLS. A change is used from then on; a file that
//! cannot be used is reported once, and what worked before stays in use.

use std::time::Duration;

use crate::registry::consul::{Client, Failure};

/// Checks forever. Contents are compared, so links that are swapped (as in Kubernetes) are noticed, too.
pub(super) async fn watch(client: &Client, every: Duration) {
    let mut token = Reported::default();
    loop {
        tokio::time::sleep(every).await;
        match client.check_token().await {
            Ok(rotated) => {
                token.clear();
                if rotated {
                    tracing::info!("a new token for consul is used from now on");
                }
            }
            Err(error) => token.report(&error),
        }
        match client.check_tls().await {
            None => {}
            Some(Ok(())) => tracing::info!("new certificates for consul are used for new connections"),
            Some(Err(error)) => {
                tracing::error!(error = %error.chain(), "new certificates for consul cannot be used; the previous ones stay in use");
            }
        }
    }
}

/// What is wrong, reported once in a row.
#[derive(Default)]
struct Reported(Option<String>);

impl Reported {
    fn clear(&mut self) {
        self.0 = None;
    }

    fn report(&mut self, error: &Failure) {
        let error = error.chain();
        if self.0.as_ref() != Some(&error) {
            tracing::error!(
                error,
                "the token file for consul cannot be read; a token that was read before stays in use"
            );
            self.0 = Some(error);
        }
    }
}
