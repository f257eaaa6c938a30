//! One thing a line, for people or for programs: the same fields either way.

use std::{
    fmt::{self, Display, Write as _},
    io::{self, Write},
};

/// Who the lines are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `kind field=value field="text"`.
    #[default]
    Human,
    /// One JSON object a line, its kind under `kind`.
    Json,
}

/// A kind and its fields, in order.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    kind: &'static str,
    fields: Vec<(&'static str, Value)>,
}

#[derive(Clone, Debug)]
enum Value {
    Number(u64),
    Flag(bool),
    Text(String),
}

impl Record {
    pub(crate) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            fields: Vec::new(),
        }
    }

    fn with(mut self, field: &'static str, value: Value) -> Self {
        self.fields.push((field, value));
        self
    }

    pub(crate) fn number(self, field: &'static str, value: u64) -> Self {
        self.with(field, Value::Number(value))
    }

    pub(crate) fn flag(self, field: &'static str, value: bool) -> Self {
        self.with(field, Value::Flag(value))
    }

    pub(crate) fn text(self, field: &'static str, value: impl Display) -> Self {
        self.with(field, Value::Text(value.to_string()))
    }

    /// A field that is left out where there is nothing to say.
    pub(crate) fn maybe_text(self, field: &'static str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.text(field, value),
            None => self,
        }
    }

    /// A number that is left out where there is none.
    pub(crate) fn maybe_number(self, field: &'static str, value: Option<u64>) -> Self {
        match value {
            Some(value) => self.number(field, value),
            None => self,
        }
    }

    /// Writes the line.
    pub(crate) fn write(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        match format {
            Format::Human => writeln!(out, "{}", Human(self)),
            Format::Json => writeln!(out, "{}", Json(self)),
        }
    }
}

struct Human<'r>(&'r Record);

impl Display for Human<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.kind)?;
        for (field, value) in &self.0.fields {
            write!(f, " {field}=")?;
            match value {
                Value::Text(text) if is_plain(text) => f.write_str(text)?,
                value => value.json(f)?,
            }
        }
        Ok(())
    }
}

struct Json<'r>(&'r Record);

impl Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{\"kind\":")?;
        quoted(self.0.kind, f)?;
        for (field, value) in &self.0.fields {
            f.write_char(',')?;
            quoted(field, f)?;
            f.write_char(':')?;
            value.json(f)?;
        }
        f.write_char('}')
    }
}

impl Value {
    fn json(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Beyond 2^53 a JSON reader may round: such numbers (ids with a slot in their high
            // bits) are given as texts by their writers.
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Text(text) => quoted(text, f),
        }
    }
}

/// Needs no quotes to be read unambiguously.
fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/:,@+".contains(&byte);
    !text.is_empty() && text.bytes().all(plain)
}

/// A JSON string; RFC 8259 section 7. Terminal control sequences in names do not get through.
fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            control if control.is_control() => write!(f, "\\u{:04x}", u32::from(control))?,
            letter => f.write_char(letter)?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(record: &Record, format: Format) -> String {
        let mut out = Vec::new();
        record.write(format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_is_one_line_whatever_is_in_it() {
        let record = Record::new("stream")
            .text("name", "a \"b\"\n\u{1b}\\ü")
            .text("id", "3.7")
            .number("tail", 5)
            .flag("closed", true)
            .maybe_text("seq", None::<&str>)
            .maybe_number("deadline", Some(9));
        assert_eq!(
            line(&record, Format::Json),
            "{\"kind\":\"stream\",\"name\":\"a \\\"b\\\"\\n\\u001b\\\\ü\",\"id\":\"3.7\",\
             \"tail\":5,\"closed\":true,\"deadline\":9}\n"
        );
        assert_eq!(
            line(&record, Format::Human),
            "stream name=\"a \\\"b\\\"\\n\\u001b\\\\ü\" id=3.7 tail=5 closed=true deadline=9\n"
        );
    }
}
