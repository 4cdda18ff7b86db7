use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use uuid::Uuid;

use super::{INSTANCES_MAX, INVENTORY_FORMAT, Instance, Inventory, MACHINES_MAX, Machine, UsageSeries};

/// Something in an inventory that cannot be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{whose}: {what}")]
pub struct InventoryFault {
    /// The machine or instance, by name and id; `inventory` for the whole.
    pub whose: String,
    /// What is wrong, with the value and the range.
    pub what: String,
}

/// An inventory that cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// It is no JSON of this form.
    #[error("the inventory is not a document of the expected form")]
    Malformed(#[source] serde_json::Error),
    /// It contradicts itself or exceeds a limit.
    #[error("the inventory has {}: {}", Counted(.0.len()), Listed(.0))]
    Faults(Vec<InventoryFault>),
}

impl InventoryError {
    /// How many faults are told at once.
    pub const FAULTS_MAX: usize = 20;
}

/// Where as many are told as may be, nobody has counted further.
struct Counted(usize);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 fault"),
            InventoryError::FAULTS_MAX.. => write!(f, "{} faults or more", InventoryError::FAULTS_MAX),
            count => write!(f, "{count} faults"),
        }
    }
}

struct Listed<'a>(&'a [InventoryFault]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

pub(super) fn check(inventory: &Inventory) -> Result<(), InventoryError> {
    let mut faults = Faults::default();
    check_limits(inventory, &mut faults);
    let mut machines = BTreeMap::new();
    for machine in &inventory.machines {
        let whose = || format!("machine {} ({})", machine.name, machine.id);
        if machines.insert(machine.id, machine.threads).is_some() {
            faults.push(whose(), "another machine has the same id".into());
        }
        for what in machine_faults(machine) {
            faults.push(whose(), what);
        }
    }
    let mut instances = BTreeSet::new();
    for instance in &inventory.instances {
        let whose = || format!("instance {} ({})", instance.name, instance.id);
        if !instances.insert(instance.id) {
            faults.push(whose(), "another instance has the same id".into());
        }
        for what in instance_faults(instance, &machines) {
            faults.push(whose(), what);
        }
    }
    faults.into_result()
}

#[derive(Default)]
struct Faults(Vec<InventoryFault>);

impl Faults {
    fn push(&mut self, whose: String, what: String) {
        if self.0.len() < InventoryError::FAULTS_MAX {
            self.0.push(InventoryFault { whose, what });
        }
    }

    fn into_result(self) -> Result<(), InventoryError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(InventoryError::Faults(self.0))
        }
    }
}

fn check_limits(inventory: &Inventory, faults: &mut Faults) {
    let mut whole = |what: String| faults.push("inventory".into(), what);
    if inventory.format != INVENTORY_FORMAT {
        whole(format!("format {} is not {INVENTORY_FORMAT}", inventory.format));
    }
    if inventory.machines.len() > MACHINES_MAX {
        whole(format!(
            "{} machines are more than {MACHINES_MAX}",
            inventory.machines.len()
        ));
    }
    if inventory.instances.len() > INSTANCES_MAX {
        whole(format!(
            "{} instances are more than {INSTANCES_MAX}",
            inventory.instances.len()
        ));
    }
}

fn within(name: &str, value: f64, least: f64, most: f64) -> Option<String> {
    let inside = value.is_finite() && value >= least && value <= most;
    (!inside).then(|| format!("{name} {value} is not within {least}..={most}"))
}

fn machine_faults(machine: &Machine) -> Vec<String> {
    let mut faults = Vec::new();
    faults.extend(within("threads", f64::from(machine.threads), 1.0, 65_536.0));
    faults.extend(within(
        "reserved.threads",
        machine.reserved.threads,
        0.0,
        f64::from(machine.threads),
    ));
    if machine.reserved.memory_mib > machine.memory_mib {
        faults.push(format!(
            "reserved.memory_mib {} is more than the machine's {}",
            machine.reserved.memory_mib.0, machine.memory_mib.0
        ));
    }
    if let Some(ratio) = machine.overcommit.cpu {
        faults.extend(within("overcommit.cpu", ratio, 0.1, 64.0));
    }
    faults.extend(within("overcommit.memory", machine.overcommit.memory, 0.1, 4.0));
    faults.extend(within(
        "migration_mib_per_s",
        machine.migration_mib_per_s,
        0.001,
        1e6,
    ));
    if !(2..=101).contains(&machine.power.watts.len()) {
        faults.push(format!(
            "power.watts has {} points, not 2..=101",
            machine.power.watts.len()
        ));
    }
    for watts in &machine.power.watts {
        faults.extend(within("power.watts", *watts, 0.0, 1e6));
    }
    let mut names = BTreeSet::new();
    for storage in &machine.storages {
        if !names.insert(&storage.name) {
            faults.push(format!("two storages are named {}", storage.name));
        }
    }
    faults.extend(machine.usage.as_ref().and_then(usage_fault));
    faults
}

fn instance_faults(instance: &Instance, machines: &BTreeMap<Uuid, u32>) -> Vec<String> {
    let needs = &instance.needs;
    let mut faults = Vec::new();
    faults.extend(within("vcpus", f64::from(needs.vcpus), 1.0, 1024.0));
    let mut known = |what: &str, machine: Option<Uuid>| {
        if let Some(id) = machine.filter(|id| !machines.contains_key(id)) {
            faults.push(format!("its {what} {id} is no machine of the pool"));
        }
    };
    known("machine", instance.machine);
    known("pin", needs.pin);
    faults.extend(instance.usage.as_ref().and_then(usage_fault));
    faults
}

fn usage_fault(usage: &UsageSeries) -> Option<String> {
    if usage.values.len() > UsageSeries::SAMPLES_MAX {
        let samples = usage.values.len();
        return Some(format!(
            "usage has {samples} samples, more than {}",
            UsageSeries::SAMPLES_MAX
        ));
    }
    within("usage.step_s", f64::from(usage.step_s), 1.0, 86_400.0)
}
