//! The config file of `serve`: every setting of the flag table under the name of its flag.
//!
//! INVARIANT: a flag beats the environment, the environment beats the file, the file beats the
//! default. Values of the file come in as defaults of the flags, so that one parser takes all four.
//!
//! INVARIANT: nothing that a file holds is repeated in a message: it may be a key.
//!
//! Layout: `file.rs` (from TOML to values, refusals with their line), `kind.rs` (what a flag takes),
//! `example.rs` (`--print-config`). What makes no sense together is judged in `settings.rs`.

mod example;
mod file;
mod kind;

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use clap::{
    ArgMatches, Command, CommandFactory as _, FromArgMatches as _,
    error::{ContextKind, ContextValue},
    parser::ValueSource,
};

pub(crate) use self::{example::example, file::File};
use crate::{
    args::{Cli, Verb},
    fail::Failure,
};

/// Longer lines are hard to read, however wide the terminal is.
const HELP_COLUMNS_MAX: usize = 100;

/// What was asked, by whatever way.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) verb: Verb,
    pub(crate) origins: Origins,
}

/// Where each setting of `serve` is from.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    matches: ArgMatches,
    pub(crate) file: Option<File>,
}

/// Where one setting is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag,
    /// Its name.
    Environment(String),
    File {
        path: PathBuf,
        line: usize,
    },
    Default,
}

/// Why nothing could be made of it.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// The command line is wrong, or asks for help.
    Words(clap::Error),
    /// The config file cannot be used.
    File(Failure),
}

impl From<clap::Error> for Wrong {
    fn from(error: clap::Error) -> Self {
        Self::Words(error)
    }
}

/// Reads the command line, the environment, and the config file that one of them names.
pub(crate) fn asked(words: &[OsString]) -> Result<Asked, Wrong> {
    let matches = command().try_get_matches_from(words)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let (cli, matches, file) = match &cli.verb {
        Verb::Serve(args) => match &args.config {
            None => (cli, matches, None),
            Some(path) => {
                let file = File::read(path, &serve()).map_err(Wrong::File)?;
                let command = with_defaults(command(), &file);
                let matches = command.try_get_matches_from(words)?;
                (Cli::from_arg_matches(&matches)?, matches, Some(file))
            }
        },
        _ => (cli, matches, None),
    };
    let of_verb = matches.subcommand().map(|(_, matches)| matches.clone());
    Ok(Asked {
        verb: cli.verb,
        origins: Origins {
            matches: of_verb.unwrap_or_default(),
            file,
        },
    })
}

/// The flag table. Help is broken into lines for a person's terminal, and left alone for programs.
fn command() -> Command {
    let command = Cli::command();
    if io::stdout().is_terminal() {
        command.max_term_width(HELP_COLUMNS_MAX)
    } else {
        command.term_width(0)
    }
}

/// The name in the environment of a value that a flag does not take, if it is from there.
pub(crate) fn from_environment(error: &clap::Error, words: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = shown.split(' ').next()?;
    let is_typed = words
        .iter()
        .any(|word| word.to_string_lossy().starts_with(flag));
    let name = words.get(1)?.to_string_lossy();
    let command = Cli::command();
    let verb = command.find_subcommand(&*name)?;
    let arg = verb
        .get_arguments()
        .find(|arg| arg.get_long() == flag.strip_prefix("--"))?;
    let name = arg.get_env()?.to_string_lossy().into_owned();
    (!is_typed && std::env::var_os(&name).is_some()).then_some(name)
}

/// The flags of `serve`.
pub(crate) fn serve() -> Command {
    let command = Cli::command();
    let serve = command.find_subcommand("serve");
    serve.expect("the verb is there").clone()
}

fn with_defaults(command: Command, file: &File) -> Command {
    command.mut_subcommand("serve", |serve| {
        file.entries.iter().fold(serve, |serve, entry| {
            serve.mut_arg(&entry.id, |arg| arg.default_values(entry.values.clone()))
        })
    })
}

impl Origins {
    /// Where the flag of this id has its value from.
    pub(crate) fn of(&self, arg: &clap::Arg) -> Origin {
        let id = arg.get_id().as_str();
        match self.matches.value_source(id) {
            Some(ValueSource::CommandLine) => Origin::Flag,
            Some(ValueSource::EnvVariable) => {
                let name = arg.get_env().unwrap_or_default();
                Origin::Environment(name.to_string_lossy().into_owned())
            }
            _ => self.file.as_ref().map_or(Origin::Default, |file| {
                let entry = file.entries.iter().find(|entry| entry.id == id);
                entry.map_or(Origin::Default, |entry| Origin::File {
                    path: file.path.clone(),
                    line: entry.line,
                })
            }),
        }
    }

    /// The values as they were written, whoever wrote them.
    pub(crate) fn written(&self, id: &str) -> Option<String> {
        let raw = self.matches.try_get_raw(id).ok().flatten()?;
        let values: Vec<_> = raw.map(|value| value.to_string_lossy()).collect();
        Some(values.join(","))
    }

    /// Adds to a failure about a flag where its value is from, if nobody typed it just now.
    pub(crate) fn blame(&self, failure: Failure) -> Failure {
        let serve = serve();
        let named = failure.flag().and_then(|flag| {
            serve
                .get_arguments()
                .find(|arg| arg.get_long() == Some(flag))
        });
        match named.map(|arg| self.of(arg)) {
            Some(Origin::File { path, line }) => failure.at(format!("{}:{line}", path.display())),
            Some(Origin::Environment(name)) => failure.at(name),
            _ => failure,
        }
    }
}

#[cfg(test)]
mod tests;
