//! Waiting for a level, never for a time: polls until something holds, or fails with a
//! sentence that says what was awaited and what was seen last.

use std::time::Duration;

/// Between two looks. Short enough not to matter, long enough not to load two cores.
const PAUSE: Duration = Duration::from_millis(25);

/// What a program on a busy machine may take to start, or a change to arrive.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until `look` says `Ok`; its `Err` says what is seen instead.
///
/// Panics after `within`, also when one look hangs.
pub(crate) async fn until<T>(
    within: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let mut seen = String::from("nothing yet");
    let looking = async {
        loop {
            match look().await {
                Ok(found) => return found,
                Err(instead) => seen = instead,
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    if let Ok(found) = tokio::time::timeout(within, looking).await {
        return found;
    }
    panic!("after {within:?} still not: {what}\n  seen last: {seen}")
}

/// `Ok` when it holds; else what is seen instead.
pub(crate) fn holds(condition: bool, instead: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(instead()) }
}
