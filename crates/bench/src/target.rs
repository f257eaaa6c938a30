//! The server, and how requests to it begin.

use std::net::{SocketAddr, ToSocketAddrs as _};

use crate::BenchError;

/// A server of durable streams.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// Host and port, for the header.
    pub authority: String,
    /// What stands before a stream's name, with a slash at either end.
    pub prefix: String,
    /// The key it asks for.
    pub token: Option<String>,
}

impl Target {
    /// From `http://host:port` and the path under which streams live.
    pub fn parse(url: &str, prefix: &str, token: Option<&str>) -> Result<Self, BenchError> {
        let Some(rest) = url.strip_prefix("http://") else {
            return Err(BenchError::Plan(format!(
                "`{url}` does not begin with http://; TLS would be measured with it, so it is left out"
            )));
        };
        let authority = rest.trim_end_matches('/');
        if authority.contains(['/', '?', '#', '@']) {
            return Err(BenchError::Plan(format!(
                "`{url}` is more than scheme, host and port; give the path with --path"
            )));
        }
        let full = if authority
            .rsplit(']')
            .next()
            .is_some_and(|tail| tail.contains(':'))
        {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        let resolved = full.to_socket_addrs().map(|mut all| all.next());
        let connect = |error| BenchError::Connect {
            authority: authority.to_owned(),
            error,
        };
        let address = resolved.map_err(connect)?.ok_or_else(|| {
            BenchError::Plan(format!("`{authority}` is not the name of any address"))
        })?;
        Ok(Self {
            address,
            authority: authority.to_owned(),
            prefix: format!("/{}/", prefix.trim_matches('/')).replace("//", "/"),
            token: token.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_scheme_host_and_port() {
        let target = Target::parse("http://127.0.0.1:4437/", "/v1/stream/", None).expect("is one");
        assert_eq!(target.address, SocketAddr::from(([127, 0, 0, 1], 4437)));
        assert_eq!(target.authority, "127.0.0.1:4437");
        assert_eq!(target.prefix, "/v1/stream/");
        let target = Target::parse("http://127.0.0.1", "", None).expect("is one");
        assert_eq!((target.address.port(), target.prefix.as_str()), (80, "/"));
        let target = Target::parse("http://[::1]:90", "a/b", None).expect("is one");
        assert_eq!(
            (target.address.port(), target.prefix.as_str()),
            (90, "/a/b/")
        );
    }

    #[test]
    fn what_cannot_be_spoken_to_is_refused() {
        for url in [
            "https://127.0.0.1:1",
            "127.0.0.1:1",
            "http://127.0.0.1:1/v1",
        ] {
            assert!(Target::parse(url, "/", None).is_err(), "{url}");
        }
    }
}
