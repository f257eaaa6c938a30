//! Rows with very many streams: `millrace-scale` measures them, memory at rest and starts.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{
    figures::{Figure, Figures, Results},
    rows::Row,
    servers::Who,
    settings::Settings,
    tools::Tools,
};

/// Runs it once, on ours: the peer has a descriptor a stream, and stops at this machine's limit.
pub(crate) fn run(
    tools: &Tools,
    settings: &Settings,
    row: &Row,
    streams: u64,
    results: &mut Results,
) {
    eprintln!("compare: {}, ours", row.name);
    results.add(row.name, Who::Ours, measured(tools, settings, streams));
}

fn measured(tools: &Tools, settings: &Settings, streams: u64) -> Result<Figures, String> {
    std::fs::create_dir_all(&settings.dir).map_err(|error| error.to_string())?;
    let mut command = Command::new(&tools.scale);
    command
        .env("MILLRACE_BIN", &tools.ours)
        .args([
            "--json",
            "--rests",
            "60",
            "--streams",
            &streams.to_string(),
            "--dir",
        ])
        .arg(&settings.dir)
        .stderr(Stdio::inherit());
    for arg in &settings.serve_args {
        command.args(["--serve-arg", arg]);
    }
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("millrace-scale ended with {}", output.status));
    }
    let figures: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    Ok(taken(&figures))
}

fn taken(all: &Value) -> Figures {
    let mut figures = Figures::new();
    let mut take = |figure, pointer: &str, scale: f64| {
        if let Some(value) = all.pointer(pointer).and_then(Value::as_f64) {
            figures.insert(figure, value * scale);
        }
    };
    take(Figure::Rate, "/created_per_s", 1.0);
    take(Figure::Anonymous, "/rests/0/usage/rss_anon", 1e-6);
    take(Figure::Descriptors, "/rests/0/usage/descriptors", 1.0);
    take(Figure::CleanStart, "/clean/ready_s", 1e3);
    take(Figure::KilledStart, "/killed_appending/ready_s", 1e3);
    take(Figure::FirstRead, "/clean/first_read_s", 1e3);
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_where_the_tool_puts_them() {
        let all = serde_json::json!({
            "created_per_s": 9.0,
            "rests": [{"after_s": 60, "usage": {"rss_anon": 5_000_000, "descriptors": 25}}],
            "clean": {"ready_s": 0.25, "first_read_s": 0.001},
            "killed_appending": {"ready_s": 2.0},
        });
        let figures = taken(&all);
        assert_eq!(figures.len(), 6);
        let is = |figure, wanted: f64| (figures[&figure] - wanted).abs() < 1e-9;
        assert!(is(Figure::Anonymous, 5.0) && is(Figure::KilledStart, 2000.0));
    }
}
