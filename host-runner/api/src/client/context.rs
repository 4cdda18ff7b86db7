//! What travels with each call.

use uuid::Uuid;

/// The id that follows a request from the click to the agent's log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    request_id: String,
}

impl RequestContext {
    /// A context with this id: 1..=64 of `A-Z a-z 0-9 -`. What is not such an id is replaced by a new one, as it goes into a header.
    pub fn new(request_id: impl Into<String>) -> Self {
        let request_id = request_id.into();
        let fits = (1..=64).contains(&request_id.len())
            && request_id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if fits {
            Self { request_id }
        } else {
            Self::generate()
        }
    }

    /// A context with a new id, for a request that no click caused.
    pub fn generate() -> Self {
        Self {
            request_id: Uuid::now_v7().to_string(),
        }
    }

    /// The id.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_fits_is_kept_and_any_other_replaced() {
        assert_eq!(RequestContext::new("click-7").request_id(), "click-7");
        for hostile in ["", "a b", "x\r\nEvil: 1", "ä", &"x".repeat(65)] {
            let context = RequestContext::new(hostile);
            assert_ne!(context.request_id(), hostile);
            assert_eq!(context.request_id().len(), 36);
        }
    }
}
