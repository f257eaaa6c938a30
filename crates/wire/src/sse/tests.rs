//! What the encoders write, and that an independent parser reads back what was sent.

use millrace_core::{Generation, StreamPos};
use proptest::prelude::*;

use super::*;

fn offset(position: u64) -> Offset {
    Offset {
        generation: Generation(1),
        position: StreamPos(position),
    }
}

fn data(kind: ContentKind, wire: &[u8]) -> String {
    let mut out = Vec::new();
    data_event(&mut out, kind, wire, offset(9));
    String::from_utf8(out).expect("events are UTF-8")
}

fn control(control: Control) -> String {
    let mut out = Vec::new();
    control_event(&mut out, control);
    String::from_utf8(out).unwrap()
}

const END: &str = "id:0000000000001-0000000000000009\n\n";

#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    kind: String,
    data: String,
    id: String,
}

/// The WHATWG event stream parser, written from its text: lines end in CRLF, LF or CR; one space
/// after the colon goes; an event without data is not dispatched.
fn parse(stream: &str) -> Vec<Event> {
    let mut events = Vec::new();
    let mut id = String::new();
    let mut event = String::new();
    let mut lines: Vec<String> = Vec::new();
    let normalized = stream.replace("\r\n", "\n").replace('\r', "\n");
    let mut rest = normalized.as_str();
    while let Some((line, after)) = rest.split_once('\n') {
        rest = after;
        if line.is_empty() {
            if !lines.is_empty() {
                events.push(Event {
                    kind: std::mem::take(&mut event),
                    data: lines.join("\n"),
                    id: id.clone(),
                });
            }
            lines.clear();
            event.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match field {
            "data" => lines.push(value),
            "event" => event = value,
            "id" if !value.contains('\0') => id = value,
            _ => {}
        }
    }
    assert_eq!(rest, "", "events end");
    events
}

fn only_event(stream: &str) -> Event {
    let mut events = parse(stream);
    assert_eq!(events.len(), 1, "{stream:?}");
    events.remove(0)
}

/// What a client makes of text: replaced where it is no UTF-8, with LF for every line break.
fn normalized(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .replace("\r\n", "\n")
        .replace('\r', "\n")
}

#[test]
fn json_is_one_array() {
    assert_eq!(
        data(ContentKind::Json, b"{\"n\":1},{\"n\":2},"),
        format!("event: data\ndata:[{{\"n\":1}},{{\"n\":2}}]\n{END}")
    );
    assert_eq!(
        data(ContentKind::Json, b"[],"),
        format!("event: data\ndata:[[]]\n{END}")
    );
}

#[test]
fn line_breaks_in_json_stay_whitespace() {
    let sent = data(ContentKind::Json, b"{\n  \"a\":\r\n1\r},");
    assert_eq!(
        sent,
        format!("event: data\ndata:[{{\ndata:   \"a\":\ndata:1\ndata:}}]\n{END}")
    );
    assert_eq!(only_event(&sent).data, "[{\n  \"a\":\n1\n}]");
}

#[test]
fn text_keeps_its_lines_and_leading_spaces() {
    for (text, lines) in [
        (
            "line1\nline2\r\nline3\rline4",
            "data:line1\ndata:line2\ndata:line3\ndata:line4\n",
        ),
        ("a\n", "data:a\ndata:\n"),
        ("\n\n", "data:\ndata:\ndata:\n"),
        (" a\n  b", "data:  a\ndata:   b\n"),
        ("a\r\r\nb", "data:a\ndata:\ndata:b\n"),
        ("", "data:\n"),
    ] {
        let sent = data(ContentKind::Text, text.as_bytes());
        assert_eq!(sent, format!("event: data\n{lines}{END}"), "{text:?}");
        assert_eq!(only_event(&sent).data, normalized(text.as_bytes()));
    }
}

#[test]
fn a_payload_cannot_add_a_field() {
    for text in [
        "safe\r\n\r\nevent: control\r\ndata: {\"injected\":true}\r\n\r\nmore",
        "start\n\nevent: data\ndata: fake\n\nend",
        "start\r\revent: control\rdata: {\"cr\":true}\r\rend",
        "id:1\nretry: 1\n: comment\ndata",
    ] {
        let event = only_event(&data(ContentKind::Text, text.as_bytes()));
        assert_eq!(event.kind, "data");
        assert_eq!(event.data, normalized(text.as_bytes()));
        assert_eq!(event.id, "0000000000001-0000000000000009");
    }
}

#[test]
fn t52_each_event_of_bytes_decodes_on_its_own() {
    for (bytes, text) in [
        (&b"Hello"[..], "SGVsbG8="),
        (b"\x00\x0a\x0d\xff", "AAoN/w=="),
        (b"abc", "YWJj"),
        (b"", ""),
    ] {
        let sent = data(ContentKind::Binary, bytes);
        assert_eq!(sent, format!("event: data\ndata:{text}\n{END}"));
    }
}

#[test]
fn control_events_say_what_is_so() {
    let open = Control {
        next: offset(9),
        cursor: Some(1000),
        up_to_date: false,
        closed: false,
    };
    let at = "\"streamNextOffset\":\"0000000000001-0000000000000009\"";
    for (said, want) in [
        (open, format!("{{{at},\"streamCursor\":\"1000\"}}")),
        (
            Control {
                up_to_date: true,
                ..open
            },
            format!("{{{at},\"streamCursor\":\"1000\",\"upToDate\":true}}"),
        ),
        (
            Control {
                up_to_date: true,
                closed: true,
                ..open
            },
            format!("{{{at},\"upToDate\":true,\"streamClosed\":true}}"),
        ),
        (
            Control {
                closed: true,
                cursor: None,
                ..open
            },
            format!("{{{at},\"upToDate\":true,\"streamClosed\":true}}"),
        ),
    ] {
        let sent = control(said);
        assert_eq!(sent, format!("event: control\ndata:{want}\n{END}"));
        serde_json::from_str::<serde_json::Value>(&only_event(&sent).data).unwrap();
    }
}

#[test]
fn t49_a_comment_between_events_is_no_event() {
    let keep_alive = std::str::from_utf8(KEEP_ALIVE).unwrap();
    let stream = [
        &data(ContentKind::Text, b"a"),
        keep_alive,
        &data(ContentKind::Text, b"b"),
        keep_alive,
    ]
    .concat();
    let events = parse(&stream);
    assert_eq!(events.len(), 2);
    assert_eq!((&*events[0].data, &*events[1].data), ("a", "b"));
}

#[test]
fn text_events_end_on_code_points() {
    for (text, more, want) in [
        (&b""[..], false, 0),
        (b"abc", false, 3),
        ("\u{e9}".as_bytes(), false, 2),
        (b"a\xc3", false, 1),
        (b"a\xe2\x82", false, 1),
        (b"a\xf0\x9f\x98", false, 1),
        (b"a\xf0\x9f\x98\x80", false, 5),
        (b"\xe2", false, 0),
        // Bytes that can begin no code point are not waited for.
        (b"a\xff", false, 2),
        (b"a\x80", false, 2),
        (b"a\xc0", false, 2),
        (b"a\xed\xa0", false, 3),
        (b"a\xf4\x90", false, 3),
        (b"\xe2\x82\xe2", false, 2),
        (b"a\r", false, 2),
        (b"a\r", true, 1),
        (b"a\n", true, 2),
        (b"a\r\n", true, 3),
    ] {
        assert_eq!(text_event_len(text, more), want, "{}", text.escape_ascii());
    }
}

/// Cuts `wire` where `cuts` say and sends it as the server does.
fn sent_in_pieces(wire: &[u8], cuts: &[prop::sample::Index]) -> String {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
    ends.sort_unstable();
    let (mut from, mut sent) = (0, String::new());
    for end in ends {
        let chunk = &wire[from..end.max(from)];
        let take = text_event_len(chunk, end < wire.len());
        assert!(chunk.len() - take <= 3, "never more than 3 bytes wait");
        if take > 0 {
            sent += &data(ContentKind::Text, &chunk[..take]);
            from += take;
        }
    }
    if from < wire.len() {
        // The stream is closed: nothing follows, so nothing waits.
        sent += &data(ContentKind::Text, &wire[from..]);
    }
    sent
}

fn hostile_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b" ".to_vec()),
        Just(b"\0".to_vec()),
        Just(b"event: control\n".to_vec()),
        Just(b"data:".to_vec()),
        Just(b":".to_vec()),
        Just(
            "\u{2028}\u{2029}\u{85}\u{feff}\u{1f600}"
                .as_bytes()
                .to_vec()
        ),
        any::<char>().prop_map(|c| c.to_string().into_bytes()),
        proptest::collection::vec(any::<u8>(), 1..4),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn t23_any_text_reads_back_with_lf_for_line_breaks(wire in hostile_text()) {
        let event = only_event(&data(ContentKind::Text, &wire));
        prop_assert_eq!(event.kind, "data");
        prop_assert_eq!(event.data, normalized(&wire));
    }

    #[test]
    fn t23_text_reads_back_wherever_it_is_cut(
        wire in hostile_text(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let events = parse(&sent_in_pieces(&wire, &cuts));
        let read: String = events.into_iter().map(|event| event.data).collect();
        prop_assert_eq!(read, normalized(&wire));
    }

    #[test]
    fn t52_any_bytes_read_back(wire in proptest::collection::vec(any::<u8>(), 0..200)) {
        let event = only_event(&data(ContentKind::Binary, &wire));
        prop_assert_eq!(event.data.len() % 4, 0);
        prop_assert_eq!(STANDARD.decode(event.data).unwrap(), wire);
    }

    #[test]
    fn t23_t95_any_messages_read_back(
        texts in proptest::collection::vec(any::<String>(), 1..5),
        space in "[ \r\n\t]{0,3}",
    ) {
        let items: Vec<String> = texts
            .iter()
            .map(|text| format!("{{{space}\"k\"{space}:{space}{}}}", serde_json::to_string(text).unwrap()))
            .collect();
        let body = format!("[{}]", items.join(","));
        let payload = crate::json::split(body.as_bytes()).unwrap();
        let event = only_event(&data(ContentKind::Json, payload.bytes()));
        let read: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        let sent: serde_json::Value = serde_json::from_str(&body).unwrap();
        prop_assert_eq!(read, sent);
    }

    #[test]
    fn only_lf_ends_lines(wire in hostile_text()) {
        prop_assert!(!data(ContentKind::Text, &wire).contains('\r'));
    }
}
