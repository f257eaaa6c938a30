//! Prometheus' text format, version 0.0.4: what is written, never read.
//!
//! INVARIANT: a family is begun once and its samples follow at once; a histogram's buckets are
//! cumulative and end with `+Inf`, which is its count.

use std::fmt::{Display, Write as _};

use http::HeaderValue;
use millrace_engine::metrics::{BUCKETS, Distribution, bound};

/// What `/metrics` is.
pub(crate) const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// What a figure is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Type {
    Counter,
    Gauge,
    Histogram,
}

/// In what a histogram was recorded, and how much of it is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    /// Microseconds, told as seconds.
    Micros,
    /// A number, told up to this power of two.
    Number {
        /// The exponent of the largest bound.
        up_to: usize,
    },
}

impl Unit {
    /// The first bound and the one after the last that are told: times below 8 µs are all one.
    fn told(self) -> std::ops::Range<usize> {
        match self {
            Self::Micros => 5..BUCKETS,
            Self::Number { up_to } => 0..(2 * up_to).min(BUCKETS),
        }
    }

    fn show(self, value: u64) -> String {
        match self {
            Self::Micros => seconds(value),
            Self::Number { .. } => value.to_string(),
        }
    }
}

/// Microseconds, exactly, in seconds.
pub(super) fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The text so far.
#[derive(Debug, Default)]
pub(super) struct Text(String);

/// One family; takes its samples.
#[derive(Debug)]
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Text {
    /// Begins a family. `help` is one line.
    pub(super) fn family(&mut self, name: &'static str, kind: Type, help: &str) -> Family<'_> {
        let kind = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        };
        push(
            &mut self.0,
            format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"),
        );
        Family {
            text: &mut self.0,
            name,
        }
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// The only sample.
    pub(super) fn is(&mut self, value: impl Display) {
        push(self.text, format_args!("{} {value}\n", self.name));
    }

    /// One sample of several, which differ in one label. Its values need no escaping: none comes
    /// from a client.
    pub(super) fn of(&mut self, label: &str, is: impl Display, value: impl Display) {
        let name = self.name;
        push(
            self.text,
            format_args!("{name}{{{label}=\"{is}\"}} {value}\n"),
        );
    }

    /// The same with two labels.
    pub(super) fn of_two(&mut self, labels: [(&str, &str); 2], value: impl Display) {
        let (name, [(a, of_a), (b, of_b)]) = (self.name, labels);
        push(
            self.text,
            format_args!("{name}{{{a}=\"{of_a}\",{b}=\"{of_b}\"}} {value}\n"),
        );
    }

    /// A histogram, the only one of its family.
    pub(super) fn distribution(&mut self, unit: Unit, read: &Distribution) {
        self.buckets(unit, read, "");
    }

    /// One histogram of several, which differ in one label.
    pub(super) fn distribution_of(
        &mut self,
        label: &str,
        is: &str,
        unit: Unit,
        read: &Distribution,
    ) {
        self.buckets(unit, read, &format!("{label}=\"{is}\""));
    }

    fn buckets(&mut self, unit: Unit, read: &Distribution, labels: &str) {
        let name = self.name;
        let (comma, all) = if labels.is_empty() {
            ("", String::new())
        } else {
            (",", format!("{{{labels}}}"))
        };
        let told = unit.told();
        let mut so_far = read.counts[..told.start].iter().sum::<u64>();
        for index in told {
            so_far += read.counts[index];
            let le = unit.show(bound(index));
            push(
                self.text,
                format_args!("{name}_bucket{{{labels}{comma}le=\"{le}\"}} {so_far}\n"),
            );
        }
        let (sum, count) = (unit.show(read.sum), read.count());
        push(
            self.text,
            format_args!(
                "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}\n\
                 {name}_sum{all} {sum}\n{name}_count{all} {count}\n"
            ),
        );
    }
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = text.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use millrace_engine::metrics::Histogram;

    use super::*;

    #[test]
    fn seconds_are_exact() {
        for (micros, want) in [
            (0, "0"),
            (8, "0.000008"),
            (1_500, "0.0015"),
            (2_000_000, "2"),
            (67_108_864, "67.108864"),
        ] {
            assert_eq!(seconds(micros), want);
        }
    }

    #[test]
    fn samples_follow_their_family() {
        let mut text = Text::default();
        text.family("a_total", Type::Counter, "As.").is(3);
        let mut family = text.family("b", Type::Gauge, "Bs.");
        family.of("kind", "x", 1);
        family.of_two([("kind", "y"), ("other", "z")], 2);
        assert_eq!(
            text.into_string(),
            "# HELP a_total As.\n# TYPE a_total counter\na_total 3\n\
             # HELP b Bs.\n# TYPE b gauge\nb{kind=\"x\"} 1\nb{kind=\"y\",other=\"z\"} 2\n"
        );
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_all() {
        let histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, 100] {
            histogram.record(value);
        }
        let mut text = Text::default();
        let mut family = text.family("n", Type::Histogram, "N.");
        family.distribution(Unit::Number { up_to: 3 }, &histogram.read());
        let text = text.into_string();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "n_bucket{le=\"1\"} 2",
                "n_bucket{le=\"2\"} 3",
                "n_bucket{le=\"3\"} 4",
                "n_bucket{le=\"4\"} 5",
                "n_bucket{le=\"6\"} 5",
                "n_bucket{le=\"8\"} 5",
                "n_bucket{le=\"+Inf\"} 6",
                "n_sum 110",
                "n_count 6",
            ]
        );
    }

    #[test]
    fn short_times_count_in_the_first_bucket_that_is_told() {
        let histogram = Histogram::default();
        histogram.record(1);
        histogram.record(9);
        let mut text = Text::default();
        let mut family = text.family("t", Type::Histogram, "T.");
        family.distribution_of("kind", "x", Unit::Micros, &histogram.read());
        let text = text.into_string();
        assert!(
            text.contains("t_bucket{kind=\"x\",le=\"0.000008\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("t_bucket{kind=\"x\",le=\"0.000012\"} 2\n"),
            "{text}"
        );
        assert!(text.ends_with(
            "t_bucket{kind=\"x\",le=\"+Inf\"} 2\nt_sum{kind=\"x\"} 0.00001\nt_count{kind=\"x\"} 2\n"
        ));
    }
}
