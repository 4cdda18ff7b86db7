//! Which engine runs an instance, and why.

use api::{EngineChoice, EngineKind, EngineRequest, HardwareVirtualization, InstanceSpec};

use super::microvm::{Lack, Microvm};
use super::qemu::Qemu;
use super::{Engine, EngineError};
use crate::instance_files::InstanceFiles;

/// The engines of this machine.
#[derive(Debug)]
pub struct Engines {
    qemu: Qemu,
    microvm: Microvm,
}

impl Engines {
    /// The engines on a machine whose CPU is as `hardware` says.
    pub fn new(files: &InstanceFiles, hardware: &HardwareVirtualization) -> Self {
        Self {
            qemu: Qemu::new(files.clone(), hardware),
            microvm: Microvm::new(files.clone(), hardware),
        }
    }

    /// The engine of a kind: the one that an instance was last launched on.
    pub fn of(&self, kind: EngineKind) -> &dyn Engine {
        match kind {
            EngineKind::Qemu => &self.qemu,
            EngineKind::Microvm => &self.microvm,
        }
    }

    /// Chooses for the next launch of an instance whose image has a kernel, or has none, and says why. Looks anew each time: what was
    /// installed since counts.
    ///
    /// # Errors
    /// `Unavailable`, where the engine that it asks for, or whose abilities it needs, cannot run it here.
    pub fn choose(
        &self,
        spec: &InstanceSpec,
        has_kernel: bool,
    ) -> Result<(&dyn Engine, EngineChoice), EngineError> {
        let ready = match spec.engine {
            EngineRequest::Qemu => return Ok((&self.qemu, self.qemu.choice())),
            EngineRequest::Auto | EngineRequest::Microvm => self.microvm.readiness(),
        };
        let ready = ready.and(if has_kernel { Ok(()) } else { Err(Lack::Kernel) });
        match ready {
            Ok(()) => Ok((&self.microvm, self.microvm.choice())),
            Err(lack) if !spec.network_limit.is_none() => Err(no_limit(&lack)),
            Err(lack) if spec.engine == EngineRequest::Microvm => Err(lack.into()),
            Err(lack) => Ok((&self.qemu, fallback(self.qemu.choice(), &lack))),
        }
    }
}

/// QEMU because the monitor cannot: where the CPU is why, QEMU's own reason says that already.
fn fallback(choice: EngineChoice, lack: &Lack) -> EngineChoice {
    let reason = match lack {
        Lack::Hardware { .. } => choice.reason,
        Lack::Monitor | Lack::Passt | Lack::Architecture | Lack::Kernel => {
            format!("{}; QEMU, as {lack}", choice.reason)
        }
    };
    EngineChoice { reason, ..choice }
}

/// QEMU could run it, and could not keep its network to a limit: the user-mode network knows none.
fn no_limit(lack: &Lack) -> EngineError {
    let otherwise = match lack {
        Lack::Hardware { .. } | Lack::Architecture => "choose a machine where microVMs run",
        Lack::Kernel => "import its image with a --kernel",
        Lack::Monitor | Lack::Passt => lack.remedy(),
    };
    EngineError::Unavailable {
        engine: EngineKind::Microvm,
        reason: format!("{lack}; and QEMU cannot limit an instance's network"),
        remedy: format!("leave the network without a limit, or {otherwise}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(engine: EngineRequest) -> InstanceSpec {
        InstanceSpec {
            engine,
            ..crate::admission::tests::record(0, 0).spec
        }
    }

    fn engines(dir: &std::path::Path, available: bool) -> Engines {
        let files = InstanceFiles::open(&dir.join("state"), &dir.join("run")).unwrap();
        let reason = if available {
            "AMD-V through KVM"
        } else {
            "no vmx or svm"
        };
        Engines::new(
            &files,
            &HardwareVirtualization {
                available,
                reason: reason.into(),
            },
        )
    }

    #[test]
    fn without_hardware_virtualization_it_is_qemu_for_that_reason() {
        let dir = tempfile::tempdir().unwrap();
        let engines = engines(dir.path(), false);
        let (_, choice) = engines.choose(&asking(EngineRequest::Auto), true).unwrap();
        assert_eq!((choice.kind, choice.accelerated), (EngineKind::Qemu, false));
        assert_eq!(choice.reason, "no vmx or svm");
    }

    #[test]
    fn an_engine_that_was_asked_for_and_cannot_run_here_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let engines = engines(dir.path(), false);
        let error = engines
            .choose(&asking(EngineRequest::Microvm), true)
            .unwrap_err()
            .to_api();
        assert_eq!(error.code, api::ErrorCode::NoEngine);
        assert!(error.message.contains("no vmx or svm"), "{error}");
        assert!(error.details.contains_key("remedy"));
    }

    #[test]
    fn what_is_not_installed_is_named_beside_the_cpus_part() {
        let choice = EngineChoice {
            kind: EngineKind::Qemu,
            accelerated: true,
            reason: "AMD-V through KVM".into(),
        };
        assert_eq!(
            fallback(choice, &Lack::Passt).reason,
            "AMD-V through KVM; QEMU, as passt is not installed"
        );
    }

    #[test]
    fn a_disk_that_boots_by_itself_is_qemus() {
        let choice = EngineChoice {
            kind: EngineKind::Qemu,
            accelerated: true,
            reason: "AMD-V through KVM".into(),
        };
        assert_eq!(
            fallback(choice, &Lack::Kernel).reason,
            "AMD-V through KVM; QEMU, as the image has no kernel, and starts from the boot loader on its disk"
        );
        let dir = tempfile::tempdir().unwrap();
        let engines = engines(dir.path(), true);
        let (engine, _) = engines.choose(&asking(EngineRequest::Auto), false).unwrap();
        assert_eq!(engine.choice().kind, EngineKind::Qemu);
        assert!(engines.choose(&asking(EngineRequest::Microvm), false).is_err());
    }

    #[test]
    fn qemu_is_there_for_who_asks_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let engines = engines(dir.path(), true);
        let (engine, choice) = engines.choose(&asking(EngineRequest::Qemu), true).unwrap();
        assert_eq!(
            (engine.choice().kind, choice.kind),
            (EngineKind::Qemu, EngineKind::Qemu)
        );
    }

    #[test]
    fn a_network_with_a_limit_is_refused_where_nothing_would_keep_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = asking(EngineRequest::Auto);
        spec.network_limit.mbit_per_second = Some(10);
        let engines = engines(dir.path(), false);
        let error = engines.choose(&spec, true).unwrap_err().to_api();
        assert_eq!(error.code, api::ErrorCode::NoEngine);
        assert!(
            error
                .message
                .ends_with("no vmx or svm; and QEMU cannot limit an instance's network"),
            "{error}"
        );
        let remedy = |error: &api::ApiError| format!("{:?}", error.details["remedy"]);
        assert!(
            remedy(&error).contains("choose a machine where microVMs run"),
            "{error}"
        );
        let error = no_limit(&Lack::Kernel).to_api();
        assert!(
            remedy(&error).contains("leave the network without a limit, or import its image"),
            "{error}"
        );
    }
}
