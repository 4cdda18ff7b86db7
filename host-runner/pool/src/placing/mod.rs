//! Where an instance may run, how good each machine would be, and which one is chosen.
//!
//! A [`Subject`] is what is to be placed. [`verdicts`] asks every machine (the start of a drag), [`choose`] finds the best without asking
//! all, [`explain`] says why one or why not, and [`passes`] and [`unmet`] are the filters alone.

mod batch;
mod filters;
mod policy;
mod question;
mod recovery;
mod scoring;
mod search;
mod terms;
mod verdict;
mod words;

pub use batch::{BatchFailure, Contradiction, Unplaced, place_batch};
pub use filters::{FILTERS, Filter, FilterName, passes, unmet};
pub use policy::{Policy, PolicyName, RecoveryRule, UnknownPolicy, Weights, WeightsError};
pub use question::{Question, Subject};
pub use recovery::{Broken, Kept, Recoverability, n_plus_one};
pub(crate) use recovery::{Exposure, judge};
pub use terms::{Term, TermName};
pub(crate) use verdict::lacking;
pub use verdict::{
    Choice, Compared, Explanation, FilterResult, NoPlace, Preview, RefusedBy, TermResult, Verdict,
    best_first, best_machines, choose, choose_machine, explain, no_place, verdicts,
};
