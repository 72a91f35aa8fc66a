//! Where a request goes: a URL, cut but not changed. A path that was signed must arrive as it was signed, so that what
//! the `url` crate would tidy up stays as it is.

use std::fmt;
use std::io;

use super::invalid;

/// Whom connections are made to, and shared among requests to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) tls: bool,
    /// A name or an address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// An origin and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) origin: Origin,
    /// Path and query, as they stand in the request line.
    pub(crate) path: String,
}

impl Target {
    pub(crate) fn parse(url: &str) -> io::Result<Self> {
        let refuse = || invalid(format!("`{}` is not a URL", url.split('?').next().unwrap_or("")));
        let (scheme, rest) = url.split_once("://").ok_or_else(refuse)?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(refuse()),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let place = authority.rsplit_once('@').map_or(authority, |(_user, place)| place);
        let (host, port) = host_and_port(place).ok_or_else(refuse)?;
        let port = port.unwrap_or(if tls { 443 } else { 80 });
        let slash = if path.starts_with('/') { "" } else { "/" };
        let path = format!("{slash}{path}");
        if host.is_empty() || path.contains(|c: char| c.is_ascii_control() || c == ' ') {
            return Err(refuse());
        }
        Ok(Self { origin: Origin { tls, host: host.into(), port }, path })
    }
}

impl Origin {
    /// As it stands in `Host`: without the port that goes without saying.
    pub(crate) fn host_header(&self) -> String {
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { self.bracketed() } else { self.to_string() }
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.bracketed(), self.port)
    }
}

fn host_and_port(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match place.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    match rest.strip_prefix(':') {
        Some("") => Some((host, None)),
        Some(port) => Some((host, Some(port.parse().ok()?))),
        None => rest.is_empty().then_some((host, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_cut_and_not_changed() {
        for (url, host, place, path) in [
            ("http://h", "h", "h:80", "/"),
            ("https://h:443/a//b/../c?x=%2f", "h", "h:443", "/a//b/../c?x=%2f"),
            ("http://u:p@h:81?q#f", "h:81", "h:81", "/?q"),
            ("http://[::1]:9/x", "[::1]:9", "[::1]:9", "/x"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!(target.origin.host_header(), host, "{url}");
            assert_eq!(target.origin.to_string(), place, "{url}");
            assert_eq!(target.path, path, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in ["h", "ftp://h/", "http://", "http://h:x/", "http://[::1/", "http://h/a b"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
