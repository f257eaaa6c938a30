//! What a request asks, as far as it matters to the watcher.

use std::fmt;

use percent_encoding::percent_decode_str;

use super::{content::Kind, subscriptions::Control, token::Token};

const PREFIX: &str = "/v1/stream/";
/// Appends to streams that its body names.
const BATCH: &str = "/v1/streams/_append";
/// What is under this is no stream.
const CONTROL: &str = "__ds/";
const TRIM: &str = "/_trim";
/// The sub-resource that compacts the keys of a stream.
const COMPACT: &str = "/_compact";
/// What begins elsewhere than at an offset that the request names.
const PLACES: [&str; 3] = ["last", "since", "before"];

/// Header fields: name, in lower case, and value.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// From names and values as they came.
    pub fn new<'a>(fields: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let own = |(name, value): (&str, &[u8])| {
            let value = String::from_utf8_lossy(value).trim().to_owned();
            (name.to_ascii_lowercase(), value)
        };
        Self(fields.into_iter().map(own).collect())
    }

    /// The first value of a field, by its name in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a field.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let found = self.0.iter().filter(move |(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether a field says `true`.
    pub(crate) fn says(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The token in a field.
    pub(crate) fn token(&self, name: &str) -> Option<Token> {
        self.get(name).and_then(Token::parse)
    }

    pub(crate) fn kind(&self) -> Option<Kind> {
        self.get("content-type").map(Kind::of)
    }
}

/// A request, as far as its head says it.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    /// The stream, or nothing where no stream is asked for.
    pub(crate) name: Option<String>,
    pub(crate) verb: Verb,
    /// The request in a line.
    pub(crate) line: String,
}

#[derive(Clone, Debug)]
pub(crate) enum Verb {
    Create(Create),
    Append(Append),
    Delete,
    Head,
    Read(From),
    /// Takes a stream's beginning away.
    Trim,
    /// Something that no stream changes by.
    Other,
    /// Something of a subscription: the server appends to a stream for it.
    Control(Control),
    /// Something that may change a stream, and nobody knows which.
    Unclear,
}

#[derive(Clone, Debug)]
pub(crate) struct Create {
    pub(crate) closes: bool,
    /// Whether it names no end of the stream's life.
    pub(crate) unlimited: bool,
    pub(crate) fork: Option<Fork>,
    /// Whether the stream is trimmed without being asked to.
    pub(crate) keeps_less: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Fork {
    /// Where it begins, if that was said in a token.
    pub(crate) at: Option<Token>,
    /// Whether it begins exactly there.
    pub(crate) exactly: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Append {
    pub(crate) closes: bool,
    pub(crate) kind: Option<Kind>,
    pub(crate) producer: Option<Claim>,
    /// Whether it brings what the request does not say, and trims what was before.
    pub(crate) condenses: bool,
}

/// A producer's count of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Claim {
    pub(crate) id: String,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
}

/// Where a read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Start,
    Tail,
    At(Token),
    /// Nobody knows.
    Unclear,
}

impl Asking {
    pub(crate) fn new(method: &str, target: &str, fields: &Fields) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = in_origin_form(path);
        let name = path
            .strip_prefix(PREFIX)
            .map(|name| percent_decode_str(name).decode_utf8());
        let (name, verb) = match name {
            None if path == BATCH => (None, unclear(method)),
            None => (None, Verb::Other),
            // The server appends what nobody sent.
            Some(Ok(name)) if method == "POST" && name.ends_with(COMPACT) => {
                let append = Append {
                    closes: false,
                    kind: None,
                    producer: None,
                    condenses: true,
                };
                let stream = name.trim_end_matches(COMPACT);
                (Some(stream.to_owned()), Verb::Append(append))
            }
            _ if fields.get("stream-compact-after-bytes").is_some() => (None, Verb::Unclear),
            // A wake is an append of the server's own, to a stream that the watcher knows.
            Some(Ok(name)) if name.starts_with(CONTROL) => {
                let control = Control::new(method, &name[CONTROL.len()..]);
                (None, Verb::Control(control))
            }
            Some(Ok(name)) if method == "POST" && name.ends_with(TRIM) => {
                let stream = name.trim_end_matches(TRIM);
                (Some(stream.to_owned()), Verb::Trim)
            }
            Some(Ok(name)) => (Some(name.into_owned()), verb(method, query, fields)),
            Some(Err(_)) => (None, unclear(method)),
        };
        let line = format!("{method} {}", target.chars().take(300).collect::<String>());
        Self { name, verb, line }
    }
}

impl Asking {
    /// Whether the stream may begin later than at its first byte from here on; a fork of any stream may, where
    /// some stream does.
    pub(crate) fn may_trim(&self, some_does: bool) -> bool {
        match &self.verb {
            Verb::Trim => true,
            Verb::Create(create) => create.keeps_less || (some_does && create.fork.is_some()),
            Verb::Append(append) => append.condenses,
            _ => false,
        }
    }
}

impl fmt::Display for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)?;
        if let Verb::Append(Append {
            producer: Some(claim),
            ..
        }) = &self.verb
        {
            write!(
                f,
                " (producer {} epoch {} seq {})",
                claim.id, claim.epoch, claim.seq
            )?;
        }
        Ok(())
    }
}

/// A target may hold the whole URL.
fn in_origin_form(path: &str) -> &str {
    let rest = path
        .strip_prefix("http://")
        .or_else(|| path.strip_prefix("https://"));
    match rest.map(|rest| rest.find('/').map(|at| &rest[at..])) {
        None => path,
        Some(path) => path.unwrap_or_default(),
    }
}

fn unclear(method: &str) -> Verb {
    match method {
        "GET" | "HEAD" | "OPTIONS" => Verb::Other,
        _ => Verb::Unclear,
    }
}

fn verb(method: &str, query: &str, fields: &Fields) -> Verb {
    match method {
        "PUT" => Verb::Create(Create {
            closes: fields.says("stream-closed"),
            unlimited: fields.get("stream-ttl").is_none()
                && fields.get("stream-expires-at").is_none(),
            fork: fields.get("stream-forked-from").map(|_| fork(fields)),
            keeps_less: keeps_less(fields),
        }),
        "POST" => Verb::Append(Append {
            closes: fields.says("stream-closed"),
            kind: fields.kind(),
            producer: claim(fields),
            condenses: false,
        }),
        "DELETE" => Verb::Delete,
        "PATCH" if keeps_less(fields) => Verb::Trim,
        "PATCH" => Verb::Other,
        "HEAD" => Verb::Head,
        "GET" => Verb::Read(from(query, fields)),
        other => unclear(other),
    }
}

/// Whether the server will trim the stream by itself.
fn keeps_less(fields: &Fields) -> bool {
    let limits = ["age", "bytes", "messages"];
    let mut names = limits
        .map(|limit| format!("stream-retention-max-{limit}"))
        .into_iter();
    names.any(|name| fields.get(&name).is_some())
}

fn fork(fields: &Fields) -> Fork {
    let past = fields.get("stream-fork-sub-offset").unwrap_or("0");
    Fork {
        at: fields.token("stream-fork-offset"),
        exactly: past == "0",
    }
}

fn claim(fields: &Fields) -> Option<Claim> {
    Some(Claim {
        id: fields.get("producer-id")?.to_owned(),
        epoch: fields.get("producer-epoch")?.parse().ok()?,
        seq: fields.get("producer-seq")?.parse().ok()?,
    })
}

/// `Last-Event-ID` beats `offset`, for server-sent events only.
fn from(query: &str, fields: &Fields) -> From {
    let parameters = || {
        query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    };
    let value = |wanted: &str| {
        let mut found = parameters().filter(|(name, _)| *name == wanted);
        let value = found.next().map(|(_, value)| value.replace('+', " "));
        value.map(|value| percent_decode_str(&value).decode_utf8_lossy().into_owned())
    };
    // A name may be escaped, too.
    if parameters().any(|(name, _)| name.contains(['%', '+'])) {
        return From::Unclear;
    }
    let is_lines = value("format").is_some_and(|format| format == "messages");
    if is_lines || PLACES.iter().any(|place| value(place).is_some()) {
        return From::Unclear;
    }
    let is_sse = value("live").is_some_and(|live| live == "sse");
    let last = fields.get("last-event-id").filter(|_| is_sse);
    let offset = last.map(str::to_owned).or_else(|| value("offset"));
    match offset.as_deref() {
        None | Some("-1" | "0000000000000000_0000000000000000") => From::Start,
        Some("now") => From::Tail,
        Some(text) => Token::parse(text).map_or(From::Unclear, From::At),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(target: &str) -> Option<String> {
        Asking::new("GET", target, &Fields::default()).name
    }

    fn from(target: &str, last: Option<&str>) -> From {
        let fields = Fields::new(last.map(|last| ("Last-Event-ID", last.as_bytes())));
        match Asking::new("GET", target, &fields).verb {
            Verb::Read(from) => from,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_target_names_a_stream() {
        for (target, want) in [
            ("/v1/stream/a/b?offset=-1", Some("a/b")),
            ("/v1/stream/a%2Fb", Some("a/b")),
            ("http://localhost:1/v1/stream/a", Some("a")),
            ("/v1/streams?prefix=a", None),
            ("/v1/stream/%ff", None),
            ("/metrics", None),
        ] {
            assert_eq!(name(target).as_deref(), want, "{target}");
        }
        for (method, is_unclear) in [("PUT", true), ("DELETE", true), ("GET", false)] {
            let asking = Asking::new(method, "/v1/stream/%ff", &Fields::default());
            assert_eq!(matches!(asking.verb, Verb::Unclear), is_unclear, "{method}");
        }
    }

    #[test]
    fn a_read_begins_where_its_query_says() {
        let at = |generation, position| {
            From::At(Token {
                generation,
                position,
            })
        };
        for (query, last, want) in [
            ("", None, From::Start),
            ("?offset=-1&live=sse", None, From::Start),
            ("?offset=now", None, From::Tail),
            ("?offset=0000000000007-0000000000000042", None, at(7, 42)),
            ("?offset=0000000000007%2D42", None, at(7, 42)),
            ("?offset=-1&live=sse", Some("7-9"), at(7, 9)),
            ("?offset=-1", Some("7-9"), From::Start),
            ("?offset=x", None, From::Unclear),
            ("?off%73et=7-9", None, From::Unclear),
            ("?last=3", None, From::Unclear),
            ("?offset=-1&limit=3", None, From::Start),
            ("?offset=-1&format=messages", None, From::Unclear),
        ] {
            assert_eq!(from(&format!("/v1/stream/a{query}"), last), want, "{query}");
        }
    }
}
