//! `serve --print-config`: a config file with every setting, commented out.

use std::fmt::Write as _;

use clap::Arg;

use super::{
    kind::{Kind, expected},
    serve,
};
use crate::args::is_setting;

/// The text.
pub(crate) fn example() -> String {
    let mut text = "\
# Settings of `millrace serve --config FILE` (or MILLRACE_CONFIG=FILE).
#
# Keys are the names of the flags. A flag beats the environment, the environment beats this file,
# and this file beats the default. A key that is not known refuses the start. To change a setting,
# take the `#` away from its line; `millrace serve --explain-config` tells what came of it.
"
    .to_owned();
    for arg in serve().get_arguments().filter(|arg| is_setting(arg)) {
        setting(&mut text, arg);
    }
    text
}

fn setting(text: &mut String, arg: &Arg) {
    let mut line = |words: std::fmt::Arguments<'_>| {
        writeln!(text, "{words}").expect("a string takes everything");
    };
    line(format_args!(""));
    if let Some(help) = arg.get_help() {
        line(format_args!("# {help}"));
    }
    for value in arg.get_possible_values() {
        let help = value.get_help().map(ToString::to_string);
        if let (Some(help), false) = (help, Kind::of(arg) == Kind::Switch) {
            line(format_args!("#   {}: {help}", value.get_name()));
        }
    }
    let key = arg.get_long().unwrap_or_default();
    let default = arg.get_default_values().first();
    let default = default.map(|value| value.to_string_lossy().into_owned());
    match (Kind::of(arg), default) {
        (Kind::Switch, _) => line(format_args!("# {key} = false")),
        (Kind::Number, Some(number)) => line(format_args!("# {key} = {number}")),
        (Kind::Texts, None) => line(format_args!("# {key} = []")),
        (_, Some(text)) => line(format_args!("# {key} = {}", serde_json::Value::from(text))),
        // Without a default there is nothing that could be written down and be right.
        (_, None) => line(format_args!("# {key}: {}", expected(arg))),
    }
}
