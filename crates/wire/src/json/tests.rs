//! Tables of what is accepted and how it comes back, and a comparison with `serde_json`.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn messages(body: &str) -> Result<Vec<String>, BodyFault> {
    let payload = split(body.as_bytes())?;
    let mut at = 0;
    let messages = payload.lengths().map(|len| {
        let message = &payload.bytes()[at..at + len as usize];
        at += len as usize;
        let text = message
            .strip_suffix(b",")
            .expect("a message ends in a comma");
        String::from_utf8(text.to_vec()).unwrap()
    });
    Ok(messages.collect())
}

/// The page that holds all of a payload.
fn page(payload: &Payload) -> Vec<u8> {
    let bytes = payload.bytes();
    [b"[", &bytes[..bytes.len() - 1], b"]"].concat()
}

#[test]
fn one_level_of_array_is_taken_off() {
    for (body, want) in [
        ("{}", vec!["{}"]),
        (r#"{"event": "created"}"#, vec![r#"{"event": "created"}"#]),
        (r#"[{"a":1},{"b":2}]"#, vec![r#"{"a":1}"#, r#"{"b":2}"#]),
        ("[[1,2],[3,4]]", vec!["[1,2]", "[3,4]"]),
        ("[[[1,2,3]]]", vec!["[[1,2,3]]"]),
        ("[[]]", vec!["[]"]),
        ("[null]", vec!["null"]),
        ("null", vec!["null"]),
        (r#""a""#, vec![r#""a""#]),
        ("true", vec!["true"]),
    ] {
        let want: Vec<String> = want.into_iter().map(str::to_owned).collect();
        assert_eq!(messages(body), Ok(want), "{body}");
    }
}

#[test]
fn only_the_whitespace_around_messages_goes() {
    let body = " \r\n\t[ 1 ,\n{ \"a\" : [ 1 , 2 ] }\t,\" x \" ] \n";
    let want = ["1", "{ \"a\" : [ 1 , 2 ] }", "\" x \""].map(str::to_owned);
    assert_eq!(messages(body), Ok(want.to_vec()));
    assert_eq!(messages(" 1 "), Ok(vec!["1".to_owned()]));
}

#[test]
fn values_come_back_byte_for_byte() {
    for value in [
        "12345678901234567890",
        "-12345678901234567890.000100",
        "1e999999",
        "-0",
        "-0.0",
        "1E+2",
        "0.1e-7",
        r#"{"b":1,"a":2,"b":3,"":0}"#,
        r#""\u0000\u001f\b\f\n\r\t\/\\\"""#,
        r#""\uD834\uDD1E and \ud834\udd1e""#,
        r#""\uABCD\u00e9""#,
        "\"\u{2028}\u{2029}\u{7f}\u{85}\u{feff}\u{1f600}\"",
    ] {
        assert_eq!(messages(value), Ok(vec![value.to_owned()]), "{value}");
        let twice = format!("[{value},{value}]");
        assert_eq!(messages(&twice), Ok(vec![value.to_owned(); 2]), "{twice}");
    }
}

#[test]
fn what_is_no_json_is_refused_where_it_shows() {
    for (body, at) in [
        ("", 0),
        ("  ", 2),
        ("{", 1),
        ("[", 1),
        ("[1", 2),
        ("[1,", 3),
        ("[1,]", 3),
        ("[,1]", 1),
        ("[1 2]", 3),
        ("[1}", 2),
        ("1 2", 2),
        ("[] []", 3),
        ("{}{}", 2),
        ("]", 0),
        ("{\"a\"}", 4),
        ("{\"a\":}", 5),
        ("{\"a\":1,}", 7),
        ("{\"a\":1]", 6),
        ("{a:1}", 1),
        ("{'a':1}", 1),
        ("{1:1}", 1),
        ("{,}", 1),
        ("nul", 0),
        ("nulll", 4),
        ("True", 0),
        ("NaN", 0),
        ("Infinity", 0),
        ("01", 1),
        ("-01", 2),
        ("+1", 0),
        ("-", 1),
        (".5", 0),
        ("1.", 2),
        ("1.e5", 2),
        ("1e", 2),
        ("1e+", 3),
        ("0x1", 1),
        ("\"", 1),
        ("\"abc", 4),
        ("\"\\", 1),
        ("\"\\x\"", 1),
        ("\"\\u12\"", 5),
        ("\"\\u12G4\"", 5),
        ("\"\\u+123\"", 3),
        ("\"a\nb\"", 2),
        ("\"abcdefgh\tb\"", 9),
        ("\"a\u{0}\"", 2),
        ("\u{feff}1", 0),
        ("1\u{b}", 1),
        ("1\u{a0}", 1),
        ("// c\n1", 0),
    ] {
        assert_eq!(messages(body), Err(BodyFault::Syntax(at)), "{body:?}");
    }
}

#[test]
fn an_empty_array_is_a_fault_of_its_own() {
    for body in ["[]", " [ ] ", "[\n]"] {
        assert_eq!(messages(body), Err(BodyFault::EmptyArray), "{body:?}");
    }
}

#[test]
fn lone_surrogates_and_broken_utf8_are_refused() {
    for (body, at) in [
        (&br#""\ud800""#[..], 1),
        (br#""\udc00""#, 1),
        (br#""a\ud800b""#, 2),
        (br#""\ud800\n""#, 1),
        (br#""\ud800\ud800""#, 1),
        (br#""\ud834\u0041""#, 1),
        (br#"{"\udfff":1}"#, 2),
        (b"\"\xff\"", 1),
        (b"\"\xc3\"", 1),
        (b"\"\xed\xa0\x80\"", 1),
        (b"\"\xc0\x80\"", 1),
        (b"\"\xf4\x90\x80\x80\"", 1),
        (b"[1] \x80", 4),
    ] {
        let fault = split(body).unwrap_err();
        assert_eq!(fault, BodyFault::Unicode(at), "{}", body.escape_ascii());
    }
}

fn nested(depth: usize) -> String {
    let open: String = (0..depth)
        .map(|level| if level % 2 == 0 { "[" } else { "{\"k\":" })
        .collect();
    let close: String = (0..depth)
        .rev()
        .map(|level| if level % 2 == 0 { "]" } else { "}" })
        .collect();
    format!("{open}0{close}")
}

#[test]
fn t23_depth_is_bounded_so_that_pages_stay_readable() {
    for body in [
        // The outermost array of `nested` is the body's own: it is taken off.
        nested(JSON_DEPTH_MAX + 1),
        format!("[{}]", nested(JSON_DEPTH_MAX)),
        format!("[1,{},2]", nested(JSON_DEPTH_MAX)),
    ] {
        let payload = split(body.as_bytes()).expect("at the bound");
        serde_json::from_slice::<Value>(&page(&payload)).expect("a page is readable");
    }
    for body in [
        nested(JSON_DEPTH_MAX + 2),
        format!("[1,{}]", nested(JSON_DEPTH_MAX + 1)),
        "[".repeat(1_000_000),
        "{\"k\":".repeat(1_000_000),
    ] {
        assert_eq!(messages(&body), Err(BodyFault::Depth));
    }
}

#[test]
fn a_closed_container_makes_room_for_the_next() {
    let body = format!("[{}]", vec![nested(JSON_DEPTH_MAX); 50].join(","));
    assert_eq!(messages(&body).map(|messages| messages.len()), Ok(50));
}

#[test]
fn string_ends_are_found_at_every_place() {
    for len in 0..40 {
        for end in ["\"", "\\n\"", "\\\"\""] {
            let body = format!("\"{}{end}", "x".repeat(len));
            assert_eq!(messages(&body), Ok(vec![body.clone()]));
        }
        let control = format!("\"{}\u{1}{}\"", "\u{e9}".repeat(len), "x".repeat(len));
        let at = 1 + 2 * len as u64;
        assert_eq!(messages(&control), Err(BodyFault::Syntax(at)));
    }
}

#[test]
fn every_control_character_is_refused_at_every_place() {
    for control in 0..0x20_u8 {
        for len in 0..10 {
            let mut body = vec![b'x'; 20];
            body[0] = b'"';
            body[19] = b'"';
            body[1 + len] = control;
            let at = 1 + len as u64;
            assert_eq!(
                split(&body).unwrap_err(),
                BodyFault::Syntax(at),
                "{control}"
            );
        }
    }
}

/// Any JSON value, written with odd whitespace and escapes.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,3})?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        "\"(\\\\u[0-9a-c][0-9a-fA-F]{3}|[a-z\u{2028}\u{2029}]|\\\\[nrt/])*\"",
    ];
    let space = "[ \n\r\t]{0,2}";
    leaf.prop_recursive(6, 40, 4, move |inner| {
        let key = any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap());
        prop_oneof![
            (proptest::collection::vec(inner.clone(), 0..4), space).prop_map(
                |(items, space)| format!("[{space}{}]", items.join(&format!(",{space}")))
            ),
            (proptest::collection::vec((key, inner), 0..4), space).prop_map(|(members, space)| {
                let members: Vec<String> = members
                    .into_iter()
                    .map(|(key, value)| format!("{key}{space}:{value}"))
                    .collect();
                format!("{{{space}{}}}", members.join(","))
            }),
        ]
    })
}

/// `serde_json` reads numbers as 64-bit values and refuses what overflows them; the grammar of RFC
/// 8259 has no such bound. Everything else must agree.
fn serde_agrees(body: &[u8]) -> bool {
    match serde_json::from_slice::<Value>(body) {
        Ok(_) => true,
        Err(error) => error.to_string().contains("number out of range"),
    }
}

/// Checks a body against `serde_json`: the same verdict, and what is accepted reads back the same.
fn check(body: &[u8]) -> Result<(), TestCaseError> {
    match split(body) {
        Ok(payload) => {
            prop_assert!(serde_agrees(body), "accepted {}", body.escape_ascii());
            let page = page(&payload);
            if let (Ok(sent), Ok(read)) = (
                serde_json::from_slice::<Value>(body),
                serde_json::from_slice::<Value>(&page),
            ) {
                let sent = match sent {
                    Value::Array(items) => Value::Array(items),
                    single => Value::Array(vec![single]),
                };
                prop_assert_eq!(sent, read);
            }
            let again = split(&page).expect("a page is a body");
            prop_assert_eq!(again, payload);
        }
        Err(BodyFault::EmptyArray) => {
            let read: Value = serde_json::from_slice(body).expect("an empty array is JSON");
            prop_assert_eq!(read, Value::Array(Vec::new()));
        }
        Err(_) => {
            let read = serde_json::from_slice::<Value>(body);
            prop_assert!(read.is_err(), "refused {}", body.escape_ascii());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn t23_any_json_is_accepted_and_reads_back_the_same(body in any_json()) {
        prop_assert!(
            matches!(split(body.as_bytes()), Ok(_) | Err(BodyFault::EmptyArray)),
            "{:?}: {body}",
            split(body.as_bytes())
        );
        check(body.as_bytes())?;
    }

    #[test]
    fn any_json_with_a_byte_changed_gets_the_same_verdict(
        body in any_json(),
        at: prop::sample::Index,
        byte: u8,
        keep: bool,
    ) {
        let mut body = body.into_bytes();
        let at = at.index(body.len());
        if keep {
            body[at] = byte;
        } else {
            body.remove(at);
        }
        check(&body)?;
    }

    #[test]
    fn texts_of_json_characters_get_the_same_verdict(body in "[\\[\\]{}:,\"\\\\ \ntruefalsn0-9.eE+-]{0,24}") {
        check(body.as_bytes())?;
    }

    #[test]
    fn any_bytes_get_the_same_verdict(body in proptest::collection::vec(any::<u8>(), 0..24)) {
        check(&body)?;
    }
}
