//! The agent on each machine of the pool: admits, runs and reports guests.
//!
//! [`instances`] says what is meant, [`reconcile`] makes it so through an [`engines::Engine`], [`ledger`] remembers both, and
//! [`rest`] is the door. Decisions are pure ([`reconcile::decide`], [`admission`], [`spec_rules`]); the rest sees and acts.

pub mod admission;
pub mod agent;
pub mod cli;
pub mod commands;
pub mod console;
pub mod engines;
pub mod events;
pub mod host;
pub mod images;
pub mod instance_files;
pub mod instances;
pub mod ledger;
pub mod paths;
pub mod reconcile;
pub mod registry;
pub mod rest;
pub mod sparse;
pub mod spec_rules;
pub mod usage;
