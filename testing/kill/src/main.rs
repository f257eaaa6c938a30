//! `cargo run --release -p millrace-kill`: kills the real binary under load (see the library).

use std::process::ExitCode;

use millrace_kill::{run::run, schedule::Settings};

fn main() -> ExitCode {
    let settings =
        Settings::from_env().and_then(|settings| settings.with_args(std::env::args().skip(1)));
    let settings = match settings {
        Ok(settings) => settings,
        Err(what) => return failed(&what),
    };
    let heading = format!(
        "kill test: {} kills, durability {}, MILLRACE_SEED={}",
        settings.kills, settings.durability, settings.seed
    );
    if settings.json {
        eprintln!("{heading}");
    } else {
        println!("{heading}");
    }
    match run(&settings) {
        Ok(outcome) => {
            if settings.json {
                println!("{:#}", outcome.json(&settings));
            } else {
                print!("{}", outcome.lines());
            }
            if outcome.violations.is_empty() {
                ExitCode::SUCCESS
            } else {
                failed(&format!("seed {} broke promises", settings.seed))
            }
        }
        Err(what) => failed(&what),
    }
}

fn failed(what: &str) -> ExitCode {
    eprintln!("kill test: {what}");
    ExitCode::FAILURE
}
