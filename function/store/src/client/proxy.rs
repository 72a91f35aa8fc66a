//! Proxies, as the environment names them: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, and `NO_PROXY` for whom they are not
//! to be used, each also in lower case. TLS goes through a tunnel; a plain request names its whole URL.

use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

use super::head::{Head, LIMIT_BYTES};
use super::target::Origin;
use super::{basic_authorization, invalid};

#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    tls: Option<Proxy>,
    plain: Option<Proxy>,
    /// Hosts, domains and addresses; `*` is everybody.
    except: Vec<String>,
}

/// One proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(super) origin: Origin,
    pub(super) authorization: Option<String>,
}

impl Proxies {
    pub(crate) fn from_environment() -> io::Result<Self> {
        Self::resolve(|name| std::env::var(name).ok())
    }

    /// The same, of variables that are found elsewhere.
    pub(super) fn resolve(variable: impl Fn(&str) -> Option<String>) -> io::Result<Self> {
        let either = |name: &str| {
            let value = variable(&name.to_lowercase()).or_else(|| variable(name));
            value.filter(|value| !value.is_empty())
        };
        let proxy =
            |name| either(name).or_else(|| either("ALL_PROXY")).map(|url| Proxy::parse(&url));
        // A web server hands a request's `Proxy:` header to its scripts as HTTP_PROXY.
        let plain = if variable("REQUEST_METHOD").is_some() { None } else { proxy("HTTP_PROXY") };
        let except = either("NO_PROXY").unwrap_or_default();
        let except =
            except.split(',').map(|host| host.trim().trim_start_matches('.').to_lowercase());
        Ok(Self {
            tls: proxy("HTTPS_PROXY").transpose()?,
            plain: plain.transpose()?,
            except: except.filter(|host| !host.is_empty()).collect(),
        })
    }

    /// The proxy on the way to `origin`. There is none to this machine itself, nor to its link: that is where machines
    /// find their roles.
    pub(super) fn to(&self, origin: &Origin) -> Option<&Proxy> {
        let proxy = if origin.tls { self.tls.as_ref() } else { self.plain.as_ref() };
        proxy.filter(|_| !is_near(&origin.host) && !self.is_excepted(origin))
    }

    fn is_excepted(&self, origin: &Origin) -> bool {
        let host = origin.host.to_lowercase();
        self.except.iter().any(|except| {
            let (name, port) = match except.rsplit_once(':') {
                Some((name, port)) if !name.contains(':') => (name, port.parse().ok()),
                _ => (except.as_str(), None),
            };
            let name = name.trim_start_matches("*.");
            let within =
                host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            (name == "*" || within || is_in_network(&host, name))
                && port.is_none_or(|port: u16| port == origin.port)
        })
    }
}

impl Proxy {
    fn parse(text: &str) -> io::Result<Self> {
        let refuse = || {
            invalid("the proxy that the environment names is not of the form `http://host:port`")
        };
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&text).map_err(|_| refuse())?;
        let host = url.host_str().filter(|_| url.scheme() == "http").ok_or_else(refuse)?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().ok_or_else(refuse)?;
        let authorization = basic_authorization(&url);
        Ok(Self { origin: Origin { tls: false, host, port }, authorization })
    }

    /// Asks for a tunnel to `origin`, after which the socket is as good as one to there.
    pub(super) async fn tunnel(&self, tcp: &mut TcpStream, origin: &Origin) -> io::Result<()> {
        let mut request = format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n");
        if let Some(authorization) = &self.authorization {
            request.extend(["Proxy-Authorization: ", authorization, "\r\n"]);
        }
        tcp.write_all((request + "\r\n").as_bytes()).await?;
        let mut answer = Vec::with_capacity(LIMIT_BYTES);
        loop {
            let looked_at = answer.len();
            // Byte by byte would be safe before a server that speaks first: with TLS the client does.
            if tcp.read_buf(&mut answer).await? == 0 {
                return Err(invalid(format!("the proxy `{}` hung up", self.origin)));
            }
            match Head::parse(&answer, looked_at)? {
                Some((head, _)) if (200..300).contains(&head.status) => return Ok(()),
                Some((head, _)) => {
                    let status = head.status;
                    return Err(invalid(format!("the proxy `{}` answered {status}", self.origin)));
                }
                None => {}
            }
        }
    }
}

fn is_near(host: &str) -> bool {
    match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unicast_link_local(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Whether an address is in `network`, written as `10.0.0.0/8`.
fn is_in_network(host: &str, network: &str) -> bool {
    let Some((start, length)) = network.split_once('/') else { return false };
    let (Ok(length), Ok(start), Ok(host)) = (length.parse::<u32>(), start.parse(), host.parse())
    else {
        return false;
    };
    let (start, host, width) = match (start, host) {
        (IpAddr::V4(start), IpAddr::V4(host)) => {
            (u128::from(start.to_bits()), u128::from(host.to_bits()), 32)
        }
        (IpAddr::V6(start), IpAddr::V6(host)) => (start.to_bits(), host.to_bits(), 128),
        _ => return false,
    };
    length <= width && (start ^ host).checked_shr(width - length).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> io::Result<Proxies> {
        let find =
            |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Proxies::resolve(find)
    }

    fn origin(tls: bool, host: &str) -> Origin {
        Origin { tls, host: host.into(), port: if tls { 443 } else { 80 } }
    }

    #[test]
    fn each_scheme_has_its_own_and_small_letters_win() {
        let set = [
            ("HTTPS_PROXY", "http://a:1"),
            ("https_proxy", "b:2"),
            ("ALL_PROXY", "http://u:p%40@c:3"),
        ];
        let proxies = proxies(&set).unwrap();
        let to = |origin: &Origin| proxies.to(origin).map(|proxy| proxy.origin.to_string());
        assert_eq!(to(&origin(true, "h")), Some("b:2".into()));
        assert_eq!(to(&origin(false, "h")), Some("c:3".into()));
        let authorization = proxies.to(&origin(false, "h")).unwrap().authorization.clone();
        assert_eq!(authorization, Some("Basic dTpwQA==".into()), "u:p@");
        for near in ["localhost", "127.0.0.1", "::1", "169.254.169.254"] {
            assert_eq!(to(&origin(false, near)), None, "{near}");
        }
    }

    #[test]
    fn exceptions_are_hosts_domains_ports_and_networks() {
        let no = "a.com, .b.com,*.c.com,d.com:443,10.0.0.0/8,fd00::/8";
        let proxies = proxies(&[("HTTPS_PROXY", "p:1"), ("NO_PROXY", no)]).unwrap();
        let direct = |host: &str| proxies.to(&origin(true, host)).is_none();
        for host in ["a.com", "x.A.com", "y.b.com", "z.c.com", "d.com", "10.9.8.7", "fd00::1"] {
            assert!(direct(host), "{host}");
        }
        for host in ["aa.com", "com", "11.0.0.1", "fe00::1"] {
            assert!(!direct(host), "{host}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_its_password() {
        let error = proxies(&[("HTTPS_PROXY", "socks5://u:secret@h:1")]).unwrap_err().to_string();
        assert!(error.contains("http://host:port") && !error.contains("secret"), "{error}");
    }
}
