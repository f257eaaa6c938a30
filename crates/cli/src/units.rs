//! Durations and sizes as people write them: `500ms`, `20s`, `4MiB`, `1.5` is no number here.

use std::time::Duration;

/// Digits and `ms`, `s`, `m`, `h` or `d`; bare digits are seconds, as in the protocol's queries.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: &str = "a whole number and `ms`, `s`, `m`, `h` or `d`, as in `20s`";
    let (number, unit) = split(text).ok_or_else(|| format!("write {UNITS}"))?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("`{unit}` is no unit of time here; write {UNITS}")),
    };
    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or_else(|| "that is longer than can be counted".to_owned())
}

/// Digits and `B`, `KiB`, `MiB`, `GiB`, `TiB`, or `kB`, `MB`, `GB`, `TB`; bare digits are bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    const UNITS: &str =
        "a whole number and `KiB`, `MiB`, `GiB` (or `kB`, `MB`, `GB`), as in `4MiB`";
    let (number, unit) = split(text).ok_or_else(|| format!("write {UNITS}"))?;
    let bytes = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(format!("`{unit}` is no unit of size here; write {UNITS}")),
    };
    number
        .checked_mul(bytes)
        .ok_or_else(|| "that is more than can be counted".to_owned())
}

/// Leading digits, and the rest without blanks around it. No sign, no point, no exponent.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits);
    Some((digits.parse().ok()?, unit.trim()))
}

/// A size in its largest whole unit.
pub(crate) fn show_size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = |(_, bits): &&(&str, u32)| bytes > 0 && bytes.trailing_zeros() >= *bits;
    match units.iter().find(whole) {
        Some((unit, bits)) => format!("{}{unit}", bytes >> bits),
        None => format!("{bytes}B"),
    }
}

/// A duration in its largest whole unit.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let whole = |(_, scale): &&(&str, u128)| millis > 0 && millis.is_multiple_of(*scale);
    match units.iter().find(whole) {
        Some((unit, scale)) => format!("{}{unit}", millis / scale),
        None => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("20s", 20_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
            ("3", 3000),
            (" 5 s ", 5000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("65536", 65_536),
            ("64KiB", 65_536),
            ("4MiB", 4 << 20),
            ("4mib", 4 << 20),
            ("2 GiB", 2 << 30),
            ("1GB", 1_000_000_000),
            ("0", 0),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn t100_what_is_neither_is_refused() {
        for text in [
            "",
            "s",
            "-1s",
            "+1",
            "1.5s",
            "1e3",
            "NaN",
            "Infinity",
            "0x10",
            "1 0",
            "20 parsecs",
            "99999999999999999999",
            "١s",
        ] {
            assert!(duration(text).is_err(), "{text}");
            assert!(size(text).is_err(), "{text}");
        }
        assert!(duration("18446744073709551615d").is_err());
        assert!(size("18446744073709551615TiB").is_err());
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for bytes in [0, 1, 1000, 1024, 65_536, 4 << 20, 5 << 30, (1 << 40) + 1] {
            assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
        for millis in [0, 1, 500, 1000, 90_000, 3_600_000] {
            let time = Duration::from_millis(millis);
            assert_eq!(duration(&show_duration(time)), Ok(time));
        }
    }
}
