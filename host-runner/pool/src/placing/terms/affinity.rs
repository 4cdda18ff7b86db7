use super::{Slope, TermName, TermRule};
use crate::inventory::AffinityKind;
use crate::placing::scoring::{Outlook, Outlooks, Scoring, Wish};
use crate::state::Marks;

pub(super) const RULE: TermRule = TermRule {
    name: TermName::Affinity,
    applies: |scoring| !scoring.wishes.is_empty(),
    value,
    most,
    slope: |_, _| Slope::None,
};

fn value(scoring: &Scoring<'_>, outlook: &Outlook) -> f64 {
    let seat = scoring.subject.pool.machine(outlook.machine);
    share(&scoring.wishes, |wish| {
        let (kind, near) = match *wish {
            Wish::Met => return true,
            Wish::Tag(kind, tag) => (kind, seat.has_tag(tag)),
            Wish::Site(kind, site) => (kind, seat.site == Some(site)),
            Wish::Machine(kind, machine) => (kind, machine == outlook.machine),
            Wish::Group(kind, members) => (kind, members.any_on(outlook.machine, scoring.subject.instance)),
        };
        near == (kind == AffinityKind::Together)
    })
}

fn most(scoring: &Scoring<'_>, outlooks: &Outlooks) -> f64 {
    share(&scoring.wishes, |wish| match *wish {
        Wish::Tag(AffinityKind::Together, tag) => outlooks.marks.has(Marks::tag(tag)),
        Wish::Site(AffinityKind::Together, site) => outlooks.marks.has(Marks::site(site)),
        // Those machines are tied to it.
        Wish::Machine(AffinityKind::Together, _) | Wish::Group(AffinityKind::Together, _) => false,
        Wish::Met | Wish::Tag(..) | Wish::Site(..) | Wish::Machine(..) | Wish::Group(..) => true,
    })
}

#[expect(clippy::cast_precision_loss, reason = "an instance has few wishes")]
fn share(wishes: &[Wish<'_>], met: impl Fn(&Wish<'_>) -> bool) -> f64 {
    wishes.iter().filter(|wish| met(wish)).count() as f64 / wishes.len().max(1) as f64
}
