//! From lines of input to requests of many lines, as they are.
//!
//! Blank lines stay in the bodies, where the server passes them over, so that a line can be told by
//! its number.

use bytes::Bytes;
use millrace_client::Batch;

/// Gathers lines.
#[derive(Debug)]
pub(crate) struct AskBatcher {
    lines_max: u64,
    bytes_max: usize,
    body: Vec<u8>,
    /// Those that are not blank.
    lines: u64,
}

impl AskBatcher {
    pub(crate) fn new(lines_max: u64, bytes_max: usize) -> Self {
        Self {
            lines_max,
            bytes_max,
            body: Vec::new(),
            lines: 0,
        }
    }

    /// Adds a line; the batch that is full because of it, if one is. A single longer line is a batch
    /// of its own.
    pub(crate) fn push(&mut self, line: &[u8]) -> Option<Batch> {
        let is_blank = line.trim_ascii().is_empty();
        let is_full = !is_blank
            && (self.lines == self.lines_max || self.body.len() + line.len() > self.bytes_max);
        let full = if is_full { self.finish() } else { None };
        self.body.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            self.body.push(b'\n');
        }
        self.lines += u64::from(!is_blank);
        full
    }

    /// Whether nothing waits but blank lines.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// What is gathered, if anything but blank lines is.
    pub(crate) fn finish(&mut self) -> Option<Batch> {
        if self.is_empty() {
            return None;
        }
        let body = Bytes::from(std::mem::take(&mut self.body));
        let messages = std::mem::take(&mut self.lines);
        Some(Batch {
            messages,
            input_bytes: body.len() as u64,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(input: &str, lines_max: u64, bytes_max: usize) -> Vec<Bytes> {
        let mut batcher = AskBatcher::new(lines_max, bytes_max);
        let lines = input.split_inclusive('\n');
        let mut all: Vec<Batch> = lines
            .filter_map(|line| batcher.push(line.as_bytes()))
            .collect();
        all.extend(batcher.finish());
        all.into_iter().map(|batch| batch.body).collect()
    }

    #[test]
    fn requests_end_at_the_bounds_and_keep_blank_lines() {
        assert_eq!(bodies("1\n\n2\n3", 2, 100), ["1\n\n2\n", "3\n"]);
        assert_eq!(bodies("11\n22\n3333333\n", 9, 6), ["11\n22\n", "3333333\n"]);
        assert_eq!(bodies("\n1\n", 1, 100), ["\n1\n"]);
        assert!(bodies("\n \n", 1, 100).is_empty());
    }
}
