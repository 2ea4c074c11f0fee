//! Which hosts requests may reach: the connector's declared ones, and no address that is nobody's API.

use std::net::IpAddr;
use std::sync::Arc;

use url::{Host, Url};
use weir_protocol::address::{Reach, reach};
use weir_protocol::{Error, Result};

use super::redact::show_url;

#[derive(Debug, Clone)]
struct Pattern {
    /// Lower case; without the `*` for a wildcard, so that it begins with the dot.
    host: String,
    wildcard: bool,
    port: Option<u16>,
}

/// The connector's `hosts`, rendered, and whether private addresses are allowed.
#[derive(Debug, Clone)]
pub struct HostRules {
    patterns: Arc<Vec<Pattern>>,
    /// Every public host: for connectors whose hosts only their own file knows.
    is_open: bool,
    allow_private: bool,
}

impl HostRules {
    /// Patterns: `api.example.com`, `*.example.com`, both with an optional `:port`; a URL counts as its host.
    pub fn new<S: AsRef<str>>(patterns: &[S], allow_private: bool) -> Result<Self> {
        let patterns = patterns
            .iter()
            .map(|text| Pattern::parse(text.as_ref()))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            patterns: Arc::new(patterns),
            is_open: false,
            allow_private,
        })
    }

    /// Any public host over TLS; private ones as allowed.
    pub fn open(allow_private: bool) -> Self {
        Self {
            patterns: Arc::default(),
            is_open: true,
            allow_private,
        }
    }

    /// The same rules with one more host: that of a token URL, which the spec declares by naming it.
    pub fn with_host(&self, pattern: &str) -> Result<Self> {
        let mut patterns = self.patterns.as_ref().clone();
        patterns.push(Pattern::parse(pattern)?);
        Ok(Self {
            patterns: Arc::new(patterns),
            is_open: self.is_open,
            allow_private: self.allow_private,
        })
    }

    pub(super) fn allow_private(&self) -> bool {
        self.allow_private
    }

    /// Checks scheme, host, port and a literal address. Names are checked again when they are resolved.
    pub fn check(&self, url: &Url) -> Result<()> {
        let denied =
            |message: String, hint: &str| Err(Error::denied(message).with("url", show_url(url)).hint(hint));
        let Some(host) = url.host() else {
            return denied(
                "URL has no host".to_owned(),
                "check http.base_url and path of the connector",
            );
        };
        let name = host_text(&host);
        let is_declared = |pattern: &Pattern| pattern.matches(&name, url.port_or_known_default());
        if !self.is_open && !self.patterns.iter().any(is_declared) {
            return denied(
                format!("host '{name}' is not among the connector's hosts"),
                "if it belongs to the vendor, add it to 'hosts' in connector.yaml",
            );
        }
        match url.scheme() {
            "https" => {}
            "http" if self.allow_private => {}
            "http" => {
                return denied(
                    format!("plain HTTP to '{name}' is not allowed"),
                    "use https, or for a private address set allow_private_hosts: true on the connection",
                );
            }
            other => return denied(format!("scheme '{other}' is not HTTP"), "use an https URL"),
        }
        match host {
            Host::Ipv4(address) => self.check_address(&name, IpAddr::V4(address), url.scheme() == "http"),
            Host::Ipv6(address) => self.check_address(&name, IpAddr::V6(address), url.scheme() == "http"),
            Host::Domain(_)
                if !self.allow_private && (name == "localhost" || name.ends_with(".localhost")) =>
            {
                Err(private_refused(&name, "loopback"))
            }
            Host::Domain(_) => Ok(()),
        }
    }

    /// Whether an address may be connected to; `plain` for HTTP without TLS.
    pub(crate) fn check_address(&self, name: &str, address: IpAddr, plain: bool) -> Result<()> {
        match reach(address) {
            Reach::Never(what) => Err(Error::denied(format!("'{name}' is a {what} address"))
                .with("address", address)
                .hint("no connection may reach such addresses; check the URL, and where it came from")),
            Reach::Private if self.allow_private => Ok(()),
            Reach::Private => Err(private_refused(name, &address.to_string())),
            Reach::Public if plain => Err(Error::denied(format!("plain HTTP to public host '{name}'"))
                .with("address", address)
                .hint("use https; plain HTTP is for private addresses only")),
            Reach::Public => Ok(()),
        }
    }
}

fn private_refused(name: &str, address: &str) -> Error {
    Error::denied(format!("'{name}' is a private address"))
        .with("address", address)
        .hint("if this is meant, set allow_private_hosts: true on the connection")
}

fn host_text(host: &Host<&str>) -> String {
    match host {
        Host::Domain(name) => name.trim_end_matches('.').to_ascii_lowercase(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::spec(format!("'{text}' is not a host"))
                .hint("write hosts as api.example.com or *.example.com, with :port where needed")
        };
        let (wildcard, rest) = match text.trim().strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text.trim()),
        };
        let url = if rest.contains("://") {
            Url::parse(rest)
        } else {
            Url::parse(&format!("weir://{rest}"))
        };
        // Parsing it once more as https brings numbers and names into the form that requests have.
        let given = url.map_err(|_| bad())?;
        let host = given
            .host_str()
            .filter(|host| !host.is_empty() && !host.contains('*'))
            .ok_or_else(bad)?;
        let normal = Url::parse(&format!("https://{host}")).map_err(|_| bad())?;
        let normal = normal.host().map(|host| host_text(&host)).ok_or_else(bad)?;
        if wildcard && !normal.contains('.') {
            return Err(bad().hint("a wildcard needs at least two parts after it, as in *.example.com"));
        }
        let host = if wildcard { format!(".{normal}") } else { normal };
        Ok(Self {
            host,
            wildcard,
            port: given.port(),
        })
    }

    fn matches(&self, name: &str, port: Option<u16>) -> bool {
        let host = if self.wildcard {
            name.ends_with(&self.host) && name.len() > self.host.len()
        } else {
            name == self.host
        };
        host && (self.port.is_none() || self.port == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(rules: &HostRules, url: &str) -> bool {
        rules.check(&Url::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn matches_exact_wildcard_and_port() {
        let rules = HostRules::new(
            &["api.example.com", "*.example.org", "https://h.example.net:8443/x"],
            false,
        )
        .unwrap();
        assert!(allowed(&rules, "https://api.example.com/v1"));
        assert!(allowed(&rules, "https://API.example.com./v1"));
        assert!(allowed(&rules, "https://a.b.example.org/"));
        assert!(allowed(&rules, "https://h.example.net:8443/"));
        for url in [
            "https://example.org/",
            "https://evilexample.org/",
            "https://api.example.com.evil.io/",
            "https://api.example.com@evil.io/",
            "https://h.example.net/",
            "http://api.example.com/",
            "ftp://api.example.com/",
        ] {
            assert!(!allowed(&rules, url), "{url}");
        }
    }

    #[test]
    fn literal_addresses_in_any_spelling_are_checked() {
        let hosts = [
            "127.0.0.1",
            "169.254.169.254",
            "[::1]",
            "localhost",
            "[::ffff:169.254.169.254]",
        ];
        let strict = HostRules::new(&hosts, false).unwrap();
        let open = HostRules::new(&hosts, true).unwrap();
        for url in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::1]/",
            "https://localhost/",
        ] {
            assert!(!allowed(&strict, url), "{url}");
            assert!(allowed(&open, url), "{url}");
        }
        for url in [
            "https://169.254.169.254/",
            "http://0xa9fea9fe/latest",
            "http://[::ffff:a9fe:a9fe]/",
        ] {
            assert!(!allowed(&open, url), "{url}");
        }
    }

    #[test]
    fn a_pattern_for_everything_is_refused() {
        assert!(HostRules::new(&["*"], false).is_err());
        assert!(HostRules::new(&["*.com"], false).is_err());
        assert!(HostRules::new(&[""], false).is_err());
    }
}
