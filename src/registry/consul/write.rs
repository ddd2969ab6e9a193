//! Transactions on keys (`/v1/txn`), sessions (`/v1/session`), and keys as they are listed.
//!
//! Never retries: a write that got no answer may have been applied.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Call, Client};
use super::error::Failure;
use super::query::encode;

/// The longest answer, bytes: a transaction repeats each key, without its value.
const LONGEST: usize = 128 * 1024;

/// One operation; all of a transaction are applied, or none is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// Writes a key.
    Set(&'a str, &'a [u8]),
    /// Writes a key that has this `ModifyIndex`; 0: that is not there.
    Cas(&'a str, &'a [u8], u64),
    /// Writes a key that nobody else holds, and holds it by this session.
    Lock(&'a str, &'a [u8], &'a str),
    /// Deletes a key; also good where there is none.
    Delete(&'a str),
    /// Deletes a key that has this `ModifyIndex`; also good where there is none.
    DeleteCas(&'a str, u64),
    /// Only where there is no such key.
    NotExists(&'a str),
    /// Only where this session holds the key.
    HeldBy(&'a str, &'a str),
}

impl Op<'_> {
    fn json(self) -> Value {
        let value = |value: &[u8]| STANDARD.encode(value);
        let kv = match self {
            Self::Set(key, text) => json!({ "Verb": "set", "Key": key, "Value": value(text) }),
            Self::Cas(key, text, index) => {
                json!({ "Verb": "cas", "Key": key, "Value": value(text), "Index": index })
            }
            Self::Lock(key, text, session) => {
                json!({ "Verb": "lock", "Key": key, "Value": value(text), "Session": session })
            }
            Self::Delete(key) => json!({ "Verb": "delete", "Key": key }),
            Self::DeleteCas(key, index) => json!({ "Verb": "delete-cas", "Key": key, "Index": index }),
            Self::NotExists(key) => json!({ "Verb": "check-not-exists", "Key": key }),
            Self::HeldBy(key, session) => json!({ "Verb": "check-session", "Key": key, "Session": session }),
        };
        json!({ "KV": kv })
    }
}

/// How a transaction went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Applied. The `ModifyIndex` of the last key that it shows; 0: it shows none.
    Done(u64),
    /// Rolled back.
    Failed {
        /// The operation that failed, counted from 0.
        op: usize,
        /// Consul's own words.
        what: String,
    },
}

/// One key, as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The whole key.
    pub key: String,
    /// Bytes.
    pub value: Vec<u8>,
    /// Of its last write.
    pub modify_index: u64,
    /// Who holds it.
    pub session: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    key: String,
    value: Option<String>,
    modify_index: u64,
    session: Option<String>,
}

/// Keys of `/v1/kv`.
///
/// # Errors
/// What is no list of keys.
pub fn pairs(body: &[u8]) -> Result<Vec<Pair>, String> {
    if body.is_empty() {
        return Ok(Vec::new()); // a 404
    }
    let listed: Vec<Listed> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let pair = |listed: Listed| {
        let value = STANDARD
            .decode(listed.value.unwrap_or_default())
            .map_err(|error| format!("{}: {error}", listed.key))?;
        Ok(Pair {
            key: listed.key,
            value,
            modify_index: listed.modify_index,
            session: listed.session.filter(|session| !session.is_empty()),
        })
    };
    listed.into_iter().map(pair).collect()
}

impl Client {
    /// Some operations, all or none.
    ///
    /// # Errors
    /// Whatever is neither applied nor rolled back; [`Failure::Refused`] without the rights.
    pub async fn transact(&self, ops: &[Op<'_>]) -> Result<Outcome, Failure> {
        let body: Vec<Value> = ops.iter().map(|op| op.json()).collect();
        let path = format!("/v1/txn{}", self.scope().of_write());
        let (status, body) = self.put(path, Value::from(body).to_string()).await?;
        outcome(status, &body)
    }

    /// A new session without checks, which deletes what it holds at its end.
    ///
    /// # Errors
    /// Whatever is no new session; [`Failure::Refused`] without the rights.
    pub async fn create_session(&self, name: &str, ttl: Duration) -> Result<String, Failure> {
        // Only its time ends it: the health of the agent's node says nothing of us. Whoever takes a key next need not
        // wait (`LockDelay`): each write is fenced.
        let body = json!({
            "Name": name, "TTL": format!("{}s", ttl.as_secs()), "Behavior": "delete", "LockDelay": "0s",
            "Checks": [], "NodeChecks": [],
        });
        let path = format!("/v1/session/create{}", self.scope().of_write());
        let (status, body) = self.put(path, body.to_string()).await?;
        match serde_json::from_slice::<Created>(&body) {
            Ok(created) if status == StatusCode::OK => Ok(created.id),
            _ => Err(Failure::of(status, &body)),
        }
    }

    /// Renews a session. False: there is none any more.
    ///
    /// # Errors
    /// Whatever says neither.
    pub async fn renew_session(&self, id: &str) -> Result<bool, Failure> {
        let path = format!("/v1/session/renew/{}{}", encode(id), self.scope().of_write());
        let (status, body) = self.put(path, String::new()).await?;
        match status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(Failure::of(status, &body)),
        }
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When that is not certain.
    pub async fn destroy_session(&self, id: &str) -> Result<(), Failure> {
        let path = format!("/v1/session/destroy/{}{}", encode(id), self.scope().of_write());
        let (status, body) = self.put(path, String::new()).await?;
        if status == StatusCode::OK {
            Ok(())
        } else {
            Err(Failure::of(status, &body))
        }
    }

    async fn put(&self, path: String, body: String) -> Result<(StatusCode, Bytes), Failure> {
        let call = Call {
            method: Method::PUT,
            path,
            body: body.into(),
            longest: LONGEST,
            deadline: self.slack(),
            blocks: false,
        };
        let reply = self.call(&call).await?;
        Ok((reply.status, reply.body))
    }
}

/// A session that was made.
#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct Created {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answered {
    #[serde(default)]
    results: Option<Vec<Shown>>,
    #[serde(default)]
    errors: Option<Vec<Wrong>>,
}

#[derive(Deserialize)]
struct Shown {
    #[serde(rename = "KV")]
    kv: Option<ShownKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ShownKey {
    modify_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wrong {
    op_index: usize,
    what: String,
}

/// 409 stands for a lost compare and for a missing right: only the text tells them apart.
fn outcome(status: StatusCode, body: &[u8]) -> Result<Outcome, Failure> {
    let read = serde_json::from_slice::<Answered>(body).ok();
    match (status, read) {
        (StatusCode::OK, Some(Answered { results, .. })) => {
            let shown = results.unwrap_or_default().into_iter();
            let last = shown.filter_map(|shown| shown.kv).next_back();
            Ok(Outcome::Done(last.map_or(0, |kv| kv.modify_index)))
        }
        (StatusCode::CONFLICT, Some(Answered { errors, .. })) => {
            let Some(first) = errors.and_then(|errors| errors.into_iter().next()) else {
                return Err(Failure::of(status, body));
            };
            if first.what.contains("Permission denied") {
                return Err(Failure::Refused { text: first.what });
            }
            Ok(Outcome::Failed {
                op: first.op_index,
                what: first.what,
            })
        }
        _ => Err(Failure::of(status, body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Result<Outcome, String> {
        let status = StatusCode::from_u16(status).unwrap();
        outcome(status, body.as_bytes()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn an_answer_is_applied_rolled_back_or_neither() {
        let shown = r#"{"Results":[{"KV":{"Key":"a","ModifyIndex":7}},{"KV":{"Key":"b","ModifyIndex":9}}],"Errors":null}"#;
        assert_eq!(read(200, shown), Ok(Outcome::Done(9)));
        assert_eq!(read(200, r#"{"Results":[],"Errors":null}"#), Ok(Outcome::Done(0)));
        assert_eq!(
            read(200, r#"{"Results":null,"Errors":null}"#),
            Ok(Outcome::Done(0))
        );
        let failed =
            r#"{"Results":null,"Errors":[{"OpIndex":1,"What":"failed to set key \"a\", index is stale"}]}"#;
        assert_eq!(
            read(409, failed),
            Ok(Outcome::Failed {
                op: 1,
                what: "failed to set key \"a\", index is stale".to_owned()
            })
        );
        let denied = r#"{"Results":null,"Errors":[{"OpIndex":0,"What":"Permission denied"}]}"#;
        assert!(read(409, denied).unwrap_err().contains("403"));
        for (status, body) in [
            (200, "<html>"),
            (409, "{}"),
            (409, ""),
            (500, "No cluster leader"),
            (413, "too large"),
        ] {
            assert!(read(status, body).is_err(), "{status} {body}");
        }
    }

    #[test]
    fn listed_keys_are_bytes() {
        let body = br#"[{"LockIndex":0,"Key":"r/e","Flags":0,"Value":null,"ModifyIndex":28},
            {"Key":"r/f","Value":"/w==","Session":"s","ModifyIndex":24}]"#;
        let read = pairs(body).unwrap();
        assert_eq!(
            (&*read[0].value, read[0].modify_index, &read[0].session),
            (&b""[..], 28, &None)
        );
        assert_eq!(
            (&*read[1].value, read[1].session.as_deref()),
            (&b"\xff"[..], Some("s"))
        );
        assert_eq!(pairs(b"").unwrap(), []);
        for wrong in [
            &b"{}"[..],
            b"null",
            br#"[{"Key":"a","Value":"?","ModifyIndex":1}]"#,
        ] {
            assert!(pairs(wrong).is_err());
        }
    }
}
