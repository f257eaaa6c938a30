//! The server a verb speaks to, and what its refusals mean for who typed the command.

use std::{path::Path, time::Duration};

use millrace_client::{
    Client, Error, Offset, Patience, Refused, Stream, StreamName, TlsTrouble, Trust,
};
use millrace_env::{Disk as _, FileExt as _, OpenMode, RealDisk};
use millrace_wire::Code;

use super::args::{DEFAULT_URL, ServerArgs};
use crate::fail::{Failure, Kind};

/// A server, and how to type it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) client: Client,
    pub(crate) server: ServerArgs,
}

impl Place {
    pub(crate) fn new(server: &ServerArgs) -> Result<Self, Failure> {
        let token = server.token.as_deref().filter(|token| !token.is_empty());
        let trust = match &server.ca_cert {
            Some(file) => Trust::Only(certificates(file)?),
            None => Trust::System,
        };
        let client = Client::trusting(&server.url, token, &trust).map_err(|error| {
            Failure::usage(error).help(
                "set --url (or MILLRACE_URL), --token (or MILLRACE_TOKEN) and, for https, --ca-cert (or MILLRACE_CA_CERT)",
            )
        })?;
        Ok(Self {
            client,
            server: server.clone(),
        })
    }

    /// Patient with a server that was there without end, with one that never was for as long as
    /// `first` says.
    pub(crate) fn patient(mut self, first: Duration) -> Self {
        self.client = self.client.with_patience(Patience {
            first,
            later: Duration::MAX,
        });
        self
    }

    pub(crate) fn stream(&self, name: &StreamName) -> Stream {
        self.client.stream(name.clone())
    }

    /// A command to type next: the verb, a stream, more.
    pub(crate) fn command(&self, verb: &str, name: &StreamName, more: &str) -> String {
        let rest = format!("{}{more}", shell_word(name.as_str()));
        command(&self.server, verb, &rest)
    }

    /// What an error means for a verb about `name`.
    pub(crate) fn failure(&self, error: &Error, name: Option<&StreamName>) -> Failure {
        match error {
            Error::Refused(refused) => self.refused(refused, name),
            Error::Setup(_) => Failure::usage(error),
            Error::Connect { origin, .. } => {
                let failure = Failure::new(Kind::Unreachable, error);
                if origin.contains("127.0.0.1") || origin.contains("localhost") {
                    failure.help(format!("start a server with `{}`", serve_command(origin)))
                } else {
                    failure.help(format!(
                        "check --url (or MILLRACE_URL); `curl {origin}/health` tells whether a server is there"
                    ))
                }
            }
            Error::Tls { trouble, .. } => {
                Failure::new(Kind::Unreachable, error).help(mends(*trouble))
            }
            Error::Broken { .. } => {
                let help = "nothing can be said about what was being done; look, then try again";
                Failure::new(Kind::Unreachable, error).help(help)
            }
            _ => Failure::failed(error).help("check --url (or MILLRACE_URL)"),
        }
    }

    /// The same, of a verb that expects the stream to end at `tail`; `again` is what it does.
    pub(crate) fn failure_at(
        &self,
        error: &Error,
        name: &StreamName,
        tail: Option<&Offset>,
        again: &str,
    ) -> Failure {
        let failure = self.failure(error, Some(name));
        let refused = error.refused();
        let refused = refused.filter(|refused| refused.code() == Some(Code::ExpectedOffset));
        let now = refused.and_then(|refused| refused.next_offset.as_ref());
        let (Some(tail), Some(now)) = (tail, now) else {
            return failure;
        };
        let read = self.command("read", name, &format!(" --offset {tail}"));
        failure.help(format!(
            "read what you do not know with `{read}`, decide again, and {again} with --expected-offset {now}"
        ))
    }

    fn refused(&self, refused: &Refused, name: Option<&StreamName>) -> Failure {
        let kind = match refused.code() {
            Some(Code::NotFound | Code::SourceNotFound | Code::Deleted) => Kind::NotFound,
            Some(Code::Unauthorized) => Kind::Unauthorized,
            _ => Kind::Failed,
        };
        let says_only_what_to_do = refused.help == Some(&refused.message);
        let mut what = if says_only_what_to_do {
            lower_first(&refused.title)
        } else {
            refused.message.clone()
        };
        if let (Kind::NotFound, Some(name)) = (kind, name) {
            what = format!("{what}: {name}");
        }
        let failure = Failure::new(kind, what).code_text(&refused.code);
        match self.next_step(refused, name) {
            Some(help) => failure.help(help),
            None => match refused.help {
                Some(help) if says_only_what_to_do || !refused.message.contains(help) => {
                    failure.help(help)
                }
                _ => failure,
            },
        }
    }

    /// The next command to type, where there is a better one than the server knows.
    fn next_step(&self, refused: &Refused, name: Option<&StreamName>) -> Option<String> {
        let command = |verb, more: &str| Some(self.command(verb, name?, more));
        if let Some(help) = keeps_from_compacting(&refused.code) {
            return Some(help.to_owned());
        }
        match refused.code()? {
            Code::NotFound => command("create", "").map(|create| {
                format!("create it with `{create}`, or look for it with `millrace ls`")
            }),
            Code::SourceNotFound => Some("look for it with `millrace ls`".to_owned()),
            Code::Unauthorized => Some(
                "set MILLRACE_TOKEN (or --token) to the key that the server was started with"
                    .to_owned(),
            ),
            Code::Closed => command("read", "").map(|read| format!("read it with `{read}`")),
            Code::ConfigMismatch | Code::ContentTypeMismatch => {
                command("head", "").map(|head| format!("see what it is with `{head}`"))
            }
            Code::OffsetGone => {
                let more = format!(" --offset {}", refused.earliest_offset.as_ref()?);
                command("read", &more)
                    .map(|read| format!("read again from its start with `{read}`"))
            }
            Code::BodyTooLarge if name.is_some() => {
                Some("send smaller requests with --batch-bytes".to_owned())
            }
            Code::StaleEpoch => Some(format!(
                "another run of this producer has epoch {0}; go on with its input under --epoch {0}, or append other input under --epoch {1}",
                refused.epoch?,
                refused.epoch? + 1
            )),
            _ => None,
        }
    }
}

/// What to do about a stream that cannot be compacted. These codes are of one part of the server, not
/// of the one table of codes.
fn keeps_from_compacting(code: &str) -> Option<&'static str> {
    match code {
        "not-state" => Some(
            "only messages of the State Protocol, with `key` and `headers.operation`, can be compacted; `millrace trim` shortens any stream",
        ),
        "snapshot-too-large" => Some(
            "delete keys that nobody needs, or start the server with a larger --append-bytes-max",
        ),
        "has-schema" => {
            Some("say how much is kept with `millrace set`, or shorten it with `millrace trim`")
        }
        _ => None,
    }
}

/// A command to type next: the verb, and words as a shell takes them. Not the key, which is no
/// business of a screen.
pub(crate) fn command(server: &ServerArgs, verb: &str, rest: &str) -> String {
    let from_env = std::env::var("MILLRACE_URL").is_ok_and(|url| url == server.url);
    let mut command = format!("millrace {verb}");
    if !rest.is_empty() {
        command.push(' ');
        command.push_str(rest);
    }
    if server.url != DEFAULT_URL && !from_env {
        command.push_str(" --url ");
        command.push_str(&shell_word(&server.url));
    }
    if let Some(file) = &server.ca_cert
        && std::env::var_os("MILLRACE_CA_CERT").as_deref() != Some(file.as_os_str())
    {
        command.push_str(" --ca-cert ");
        command.push_str(&shell_word(&file.to_string_lossy()));
    }
    command
}

/// What to do about a connection that could not be made secure.
fn mends(trouble: TlsTrouble) -> &'static str {
    match trouble {
        TlsTrouble::Untrusted => {
            "nobody who is trusted vouches for its certificate; name the authority's with --ca-cert (or MILLRACE_CA_CERT), or its own where it is self-signed"
        }
        TlsTrouble::WrongName => {
            "its certificate is for another name; use a name that it holds in --url (or MILLRACE_URL)"
        }
        TlsTrouble::Expired => {
            "its certificate is not valid at this time; renew it on the server, or set this machine's clock"
        }
        TlsTrouble::Authority => {
            "its certificate is an authority's; have one made for the server, as with `-addext basicConstraints=critical,CA:FALSE`"
        }
        TlsTrouble::NotTls => {
            "it speaks no TLS; use http:// in --url (or MILLRACE_URL), or start it with --tls-cert and --tls-key"
        }
        _ => {
            "check --url (or MILLRACE_URL), --ca-cert (or MILLRACE_CA_CERT) and the server's certificate"
        }
    }
}

/// A file of certificates.
fn certificates(file: &Path) -> Result<Vec<u8>, Failure> {
    let read = || {
        let disk = RealDisk::new("");
        let file = disk.open(file, OpenMode::Read)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or_default()];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    };
    read().map_err(|error: std::io::Error| {
        Failure::usage(format!("{} cannot be read: {error}", file.display()))
            .help("name a file of certificates in PEM with --ca-cert (or MILLRACE_CA_CERT)")
    })
}

fn serve_command(origin: &str) -> String {
    match origin.rsplit_once(':') {
        Some((_, "4437")) => "millrace serve".to_owned(),
        Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("millrace serve --port {port}")
        }
        _ => "millrace serve".to_owned(),
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// A word as a POSIX shell takes it.
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+,=".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(shell_word("a/b-c"), "a/b-c");
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn the_command_that_starts_the_server_names_its_port() {
        assert_eq!(serve_command("http://127.0.0.1:4437"), "millrace serve");
        assert_eq!(
            serve_command("http://127.0.0.1:80"),
            "millrace serve --port 80"
        );
        assert_eq!(serve_command("http://localhost"), "millrace serve");
    }
}
