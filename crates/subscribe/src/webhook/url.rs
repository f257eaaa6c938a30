//! A webhook's URL, as far as its text says anything. Where its host leads is `address`'s.

use std::net::IpAddr;

use http::Uri;

use super::{
    Rules,
    address::{is_loopback, is_public},
};

/// A URL that may be delivered to, as far as its text goes.
#[derive(Clone, Debug)]
pub(crate) struct WebhookUrl {
    pub(super) uri: Uri,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_secure: bool,
}

impl WebhookUrl {
    /// Judges a URL; says why it must not be delivered to.
    pub(crate) fn new(text: &str, rules: Rules) -> Result<Self, String> {
        // A parser of URIs lets a fragment go without a word.
        if text.contains('#') || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("the webhook's URL has a fragment, or blanks in it".to_owned());
        }
        let uri: Uri = text
            .parse()
            .map_err(|_| "the webhook's URL is none".to_owned())?;
        let is_secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("the webhook's URL must begin with `https://`".to_owned()),
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err("the webhook's URL must not hold a name or password".to_owned());
        }
        let host = uri.host().unwrap_or_default();
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_ascii_lowercase();
        if host.is_empty() {
            return Err("the webhook's URL has no host".to_owned());
        }
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let own = Self {
            uri,
            host,
            port,
            is_secure,
        };
        own.judge(rules)?;
        Ok(own)
    }

    fn judge(&self, rules: Rules) -> Result<(), String> {
        let address: Option<IpAddr> = self.host.parse().ok();
        let name = self.host.trim_end_matches('.');
        let names_this_machine = name == "localhost" || name.ends_with(".localhost");
        let is_local = names_this_machine || address.is_some_and(is_loopback);
        if is_local && rules.allow_local {
            return Ok(());
        }
        if is_local {
            return Err("the webhook's URL leads to this machine; for development, start the server with `--allow-local-webhooks`".to_owned());
        }
        if !self.is_secure {
            return Err("the webhook's URL must begin with `https://`".to_owned());
        }
        if address.is_some_and(|address| !is_public(address)) {
            return Err("the webhook's URL leads to an address that is not public".to_owned());
        }
        Ok(())
    }

    /// Whether a connection may be made to an address that its host resolved to.
    pub(super) fn may_connect(&self, address: IpAddr, rules: Rules) -> bool {
        if is_loopback(address) {
            return rules.allow_local;
        }
        self.is_secure && is_public(address)
    }

    /// Host and port, for who counts requests by where they go.
    pub(crate) fn host_of(url: &str) -> String {
        let uri: Option<Uri> = url.parse().ok();
        let authority = uri.as_ref().and_then(Uri::authority);
        authority.map_or_else(String::new, |authority| {
            authority.as_str().to_ascii_lowercase()
        })
    }

    /// What is asked for at the host.
    pub(super) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// What `Host` says.
    pub(super) fn authority(&self) -> &str {
        self.uri
            .authority()
            .map_or("", |authority| authority.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Rules = Rules { allow_local: false };
    const LOCAL: Rules = Rules { allow_local: true };

    #[test]
    fn only_public_https_is_delivered_to() {
        for (url, strict, local) in [
            ("https://w.example/hook?x=1", true, true),
            ("https://w.example:8443", true, true),
            ("https://8.8.8.8/", true, true),
            ("https://[2606:4700::1111]/", true, true),
            ("http://w.example/", false, false),
            ("http://8.8.8.8/", false, false),
            ("http://10.0.0.1/hook", false, false),
            ("https://10.0.0.1/hook", false, false),
            ("https://169.254.169.254/latest", false, false),
            ("https://[fd00:ec2::254]/", false, false),
            ("https://[::ffff:10.0.0.1]/", false, false),
            ("https://[64:ff9b::a00:1]/", false, false),
            ("https://0.0.0.0/", false, false),
            ("http://localhost:8080/", false, true),
            ("http://LOCALHOST./", false, true),
            ("http://a.localhost/", false, true),
            ("http://127.0.0.1:9/", false, true),
            ("http://127.9.9.9/", false, true),
            ("http://[::1]:9/", false, true),
            ("https://127.0.0.1/", false, true),
            ("ftp://w.example/", false, false),
            ("file:///etc/passwd", false, false),
            ("//w.example/", false, false),
            ("w.example", false, false),
            ("", false, false),
            ("https://", false, false),
            ("https://user:pass@w.example/", false, false),
            ("https://w.example@10.0.0.1/", false, false),
            ("https://w.example/#f", false, false),
            ("https://w.example/a b", false, false),
            ("https://w.example/\r\nx", false, false),
        ] {
            let judged = |rules| WebhookUrl::new(url, rules).is_ok();
            assert_eq!((judged(STRICT), judged(LOCAL)), (strict, local), "{url}");
        }
    }

    #[test]
    fn what_a_name_resolves_to_is_judged_too() {
        let url = |text, rules| WebhookUrl::new(text, rules).unwrap();
        let own = url("https://w.example/", STRICT);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for (text, strict, local) in [
            ("8.8.8.8", true, true),
            ("127.0.0.1", false, true),
            ("::1", false, true),
            ("10.0.0.1", false, false),
            ("169.254.169.254", false, false),
            ("::ffff:192.168.0.1", false, false),
        ] {
            assert_eq!(own.may_connect(address(text), STRICT), strict, "{text}");
            assert_eq!(own.may_connect(address(text), LOCAL), local, "{text}");
        }
        // What is in the clear stays on this machine, whatever the name resolves to.
        let plain = url("http://localhost/", LOCAL);
        assert!(plain.may_connect(address("127.0.0.1"), LOCAL));
        assert!(!plain.may_connect(address("8.8.8.8"), LOCAL));
    }
}
