use std::fmt::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{KeyKind, Place, Process, SshKey, Trouble, run};

const SSHD: &str = "/usr/sbin/sshd";

/// A user that every [`Machine`](crate::Machine) has.
pub const USER: &str = "miller";
/// Their password.
pub const PASSWORD: &str = "correct horse";

/// How an SSH server is set up.
#[derive(Debug, Clone)]
pub struct SshServerOptions {
    /// The TCP port.
    pub port: u16,
    /// The address to listen on.
    pub listen: &'static str,
    /// The host keys to have.
    pub host_keys: Vec<KeyKind>,
    /// The public keys that may log in, as any user.
    pub authorized: Vec<String>,
    /// Further lines of `sshd_config`; the first value of a keyword wins, so these come first.
    pub config: String,
}

impl Default for SshServerOptions {
    /// An Ed25519 host key, port 22 on all addresses, no logins.
    fn default() -> Self {
        Self {
            port: 22,
            listen: "0.0.0.0",
            host_keys: vec![KeyKind::Ed25519],
            authorized: Vec::new(),
            config: String::new(),
        }
    }
}

/// A real OpenSSH server.
#[derive(Debug)]
pub struct SshServer {
    process: Process,
    /// Its host keys, in the order asked for.
    pub host_keys: Vec<SshKey>,
    folder: tempfile::TempDir,
}

impl SshServer {
    /// Starts one and waits until it listens.
    ///
    /// # Errors
    /// [`Trouble::Missing`] without OpenSSH's server, [`Trouble::NotUp`] with its log.
    pub fn start(place: Place<'_>, options: &SshServerOptions) -> Result<Self, Trouble> {
        let folder = new_folder()?;
        let mut host_keys = Vec::new();
        for (index, kind) in options.host_keys.iter().enumerate() {
            let path = folder.path().join(format!("host_key_{index}"));
            host_keys.push(SshKey::make(&path, *kind, "")?);
        }
        Self::start_with_keys(place, options, host_keys, folder)
    }

    /// Starts another server with these host keys, as after an upgrade of the machine.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_again(self, place: Place<'_>, options: &SshServerOptions) -> Result<Self, Trouble> {
        let Self {
            process,
            host_keys,
            folder,
        } = self;
        drop(process);
        Self::start_with_keys(place, options, host_keys, folder)
    }

    /// Starts one more server, with the host keys of `other`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_beside(place: Place<'_>, options: &SshServerOptions, other: &Self) -> Result<Self, Trouble> {
        let folder = new_folder()?;
        Self::start_with_keys(place, options, other.host_keys.clone(), folder)
    }

    fn start_with_keys(
        place: Place<'_>,
        options: &SshServerOptions,
        host_keys: Vec<SshKey>,
        folder: tempfile::TempDir,
    ) -> Result<Self, Trouble> {
        if !Path::new(SSHD).exists() {
            return Err(Trouble::Missing {
                program: SSHD.into(),
                remedy: "apt-get install openssh-server",
            });
        }
        // Where the service does not run, nobody has made the folder that root's sshd locks its unprivileged half into.
        if rustix::process::geteuid().is_root() {
            run(place.command("mkdir").args(["-p", "-m", "755", "/run/sshd"]))?;
        }
        // sshd reads this file as the user that logs in.
        open_to_all(folder.path())?;
        let authorized = folder.path().join("authorized_keys");
        write(&authorized, &(options.authorized.join("\n") + "\n"))?;
        let config = folder.path().join("sshd_config");
        write(&config, &config_text(options, &host_keys, &authorized))?;
        let log = folder.path().join("sshd.log");
        let mut command = place.command(SSHD);
        command.args(["-D", "-e", "-f"]).arg(&config);
        let mut process = Process::start("sshd", &mut command, &log)?;
        let listening = format!("Server listening on {} port {}.", options.listen, options.port);
        process.wait_up(Duration::from_secs(20), || {
            std::fs::read_to_string(&log).is_ok_and(|text| text.contains(&listening))
        })?;
        Ok(Self {
            process,
            host_keys,
            folder,
        })
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its folder, for files that belong to it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A free TCP port of this computer's loopback.
    ///
    /// # Errors
    /// [`Trouble::Io`].
    pub fn free_port() -> Result<u16, Trouble> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(Trouble::io("find a free port"))?;
        listener
            .local_addr()
            .map(|address| address.port())
            .map_err(Trouble::io("find a free port"))
    }

    /// Whether something listens at an address.
    pub fn answers(address: &str) -> bool {
        TcpStream::connect(address).is_ok()
    }
}

fn new_folder() -> Result<tempfile::TempDir, Trouble> {
    tempfile::Builder::new()
        .prefix("millpond-sshd-")
        .tempdir()
        .map_err(Trouble::io("make a server's folder"))
}

fn config_text(options: &SshServerOptions, host_keys: &[SshKey], authorized: &Path) -> String {
    let mut text = options.config.clone();
    let _ = writeln!(
        text,
        "\nPort {}\nListenAddress {}\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nMaxStartups 200\nLogLevel VERBOSE\nUseDNS no\nPrintMotd no\nAuthorizedKeysFile {}",
        options.port,
        options.listen,
        authorized.display()
    );
    for key in host_keys {
        let _ = writeln!(text, "HostKey {}", key.path.display());
    }
    text
}

fn write(path: &PathBuf, text: &str) -> Result<(), Trouble> {
    std::fs::write(path, text).map_err(Trouble::io(format!("write {}", path.display())))
}

fn open_to_all(folder: &Path) -> Result<(), Trouble> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
        .map_err(Trouble::io("open a server's folder to its users"))
}
