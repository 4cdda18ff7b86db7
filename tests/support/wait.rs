use std::time::{Duration, Instant};

use crate::Trouble;

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Waits until `condition` gives a value, blocking the thread.
///
/// # Errors
/// [`Trouble::Late`] after the deadline; `what` completes "waited in vain until …".
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T, Trouble> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if start.elapsed() > deadline {
            return Err(Trouble::Late {
                what: what.to_owned(),
                deadline,
            });
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Waits until `condition` gives a value.
///
/// # Errors
/// [`Trouble::Late`] after the deadline, even in the middle of a look; `what` completes "waited in vain until …".
pub async fn wait_until_async<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> Result<T, Trouble> {
    let looking = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(deadline, looking)
        .await
        .map_err(|_| Trouble::Late {
            what: what.to_owned(),
            deadline,
        })
}
