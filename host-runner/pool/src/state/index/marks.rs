use crate::EngineKind;
use crate::ImageState;
use crate::inventory::{AffinityKind, MachineState};
use crate::state::names::{HardwareClasses, Images, Name, Sites, Tags};
use crate::state::{Asked, AskedTarget, MachineSeat};

/// What kind of machine it is, as bits. Many words share a bit: a missing bit says that a word is missing, a set one that it may be
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Marks(u128);

impl Marks {
    /// It is ready.
    pub const READY: Self = Self(1);
    /// It is asleep.
    pub const ASLEEP: Self = Self(1 << 1);
    /// It holds at least one instance.
    pub const OCCUPIED: Self = Self(1 << 2);

    const ENGINES_FROM: u32 = 8;
    const HARDWARE_FROM: u32 = 16;
    const SITES_FROM: u32 = 32;
    const TAGS_FROM: u32 = 64;
    const IMAGES_FROM: u32 = 96;

    /// A machine's marks.
    pub fn of(seat: &MachineSeat) -> Self {
        let mut marks = match seat.state {
            MachineState::Ready => Self::READY,
            MachineState::Asleep => Self::ASLEEP,
            MachineState::Draining | MachineState::Unreachable => Self::default(),
        };
        if !seat.instances.is_empty() {
            marks = marks.with(Self::OCCUPIED);
        }
        let engines = seat.engines.iter().map(|engine| Self::engine(*engine));
        let images = seat
            .images
            .iter()
            .filter(|(_, state)| *state == ImageState::Ready);
        engines
            .chain(seat.hardware.map(Self::hardware))
            .chain(seat.site.map(Self::site))
            .chain(seat.tags.iter().map(|tag| Self::tag(*tag)))
            .chain(images.map(|(name, _)| Self::image(*name)))
            .fold(marks, Self::with)
    }

    /// What a machine must have to hold the instance, as far as it is what kind of machine it is.
    pub fn needed_by(asked: &Asked) -> Self {
        let affinities =
            asked
                .hard_affinities()
                .filter_map(|affinity| match (affinity.kind, affinity.target) {
                    (AffinityKind::Together, AskedTarget::Tag(tag)) => Some(Self::tag(tag)),
                    (AffinityKind::Together, AskedTarget::Site(site)) => Some(Self::site(site)),
                    (AffinityKind::Together | AffinityKind::Apart, _) => None,
                });
        affinities
            .chain(asked.engine.map(Self::engine))
            .chain(asked.hardware.map(Self::hardware))
            .chain(asked.image.map(Self::image))
            .fold(Self::default(), Self::with)
    }

    /// The marks of the machine's state alone.
    #[must_use]
    pub fn of_state(self) -> Self {
        Self(self.0 & (Self::READY.0 | Self::ASLEEP.0))
    }

    /// Both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without the other's.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of the other's are there.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The mark of a site.
    pub fn site(site: Name<Sites>) -> Self {
        Self(1 << (Self::SITES_FROM + site.share_of(32)))
    }

    /// The mark of a tag.
    pub fn tag(tag: Name<Tags>) -> Self {
        Self(1 << (Self::TAGS_FROM + tag.share_of(32)))
    }

    fn engine(engine: EngineKind) -> Self {
        match engine {
            EngineKind::Qemu => Self(1 << Self::ENGINES_FROM),
            EngineKind::Microvm => Self(1 << (Self::ENGINES_FROM + 1)),
        }
    }

    fn hardware(class: Name<HardwareClasses>) -> Self {
        Self(1 << (Self::HARDWARE_FROM + class.share_of(16)))
    }

    fn image(image: Name<Images>) -> Self {
        Self(1 << (Self::IMAGES_FROM + image.share_of(32)))
    }
}
