//! `pool`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};

/// What to do with the pool.
#[derive(Debug, Subcommand)]
pub enum PoolCommand {
    /// Write the machines and instances as they are now
    ///
    /// Reads the agent on this computer, or the machines given with --machine, over SSH. The document's form is printed by
    /// `host-runner pool schema`; `host-runner plan` answers from it.
    Dump(PoolDump),
    /// Print the form of that document as a JSON Schema
    Schema,
}

/// Options of `pool dump`.
#[derive(Debug, Args)]
pub struct PoolDump {
    /// A machine to read over SSH; give it several times for several machines
    ///
    /// [ssh://][USER@]HOST[:PORT], or an alias of your SSH configuration. Keys and known hosts are those that `ssh` uses; there is no
    /// prompt, so connect with `ssh` once before.
    #[arg(long = "machine", value_name = "ADDRESS")]
    pub machines: Vec<MachineAddress>,

    /// With --machine: read the agent on this computer, too
    #[arg(long, requires = "machines")]
    pub local: bool,

    /// Leave out machines that cannot be reached, rather than write nothing
    #[arg(long)]
    pub skip_unreachable: bool,

    /// Where to write
    ///
    /// Default: stdout.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// A machine that is reached over SSH: `[ssh://][USER@]HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineAddress {
    /// A host name, an IP address, or an alias of the SSH configuration.
    pub host: String,
    /// Who to log in as.
    pub user: Option<String>,
    /// The TCP port, 1..=65535.
    pub port: Option<u16>,
}

/// The text is not `[ssh://][USER@]HOST[:PORT]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// The host is empty, or holds what no host name does.
    #[error("[ssh://][USER@]HOST[:PORT] is expected, an IPv6 address in brackets")]
    Form,
    /// The port is no number from 1 to 65535.
    #[error("the port is a number from 1 to 65535")]
    Port,
}

impl FromStr for MachineAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let text = text.strip_prefix("ssh://").unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, text),
        };
        let (host, port) = split_port(place)?;
        let is_word = |word: &str| {
            !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
        };
        // What begins with a dash is an option that was meant for another place.
        if !is_word(host) || host.starts_with('-') || user.is_some_and(|user| !is_word(user)) {
            return Err(BadAddress::Form);
        }
        Ok(Self {
            host: host.to_owned(),
            user: user.map(str::to_owned),
            port,
        })
    }
}

fn split_port(place: &str) -> Result<(&str, Option<u16>), BadAddress> {
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(BadAddress::Form)?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(BadAddress::Form),
        }
    } else {
        match place.split_once(':') {
            // Two colons without brackets: an IPv6 address alone.
            Some((_, rest)) if rest.contains(':') => (place, None),
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        }
    };
    let number = |port: &str| match port.parse() {
        Ok(0) | Err(_) => Err(BadAddress::Port),
        Ok(port) => Ok(port),
    };
    Ok((host, port.map(number).transpose()?))
}

impl fmt::Display for MachineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match (self.host.contains(':'), self.port) {
            (false, None) => f.write_str(&self.host),
            (false, Some(port)) => write!(f, "{}:{port}", self.host),
            (true, None) => write!(f, "[{}]", self.host),
            (true, Some(port)) => write!(f, "[{}]:{port}", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_ssh_reads_it() {
        let read = |text: &str| {
            let address: MachineAddress = text.parse().unwrap();
            (
                address.user.clone(),
                address.host.clone(),
                address.port,
                address.to_string(),
            )
        };
        let ada = || Some("ada".to_owned());
        assert_eq!(read("atlas"), (None, "atlas".into(), None, "atlas".into()));
        assert_eq!(
            read("ada@atlas.lan:2222"),
            (ada(), "atlas.lan".into(), Some(2222), "ada@atlas.lan:2222".into())
        );
        assert_eq!(
            read("ssh://ada@atlas/"),
            (ada(), "atlas".into(), None, "ada@atlas".into())
        );
        assert_eq!(
            read("ada@[fe80::1]:22"),
            (ada(), "fe80::1".into(), Some(22), "ada@[fe80::1]:22".into())
        );
        assert_eq!(read("::1"), (None, "::1".into(), None, "[::1]".into()));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "ada@",
            "@atlas",
            "-oProxyCommand=x",
            "a b",
            "a/b",
            "[::1",
            "[::1]x",
            "a\nb",
        ] {
            assert_eq!(text.parse::<MachineAddress>(), Err(BadAddress::Form), "{text:?}");
        }
        for text in ["atlas:", "atlas:0", "atlas:65536", "atlas:x", "[::1]:"] {
            assert_eq!(text.parse::<MachineAddress>(), Err(BadAddress::Port), "{text:?}");
        }
    }
}
