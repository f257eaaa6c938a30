//! What a flag takes in a config file, as the flag table has it.

use std::any::TypeId;

use clap::{Arg, ArgAction};

/// The shape of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Number,
    /// A number of bytes, or a text with a unit.
    Size,
    /// A number of seconds, or a text with a unit.
    Time,
    /// A text.
    Text,
    /// One text, or a list of them.
    Texts,
}

impl Kind {
    /// Of a flag of the table.
    pub(crate) fn of(arg: &Arg) -> Self {
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            return Self::Switch;
        }
        if matches!(arg.get_action(), ArgAction::Append) {
            return Self::Texts;
        }
        let named = |name: &str| {
            let names = arg.get_value_names().unwrap_or_default();
            names.iter().any(|found| found.as_str() == name)
        };
        if named("SIZE") {
            return Self::Size;
        }
        if named("TIME") {
            return Self::Time;
        }
        let taken = arg.get_value_parser().type_id();
        let numbers = [
            TypeId::of::<u8>(),
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
        ];
        if numbers.iter().any(|number| taken == *number) {
            return Self::Number;
        }
        Self::Text
    }
}

/// What to write, for whoever wrote something else.
pub(crate) fn expected(arg: &Arg) -> String {
    let kind = Kind::of(arg);
    let choices: Vec<String> = arg
        .get_possible_values()
        .iter()
        .map(|value| format!("\"{}\"", value.get_name()))
        .collect();
    match kind {
        Kind::Switch => "write true or false, without quotes".to_owned(),
        _ if !choices.is_empty() => format!("write {}", choices.join(" or ")),
        Kind::Number => "write a whole number, without quotes".to_owned(),
        Kind::Size => {
            "write a size in quotes, as in \"64MiB\", or a whole number of bytes".to_owned()
        }
        Kind::Time => {
            "write a time in quotes, as in \"20s\", or a whole number of seconds".to_owned()
        }
        Kind::Text => "write a text in quotes".to_owned(),
        Kind::Texts => "write a list of texts, as in [\"one\", \"two\"], or one text".to_owned(),
    }
}
