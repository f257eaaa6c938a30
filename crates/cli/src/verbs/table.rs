//! `millrace completions` and `man`: made from the flag table.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{
    Arg, Command, CommandFactory as _,
    builder::{OsStr, PossibleValue, Str},
};
use serde_json::{Value, json};

use super::{
    args::{CompletionsArgs, ManArgs},
    out,
};
use crate::{args::Cli, fail::Failure};

/// Prints a shell's completions.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "millrace", &mut text);
    if args.talk.json {
        let script = String::from_utf8_lossy(&text);
        let told = json!({ "shell": args.shell.to_string(), "script": script });
        text = format!("{told}\n").into_bytes();
    }
    print(&text)
}

/// Prints a manual page; for programs, the flag table itself.
pub(crate) fn man(args: &ManArgs) -> Result<ExitCode, Failure> {
    let mut command = Cli::command();
    command.build();
    let shown = match &args.verb {
        None => command,
        Some(verb) => {
            let found = command.find_subcommand(verb).cloned();
            found.ok_or_else(|| {
                Failure::usage(format!("there is no verb `{}`", verb.escape_debug()))
                    .help("millrace --help")
            })?
        }
    };
    if args.talk.json {
        return print(format!("{}\n", described(&shown)).as_bytes());
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(shown)
        .render(&mut text)
        .map_err(|error| Failure::failed(format!("no page: {error}")))?;
    print(&text)
}

fn described(command: &Command) -> Value {
    let flags = command.get_arguments().map(flag);
    let verbs = command
        .get_subcommands()
        .filter(|verb| verb.get_name() != "help");
    json!({
        "name": command.get_name(),
        "about": command.get_about().map(ToString::to_string),
        "arguments": flags.collect::<Vec<_>>(),
        "verbs": verbs.map(described).collect::<Vec<_>>(),
    })
}

fn flag(arg: &Arg) -> Value {
    let texts = |values: &[OsStr]| -> Vec<String> {
        let texts = values.iter().map(|value| value.to_string_lossy());
        texts.map(std::borrow::Cow::into_owned).collect()
    };
    let values = arg.get_possible_values();
    json!({
        "flag": arg.get_long().map(|long| format!("--{long}")),
        "short": arg.get_short().map(|short| format!("-{short}")),
        "value": arg.get_value_names().and_then(|names| names.first()).map(Str::as_str),
        "environment": arg.get_env().map(|name| name.to_string_lossy()),
        "default": texts(arg.get_default_values()),
        "choices": values.iter().map(PossibleValue::get_name).collect::<Vec<_>>(),
        "help": arg.get_help().map(ToString::to_string),
    })
}

fn print(text: &[u8]) -> Result<ExitCode, Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text).and_then(|()| stdout.flush());
    let _ = out::of(written)?;
    Ok(ExitCode::SUCCESS)
}
