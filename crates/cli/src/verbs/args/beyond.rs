//! The flags of what a server can do beyond the protocol (`docs/extensions.md`).

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args};
use http::HeaderMap;
use millrace_client::{
    Attributes, NewAttributes, NewLimit, Retention, SettingsPatch, StreamName, Timestamp,
};
use millrace_wire::{OffsetArg, Place, ReadQuery, path::query_encoded_text};

use super::{ServerArgs, offset, stream_name};
use crate::{units, verbs::read::start};

/// What a stream carries beside its bytes.
#[derive(Args, Debug)]
pub(crate) struct SettingsArgs {
    /// Keep messages for so long, as in `7d`; `none` is no limit
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub(crate) retention_max_age: Option<NewLimit<Duration>>,

    /// Keep at most so much, as in `1GiB`, in whole messages; `none` is no limit
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub(crate) retention_max_bytes: Option<NewLimit<u64>>,

    /// Keep at most so many messages; `none` is no limit
    #[arg(long, value_name = "NUMBER", value_parser = messages)]
    pub(crate) retention_max_messages: Option<NewLimit<u64>>,

    /// Compact its keys whenever so much was appended, as in `1MiB`; `none` is never
    #[arg(long, value_name = "SIZE", value_parser = compact_after)]
    pub(crate) compact_after_bytes: Option<NewLimit<u64>>,

    /// What you say of it, a JSON object of at most 4,096 bytes; `none` is nothing
    #[arg(long, value_name = "JSON", value_parser = attributes)]
    pub(crate) attributes: Option<NewAttributes>,
}

/// The flags of `set`.
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("settings").required(true).multiple(true).args([
        "retention_max_age",
        "retention_max_bytes",
        "retention_max_messages",
        "compact_after_bytes",
        "attributes",
    ]),
    after_help = "Of attributes, members that are named are set, `null` takes one away, the others stay."
)]
pub(crate) struct SetArgs {
    /// The stream
    #[arg(value_name = "STREAM", value_parser = stream_name)]
    pub(crate) name: StreamName,

    #[command(flatten)]
    pub(crate) settings: SettingsArgs,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// The flags of `trim`.
#[derive(Args, Debug)]
pub(crate) struct TrimArgs {
    /// The stream
    #[arg(value_name = "STREAM", value_parser = stream_name)]
    pub(crate) name: StreamName,

    /// The first offset that can still be read; `now` trims all there is
    #[arg(value_name = "OFFSET", allow_hyphen_values = true, value_parser = offset)]
    pub(crate) offset: String,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// The flags of `retention`.
#[derive(Args, Debug)]
pub(crate) struct RetentionArgs {
    /// Make a pass now, and print what it did
    #[arg(long)]
    pub(crate) run: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// With which message reading begins.
#[derive(Args, Debug)]
pub(crate) struct BeginArgs {
    /// Begin with the last so many messages
    #[arg(
        long,
        value_name = "NUMBER",
        conflicts_with_all = ["offset", "since"],
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(crate) last: Option<u64>,

    /// Begin with the first message of this time or later, as in `2030-01-31T12:00:00Z`, or milliseconds since 1970
    #[arg(
        long,
        value_name = "TIME",
        conflicts_with = "offset",
        value_parser = moment
    )]
    pub(crate) since: Option<Timestamp>,
}

/// Which messages are read, and as what they are printed.
#[derive(Args, Debug)]
pub(crate) struct PickArgs {
    #[command(flatten)]
    pub(crate) begin: BeginArgs,

    /// Only the messages before an offset, which may be `now`: the last ones, one page
    #[arg(
        long,
        value_name = "OFFSET",
        conflicts_with_all = ["offset", "last", "since"],
        allow_hyphen_values = true,
        value_parser = offset
    )]
    pub(crate) before: Option<String>,

    /// The most messages; of a stream that is no JSON, one page of them
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,

    /// Print a JSON object a message: the offset after it, its time, and its data
    #[arg(long, conflicts_with = "raw")]
    pub(crate) messages: bool,
}

/// The flags of `append-all`.
#[derive(Args, Debug)]
pub(crate) struct AppendAllArgs {
    /// The lines; standard input when it is `-` or left out
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// All lines or none, in one request; their streams have the same part of the name in braces
    #[arg(long)]
    pub(crate) atomic: bool,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// The flags of `follow`.
#[derive(Args, Debug)]
pub(crate) struct FollowArgs {
    /// The streams, up to 1,000; `STREAM,OFFSET` begins one elsewhere
    #[arg(value_name = "STREAM", required = true, value_parser = followed)]
    pub(crate) streams: Vec<FollowedArg>,

    /// Where to begin: `-1` for the start, `now` for the tail
    #[arg(
        long,
        short,
        value_name = "OFFSET",
        default_value = "-1",
        allow_hyphen_values = true,
        value_parser = offset
    )]
    pub(crate) offset: String,

    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// A stream to follow, and where it begins, where that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FollowedArg {
    pub(crate) name: StreamName,
    pub(crate) offset: Option<String>,
}

impl BeginArgs {
    /// With which message, or at `offset`.
    pub(crate) fn place(&self, offset: &str) -> millrace_client::Place {
        match (self.last, self.since) {
            (Some(count), _) => millrace_client::Place::Last(count),
            (_, Some(at)) => millrace_client::Place::Since(at),
            (None, None) => millrace_client::Place::From(start(offset)),
        }
    }

    /// The same as flags; nothing where it is an offset.
    pub(crate) fn flags(&self) -> String {
        let last = self.last.map(|count| format!(" --last {count}"));
        let since = self.since.map(|at| format!(" --since {}", at.get()));
        last.or(since).unwrap_or_default()
    }
}

impl SettingsArgs {
    /// A change of what is named.
    pub(crate) fn patch(&self) -> SettingsPatch {
        SettingsPatch {
            age_max: self.retention_max_age.unwrap_or_default(),
            bytes_max: self.retention_max_bytes.unwrap_or_default(),
            messages_max: self.retention_max_messages.unwrap_or_default(),
            compact_after_bytes: self.compact_after_bytes.unwrap_or_default(),
            attributes: self.attributes.clone(),
        }
    }

    /// What a new stream is to keep.
    pub(crate) fn retention(&self) -> Retention {
        Retention {
            age_max: limit(self.retention_max_age),
            bytes_max: limit(self.retention_max_bytes),
            messages_max: limit(self.retention_max_messages),
        }
    }

    /// When a new stream is compacted.
    pub(crate) fn compact_after_bytes(&self) -> Option<u64> {
        limit(self.compact_after_bytes)
    }

    /// What is said of a new stream.
    pub(crate) fn new_attributes(&self) -> Attributes {
        match &self.attributes {
            Some(NewAttributes::Merged(attributes)) => attributes.clone(),
            Some(NewAttributes::None) | None => Attributes::new(),
        }
    }
}

fn limit<T>(limit: Option<NewLimit<T>>) -> Option<T> {
    match limit {
        Some(NewLimit::At(limit)) => Some(limit),
        Some(NewLimit::Unlimited | NewLimit::AsItWas) | None => None,
    }
}

fn new_limit<T>(
    text: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
    is_zero: impl FnOnce(&T) -> bool,
) -> Result<NewLimit<T>, String> {
    if text == "none" {
        return Ok(NewLimit::Unlimited);
    }
    let limit = read(text)?;
    if is_zero(&limit) {
        return Err(
            "nothing would be kept; `millrace trim STREAM now` empties a stream".to_owned(),
        );
    }
    Ok(NewLimit::At(limit))
}

fn age(text: &str) -> Result<NewLimit<Duration>, String> {
    new_limit(text, units::duration, Duration::is_zero)
}

fn bytes(text: &str) -> Result<NewLimit<u64>, String> {
    new_limit(text, units::size, |bytes| *bytes == 0)
}

fn compact_after(text: &str) -> Result<NewLimit<u64>, String> {
    match text {
        "none" => Ok(NewLimit::Unlimited),
        _ => match units::size(text)? {
            0 => Err("write a size from 1B on, or `none`".to_owned()),
            bytes => Ok(NewLimit::At(bytes)),
        },
    }
}

fn messages(text: &str) -> Result<NewLimit<u64>, String> {
    let read = |text: &str| {
        let number = text.parse();
        number.map_err(|_| "write a whole number from 1 on, or `none`".to_owned())
    };
    new_limit(text, read, |messages| *messages == 0)
}

fn attributes(text: &str) -> Result<NewAttributes, String> {
    if text == "none" {
        return Ok(NewAttributes::None);
    }
    serde_json::from_str(text)
        .map(NewAttributes::Merged)
        .map_err(|error| format!("write a JSON object, as in `{{\"tenant\":\"blue\"}}`: {error}"))
}

/// By the one grammar, the server's.
fn moment(text: &str) -> Result<Timestamp, String> {
    let query = format!("since={}", query_encoded_text(text));
    match ReadQuery::parse(Some(&query), &HeaderMap::new()) {
        Ok(ReadQuery {
            place: Place::Since(at),
            ..
        }) => Ok(at),
        _ => Err(
            "write RFC 3339, as in `2030-01-31T12:00:00Z`, or milliseconds since 1970".to_owned(),
        ),
    }
}

/// Names may have commas: what follows the last one counts as an offset only if it is one.
fn followed(text: &str) -> Result<FollowedArg, String> {
    let (name, offset) = match text.rsplit_once(',') {
        Some((name, offset)) if OffsetArg::parse(offset).is_some() => (name, Some(offset)),
        _ => (text, None),
    };
    Ok(FollowedArg {
        name: stream_name(name)?,
        offset: offset.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_none_or_more_than_nothing() {
        assert_eq!(age("90s"), Ok(NewLimit::At(Duration::from_secs(90))));
        assert_eq!(bytes("1GiB"), Ok(NewLimit::At(1 << 30)));
        assert_eq!(messages("7"), Ok(NewLimit::At(7)));
        assert_eq!(messages("none"), Ok(NewLimit::Unlimited));
        for text in ["0", "-1", "", "None", "1.5"] {
            assert!(age(text).is_err(), "{text}");
            assert!(bytes(text).is_err(), "{text}");
            assert!(messages(text).is_err(), "{text}");
            assert!(compact_after(text).is_err(), "{text}");
        }
    }

    #[test]
    fn attributes_are_an_object_or_none() {
        assert_eq!(attributes("none"), Ok(NewAttributes::None));
        assert!(matches!(
            attributes("{\"a\":1}"),
            Ok(NewAttributes::Merged(_))
        ));
        for text in ["", "[]", "1", "{", "{\"a\":1} x"] {
            assert!(attributes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_what_the_server_takes() {
        assert_eq!(moment("1700000000123"), Ok(Timestamp(1_700_000_000_123)));
        let noon = Ok(Timestamp(1_896_091_200_000));
        assert_eq!(moment("2030-01-31T12:00:00Z"), noon);
        assert_eq!(moment("2030-01-31T13:00:00+01:00"), noon);
        for text in ["", "noon", "2030-01-31", "-1", "1&offset=-1"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_offset_stands_behind_the_last_comma() {
        let read = |text| followed(text).map(|arg| (arg.name.to_string(), arg.offset));
        let pair =
            |name: &str, offset: Option<&str>| Ok((name.to_owned(), offset.map(str::to_owned)));
        assert_eq!(read("a"), pair("a", None));
        assert_eq!(read("a,now"), pair("a", Some("now")));
        assert_eq!(read("a,b,-1"), pair("a,b", Some("-1")));
        assert_eq!(read("a,b"), pair("a,b", None));
        assert!(read(",now").is_err());
    }
}
