//! `millrace repair`: puts a damaged data directory right that no server uses. Nothing is deleted, so
//! nothing is asked.

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use millrace_env::{Env, tasks};
use millrace_store::{
    check::{self, Lock},
    repair,
};

use crate::{
    args::RepairArgs,
    check::{format, written},
    fail::{Failure, Kind},
    signals::{LastWord, event_loop, until_signal},
};

/// Says what there is to do, and does it unless it is a dry run. Exit code 1 when damage stays.
pub(crate) fn repair(args: &RepairArgs) -> Result<ExitCode, Failure> {
    let json = args.directory.json;
    let begun = Arc::new(AtomicBool::new(false));
    let work = {
        let (args, begun) = (args.clone(), Arc::clone(&begun));
        async { tasks::blocking(move || whole(&args, &begun)).await }
    };
    let runtime = event_loop()?;
    let last_word = || last_word(args, begun.load(Ordering::SeqCst));
    let done = runtime.block_on(until_signal(work, json, last_word));
    runtime.shutdown_background();
    done
}

fn whole(args: &RepairArgs, begun: &AtomicBool) -> Result<ExitCode, Failure> {
    let dir = &args.directory.data_dir;
    let failed = |error| Failure::of_store(&error, dir);
    let env = Env::real(dir);
    let _lock = check::lock(&env).map_err(failed)?;
    let plan = repair::plan(&env, Lock::Held).map_err(failed)?;
    let format = format(&args.directory);
    let mut out = io::stdout().lock();
    written(plan.write(format, &mut out).and_then(|()| out.flush()))?;
    let is_over = args.dry_run || plan.is_empty() || plan.refused.is_some();
    if !is_over {
        begun.store(true, Ordering::SeqCst);
        let outcome = repair::apply(&env, Lock::Held, &plan).map_err(failed)?;
        written(outcome.write(format, &mut out).and_then(|()| out.flush()))?;
    }
    let damage_stays = plan.leaves_damage() || (args.dry_run && !plan.is_empty());
    Ok(if damage_stays {
        Kind::Failed.exit()
    } else {
        ExitCode::SUCCESS
    })
}

/// Interrupted anywhere it can be run again: it is one commit, and what comes before and after is
/// nothing that a start minds.
fn last_word(args: &RepairArgs, begun: bool) -> LastWord {
    let what = if begun {
        "amid the repair: it is done as a whole or not at all, and nothing was deleted"
    } else {
        "before the repair began: nothing was changed"
    };
    let dry_run = if args.dry_run { " --dry-run" } else { "" };
    let dir = args.directory.data_dir.display();
    LastWord::new(what, format!("millrace repair{dry_run} --data-dir {dir}"))
}
