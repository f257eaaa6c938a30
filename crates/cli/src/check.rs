//! `millrace check`: verifies a data directory that no server uses. Changes nothing.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use millrace_env::Env;
use millrace_store::{
    check::{self, Lock},
    dump::Format,
};

use crate::{
    args::{CheckArgs, DirectoryArgs},
    fail::{Failure, Kind},
    signals::{LastWord, blocking_until_signal},
};

/// Checks, and prints what was found. Damage is exit code 1.
pub(crate) fn check(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let directory = args.directory.clone();
    let last_word = LastWord::new(
        "before all was checked: nothing is known about the rest, and nothing was changed",
        format!("millrace check --data-dir {}", directory.data_dir.display()),
    );
    blocking_until_signal(move || whole(&directory), args.directory.json, last_word)
}

fn whole(args: &DirectoryArgs) -> Result<ExitCode, Failure> {
    let dir = &args.data_dir;
    let report =
        check::run(&Env::real(dir), Lock::Take).map_err(|error| Failure::of_store(&error, dir))?;
    let mut out = io::stdout().lock();
    written(
        report
            .write(format(args), &mut out)
            .and_then(|()| out.flush()),
    )?;
    if report.is_whole() {
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::from(Kind::Failed as u8))
    }
}

/// Who the lines are for.
pub(crate) fn format(args: &DirectoryArgs) -> Format {
    if args.json {
        Format::Json
    } else {
        Format::Human
    }
}

/// A reader that has seen enough closes the pipe; that is no failure.
pub(crate) fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(format!(
            "the output cannot be written: {error}"
        ))),
        _ => Ok(()),
    }
}
