//! Looks at the files of a source while it runs: the token's and those of TLS. What changed is used
//! from then on; what cannot be used is said once, and what worked goes on.

use std::time::Duration;

use crate::registry::consul::{Client, Failure};

/// Looks for ever. Contents are compared, so links that are swapped (as in Kubernetes) are seen, too.
pub(super) async fn follow(client: &Client, source: &str, every: Duration) {
    let mut token = Said::default();
    loop {
        tokio::time::sleep(every).await;
        match client.look_at_token().await {
            Ok(rotated) => {
                token.forget();
                if rotated {
                    tracing::info!(source, "a new token for consul");
                }
            }
            Err(error) => token.say(source, &error),
        }
        match client.look_at_tls().await {
            None => {}
            Some(Ok(())) => tracing::info!(source, "new certificates for consul: new connections use them"),
            Some(Err(error)) => {
                tracing::error!(source, error = %error.chain(), "new certificates for consul cannot be used: the old ones stay");
            }
        }
    }
}

/// What is wrong, said once in a row.
#[derive(Default)]
struct Said(Option<String>);

impl Said {
    fn forget(&mut self) {
        self.0 = None;
    }

    fn say(&mut self, source: &str, error: &Failure) {
        let error = error.chain();
        if self.0.as_ref() != Some(&error) {
            tracing::error!(
                source,
                error,
                "the token of consul cannot be read: one that was read before stays in use"
            );
            self.0 = Some(error);
        }
    }
}
