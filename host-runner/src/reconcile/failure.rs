//! Why a guest that should run is gone, in words. Pure.

use api::{ApiError, DetailValue, EngineKind, ErrorCode};

use super::resets::{RESETS_MAX, SETTLED};
use crate::engines::{name_of, word_of};

/// How a guest went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The kernel killed its processes for their memory.
    OutOfMemory,
    /// It only ever reset itself.
    Resets,
    /// Its process ended, as these words say.
    Ended(String),
}

/// The failure of a guest on `engine`, which wrote `log` last.
pub fn failure(engine: EngineKind, cause: &Cause, log: String) -> ApiError {
    let name = name_of(engine);
    let said = || match log.lines().last() {
        Some(line) => format!(": {line}"),
        None => String::new(),
    };
    let message = match cause {
        Cause::OutOfMemory => format!(
            "{name} was killed by the kernel for lack of memory: with its guest it took more memory than its control group may have"
        ),
        Cause::Resets => format!(
            "the guest reset itself {RESETS_MAX} times in a row, each time within {} s of its start{}",
            SETTLED.as_secs(),
            said()
        ),
        Cause::Ended(ending) => format!("{name} ended unexpectedly ({ending}){}", said()),
    };
    ApiError::new(ErrorCode::EngineFailed, message)
        .with("engine", word_of(engine))
        .with("log", log)
}

/// An error's message, and what to do about it where that is known: nobody reads the details of a failure.
pub fn with_remedy(error: &ApiError) -> String {
    match error.details.get("remedy") {
        Some(DetailValue::Text(remedy)) if !error.message.contains(remedy.as_str()) => {
            format!("{}; {remedy}", error.message)
        }
        Some(_) | None => error.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_was_said_is_in_the_message_and_all_of_them_beside_it() {
        let cause = Cause::Ended("exit code 1".into());
        let error = failure(EngineKind::Qemu, &cause, "one\ntwo".into());
        assert_eq!(error.message, "QEMU ended unexpectedly (exit code 1): two");
        assert_eq!(error.details["log"], "one\ntwo".into());
        let silent = failure(EngineKind::Qemu, &cause, String::new());
        assert_eq!(silent.message, "QEMU ended unexpectedly (exit code 1)");
    }

    #[test]
    fn a_remedy_is_told_once() {
        let error = ApiError::new(ErrorCode::NoEngine, "passt is not installed").with("remedy", "install it");
        assert_eq!(with_remedy(&error), "passt is not installed; install it");
        let told = ApiError::new(ErrorCode::ImageCorrupt, "damaged; import it again")
            .with("remedy", "import it again");
        assert_eq!(with_remedy(&told), "damaged; import it again");
        let none = ApiError::new(ErrorCode::Internal, "no");
        assert_eq!(with_remedy(&none), "no");
    }

    #[test]
    fn a_guest_that_does_not_get_past_its_boot_and_one_without_memory_say_so() {
        let error = failure(EngineKind::Microvm, &Cause::Resets, "no init found".into());
        assert_eq!(
            error.message,
            "the guest reset itself 8 times in a row, each time within 60 s of its start: no init found"
        );
        let error = failure(EngineKind::Microvm, &Cause::OutOfMemory, String::new());
        assert!(error.message.contains("lack of memory"), "{error}");
    }
}
