//! Explanations as text, for a terminal and for tests that people read.

use std::fmt;

use super::filters::FilterName;
use super::verdict::{Explanation, NoPlace};

/// The machine, its score and each term; or in one line why it refuses.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, score, .. } = self;
        let refusals: Vec<String> = self.refusals().into_iter().map(ToString::to_string).collect();
        match (&self.compared_with, self.fits) {
            (_, false) => return writeln!(f, "{name} cannot take it: {}", refusals.join("; ")),
            (Some(other), true) => {
                let (by, side) = (score - other.score, &other.name);
                match by {
                    by if by > 0.0 => writeln!(f, "{name} scores {score:.3}, {by:.3} better than {side}")?,
                    by if by < 0.0 => writeln!(f, "{name} scores {score:.3}, {:.3} worse than {side}", -by)?,
                    _ => writeln!(f, "{name} scores {score:.3}, as {side} does")?,
                }
            }
            (None, true) => writeln!(f, "{name} scores {score:.3}, the only one that can take it")?,
        }
        for term in &self.terms {
            let term_name = term.name.to_string();
            write!(
                f,
                "  {term_name:<12} {:.3}, weighs {:>2.0} %",
                term.value,
                term.weight * 100.0
            )?;
            match term.difference {
                Some(difference) => writeln!(f, ", {difference:+.3}")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

impl NoPlace {
    /// A few lines: the nearest machine and its reasons, and how many machines are kept out by what.
    pub fn at_length(&self) -> String {
        let mut lines = vec![self.to_string()];
        for refused in &self.refused_by {
            let plural = if refused.machines == 1 { "" } else { "s" };
            lines.push(format!(
                "  {} machine{plural}: {}",
                refused.machines, refused.filter
            ));
        }
        lines.join("\n") + "\n"
    }
}

impl fmt::Display for FilterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::State => "not taking instances now",
            Self::Pin => "not the one that it is tied to",
            Self::Hardware => "other hardware",
            Self::Engine => "no engine for it",
            Self::Image => "without its image",
            Self::Sites => "at another site",
            Self::Tags => "wrong tags",
            Self::Threads => "too few threads",
            Self::Vcpus => "vCPUs promised to others",
            Self::Memory => "too little memory",
            Self::Cpu => "too busy",
            Self::Disks => "too little disk",
            Self::Together => "without those that it must be with",
            Self::Apart => "with those that it must keep away from",
            Self::Neighbours => "against the wishes of those that are there",
            Self::Recovery => "room kept for failures",
        })
    }
}
