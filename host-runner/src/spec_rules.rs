//! What a spec must be, before anything else is asked. Pure; the bounds are those that the contract's types document.

use std::collections::HashSet;

use api::{
    AffinityTarget, ApiError, CreateInstance, DiskLimit, EngineRequest, ErrorCode, InstanceSpec,
    NetworkLimit, Placement, StopInstance, StopMode,
};

/// Bytes in the longest name: a host name's label (RFC 1123).
const NAME_BYTES_MAX: usize = 63;
const VCPUS_MAX: u32 = 64;
const MEMORY_MIB_MIN: u32 = 16;
const MEMORY_MIB_MAX: u32 = 16_777_216;
const DISK_MIB_MAX: u32 = 67_108_864;
const DISK_MIB_PER_SECOND_MAX: u32 = 1_048_576;
const DISK_REQUESTS_PER_SECOND_MAX: u32 = 10_000_000;
const NETWORK_MBIT_PER_SECOND_MAX: u32 = 1_000_000;
const NETWORK_FRAMES_PER_SECOND_MAX: u32 = 100_000_000;
const PORTS_MAX: usize = 16;
const DEADLINE_MS_MIN: u32 = 1_000;
const DEADLINE_MS_MAX: u32 = 600_000;

/// A rule that a request breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleBroken {
    /// A name is not a host name's label.
    #[error("{field} {}: {rule}", shown(given))]
    Name {
        /// Which name.
        field: &'static str,
        /// What was given.
        given: String,
        /// The rule.
        rule: &'static str,
    },
    /// A number is outside its range.
    #[error("{field} is {value}, and must be {min} to {max}")]
    Range {
        /// Which number.
        field: &'static str,
        /// What was given.
        value: u32,
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// An engine is asked for that cannot do what else is asked for.
    #[error("QEMU cannot limit an instance's network: leave network_limit out, or the choice of the engine")]
    EngineWithoutLimit,
    /// A port is published twice.
    #[error("{side} port {port} is published twice")]
    PortTwice {
        /// `guest` or `host`.
        side: &'static str,
        /// The port.
        port: u16,
    },
}

/// Names reach logs and terminals: what is unprintable is escaped, what is long is cut.
fn shown(given: &str) -> String {
    let cut: String = given.chars().take(80).collect();
    format!("{cut:?}")
}

impl RuleBroken {
    /// The error as it crosses the wire.
    pub fn to_api(&self) -> ApiError {
        let message = self.to_string();
        match self {
            Self::Name { field, rule, .. } => ApiError::new(ErrorCode::InvalidName, message)
                .with("field", *field)
                .with("rule", *rule),
            Self::Range {
                field,
                value,
                min,
                max,
            } => ApiError::new(ErrorCode::OutOfRange, message)
                .with("field", *field)
                .with("value", *value)
                .with("min", *min)
                .with("max", *max),
            Self::EngineWithoutLimit => {
                ApiError::new(ErrorCode::MalformedRequest, message).with("field", "network_limit")
            }
            Self::PortTwice { .. } => {
                ApiError::new(ErrorCode::MalformedRequest, message).with("field", "ports")
            }
        }
    }
}

fn label(field: &'static str, given: &str) -> Result<(), RuleBroken> {
    let broken = |rule| {
        Err(RuleBroken::Name {
            field,
            given: given.to_owned(),
            rule,
        })
    };
    if given.is_empty() || given.len() > NAME_BYTES_MAX {
        return broken("must have 1 to 63 characters");
    }
    if !given
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    {
        return broken("may have only a-z, 0-9 and -");
    }
    if given.starts_with('-') || given.ends_with('-') {
        return broken("must start and end with a letter or a digit");
    }
    Ok(())
}

fn range(field: &'static str, value: u32, min: u32, max: u32) -> Result<(), RuleBroken> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(RuleBroken::Range {
        field,
        value,
        min,
        max,
    })
}

fn ports(spec: &InstanceSpec) -> Result<(), RuleBroken> {
    let count = u32::try_from(spec.ports.len()).unwrap_or(u32::MAX);
    range("ports", count, 0, u32::try_from(PORTS_MAX).unwrap_or(u32::MAX))?;
    let (mut guests, mut hosts) = (HashSet::new(), HashSet::new());
    for port in &spec.ports {
        range("ports.guest", u32::from(port.guest), 1, u32::from(u16::MAX))?;
        if !guests.insert(port.guest) {
            return Err(RuleBroken::PortTwice {
                side: "guest",
                port: port.guest,
            });
        }
        let Some(host) = port.host else { continue };
        range("ports.host", u32::from(host), 1, u32::from(u16::MAX))?;
        if !hosts.insert(host) {
            return Err(RuleBroken::PortTwice {
                side: "host",
                port: host,
            });
        }
    }
    Ok(())
}

/// A number that may be absent, of which there is at least one.
fn optional(field: &'static str, value: Option<u32>, most: u32) -> Result<(), RuleBroken> {
    range(field, value.unwrap_or(1), 1, most)
}

fn disk_limit(limit: DiskLimit) -> Result<(), RuleBroken> {
    let (speed, requests) = (limit.mib_per_second, limit.requests_per_second);
    optional("disk_limit.mib_per_second", speed, DISK_MIB_PER_SECOND_MAX)?;
    optional(
        "disk_limit.requests_per_second",
        requests,
        DISK_REQUESTS_PER_SECOND_MAX,
    )
}

fn network_limit(limit: NetworkLimit, engine: EngineRequest) -> Result<(), RuleBroken> {
    let (speed, frames) = (limit.mbit_per_second, limit.frames_per_second);
    optional(
        "network_limit.mbit_per_second",
        speed,
        NETWORK_MBIT_PER_SECOND_MAX,
    )?;
    optional(
        "network_limit.frames_per_second",
        frames,
        NETWORK_FRAMES_PER_SECOND_MAX,
    )?;
    if engine == EngineRequest::Qemu && !limit.is_none() {
        return Err(RuleBroken::EngineWithoutLimit);
    }
    Ok(())
}

fn placement(wishes: &Placement) -> Result<(), RuleBroken> {
    if let Some(group) = &wishes.group {
        label("placement.group", group)?;
    }
    let most = u32::try_from(Placement::AFFINITIES_MAX).unwrap_or(u32::MAX);
    let count = u32::try_from(wishes.affinities.len()).unwrap_or(u32::MAX);
    range("placement.affinities", count, 0, most)?;
    for affinity in &wishes.affinities {
        match &affinity.target {
            AffinityTarget::Instance { id: _ } => {}
            AffinityTarget::Group { name } | AffinityTarget::Tag { name } | AffinityTarget::Site { name } => {
                label("placement.affinities.target.name", name)?;
            }
        }
    }
    Ok(())
}

/// Checks the body of a create.
pub fn check_create(body: &CreateInstance) -> Result<(), RuleBroken> {
    range("generation", body.generation, 1, u32::MAX)?;
    let spec = &body.spec;
    label("name", &spec.name)?;
    label("image", &spec.image)?;
    range("vcpus", spec.vcpus, 1, VCPUS_MAX)?;
    range("memory_mib", spec.memory_mib.0, MEMORY_MIB_MIN, MEMORY_MIB_MAX)?;
    range("disk_mib", spec.disk_mib.0, 0, DISK_MIB_MAX)?;
    disk_limit(spec.disk_limit)?;
    network_limit(spec.network_limit, spec.engine)?;
    ports(spec)?;
    placement(&spec.placement)
}

/// Checks the memory against the least that the image boots with, in MiB.
pub fn check_memory_for_image(spec: &InstanceSpec, memory_min: api::Mib) -> Result<(), RuleBroken> {
    range("memory_mib", spec.memory_mib.0, memory_min.0, MEMORY_MIB_MAX)
}

/// Checks the disk against that of the image, in MiB: it begins with what the image's has.
pub fn check_disk_for_image(spec: &InstanceSpec, disk_min: api::Mib) -> Result<(), RuleBroken> {
    range("disk_mib", spec.disk_mib.0, disk_min.0, DISK_MIB_MAX)
}

/// Checks the body of a stop or restart. A forced stop has no use for its deadline, and it is not looked at.
pub fn check_stop(body: StopInstance) -> Result<(), RuleBroken> {
    match body.mode {
        StopMode::Force => Ok(()),
        StopMode::Graceful => range("deadline_ms", body.deadline_ms, DEADLINE_MS_MIN, DEADLINE_MS_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{Affinity, AffinityKind, Mib, PortRequest};
    use proptest::prelude::*;

    fn body() -> CreateInstance {
        CreateInstance {
            generation: 1,
            spec: InstanceSpec {
                name: "tiny-1".into(),
                image: "tiny-linux".into(),
                vcpus: 1,
                memory_mib: Mib(128),
                disk_mib: Mib::ZERO,
                disk_limit: api::DiskLimit::default(),
                network_limit: api::NetworkLimit::default(),
                engine: EngineRequest::Auto,
                ports: vec![PortRequest {
                    guest: 80,
                    host: None,
                }],
                placement: Placement::default(),
            },
            start: true,
        }
    }

    fn broken_by(change: impl FnOnce(&mut CreateInstance)) -> ErrorCode {
        let mut body = body();
        change(&mut body);
        check_create(&body).unwrap_err().to_api().code
    }

    #[test]
    fn an_ordinary_request_passes() {
        assert_eq!(check_create(&body()), Ok(()));
    }

    #[test]
    fn a_limit_of_nothing_or_beyond_all_disks_is_refused() {
        let limited = |mib, requests| {
            let mut body = body();
            body.spec.disk_limit = DiskLimit {
                mib_per_second: mib,
                requests_per_second: requests,
            };
            check_create(&body).map_err(|error| error.to_api().code)
        };
        for (mib, requests) in [
            (Some(1), None),
            (None, Some(1)),
            (Some(1 << 20), Some(10_000_000)),
        ] {
            assert_eq!(limited(mib, requests), Ok(()));
        }
        for (mib, requests) in [
            (Some(0), None),
            (None, Some(0)),
            (Some((1 << 20) + 1), None),
            (None, Some(10_000_001)),
        ] {
            assert_eq!(
                limited(mib, requests),
                Err(ErrorCode::OutOfRange),
                "{mib:?} {requests:?}"
            );
        }
    }

    #[test]
    fn a_limit_of_a_network_has_its_range_and_needs_an_engine_that_keeps_to_it() {
        let limited = |engine, mbit, frames| {
            let mut body = body();
            body.spec.engine = engine;
            body.spec.network_limit = NetworkLimit {
                mbit_per_second: mbit,
                frames_per_second: frames,
            };
            check_create(&body).map_err(|error| error.to_api().code)
        };
        for engine in [EngineRequest::Auto, EngineRequest::Microvm] {
            assert_eq!(limited(engine, Some(1), None), Ok(()));
            assert_eq!(limited(engine, Some(1_000_000), Some(100_000_000)), Ok(()));
            for (mbit, frames) in [
                (Some(0), None),
                (None, Some(0)),
                (Some(1_000_001), None),
                (None, Some(100_000_001)),
            ] {
                let refused = limited(engine, mbit, frames);
                assert_eq!(refused, Err(ErrorCode::OutOfRange), "{mbit:?} {frames:?}");
            }
        }
        assert_eq!(limited(EngineRequest::Qemu, None, None), Ok(()));
        assert_eq!(
            limited(EngineRequest::Qemu, Some(10), None),
            Err(ErrorCode::MalformedRequest)
        );
    }

    #[test]
    fn names_that_could_leave_a_folder_or_a_line_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "a\nb",
            "a\0b",
            "\u{1b}[2J",
            "A",
            "ä",
            "-a",
            "a-",
            "a.b",
            " a",
            "a,b",
        ] {
            assert_eq!(
                broken_by(|body| body.spec.name = name.into()),
                ErrorCode::InvalidName,
                "{name:?}"
            );
            assert_eq!(
                broken_by(|body| body.spec.image = name.into()),
                ErrorCode::InvalidName,
                "{name:?}"
            );
        }
        assert_eq!(
            broken_by(|body| body.spec.name = "a".repeat(64)),
            ErrorCode::InvalidName
        );
    }

    #[test]
    fn each_number_has_its_range() {
        let changes: [fn(&mut CreateInstance); 9] = [
            |body| body.generation = 0,
            |body| body.spec.vcpus = 0,
            |body| body.spec.vcpus = 65,
            |body| body.spec.memory_mib = Mib(15),
            |body| body.spec.memory_mib = Mib(16_777_217),
            |body| body.spec.disk_mib = Mib(67_108_865),
            |body| body.spec.ports[0].guest = 0,
            |body| body.spec.ports[0].host = Some(0),
            |body| body.spec.ports = (1..=17).map(|guest| PortRequest { guest, host: None }).collect(),
        ];
        for change in changes {
            assert_eq!(broken_by(change), ErrorCode::OutOfRange);
        }
    }

    #[test]
    fn a_port_is_published_once() {
        let twice = |guest, host| {
            move |body: &mut CreateInstance| {
                body.spec.ports = vec![
                    PortRequest {
                        guest: 80,
                        host: Some(8080),
                    },
                    PortRequest { guest, host },
                ];
            }
        };
        assert_eq!(broken_by(twice(80, None)), ErrorCode::MalformedRequest);
        assert_eq!(broken_by(twice(81, Some(8080))), ErrorCode::MalformedRequest);
    }

    fn apart_from(target: AffinityTarget) -> Affinity {
        Affinity {
            kind: AffinityKind::Apart,
            target,
            hard: true,
        }
    }

    #[test]
    fn wishes_about_the_place_are_few_and_name_labels() {
        let mut wishing = body();
        wishing.spec.placement = Placement {
            group: Some("web".into()),
            affinities: vec![
                apart_from(AffinityTarget::Group { name: "web".into() });
                Placement::AFFINITIES_MAX
            ],
            priority: i32::MIN,
            ..Placement::default()
        };
        assert_eq!(check_create(&wishing), Ok(()));
        let bad = || "two words".to_owned();
        for target in [
            AffinityTarget::Group { name: bad() },
            AffinityTarget::Tag { name: bad() },
            AffinityTarget::Site { name: bad() },
        ] {
            let code = broken_by(|body| body.spec.placement.affinities = vec![apart_from(target)]);
            assert_eq!(code, ErrorCode::InvalidName);
        }
        assert_eq!(
            broken_by(|body| body.spec.placement.group = Some(bad())),
            ErrorCode::InvalidName
        );
        wishing
            .spec
            .placement
            .affinities
            .push(apart_from(AffinityTarget::Instance {
                id: uuid::Uuid::now_v7(),
            }));
        assert_eq!(
            check_create(&wishing).unwrap_err().to_api().code,
            ErrorCode::OutOfRange
        );
    }

    #[test]
    fn only_a_graceful_stop_needs_a_sensible_deadline() {
        let hasty = StopInstance {
            mode: StopMode::Graceful,
            deadline_ms: 999,
        };
        assert!(check_stop(hasty).is_err());
        assert_eq!(
            check_stop(StopInstance {
                mode: StopMode::Force,
                ..hasty
            }),
            Ok(())
        );
    }

    proptest! {
        #[test]
        fn every_name_that_passes_is_a_label_and_nothing_else(name in "\\PC{0,70}|[a-z0-9-]{0,70}") {
            let mut body = body();
            body.spec.name = name.clone();
            let is_label = (1..=63).contains(&name.len())
                && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'))
                && !name.starts_with('-') && !name.ends_with('-');
            prop_assert_eq!(check_create(&body).is_ok(), is_label);
        }
    }
}
