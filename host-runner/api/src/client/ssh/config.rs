//! The user's SSH configuration, as far as it says how to reach a host.
//!
//! Source: `ssh_config(5)`. Known keywords: `Host`, `Match` (with `all`, `host`, `originalhost`, `user`, `localuser`), `Include`,
//! `HostName`, `User`, `Port`, `IdentityFile`, `IdentitiesOnly`, `IdentityAgent`, `ProxyJump`, `ProxyCommand`, `UserKnownHostsFile` and
//! `HostKeyAlias`. Any other keyword is none of our business and is passed over.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{SshError, pattern};

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// How deep `Include` may nest, as in OpenSSH.
const INCLUDE_DEPTH_MAX: u32 = 16;
/// How many files one lookup may read.
const FILES_MAX: u32 = 256;

/// Who asks, and for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    /// The host as the person wrote it.
    pub alias: &'a str,
    /// The user that the person asked for, which wins over the file.
    pub user: Option<&'a str>,
    /// The local user's name.
    pub local_user: &'a str,
    /// The home folder, for `~` and relative includes.
    pub home: Option<&'a Path>,
}

/// What the configuration says about one host. Texts are as written: tokens and `~` are not expanded yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HostSettings {
    pub host_name: Option<String>,
    pub user: Option<String>,
    pub port: Option<u16>,
    /// All of them, in order: unlike the other values they add up.
    pub identity_files: Vec<String>,
    pub identities_only: Option<bool>,
    pub identity_agent: Option<String>,
    pub proxy_jump: Option<String>,
    pub proxy_command: Option<String>,
    pub known_hosts_files: Option<Vec<String>>,
    pub host_key_alias: Option<String>,
}

/// Reads the settings for a host; a missing file is an empty one.
///
/// # Errors
/// [`SshError::ReadFile`], and [`SshError::BadConfig`] where a known keyword's value makes no sense.
pub(super) fn lookup(path: &Path, query: Query<'_>) -> Result<HostSettings, SshError> {
    let mut reader = Reader {
        query,
        settings: HostSettings::default(),
        files_left: FILES_MAX,
    };
    reader.read_file(path, true, 0)?;
    Ok(reader.settings)
}

struct Reader<'a> {
    query: Query<'a>,
    settings: HostSettings,
    files_left: u32,
}

impl Reader<'_> {
    fn read_file(&mut self, path: &Path, mut active: bool, depth: u32) -> Result<(), SshError> {
        let Some(text) = read_bounded(path)? else {
            return Ok(());
        };
        for (number, line) in (1_u32..).zip(text.lines()) {
            let bad = |reason: String| SshError::BadConfig {
                path: path.to_owned(),
                line: number,
                reason,
            };
            let Some((keyword, values)) = split_line(line).map_err(|reason| bad(reason.into()))? else {
                continue;
            };
            match keyword.as_str() {
                "host" => active = pattern::selects(values.iter().map(String::as_str), self.query.alias),
                "match" => active = self.match_applies(&values),
                "include" if active => {
                    if depth == INCLUDE_DEPTH_MAX {
                        return Err(bad("Include nests too deep".into()));
                    }
                    for value in &values {
                        self.include(value, depth + 1).map_err(|err| match err {
                            IncludeError::TooMany => bad("Include names too many files".into()),
                            IncludeError::Ssh(error) => error,
                        })?;
                    }
                }
                _ if active => self.set(&keyword, &values).map_err(bad)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn include(&mut self, value: &str, depth: u32) -> Result<(), IncludeError> {
        let written = expand_home(value, self.query.home);
        let path = match (written.is_absolute(), self.query.home) {
            (false, Some(home)) => home.join(".ssh").join(written),
            _ => written,
        };
        for file in glob(&path) {
            self.files_left = self.files_left.checked_sub(1).ok_or(IncludeError::TooMany)?;
            self.read_file(&file, true, depth).map_err(IncludeError::Ssh)?;
        }
        Ok(())
    }

    /// Whether all criteria of a `Match` line hold. One that cannot be judged here (`exec`, `canonical`, …) does not.
    fn match_applies(&self, values: &[String]) -> bool {
        let mut words = values.iter().map(String::as_str);
        let mut any = false;
        while let Some(word) = words.next() {
            any = true;
            let (criterion, wanted) = match word.strip_prefix('!') {
                Some(rest) => (rest, false),
                None => (word, true),
            };
            let settings = &self.settings;
            let subject = match criterion.to_ascii_lowercase().as_str() {
                "all" if wanted => continue,
                "originalhost" => self.query.alias,
                "host" => settings.host_name.as_deref().unwrap_or(self.query.alias),
                "user" => self
                    .query
                    .user
                    .or(settings.user.as_deref())
                    .unwrap_or(self.query.local_user),
                "localuser" => self.query.local_user,
                _ => return false,
            };
            let Some(patterns) = words.next() else {
                return false;
            };
            if pattern::selects(patterns.split(','), subject) != wanted {
                return false;
            }
        }
        any
    }

    /// Takes a value, unless an earlier line gave one: the first wins.
    fn set(&mut self, keyword: &str, values: &[String]) -> Result<(), String> {
        let one = || -> Result<String, String> {
            match values {
                [value, ..] if !value.is_empty() => Ok(value.clone()),
                _ => Err(format!("{keyword} has no value")),
            }
        };
        let settings = &mut self.settings;
        let text = match keyword {
            "hostname" => &mut settings.host_name,
            "user" => &mut settings.user,
            "identityagent" => &mut settings.identity_agent,
            "proxyjump" => &mut settings.proxy_jump,
            "proxycommand" => {
                one()?;
                // The rest of the line is one shell command.
                settings.proxy_command.get_or_insert(values.join(" "));
                return Ok(());
            }
            "hostkeyalias" => &mut settings.host_key_alias,
            "port" => {
                let port = one()?.parse::<u16>().ok().filter(|&port| port > 0);
                let port = port.ok_or_else(|| "Port is not a number in 1..=65535".to_owned())?;
                settings.port.get_or_insert(port);
                return Ok(());
            }
            "identityfile" => {
                settings.identity_files.push(one()?);
                return Ok(());
            }
            "identitiesonly" => {
                let flag = match one()?.to_ascii_lowercase().as_str() {
                    "yes" | "true" => true,
                    "no" | "false" => false,
                    _ => return Err("IdentitiesOnly is neither yes nor no".into()),
                };
                settings.identities_only.get_or_insert(flag);
                return Ok(());
            }
            "userknownhostsfile" => {
                one()?;
                settings.known_hosts_files.get_or_insert_with(|| values.to_vec());
                return Ok(());
            }
            _ => return Ok(()),
        };
        let value = one()?;
        text.get_or_insert(value);
        Ok(())
    }
}

enum IncludeError {
    TooMany,
    Ssh(SshError),
}

/// A text file of the user's, with what is not UTF-8 replaced; `None` where there is none.
pub(super) fn read_bounded(path: &Path) -> Result<Option<String>, SshError> {
    let failed = |err| SshError::ReadFile {
        path: path.to_owned(),
        err,
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(failed(err)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!("larger than {FILE_BYTES_MAX} bytes"),
        )));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// A line's keyword in lower case and its values; `None` for an empty line or a comment.
///
/// Words are parted by blanks; the first may also be followed by `=`. Quotes hold blanks together, and a backslash takes the next
/// quote or backslash as it is. A `#` at the start of a word begins a comment.
fn split_line(line: &str) -> Result<Option<(String, Vec<String>)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let end = line
        .find(|c: char| c.is_whitespace() || c == '=')
        .unwrap_or(line.len());
    let (keyword, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    Ok(Some((keyword.to_ascii_lowercase(), split_words(rest)?)))
}

fn split_words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if matches!(chars.peek(), Some('"' | '\'' | '\\')) => {
                let escaped = chars.next().unwrap_or('\\');
                word.get_or_insert_default().push(escaped);
            }
            '\\' if quote.is_none() && chars.peek() == Some(&' ') => {
                chars.next();
                word.get_or_insert_default().push(' ');
            }
            '"' | '\'' if quote.is_none() => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            _ if quote == Some(c) => quote = None,
            _ if quote.is_none() && c.is_whitespace() => words.extend(word.take()),
            '#' if quote.is_none() && word.is_none() => break,
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

/// `~` and `~/…` below the home folder; all else as written.
pub(super) fn expand_home(text: &str, home: Option<&Path>) -> PathBuf {
    match (text.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home.to_owned(),
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(text),
    }
}

/// The files that a path with `*` and `?` in its parts names, sorted; nothing where there is none.
fn glob(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in path.components() {
        let name = part.as_os_str();
        let Some(wild) = name.to_str().filter(|name| name.contains(['*', '?'])) else {
            for path in &mut found {
                path.push(name);
            }
            continue;
        };
        let mut next = Vec::new();
        for folder in &found {
            let Ok(entries) = std::fs::read_dir(folder) else {
                continue;
            };
            let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
            names.sort();
            next.extend(
                names
                    .into_iter()
                    .filter(|name| {
                        name.to_str().is_some_and(|name| {
                            pattern::matches(wild, name) && (!name.starts_with('.') || wild.starts_with('.'))
                        })
                    })
                    .map(|name| folder.join(name)),
            );
        }
        found = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `files` (the first is the configuration) say about `alias`.
    fn settings(files: &[(&str, &str)], alias: &str) -> Result<HostSettings, SshError> {
        let home = tempfile::tempdir().expect("a temporary home");
        for (name, text) in files {
            let path = home.path().join(".ssh").join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        let query = Query {
            alias,
            user: None,
            local_user: "me",
            home: Some(home.path()),
        };
        lookup(&home.path().join(".ssh").join(files[0].0), query)
    }

    fn parsed(text: &str, alias: &str) -> HostSettings {
        settings(&[("config", text)], alias).expect("a good configuration")
    }

    #[test]
    fn the_first_value_wins_and_identity_files_add_up() {
        let text = "User first\nHost atlas\n  User second\n  IdentityFile ~/.ssh/a\n  Port 2222\nHost *\n  Port 1\n  IdentityFile ~/.ssh/b\n";
        let atlas = parsed(text, "atlas");
        assert_eq!(atlas.user.as_deref(), Some("first"));
        assert_eq!(atlas.port, Some(2222));
        assert_eq!(atlas.identity_files, ["~/.ssh/a", "~/.ssh/b"]);
        assert_eq!(parsed(text, "other").port, Some(1));
    }

    #[test]
    fn equals_signs_quotes_tabs_case_and_comments_are_understood() {
        let text = "# a comment\nHOST=atlas\n\thostname = \"10.0.0.1\" # why not\n\tIdentityFile \"~/my keys/id\"\nUserKnownHostsFile a 'b c'\nProxyJump=a,b\n";
        let atlas = parsed(text, "atlas");
        assert_eq!(atlas.host_name.as_deref(), Some("10.0.0.1"));
        assert_eq!(atlas.identity_files, ["~/my keys/id"]);
        assert_eq!(
            atlas.known_hosts_files.as_deref(),
            Some(&["a".to_owned(), "b c".to_owned()][..])
        );
        assert_eq!(atlas.proxy_jump.as_deref(), Some("a,b"));
    }

    #[test]
    fn negated_hosts_are_left_out() {
        let text = "Host *.lan !gate.lan\n  ProxyJump gate.lan\n";
        assert_eq!(parsed(text, "atlas.lan").proxy_jump.as_deref(), Some("gate.lan"));
        assert_eq!(parsed(text, "gate.lan").proxy_jump, None);
    }

    #[test]
    fn unknown_keywords_are_passed_over_and_bad_values_named_with_their_line() {
        assert_eq!(parsed("FutureOption yes\nPort 22\n", "a").port, Some(22));
        match settings(&[("config", "\nPort many\n")], "a") {
            Err(SshError::BadConfig { line: 2, reason, .. }) => assert!(reason.contains("Port"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn includes_are_read_in_place_with_wildcards_and_only_where_they_apply() {
        let files = [
            (
                "config",
                "Host atlas\n  Include conf.d/*.conf\nHost *\n  User last\n",
            ),
            ("conf.d/10.conf", "User ten\n"),
            ("conf.d/20.conf", "User twenty\nPort 20\n"),
            ("conf.d/ignored", "Port 1\n"),
        ];
        let atlas = settings(&files, "atlas").expect("good files");
        assert_eq!((atlas.user.as_deref(), atlas.port), (Some("ten"), Some(20)));
        let other = settings(&files, "other").expect("good files");
        assert_eq!((other.user.as_deref(), other.port), (Some("last"), None));
    }

    #[test]
    fn a_file_that_includes_itself_is_refused() {
        let files = [("config", "Include config\n")];
        assert!(matches!(settings(&files, "a"), Err(SshError::BadConfig { .. })));
    }

    #[test]
    fn match_lines_that_can_be_judged_are_and_others_do_not_apply() {
        let text = "Match host atlas user me\n  Port 1\nMatch exec \"true\"\n  Port 2\nMatch all\n  Port 3\n";
        assert_eq!(parsed(text, "atlas").port, Some(1));
        assert_eq!(parsed(text, "other").port, Some(3));
    }

    #[test]
    fn a_missing_file_says_nothing() {
        let query = Query {
            alias: "a",
            user: None,
            local_user: "me",
            home: None,
        };
        let none = lookup(Path::new("/nonexistent/config"), query).expect("no error");
        assert_eq!(none, HostSettings::default());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let text = String::from_utf8_lossy(&bytes);
            let _ = split_line(&text);
            let _ = split_words(&text);
        }

        #[test]
        fn whatever_the_lines_a_lookup_ends(
            lines in prop::collection::vec("(Host|Match|Port|Include|IdentityFile|User)[ =][a-z0-9*!\"'\\\\ ,~/#]{0,20}", 0..20),
        ) {
            let _ = settings(&[("config", &lines.join("\n"))], "atlas");
        }

        #[test]
        fn quoted_words_come_back_as_they_were(words in prop::collection::vec("[a-zA-Z0-9 #=~/.]{1,12}", 1..6)) {
            let line: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            prop_assert_eq!(split_words(&line.join(" ")), Ok(words));
        }
    }
}
