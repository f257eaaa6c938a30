//! `millrace completions` and `man`: made from the flag table.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::CommandFactory as _;

use super::{
    args::{CompletionsArgs, ManArgs},
    out,
};
use crate::{args::Cli, fail::Failure};

/// Prints a shell's completions.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "millrace", &mut text);
    print(&text)
}

/// Prints a manual page.
pub(crate) fn man(args: &ManArgs) -> Result<ExitCode, Failure> {
    let mut command = Cli::command();
    command.build();
    let page = match &args.verb {
        None => clap_mangen::Man::new(command),
        Some(verb) => {
            let found = command.find_subcommand(verb).cloned();
            let found = found.ok_or_else(|| {
                Failure::usage(format!("there is no verb `{verb}`")).help("millrace --help")
            })?;
            clap_mangen::Man::new(found)
        }
    };
    let mut text = Vec::new();
    page.render(&mut text)
        .map_err(|error| Failure::failed(format!("no page: {error}")))?;
    print(&text)
}

fn print(text: &[u8]) -> Result<ExitCode, Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text).and_then(|()| stdout.flush());
    let _ = out::of(written)?;
    Ok(ExitCode::SUCCESS)
}
