//! From what a person asked for to the hops on the way there.

use std::path::{Path, PathBuf};

use super::config::{HostSettings, Query, expand_home, lookup};
use super::{SshError, SshOptions, SshTarget};

/// The most hops on one way, the target included.
const HOPS_MAX: usize = 8;
const DEFAULT_PORT: u16 = 22;
/// The keys that are tried where none is configured, as in OpenSSH (without its DSA and hardware keys).
const DEFAULT_KEYS: [&str; 3] = ["id_rsa", "id_ecdsa", "id_ed25519"];

/// One SSH server on the way, with everything that is needed to log in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hop {
    /// The name or address to connect to.
    pub host: String,
    pub port: u16,
    pub user: String,
    /// The name under which its key is known, and the port that belongs to it.
    pub known_as: (String, u16),
    pub known_hosts: Vec<PathBuf>,
    pub keys: Vec<KeyFile>,
    /// Of the ssh-agent, take only the keys of `keys`.
    pub identities_only: bool,
    pub agent_socket: Option<PathBuf>,
    /// Whether the password that was given is this server's.
    pub is_target: bool,
}

impl Hop {
    /// Host and port, for people.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A private key's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyFile {
    pub path: PathBuf,
    /// True where a person named this very file: it must be usable.
    pub required: bool,
}

/// One entry of a `ProxyJump` list: `[user@]host[:port]`, or `ssh://…`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Jump {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

/// The hops to a target in the order in which they are connected; the last is the target. Reads the user's configuration: blocking.
pub(super) fn plan(target: &SshTarget, options: &SshOptions) -> Result<Vec<Hop>, SshError> {
    let wanted = Jump {
        user: target.user.clone(),
        host: target.host.clone(),
        port: target.port,
    };
    let mut hops = Vec::new();
    way_to(&wanted, options, &mut hops, 0)?;
    if let Some(last) = hops.last_mut() {
        last.is_target = true;
        if let Some(path) = &target.identity_file {
            let path = expand_home(&path.to_string_lossy(), options.home.as_deref());
            last.keys.retain(|key| key.path != path);
            last.keys.insert(0, KeyFile { path, required: true });
        }
    }
    Ok(hops)
}

/// Adds the hops to `wanted`: those of its own `ProxyJump`, then itself.
fn way_to(wanted: &Jump, options: &SshOptions, hops: &mut Vec<Hop>, depth: usize) -> Result<(), SshError> {
    let settings = settings(wanted, options)?;
    let bad = |reason: &str| SshError::BadTarget {
        host: wanted.host.clone(),
        reason: reason.to_owned(),
    };
    if depth == HOPS_MAX {
        return Err(bad("more than 8 hops: does ProxyJump lead in a circle?"));
    }
    let jumps = match settings.proxy_jump.as_deref() {
        None | Some("none") => Vec::new(),
        Some(list) => list
            .split(',')
            .map(|text| {
                parse_jump(text.trim()).ok_or_else(|| bad("ProxyJump is not a list of [user@]host[:port]"))
            })
            .collect::<Result<_, _>>()?,
    };
    // "Host *" with "ProxyJump gate" also applies to gate itself, and must not send it through itself.
    let jumps = if jumps
        .iter()
        .any(|jump| jump.host.eq_ignore_ascii_case(&wanted.host))
    {
        Vec::new()
    } else {
        jumps
    };
    if jumps.is_empty()
        && settings
            .proxy_command
            .as_deref()
            .is_some_and(|command| command != "none")
    {
        return Err(bad(
            "its SSH configuration says ProxyCommand, which is not supported; say ProxyJump instead",
        ));
    }
    for (index, jump) in jumps.iter().enumerate() {
        // The first jump host is reached in its own way, the others through the one before.
        if index == 0 {
            way_to(jump, options, hops, depth + 1)?;
        } else {
            let settings = self::settings(jump, options)?;
            hops.push(hop(jump, &settings, options)?);
        }
    }
    hops.push(hop(wanted, &settings, options)?);
    if hops.len() > HOPS_MAX {
        return Err(bad("more than 8 hops"));
    }
    Ok(())
}

fn settings(wanted: &Jump, options: &SshOptions) -> Result<HostSettings, SshError> {
    // A name that looks like an option, or holds control characters, is nobody's host.
    let odd = |c: char| c.is_control() || c.is_whitespace() || "/\\\"'@%".contains(c);
    if wanted.host.is_empty() || wanted.host.starts_with('-') || wanted.host.contains(odd) {
        return Err(SshError::BadTarget {
            host: wanted.host.escape_default().to_string(),
            reason: "that is not a host name or address".into(),
        });
    }
    let Some(path) = &options.config_path else {
        return Ok(HostSettings::default());
    };
    lookup(
        path,
        Query {
            alias: &wanted.host,
            user: wanted.user.as_deref(),
            local_user: &options.local_user,
            home: options.home.as_deref(),
        },
    )
}

fn hop(wanted: &Jump, settings: &HostSettings, options: &SshOptions) -> Result<Hop, SshError> {
    let alias = unbracketed(&wanted.host);
    let port = wanted.port.or(settings.port).unwrap_or(DEFAULT_PORT);
    let user = wanted
        .user
        .clone()
        .or_else(|| settings.user.clone())
        .unwrap_or_else(|| options.local_user.clone());
    let mut tokens = Tokens {
        host: alias,
        alias,
        port,
        user: &user,
        options,
    };
    let host = match &settings.host_name {
        Some(name) => tokens.expand(name).ok_or_else(|| SshError::BadTarget {
            host: alias.to_owned(),
            reason: format!("HostName \"{name}\" has a token that is not known here"),
        })?,
        None => alias.to_owned(),
    };
    tokens.host = &host;
    let known_hosts = match (&options.known_hosts_paths, &settings.known_hosts_files) {
        (Some(paths), _) => paths.clone(),
        (None, Some(names)) => names
            .iter()
            .filter(|name| name.as_str() != "none")
            .filter_map(|name| tokens.path(name))
            .collect(),
        (None, None) => below_ssh(options.home.as_deref(), &["known_hosts", "known_hosts2"]),
    };
    let agent_socket = match settings.identity_agent.as_deref() {
        Some("none") => None,
        None | Some("SSH_AUTH_SOCK") => options.agent_socket.clone(),
        Some(path) => tokens.path(path),
    };
    Ok(Hop {
        // An alias stands for the machine, whatever the port.
        known_as: match &settings.host_key_alias {
            Some(alias) => (alias.clone(), DEFAULT_PORT),
            None => (host.clone(), port),
        },
        known_hosts,
        keys: key_files(settings, &tokens, options),
        identities_only: settings.identities_only.unwrap_or(false),
        agent_socket,
        is_target: false,
        host: host.clone(),
        port,
        user: user.clone(),
    })
}

fn key_files(settings: &HostSettings, tokens: &Tokens<'_>, options: &SshOptions) -> Vec<KeyFile> {
    let paths = if settings.identity_files.is_empty() {
        below_ssh(options.home.as_deref(), &DEFAULT_KEYS)
    } else {
        let written = settings
            .identity_files
            .iter()
            .filter(|name| name.as_str() != "none");
        written.filter_map(|name| tokens.path(name)).collect()
    };
    paths
        .into_iter()
        .map(|path| KeyFile {
            path,
            required: false,
        })
        .collect()
}

fn below_ssh(home: Option<&Path>, names: &[&str]) -> Vec<PathBuf> {
    let folder = home.map(|home| home.join(".ssh"));
    folder
        .iter()
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .collect()
}

/// An IPv6 address may stand in brackets.
fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

fn parse_jump(text: &str) -> Option<Jump> {
    let text = text.strip_prefix("ssh://").unwrap_or(text);
    let (user, place) = match text.rsplit_once('@') {
        Some((user, place)) if !user.is_empty() => (Some(user.to_owned()), place),
        Some(_) => return None,
        None => (None, text),
    };
    let (host, port) = if let Some(inner) = place.strip_prefix('[') {
        let (host, rest) = inner.split_once(']')?;
        (host, rest.strip_prefix(':'))
    } else {
        match place.split_once(':') {
            // More than one colon: an IPv6 address without a port.
            Some((_, rest)) if rest.contains(':') => (place, None),
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        }
    };
    if host.is_empty() {
        return None;
    }
    let port = match port {
        Some(digits) => Some(digits.parse::<u16>().ok().filter(|&port| port > 0)?),
        None => None,
    };
    Some(Jump {
        user,
        host: host.to_owned(),
        port,
    })
}

/// The tokens of `ssh_config(5)`, "TOKENS".
struct Tokens<'a> {
    host: &'a str,
    alias: &'a str,
    port: u16,
    user: &'a str,
    options: &'a SshOptions,
}

impl Tokens<'_> {
    /// `None` where a token is not known here: guessing would name a wrong file.
    fn expand(&self, text: &str) -> Option<String> {
        let mut expanded = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                expanded.push(c);
                continue;
            }
            match chars.next()? {
                '%' => expanded.push('%'),
                'h' => expanded.push_str(self.host),
                'n' => expanded.push_str(self.alias),
                'p' => expanded.push_str(&self.port.to_string()),
                'r' => expanded.push_str(self.user),
                'u' => expanded.push_str(&self.options.local_user),
                'd' => expanded.push_str(self.options.home.as_ref()?.to_str()?),
                _ => return None,
            }
        }
        Some(expanded)
    }

    fn path(&self, text: &str) -> Option<PathBuf> {
        let path = expand_home(&self.expand(text)?, self.options.home.as_deref());
        // What is not absolute is meant relative to where ssh was started, which a window does not know.
        path.is_absolute().then_some(path)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan_with(config: &str, target: &SshTarget) -> Result<Vec<Hop>, SshError> {
        let home = tempfile::tempdir().expect("a home");
        std::fs::create_dir(home.path().join(".ssh")).expect("a folder");
        std::fs::write(home.path().join(".ssh/config"), config).expect("a file");
        let options = SshOptions {
            config_path: Some(home.path().join(".ssh/config")),
            home: Some(PathBuf::from("/home/me")),
            local_user: "me".into(),
            ..SshOptions::from_environment()
        };
        plan(target, &options)
    }

    fn target(host: &str) -> SshTarget {
        SshTarget {
            host: host.into(),
            user: None,
            port: None,
            identity_file: None,
        }
    }

    fn addresses(hops: &[Hop]) -> Vec<String> {
        hops.iter()
            .map(|hop| format!("{}@{}", hop.user, hop.address()))
            .collect()
    }

    #[test]
    fn without_a_configuration_ssh_defaults_hold() {
        let hops = plan_with("", &target("atlas.lan")).expect("a plan");
        assert_eq!(addresses(&hops), ["me@atlas.lan:22"]);
        assert_eq!(hops[0].known_hosts[0], Path::new("/home/me/.ssh/known_hosts"));
        assert_eq!(hops[0].keys[2].path, Path::new("/home/me/.ssh/id_ed25519"));
        assert!(hops[0].is_target);
    }

    #[test]
    fn what_a_person_says_wins_over_the_configuration() {
        let config = "Host atlas\n HostName 10.0.0.7\n User admin\n Port 2222\n IdentityFile ~/.ssh/%r@%h\n";
        let hops = plan_with(config, &target("atlas")).expect("a plan");
        assert_eq!(addresses(&hops), ["admin@10.0.0.7:2222"]);
        assert_eq!(hops[0].keys[0].path, Path::new("/home/me/.ssh/admin@10.0.0.7"));
        let said = SshTarget {
            user: Some("root".into()),
            port: Some(22),
            identity_file: Some("~/key".into()),
            ..target("atlas")
        };
        let hops = plan_with(config, &said).expect("a plan");
        assert_eq!(addresses(&hops), ["root@10.0.0.7:22"]);
        let first = &hops[0].keys[0];
        assert_eq!(
            (first.path.as_path(), first.required),
            (Path::new("/home/me/key"), true)
        );
    }

    #[test]
    fn a_key_is_known_under_the_host_and_port_or_under_the_alias_alone() {
        let known_as = |config: &str| {
            plan_with(config, &target("atlas")).expect("a plan")[0]
                .known_as
                .clone()
        };
        let config = "HostName 10.0.0.7\nPort 2222\n";
        assert_eq!(known_as(config), ("10.0.0.7".into(), 2222));
        assert_eq!(
            known_as(&format!("{config}HostKeyAlias atlas\n")),
            ("atlas".into(), 22)
        );
    }

    #[test]
    fn jumps_are_taken_in_order_and_each_has_its_own_settings() {
        let config = "Host atlas\n ProxyJump ops@gate:2200,inner\nHost gate\n HostName gate.example.com\nHost inner\n User deep\n";
        let hops = plan_with(config, &target("atlas")).expect("a plan");
        assert_eq!(
            addresses(&hops),
            ["ops@gate.example.com:2200", "deep@inner:22", "me@atlas:22"]
        );
        assert_eq!(hops.iter().filter(|hop| hop.is_target).count(), 1);
    }

    #[test]
    fn a_jump_for_everybody_does_not_send_the_jump_host_through_itself() {
        let hops = plan_with("Host *\n ProxyJump gate\n", &target("atlas")).expect("a plan");
        assert_eq!(addresses(&hops), ["me@gate:22", "me@atlas:22"]);
    }

    #[test]
    fn a_circle_of_jumps_is_refused() {
        let error = plan_with("Host a\n ProxyJump b\nHost b\n ProxyJump a\n", &target("a"));
        assert!(matches!(error, Err(SshError::BadTarget { .. })), "{error:?}");
    }

    #[test]
    fn a_proxy_command_is_refused_with_the_remedy_and_none_is_not_one() {
        let error = plan_with("ProxyCommand nc %h %p\n", &target("a")).expect_err("refused");
        assert!(error.to_string().contains("ProxyJump"), "{error}");
        assert!(plan_with("ProxyCommand none\n", &target("a")).is_ok());
    }

    #[test]
    fn hosts_that_are_none_are_refused() {
        for host in ["", "-oProxyCommand=x", "a b", "a\nb", "../x", "a@b"] {
            assert!(
                matches!(plan_with("", &target(host)), Err(SshError::BadTarget { .. })),
                "{host:?}"
            );
        }
    }

    #[test]
    fn ipv6_addresses_work_with_and_without_brackets() {
        for host in ["fe80::1", "[fe80::1]"] {
            let hops = plan_with("", &target(host)).expect("a plan");
            assert_eq!(
                (hops[0].host.as_str(), hops[0].address().as_str()),
                ("fe80::1", "[fe80::1]:22")
            );
        }
        let jump = parse_jump("me@[fe80::1]:2222").expect("a jump");
        assert_eq!((jump.host.as_str(), jump.port), ("fe80::1", Some(2222)));
    }

    proptest! {
        #[test]
        fn no_jump_makes_the_parser_panic(text in "\\PC{0,60}") {
            let _ = parse_jump(&text);
        }

        #[test]
        fn jumps_come_back_as_they_were(user in "[a-z]{1,8}", host in "[a-z0-9.-]{1,20}", port in 1_u16..) {
            let jump = parse_jump(&format!("{user}@{host}:{port}")).expect("a jump");
            prop_assert_eq!((jump.user, jump.host, jump.port), (Some(user), host, Some(port)));
        }
    }
}
