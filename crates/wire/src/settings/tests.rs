use http::HeaderMap;
use millrace_core::SettingKey;

use super::*;

fn parsed(headers: &[(&HeaderName, &str)]) -> Result<SettingsHead, BadRequest> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            *name,
            http::HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    SettingsHead::parse(&map)
}

fn document(head: &SettingsHead, key: SettingKey) -> Option<String> {
    let documents = head.documents();
    let found = documents.into_iter().find(|(known, _)| *known == key)?;
    String::from_utf8(found.1?.to_vec()).ok()
}

#[test]
fn limits_are_whole_numbers_from_one() {
    let cases = [
        (&STREAM_RETENTION_MAX_AGE, "60", Some("age-ms 60000\n")),
        (&STREAM_RETENTION_MAX_AGE, "1500ms", Some("age-ms 1500\n")),
        (&STREAM_RETENTION_MAX_AGE, "7d", Some("age-ms 604800000\n")),
        (&STREAM_RETENTION_MAX_AGE, "none", None),
        (&STREAM_RETENTION_MAX_BYTES, "1", Some("bytes 1\n")),
        (&STREAM_RETENTION_MAX_MESSAGES, "10", Some("messages 10\n")),
    ];
    for (name, value, want) in cases {
        let head = parsed(&[(name, value)]).unwrap();
        assert_eq!(
            document(&head, SettingKey::RETENTION).as_deref(),
            want,
            "{name}: {value}"
        );
    }
    for value in [
        "",
        "0",
        "-1",
        "+1",
        "1.5",
        "x",
        "1x",
        "99999999999999999999999",
        "None",
        "0s",
    ] {
        for name in [
            &STREAM_RETENTION_MAX_AGE,
            &STREAM_RETENTION_MAX_BYTES,
            &STREAM_RETENTION_MAX_MESSAGES,
        ] {
            let refused = parsed(&[(name, value)]);
            assert!(refused.is_err(), "{name}: {value}: {refused:?}");
        }
    }
    assert!(parsed(&[(&STREAM_RETENTION_MAX_BYTES, "10s")]).is_err());
    assert!(
        parsed(&[
            (&STREAM_RETENTION_MAX_BYTES, "1"),
            (&STREAM_RETENTION_MAX_BYTES, "1")
        ])
        .is_err()
    );
}

#[test]
fn attributes_are_an_object_that_fits_a_header() {
    let cases = [
        (r#"{"b":1,"a":"x"}"#, Some(r#"{"a":"x","b":1}"#)),
        (
            "{\"a\":\"é\u{1d11e}\\n\\\"\"}",
            Some(r#"{"a":"\u00e9\ud834\udd1e\u000a\""}"#),
        ),
        (
            r#"{"a":{"d":[1,{"z":0,"y":null}],"c":true}}"#,
            Some(r#"{"a":{"c":true,"d":[1,{"y":null,"z":0}]}}"#),
        ),
        ("{}", None),
        ("null", None),
    ];
    for (value, want) in cases {
        let head = parsed(&[(&STREAM_ATTRIBUTES, value)]).unwrap();
        let found = document(&head, SettingKey::ATTRIBUTES);
        assert_eq!(found.as_deref(), want, "{value}");
        if let Some(found) = found {
            // What HEAD says can be sent again, and is the same.
            let again = parsed(&[(&STREAM_ATTRIBUTES, &found)]).unwrap();
            assert_eq!(again.documents(), head.documents());
        }
    }
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(ATTRIBUTES_BYTES_MAX));
    for value in [
        "",
        "1",
        "[]",
        "\"a\"",
        "{",
        "{\"a\":1}x",
        "{\"a\":\"\\ud800\"}",
        &long,
    ] {
        assert!(parsed(&[(&STREAM_ATTRIBUTES, value)]).is_err(), "{value}");
    }
}

#[test]
fn what_was_asked_for_does_not_depend_on_how_it_was_written() {
    let one = [
        (&STREAM_ATTRIBUTES, r#"{"a":1,"b":2}"#),
        (&STREAM_RETENTION_MAX_AGE, "1m"),
    ];
    let other = [
        (&STREAM_RETENTION_MAX_AGE, "60"),
        (&STREAM_ATTRIBUTES, r#"{ "b": 2, "a": 1 }"#),
    ];
    assert_eq!(
        parsed(&one).unwrap().documents(),
        parsed(&other).unwrap().documents()
    );
    assert_eq!(parsed(&[]).unwrap().documents(), []);
}

#[test]
fn a_patch_changes_what_it_names() {
    let mut object = attributes_in(Some(&br#"{"a":1,"b":{"c":2,"d":3}}"#[..].into()));
    let patch = attributes_in(Some(
        &br#"{"a":null,"b":{"d":null,"e":[null]},"f":{"g":null}}"#[..].into(),
    ));
    merge(&mut object, &patch);
    let document = attributes_document(&object).unwrap();
    assert_eq!(&document[..], br#"{"b":{"c":2,"e":[null]},"f":{}}"#);
}
