//! The file: line n is made from n alone, so that what comes back can be checked without the file.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Write as _},
    path::Path,
};

/// What a file or a stream holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
    /// Over all bytes.
    pub(crate) hash: u32,
}

impl Content {
    fn add(&mut self, line: &[u8]) {
        self.lines += 1;
        self.bytes += line.len() as u64;
        self.hash = crc32c::crc32c_append(self.hash, line);
    }
}

/// Line `n` with its line end, of 40 to 330 bytes.
fn line(n: u64, out: &mut String) {
    let mix = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let words = usize::try_from(mix % 26).expect("at most 25");
    out.clear();
    write!(out, "{{\"n\":{n},\"id\":\"{mix:016x}\",\"text\":\"{{[")
        .and_then(|()| out.write_str(&"déjà \\\"vu".repeat(words)[..]))
        .and_then(|()| out.write_str("\"}\n"))
        .expect("a string takes everything");
}

/// Writes lines until the file has `bytes`.
pub(crate) fn write(path: &Path, bytes: u64) -> io::Result<Content> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut content = Content::default();
    let mut text = String::new();
    while content.bytes < bytes {
        line(content.lines, &mut text);
        out.write_all(text.as_bytes())?;
        content.add(text.as_bytes());
    }
    out.into_inner()?.sync_all()?;
    Ok(content)
}

/// Reads lines as they come, and insists that the n-th is line n.
pub(crate) fn check(input: impl Read) -> Result<Content, String> {
    let mut input = BufReader::with_capacity(1 << 20, input);
    let mut content = Content::default();
    let (mut got, mut want) = (Vec::new(), String::new());
    loop {
        got.clear();
        let len = input.read_until(b'\n', &mut got);
        if len.map_err(|error| format!("what is read ends: {error}"))? == 0 {
            return Ok(content);
        }
        line(content.lines, &mut want);
        if got != want.as_bytes() {
            return Err(differs(content.lines, &got));
        }
        content.add(&got);
    }
}

fn differs(at: u64, got: &[u8]) -> String {
    let value: Option<serde_json::Value> = serde_json::from_slice(got).ok();
    let number = value.and_then(|value| value["n"].as_u64());
    match number {
        Some(n) if n < at => format!("DUPLICATE: after line {} comes line {n} again", at - 1),
        Some(n) if n > at => format!("GAP: lines {at} to {} are not there", n - 1),
        _ => format!(
            "DAMAGE: line {at} is {:?}",
            String::from_utf8_lossy(&got[..got.len().min(300)])
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(numbers: impl IntoIterator<Item = u64>) -> String {
        let mut all = String::new();
        let mut one = String::new();
        for n in numbers {
            line(n, &mut one);
            all.push_str(&one);
        }
        all
    }

    #[test]
    fn what_was_written_is_found_whole() {
        let content = check(text(0..500).as_bytes()).expect("whole");
        assert_eq!(content.lines, 500);
        assert_eq!(content.bytes, text(0..500).len() as u64);
    }

    #[test]
    fn a_duplicate_a_gap_and_damage_are_told_apart() {
        let told = |text: &str| check(text.as_bytes()).expect_err("is wrong");
        assert!(
            told(&text([0, 1, 2, 1, 2, 3])).starts_with("DUPLICATE: after line 2 comes line 1")
        );
        assert!(told(&text([0, 1, 4])).starts_with("GAP: lines 2 to 3"));
        assert!(told(&text([0]).replace("id", "ib")).starts_with("DAMAGE: line 0"));
        assert!(told("not JSON\n").starts_with("DAMAGE: line 0"));
    }

    #[test]
    fn every_line_is_one_json_value() {
        for one in text(0..60).lines() {
            let value: serde_json::Value = serde_json::from_str(one).expect("JSON");
            assert!(value["n"].is_u64());
        }
    }
}
