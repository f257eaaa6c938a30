//! `millrace dump`: prints what is in a data directory that no server uses. Changes nothing.

use std::{
    io::{self, BufWriter, Write},
    process::ExitCode,
};

use millrace_env::Env;
use millrace_store::{
    check,
    dump::{self, DumpError},
};

use crate::{
    args::{DumpArgs, Part},
    check::{format, written},
    fail::Failure,
    signals::{LastWord, blocking_until_signal},
};

/// Prints the parts that were asked for, or all.
pub(crate) fn dump(args: &DumpArgs) -> Result<ExitCode, Failure> {
    let json = args.directory.json;
    let last_word = LastWord::new(
        "before all was printed: what was printed is right, and nothing was changed",
        format!(
            "millrace dump --data-dir {}",
            args.directory.data_dir.display()
        ),
    );
    let args = args.clone();
    blocking_until_signal(move || whole(&args), json, last_word)
}

fn whole(args: &DumpArgs) -> Result<ExitCode, Failure> {
    let dir = &args.directory.data_dir;
    let env = Env::real(dir);
    let _lock = check::lock(&env).map_err(|error| Failure::of_store(&error, dir))?;
    let parts = if args.parts.is_empty() {
        &[Part::Catalog, Part::Segments, Part::Wal]
    } else {
        &args.parts[..]
    };
    let format = format(&args.directory);
    let mut out = BufWriter::new(io::stdout().lock());
    for part in parts {
        let printed = match part {
            Part::Catalog => dump::catalog(&env, format, &mut out),
            Part::Segments => dump::segments(&env, format, &mut out),
            Part::Wal => dump::wal(&env, None, format, &mut out),
        };
        match printed {
            Ok(()) => {}
            Err(DumpError::Store(error)) => return Err(Failure::of_store(&error, dir)),
            Err(DumpError::Output(error)) => {
                written(Err(error))?;
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    written(out.flush())?;
    Ok(ExitCode::SUCCESS)
}
