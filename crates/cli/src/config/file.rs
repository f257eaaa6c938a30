//! From TOML to values of flags. Whatever is not understood is refused, with its line.

use std::{
    error::Error as _,
    fs,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use clap::{Arg, Command, error::ErrorKind};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::kind::{Kind, expected};
use crate::{args::is_setting, fail::Failure};

/// BOUND: a longer file is not one of ours.
const BYTES_MAX: u64 = 1 << 20;
/// A key that is further from every known one is not a misspelling.
const EDITS_MAX: usize = 3;

/// What a file says, each value taken by its flag.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) entries: Vec<Entry>,
    /// Whether any user of this machine may read it.
    is_public: bool,
}

/// One setting.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The flag's id in the table.
    pub(crate) id: String,
    /// As they would be typed.
    pub(crate) values: Vec<String>,
    pub(crate) line: usize,
    is_secret: bool,
}

impl File {
    /// Reads a file by the flags of `serve`.
    pub(crate) fn read(path: &Path, serve: &Command) -> Result<Self, Failure> {
        let (text, is_public) = text(path).map_err(|error| {
            Failure::usage(format!("cannot read {}: {error}", path.display()))
                .help("check --config (or MILLRACE_CONFIG)")
        })?;
        Ok(Self {
            path: path.to_owned(),
            entries: entries(&text, serve).map_err(|fault| fault.of(path))?,
            is_public,
        })
    }

    /// What should not stay as it is.
    pub(crate) fn warning(&self) -> Option<String> {
        let secret = self.entries.iter().find(|entry| entry.is_secret)?;
        self.is_public.then(|| {
            let path = self.path.display();
            format!(
                "every user of this machine can read the {} in {path}; chmod o-r {path}",
                secret.id.replace('_', "-")
            )
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a file of the user's, no part of a data directory"
)]
fn text(path: &Path) -> io::Result<(String, bool)> {
    let file = fs::File::open(path)?;
    let is_public = file.metadata()?.permissions().mode() & 0o004 != 0;
    let mut text = String::new();
    file.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(io::Error::other("it is over 1MiB"));
    }
    Ok((text, is_public))
}

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Fault {
    line: usize,
    what: String,
    help: String,
}

impl Fault {
    pub(super) fn of(self, path: &Path) -> Failure {
        Failure::usage(format!("{}:{}: {}", path.display(), self.line, self.what)).help(self.help)
    }
}

/// The settings of a text, in its order.
pub(super) fn entries(text: &str, serve: &Command) -> Result<Vec<Entry>, Fault> {
    let table = DeTable::parse(text).map_err(|error| Fault {
        line: error.span().map_or(1, |span| line(text, span.start)),
        what: format!("this is no TOML: {}", error.message().replace('\n', ", ")),
        help: "write `key = value`, one a line; `millrace serve --print-config` prints an example"
            .to_owned(),
    })?;
    let mut entries = Vec::new();
    for (key, value) in table.get_ref() {
        let line = line(text, key.span().start);
        entries.push(
            entry(key.get_ref(), value, serve).map_err(|(what, help)| Fault {
                line,
                what,
                help,
            })?,
        );
        entries.last_mut().expect("just pushed").line = line;
    }
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    before.filter(|byte| **byte == b'\n').count() + 1
}

/// What is wrong, and what to do.
type Said = (String, String);

fn entry(key: &str, value: &Spanned<DeValue<'_>>, serve: &Command) -> Result<Entry, Said> {
    let known = |arg: &&Arg| is_setting(arg) && arg.get_long() == Some(key);
    let Some(arg) = serve.get_arguments().find(known) else {
        return Err(unknown(key, value.get_ref(), serve));
    };
    let values = values(value.get_ref(), Kind::of(arg)).ok_or_else(|| {
        (
            format!("`{key}` has a value of another type"),
            expected(arg),
        )
    })?;
    for value in &values {
        if let Some(why) = refused(arg, value) {
            return Err((format!("`{key}`: {why}"), expected(arg)));
        }
    }
    Ok(Entry {
        id: arg.get_id().to_string(),
        values,
        line: 0,
        is_secret: arg.is_hide_env_values_set(),
    })
}

fn unknown(key: &str, value: &DeValue<'_>, serve: &Command) -> Said {
    let key = key.escape_debug();
    if matches!(value, DeValue::Table(_)) {
        return (
            format!("`{key}` is a table, and there are none here"),
            "write every key by itself, without `[…]` above it and without a dot in it".to_owned(),
        );
    }
    let plain = key.to_string().to_lowercase().replace('_', "-");
    let settings = serve.get_arguments().filter(|arg| is_setting(arg));
    let near = settings
        .filter_map(Arg::get_long)
        .map(|known| (strsim::osa_distance(&plain, known), known))
        .min()
        .filter(|(edits, known)| *edits <= EDITS_MAX.min(known.len() / 2));
    let help = near.map_or_else(
        || "`millrace serve --print-config` prints every key".to_owned(),
        |(_, known)| format!("did you mean `{known}`?"),
    );
    (format!("there is no setting `{key}`"), help)
}

/// As they would be typed; `None` when the type is another one.
fn values(value: &DeValue<'_>, kind: Kind) -> Option<Vec<String>> {
    let one = match (kind, value) {
        (Kind::Switch, DeValue::Boolean(is)) => is.to_string(),
        (Kind::Number | Kind::Size | Kind::Time, DeValue::Integer(number)) => {
            i64::from_str_radix(number.as_str(), number.radix())
                .ok()?
                .to_string()
        }
        (Kind::Size | Kind::Time | Kind::Text | Kind::Texts, DeValue::String(text)) => {
            text.to_string()
        }
        (Kind::Texts, DeValue::Array(list)) => {
            let texts = list.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                _ => None,
            });
            return texts.collect();
        }
        _ => return None,
    };
    Some(vec![one])
}

/// Why the flag itself does not take a value.
fn refused(arg: &Arg, value: &str) -> Option<String> {
    if Kind::of(arg) == Kind::Switch {
        return None;
    }
    let alone = Command::new("setting")
        .no_binary_name(true)
        .arg(arg.clone().env(None::<&str>));
    let typed = format!("--{}={value}", arg.get_long()?);
    let error = alone.try_get_matches_from([typed]).err()?;
    let said = error.source().map(ToString::to_string);
    Some(match (error.kind(), said) {
        (ErrorKind::ValueValidation, Some(said)) => said,
        _ => "this is none of its values".to_owned(),
    })
}
