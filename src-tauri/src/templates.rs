//! The shelf: what can be dragged onto a machine.

use api::{Mib, PortRequest};

use crate::contract::Template;

/// The templates, in the order of the shelf.
pub fn shelf() -> Vec<Template> {
    vec![
        tiny_linux("tiny-linux", "tiny", 1, Mib(128)),
        tiny_linux("tiny-linux-large", "roomy", 2, Mib(1024)),
    ]
}

/// Tiny Linux, which says its name on port 80.
fn tiny_linux(id: &str, name_prefix: &str, vcpus: u32, memory_mib: Mib) -> Template {
    Template {
        id: id.to_owned(),
        image: "tiny-linux".to_owned(),
        name_prefix: name_prefix.to_owned(),
        vcpus,
        memory_mib,
        disk_mib: Mib::ZERO,
        ports: vec![PortRequest {
            guest: 80,
            host: None,
        }],
    }
}
