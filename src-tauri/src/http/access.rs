use std::fmt;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

/// 256 bits: nobody guesses them, however fast they may ask.
const TOKEN_BYTES: usize = 32;

/// The way in: the port that is listened on, and a token that is new with every start.
///
/// A guest in QEMU's user network reaches the host's loopback, so being there proves nothing. The token does: it is printed to the
/// terminal, a browser trades it for a cookie by opening [`link`](Self::link), and a program sends it as `Authorization: Bearer`.
#[derive(Clone)]
pub struct Access {
    port: u16,
    token: String,
}

impl Access {
    /// A new token for the server on `port` of 127.0.0.1.
    pub fn generate(port: u16) -> Self {
        Self {
            port,
            token: URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_BYTES]>()),
        }
    }

    /// The address to open in a browser. It is the secret: print it where only the user reads.
    pub fn link(&self) -> String {
        format!("http://127.0.0.1:{}/?token={}", self.port, self.token)
    }

    /// The secret itself, base64url without padding.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Whether a `Host` header names this server: loopback, and its port.
    pub(super) fn is_own_host(&self, host: &str) -> bool {
        let (name, port) = match host.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((name, port)) => (name, port.strip_prefix(':')),
            None => host
                .split_once(':')
                .map_or((host, None), |(name, port)| (name, Some(port))),
        };
        // Without a port, a host is HTTP's own.
        let port_is_own = port.map_or(self.port == 80, |port| port == self.port.to_string());
        port_is_own && matches!(name, "127.0.0.1" | "localhost" | "::1")
    }

    /// Whether this is the token; takes as long for one that is nearly right as for any other.
    pub(super) fn is_token(&self, given: &str) -> bool {
        self.token.as_bytes().ct_eq(given.as_bytes()).into()
    }

    /// Whether a request carries the token, as a cookie or as a bearer's.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let bearer = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if bearer.is_some_and(|token| self.is_token(token)) {
            return true;
        }
        let name = self.cookie_name();
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .any(|(key, token)| key == name && self.is_token(token))
    }

    /// The `Set-Cookie` that trades the link for access: out of scripts' reach, and never sent from another site's page.
    pub(super) fn cookie(&self) -> String {
        format!(
            "{}={}; HttpOnly; SameSite=Strict; Path=/",
            self.cookie_name(),
            self.token
        )
    }

    /// Browsers share cookies among all ports of a host: two servers must not overwrite each other's.
    fn cookie_name(&self) -> String {
        format!("millpond-{}", self.port)
    }
}

impl fmt::Debug for Access {
    /// Without the token: what is logged stays.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_with_the_servers_port_is_its_own_host() {
        let access = Access::generate(4000);
        for own in ["127.0.0.1:4000", "localhost:4000", "[::1]:4000"] {
            assert!(access.is_own_host(own), "{own}");
        }
        let others = [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "127.0.0.1:5000",
            "localhost:04000",
            "localhost:",
            "evil.example:4000",
            "127.0.0.1.evil.example:4000",
            "10.0.2.2:4000",
            "[::1",
            "[::1]4000",
            "",
        ];
        for other in others {
            assert!(!access.is_own_host(other), "{other}");
        }
        assert!(Access::generate(80).is_own_host("localhost"));
    }

    #[test]
    fn every_start_has_a_token_of_its_own_and_no_log_has_it() {
        let (one, other) = (Access::generate(1), Access::generate(1));
        assert_ne!(one.token(), other.token());
        assert_eq!(one.token().len(), 43, "256 bits in base64url");
        assert!(!format!("{one:?}").contains(one.token()));
    }
}
