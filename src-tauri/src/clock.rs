//! The desktop's clock, as finely as the wire and the database keep it.

use api::Timestamp;

/// Now, in whole milliseconds.
pub fn now() -> Timestamp {
    let now = Timestamp(jiff::Timestamp::now());
    Timestamp::from_unix_ms(now.unix_ms()).unwrap_or(now)
}
