//! "Tiny Linux": a small guest made from the distribution's own packages, without root and without installing them.
//!
//! The kernel is the distribution's for virtual machines; everything else is `BusyBox` in an initial RAM file system, which is also
//! the guest's root. It asks for an address by DHCP, serves a page with its name on port 80, takes a login on `ttyS0` (user `root`,
//! no password), keeps `/data` on the instance's disk where it has one, and powers off cleanly at the press of the button.

mod busybox;
mod command;
mod error;
mod initramfs;
mod modules;
mod packages;
mod programs;

use std::fs::File;
use std::path::{Path, PathBuf};

use api::{Image, ImageState, Mib, Timestamp};

use super::manifest::{Manifest, Sha256Hex};
use super::publish::Staging;
use super::store::timestamp;
use super::{ImageError, ImageStore};

pub use command::run_command;
pub use error::BuildTinyError;

/// The name of the image that [`build`] makes.
pub const NAME: &str = "tiny-linux";

/// A guest boots with 72 MiB under Debian 12's kernel; the rest is room for the newer and larger ones.
const MEMORY_MIN: Mib = Mib(128);

/// Quiet, as each byte on the serial console costs time under emulation, and without the self-tests and timer checks that the
/// kernel does for hardware: together a fifth of the time to the prompt.
const COMMAND_LINE: &str = "console=ttyS0 quiet cryptomgr.notests no_timer_check random.trust_cpu=on";

/// What the image will be made from.
struct Ingredients {
    kernel: Vec<packages::Package>,
    busybox: busybox::Source,
}

impl Ingredients {
    async fn find() -> Result<Self, BuildTinyError> {
        Ok(Self {
            kernel: packages::kernel_packages().await?,
            busybox: busybox::find().await?,
        })
    }

    /// Equal text is an equal image.
    fn list(&self) -> String {
        let recipe =
            Sha256Hex::of(&[&initramfs::recipe(), &modules::recipe(), COMMAND_LINE.as_bytes()].concat());
        let mut parts = vec![format!(
            "recipe {}",
            recipe.as_str().get(..16).unwrap_or_default()
        )];
        parts.extend(
            self.kernel
                .iter()
                .map(|package| format!("{} {}", package.name, package.version)),
        );
        parts.push(self.busybox.ingredient());
        parts.join("; ")
    }

    fn fetched(&self) -> Vec<packages::Package> {
        let mut packages = self.kernel.clone();
        if let busybox::Source::Package(package) = &self.busybox {
            packages.push(package.clone());
        }
        packages
    }
}

/// Names this build's own part of the image.
fn recipe() -> String {
    let digest = Sha256Hex::of(&[&initramfs::recipe(), COMMAND_LINE.as_bytes()].concat());
    format!("recipe {}", digest.as_str().get(..16).unwrap_or_default())
}

/// Where a change shows that apt or dpkg may answer otherwise than before.
const PACKAGE_NEWS: [&str; 4] = [
    "/var/lib/apt/lists",
    "/var/lib/dpkg/status",
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d",
];

/// Whether the distribution's packages may have changed since.
fn packages_have_news(since: Timestamp) -> bool {
    PACKAGE_NEWS
        .iter()
        .filter_map(|path| std::fs::metadata(path).ok()?.modified().ok())
        .any(|changed| timestamp(changed) >= since)
}

/// Makes Tiny Linux, or returns the present one where it is up to date. `progress` hears each step, in words.
///
/// Where apt cannot be asked, a complete image stays as it is. Takes seconds with a network, and no time when there is nothing to
/// do.
///
/// # Errors
/// See [`BuildTinyError`]; each knows its remedy. Nothing is left behind.
pub async fn build(
    store: &ImageStore,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Image, BuildTinyError> {
    let held = held(store).await?;
    // Asking apt takes two seconds; the files that its answer comes from tell whether it can have changed.
    if let Some((made_from, made_at)) = &held
        && made_from.starts_with(&recipe())
        && !packages_have_news(*made_at)
        && let Some(present) = present(store).await?
    {
        progress("the image is up to date");
        return Ok(present);
    }
    progress("asking apt which kernel this distribution has");
    let ingredients = match Ingredients::find().await {
        Ok(ingredients) => ingredients,
        Err(err) => {
            let Some(present) = present(store).await? else {
                return Err(err);
            };
            progress(&format!("the present image stays as it is: {err}"));
            return Ok(present);
        }
    };
    let made_from = ingredients.list();
    if held.is_some_and(|(held, _)| held == made_from)
        && let Some(present) = present(store).await?
    {
        progress("the image is up to date");
        return Ok(present);
    }
    let staging = store.stage()?;
    let parts = gather(&staging, &ingredients, progress).await?;
    progress("writing the image");
    tokio::task::spawn_blocking(move || publish(staging, parts, made_from))
        .await
        .map_err(BuildTinyError::Interrupted)??;
    let made = present(store).await?;
    made.ok_or_else(|| {
        BuildTinyError::Store(ImageError::NotFound {
            name: NAME.to_owned(),
        })
    })
}

/// Everything that the image consists of.
struct Parts {
    kernel: PathBuf,
    busybox: Vec<u8>,
    applets: Vec<String>,
    modules: Vec<modules::Module>,
}

/// Fetches and unpacks the packages in the build's folder, and picks what the guest needs.
async fn gather(
    staging: &Staging,
    ingredients: &Ingredients,
    progress: &mut (dyn FnMut(&str) + Send),
) -> Result<Parts, BuildTinyError> {
    let packages = ingredients.fetched();
    let names: Vec<String> = packages.iter().map(|package| package.name.clone()).collect();
    progress(&format!(
        "fetching and unpacking {} (nothing is installed)",
        names.join(", ")
    ));
    let unpacked = staging.folder().join("unpacked");
    packages::unpack(&packages, &unpacked).await?;

    progress("picking the kernel's modules for virtual devices");
    let missing = |missing| BuildTinyError::IncompletePackages {
        packages: names.clone(),
        missing,
    };
    let (release, tree) = module_tree(&unpacked)?.ok_or_else(|| missing("modules"))?;
    let kernel = kernel_file(&unpacked, &release).ok_or_else(|| missing("kernel"))?;
    let modules = modules::choose(&tree, &release).await?;
    let (busybox, applets) = busybox::load(&ingredients.busybox, &unpacked).await?;
    Ok(Parts {
        kernel,
        busybox,
        applets,
        modules,
    })
}

/// The kernel's release and its folder of modules: the only one in the packages.
fn module_tree(unpacked: &Path) -> Result<Option<(String, PathBuf)>, BuildTinyError> {
    for modules in ["lib/modules", "usr/lib/modules"].map(|path| unpacked.join(path)) {
        let Ok(entries) = std::fs::read_dir(&modules) else {
            continue;
        };
        for entry in entries {
            let entry = entry.map_err(|err| BuildTinyError::io("read", &modules, err))?;
            if let Some(release) = entry.file_name().to_str() {
                return Ok(Some((release.to_owned(), entry.path())));
            }
        }
    }
    Ok(None)
}

fn kernel_file(unpacked: &Path, release: &str) -> Option<PathBuf> {
    [
        format!("boot/vmlinuz-{release}"),
        format!("lib/modules/{release}/vmlinuz"),
        format!("usr/lib/modules/{release}/vmlinuz"),
    ]
    .iter()
    .map(|path| unpacked.join(path))
    .find(|path| path.is_file())
}

fn publish(staging: Staging, parts: Parts, made_from: String) -> Result<(), BuildTinyError> {
    let path = staging.folder().join("initrd");
    let initrd = File::create(&path).map_err(|err| BuildTinyError::io("create", &path, err))?;
    initramfs::write(initrd, parts.busybox, &parts.applets, parts.modules)
        .map_err(|err| BuildTinyError::io("write", &path, err))?;
    let manifest = Manifest {
        version: Manifest::VERSION,
        name: NAME.to_owned(),
        title: "Tiny Linux".to_owned(),
        summary: "A small Linux that boots in seconds: a shell, a web page, nothing to set up".to_owned(),
        kernel: Some(staging.add(&parts.kernel)?),
        initrd: Some(staging.add(&path)?),
        disk: None,
        command_line: COMMAND_LINE.to_owned(),
        memory_min_mib: MEMORY_MIN,
        made_from,
    };
    Ok(staging.publish(&manifest)?)
}

/// The image, where it is complete.
async fn present(store: &ImageStore) -> Result<Option<Image>, BuildTinyError> {
    let store = store.clone();
    let image = tokio::task::spawn_blocking(move || store.image(NAME))
        .await
        .map_err(BuildTinyError::Interrupted)?;
    match image {
        Ok(image) => Ok(Some(image).filter(|image| image.state == ImageState::Ready)),
        Err(ImageError::NotFound { .. }) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

/// What the present image was made from, and when.
async fn held(store: &ImageStore) -> Result<Option<(String, Timestamp)>, BuildTinyError> {
    let store = store.clone();
    tokio::task::spawn_blocking(move || store.made_from(NAME))
        .await
        .map_err(BuildTinyError::Interrupted)
}
