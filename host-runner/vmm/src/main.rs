//! `microvm`: runs one machine.
fn main() {}
