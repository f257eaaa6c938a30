//! The watcher must be able to condemn: every kind of answer that cannot be, and beside it the honest
//! one that looks much like it.

use serde_json::{Value, json};

use super::*;

/// A client and a server in one, whose exchanges the watcher sees.
#[derive(Default)]
struct Scene {
    watcher: Watcher,
}

/// What is asked or answered: the first line, then the fields.
type Fieldset<'a> = &'a [(&'a str, &'a str)];

const BYTES: (&str, &str) = ("Content-Type", "application/octet-stream");
const UP_TO_DATE: (&str, &str) = ("Stream-Up-To-Date", "true");
const CLOSED: (&str, &str) = ("Stream-Closed", "true");

fn token(generation: u64, position: u64) -> String {
    Token {
        generation,
        position,
    }
    .to_string()
}

fn fields(of: Fieldset<'_>) -> Fields {
    Fields::new(of.iter().map(|(name, value)| (*name, value.as_bytes())))
}

impl Scene {
    fn ask(&mut self, method: &str, target: &str, with: Fieldset<'_>, body: &[u8]) -> Exchange {
        let mut exchange = self.watcher.ask(method, target, &fields(with));
        self.watcher.sent(&mut exchange, Some(body.to_vec()));
        exchange
    }

    fn answer(&mut self, mut exchange: Exchange, status: u16, with: Fieldset<'_>, body: &[u8]) {
        self.watcher.answer(&mut exchange, status, fields(with));
        self.watcher.carry(&mut exchange, body);
        self.watcher.end(&mut exchange);
    }

    /// PUT, and 201 at the offset.
    fn create(&mut self, name: &str, generation: u64) {
        let asked = self.ask("PUT", &format!("/v1/stream/{name}"), &[BYTES], b"");
        self.made(asked, &token(generation, 0));
    }

    fn made(&mut self, asked: Exchange, at: &str) {
        self.answer(asked, 201, &[("Stream-Next-Offset", at), BYTES], b"");
    }

    fn posting(&mut self, name: &str, body: &[u8]) -> Exchange {
        self.ask("POST", &format!("/v1/stream/{name}"), &[BYTES], body)
    }

    /// POST, and 204 at the offset.
    fn append(&mut self, name: &str, body: &[u8], at: &str) {
        let asked = self.posting(name, body);
        self.answer(asked, 204, &[("Stream-Next-Offset", at)], b"");
    }

    fn producing(&mut self, name: &str, seq: u64, body: &[u8]) -> Exchange {
        let seq = seq.to_string();
        let with = [
            BYTES,
            ("Producer-Id", "p"),
            ("Producer-Epoch", "0"),
            ("Producer-Seq", &seq),
        ];
        self.ask("POST", &format!("/v1/stream/{name}"), &with, body)
    }

    fn reading(&mut self, name: &str, from: &str) -> Exchange {
        self.ask("GET", &format!("/v1/stream/{name}?offset={from}"), &[], b"")
    }

    /// GET, and 200 with a page up to the tail.
    fn read(&mut self, name: &str, from: &str, body: &[u8], at: &str) {
        let asked = self.reading(name, from);
        self.page(asked, body, at);
    }

    fn page(&mut self, asked: Exchange, body: &[u8], at: &str) {
        self.answer(
            asked,
            200,
            &[("Stream-Next-Offset", at), UP_TO_DATE, BYTES],
            body,
        );
    }

    /// HEAD, and 200 at the offset.
    fn head(&mut self, name: &str, at: &str) {
        let asked = self.ask("HEAD", &format!("/v1/stream/{name}"), &[], b"");
        self.answer(asked, 200, &[("Stream-Next-Offset", at), BYTES], b"");
    }

    fn close(&mut self, name: &str, at: &str) {
        let asked = self.ask("POST", &format!("/v1/stream/{name}"), &[CLOSED], b"");
        self.answer(asked, 204, &[("Stream-Next-Offset", at), CLOSED], b"");
    }

    fn delete(&mut self, name: &str) {
        let asked = self.ask("DELETE", &format!("/v1/stream/{name}"), &[], b"");
        self.answer(asked, 204, &[], b"");
    }

    fn nothing(&mut self, name: &str) {
        let asked = self.reading(name, "-1");
        self.answer(asked, 404, &[], b"");
    }

    #[track_caller]
    fn fine(&self) {
        assert_eq!(self.watcher.violations(), []);
    }

    #[track_caller]
    fn condemned(&self, words: &str) {
        let found = self.watcher.violations();
        assert!(
            found.iter().any(|violation| violation.what.contains(words)),
            "{words:?}: {found:?}"
        );
    }
}

/// A stream of three appends, `abc`, `def` and `ghi`.
fn three() -> Scene {
    let mut scene = Scene::default();
    scene.create("s", 5);
    for (body, end) in [(b"abc", 3), (b"def", 6), (b"ghi", 9)] {
        scene.append("s", body, &token(5, end));
    }
    scene
}

#[test]
fn what_an_honest_server_answers_is_fine() {
    let mut scene = three();
    scene.read("s", "-1", b"abcdefghi", &token(5, 9));
    scene.read("s", &token(5, 3), b"defghi", &token(5, 9));
    scene.read("s", &token(5, 9), b"", &token(5, 9));
    scene.head("s", &token(5, 9));
    scene.close("s", &token(5, 9));
    scene.close("s", &token(5, 9));
    scene.delete("s");
    scene.nothing("s");
    scene.create("s", 1029);
    scene.read("s", "-1", b"", &token(1029, 0));
    let asked = scene.reading("s", &token(5, 3));
    scene.answer(
        asked,
        410,
        &[("Stream-Earliest-Offset", &token(1029, 0))],
        b"",
    );
    scene.fine();
    assert_eq!(scene.watcher.counts().appends, 3);
}

// --- no acknowledged byte is lost, repeated, reordered or changed ---

#[test]
fn a_changed_byte_is_found() {
    let mut scene = three();
    scene.read("s", "-1", b"abcdEfghi", &token(5, 9));
    scene.condemned("the bytes before 0000000000005-0000000000000006");
}

#[test]
fn reordered_appends_are_found() {
    let mut scene = three();
    scene.read("s", "-1", b"defabcghi", &token(5, 9));
    scene.condemned("are not those that were told before");
}

#[test]
fn a_lost_append_is_found_by_its_tail_and_by_what_takes_its_place() {
    let mut scene = three();
    scene.read("s", "-1", b"abcdef", &token(5, 6));
    scene.condemned("its tail is 0000000000005-0000000000000006, after it had reached 9");
    let mut scene = three();
    scene.append("s", b"jkl", &token(5, 9));
    scene.condemned("two acknowledged appends take bytes of 6 to 9");
}

#[test]
fn a_repeated_append_is_found() {
    let mut scene = three();
    scene.read("s", "-1", b"abcdefdefghi", &token(5, 12));
    scene.condemned("no more than 9 bytes were acknowledged and 0 more sent");
}

#[test]
fn an_append_that_is_put_before_what_was_there_is_found() {
    let mut scene = three();
    let early = scene.posting("s", b"xyz");
    scene.append("s", b"jkl", &token(5, 15));
    scene.answer(early, 204, &[("Stream-Next-Offset", &token(5, 12))], b"");
    scene.fine();
    let mut scene = three();
    drop(scene.posting("s", b"xyz"));
    scene.append("s", b"jkl", &token(5, 15));
    scene.append("s", b"mno", &token(5, 12));
    scene.condemned("an append begins at 9, sent after 15 was reached");
}

#[test]
fn json_counts_a_comma_for_each_message() {
    let json = ("Content-Type", "application/json");
    let mut scene = Scene::default();
    let asked = scene.ask("PUT", "/v1/stream/j", &[json], b"[1, 22]");
    scene.answer(
        asked,
        201,
        &[("Stream-Next-Offset", &token(5, 5)), json],
        b"",
    );
    let asked = scene.ask("POST", "/v1/stream/j", &[json], b" {\"a\": 1} ");
    scene.answer(asked, 204, &[("Stream-Next-Offset", &token(5, 14))], b"");
    let page = |scene: &mut Scene, body: &[u8]| {
        let asked = scene.reading("j", "-1");
        scene.answer(
            asked,
            200,
            &[("Stream-Next-Offset", &token(5, 14)), json],
            body,
        );
    };
    page(&mut scene, b"[1,22,{\"a\": 1}]");
    scene.fine();
    page(&mut scene, b"[22,1,{\"a\": 1}]");
    scene.condemned("are not those that were told before");
    let asked = scene.reading("j", "-1");
    scene.answer(
        asked,
        200,
        &[("Stream-Next-Offset", &token(5, 14)), json],
        b"",
    );
    scene.condemned("a page of JSON is no array");
}

#[test]
fn a_fork_that_lost_or_changed_what_it_inherited_is_found() {
    let fork = |scene: &mut Scene, body: &[u8], at: &str| {
        let with = [
            ("Stream-Forked-From", "/v1/stream/s"),
            ("Stream-Fork-Offset", &token(5, 6)),
            BYTES,
        ];
        let asked = scene.ask("PUT", "/v1/stream/f", &with, body);
        scene.made(asked, at);
    };
    let mut scene = three();
    fork(&mut scene, b"", &token(5, 6));
    scene.append("f", b"xyz", &token(7, 9));
    scene.read("f", "-1", b"abcdefxyz", &token(7, 9));
    scene.read("s", "-1", b"abcdefghi", &token(5, 9));
    scene.fine();
    scene.read("f", "-1", b"abcdeXxyz", &token(7, 9));
    scene.condemned("are not those that were told before");
    let mut scene = three();
    fork(&mut scene, b"xyz", &token(7, 6));
    scene.condemned("3 bytes moved a reader");
    let mut scene = three();
    fork(&mut scene, b"xyz", &token(7, 9));
    scene.read("f", "-1", b"abcdeyxyz", &token(7, 9));
    scene.condemned("are not those that were told before");
}

// --- no answer moves an offset past the bytes that it carried ---

#[test]
fn t47_an_answer_that_moves_past_what_it_carried_is_found() {
    for (from, body, at) in [("-1", &b"abc"[..], 9), ("-1", b"abcdefghi", 6)] {
        let mut scene = three();
        scene.read("s", from, body, &token(5, at));
        scene.condemned("moved a reader from");
    }
    let mut scene = three();
    let asked = scene.ask(
        "GET",
        &format!("/v1/stream/s?offset={}&live=long-poll", token(5, 6)),
        &[],
        b"",
    );
    scene.answer(
        asked,
        204,
        &[("Stream-Next-Offset", &token(5, 9)), UP_TO_DATE],
        b"",
    );
    scene.condemned("0 bytes moved a reader");
}

#[test]
fn t47_an_event_that_moves_past_what_it_carried_is_found() {
    let follow = |text: &str, with: Fieldset<'_>| {
        let mut scene = three();
        let mut asked = scene.ask("GET", "/v1/stream/s?offset=-1&live=sse", &[], b"");
        let with = [&[("Content-Type", "text/event-stream")], with].concat();
        scene.watcher.answer(&mut asked, 200, fields(&with));
        scene.watcher.carry(&mut asked, text.as_bytes());
        assert_eq!(scene.watcher.counts().events, 2);
        scene
    };
    let base64 = [("Stream-SSE-Data-Encoding", "base64")];
    let event = |data: &str, id: u64, next: u64| {
        let [id, next] = [id, next].map(|at| token(5, at));
        format!(
            "event: data\ndata:{data}\nid:{id}\n\nevent: control\ndata:{{\"streamNextOffset\":\"{next}\"}}\nid:{next}\n\n"
        )
    };
    follow(&event("YWJj", 3, 3), &base64).fine();
    follow(&event("YWJk", 3, 3), &base64).condemned("are not those that were told before");
    follow(&event("YWJj", 6, 6), &base64).condemned("3 bytes moved a reader");
    follow(&event("YWJj", 3, 6), &base64).condemned("0 bytes moved a reader");
}

// --- readers never see what is not durable ---

#[test]
fn t35_what_was_seen_once_and_is_taken_back_is_found() {
    let mut scene = Scene::default();
    scene.create("s", 5);
    let lost = scene.posting("s", b"abc");
    scene.read("s", "-1", b"abc", &token(5, 3));
    drop(lost);
    scene.fine();
    scene.head("s", &token(5, 0));
    scene.condemned("after it had reached 3");
}

#[test]
fn a_stream_that_is_gone_though_nobody_deleted_it_is_found() {
    let mut scene = three();
    scene.nothing("s");
    scene.condemned("it is gone, and nobody deleted it");
    let mut scene = three();
    scene.create("s", 1029);
    scene.condemned("it is gone, and nobody deleted it");
}

#[test]
fn a_stream_may_go_when_its_life_ends_or_somebody_may_have_deleted_it() {
    let mut scene = Scene::default();
    let asked = scene.ask("PUT", "/v1/stream/s", &[BYTES, ("Stream-TTL", "1")], b"");
    scene.made(asked, &token(5, 0));
    scene.nothing("s");
    scene.fine();
    let mut scene = three();
    let lost = scene.ask("DELETE", "/v1/stream/s", &[], b"");
    drop(lost);
    scene.nothing("s");
    scene.fine();
    let mut scene = three();
    scene.watcher.blind();
    scene.nothing("s");
    scene.fine();
}

// --- closed is final ---

#[test]
fn a_closed_stream_that_is_open_or_grows_is_found() {
    let closed = || {
        let mut scene = three();
        scene.close("s", &token(5, 9));
        scene.fine();
        scene
    };
    let mut scene = closed();
    scene.head("s", &token(5, 9));
    scene.condemned("and is open");
    let mut scene = closed();
    scene.append("s", b"jkl", &token(5, 12));
    scene.condemned("it was closed at 0000000000005-0000000000000009, and reaches");
    let mut scene = closed();
    scene.close("s", &token(5, 6));
    scene.condemned("and at 0000000000005-0000000000000006");
    let mut scene = three();
    scene.close("s", &token(5, 6));
    scene.condemned("and reached 0000000000005-0000000000000009");
}

#[test]
fn a_stream_that_closed_by_itself_is_found() {
    let mut scene = three();
    let asked = scene.ask("HEAD", "/v1/stream/s", &[], b"");
    scene.answer(
        asked,
        200,
        &[("Stream-Next-Offset", &token(5, 9)), CLOSED],
        b"",
    );
    scene.condemned("nobody closed it");
}

#[test]
fn who_looked_while_it_was_closed_may_have_seen_it_open() {
    let mut scene = three();
    let early = scene.reading("s", "-1");
    scene.close("s", &token(5, 9));
    scene.page(early, b"abcdefghi", &token(5, 9));
    scene.fine();
}

// --- deleted stays deleted ---

#[test]
fn a_deleted_stream_that_is_back_is_found() {
    let mut scene = three();
    scene.delete("s");
    scene.read("s", "-1", b"abcdefghi", &token(5, 9));
    scene.condemned("it was gone");
    let mut scene = three();
    scene.delete("s");
    scene.create("s", 5);
    scene.condemned("it was gone");
}

#[test]
fn an_offset_of_the_life_before_that_is_taken_is_found() {
    let mut scene = three();
    scene.delete("s");
    scene.create("s", 1029);
    scene.append("s", b"abcdefghijkl", &token(1029, 12));
    scene.read("s", &token(5, 9), b"jkl", &token(1029, 12));
    scene.condemned("it was gone");
}

#[test]
fn who_read_while_it_was_deleted_may_have_seen_it() {
    let mut scene = three();
    let early = scene.reading("s", "-1");
    scene.delete("s");
    scene.create("s", 1029);
    scene.page(early, b"abcdefghi", &token(5, 9));
    scene.fine();
}

// --- positions keep their order, and each has one offset ---

#[test]
fn a_position_with_two_offsets_is_found() {
    let mut scene = three();
    scene.read("s", &token(5, 9), b"", &token(6, 9));
    scene.condemned("one position has two offsets");
    let mut scene = three();
    scene.read("s", &token(5, 3), b"d", &token(6, 4));
    scene.condemned("are not in the order of positions");
}

#[test]
fn an_offset_that_was_told_and_is_refused_is_found() {
    let mut scene = three();
    let asked = scene.reading("s", &token(5, 6));
    scene.answer(asked, 410, &[("Stream-Earliest-Offset", &token(5, 0))], b"");
    scene.condemned("is one of its offsets, and was refused");
    let mut scene = three();
    let asked = scene.reading("s", &token(5, 12));
    scene.answer(asked, 410, &[("Stream-Earliest-Offset", &token(5, 0))], b"");
    scene.fine();
}

#[test]
fn a_stream_goes_on_under_another_generation_after_an_unclean_start() {
    let mut scene = three();
    scene.append("s", b"jkl", &token(1029, 12));
    scene.read("s", "-1", b"abcdefghijkl", &token(1029, 12));
    scene.fine();
    scene.head("s", &token(5, 9));
    scene.condemned("after it had reached 12");
    let mut scene = three();
    scene.append("s", b"jkl", &token(1029, 9));
    scene.condemned("are not in the order of positions");
}

// --- a producer's request that is sent again never makes a second copy ---

#[test]
fn a_request_that_is_carried_out_twice_is_found() {
    let mut scene = Scene::default();
    scene.create("s", 5);
    for end in [3, 6] {
        let asked = scene.producing("s", 0, b"abc");
        scene.answer(asked, 200, &[("Stream-Next-Offset", &token(5, end))], b"");
    }
    scene.condemned("producer p's request 0 of epoch 0 was carried out twice");
}

#[test]
fn a_second_copy_of_a_request_whose_answer_was_lost_is_found() {
    let again = |end| {
        let mut scene = Scene::default();
        scene.create("s", 5);
        let lost = scene.producing("s", 0, b"abc");
        drop(lost);
        let asked = scene.producing("s", 0, b"abc");
        scene.answer(asked, 200, &[("Stream-Next-Offset", &token(5, end))], b"");
        scene
    };
    again(3).fine();
    again(6).condemned("no more than 3 bytes were acknowledged and 0 more sent");
}

#[test]
fn a_repeated_request_that_is_told_from_the_first_is_fine() {
    let mut scene = Scene::default();
    scene.create("s", 5);
    drop(scene.producing("s", 0, b"abc"));
    let asked = scene.producing("s", 0, b"abc");
    scene.answer(asked, 204, &[("Stream-Next-Offset", &token(5, 3))], b"");
    scene.read("s", "-1", b"abc", &token(5, 3));
    scene.fine();
    // A server that forgot the first one and its bytes.
    scene.head("s", &token(5, 0));
    scene.condemned("after it had reached 3");
}

#[test]
fn an_append_without_an_answer_is_there_once_or_not_at_all() {
    for (body, end, is_fine) in [
        (&b""[..], 0, true),
        (b"abc", 3, true),
        (b"abcabc", 6, false),
    ] {
        let mut scene = Scene::default();
        scene.create("s", 5);
        drop(scene.posting("s", b"abc"));
        scene.read("s", "-1", body, &token(5, end));
        assert_eq!(scene.watcher.violations().is_empty(), is_fine, "{end}");
    }
    let mut scene = Scene::default();
    scene.create("s", 5);
    let asked = scene.posting("s", b"abc");
    scene.answer(asked, 409, &[], b"");
    scene.read("s", "-1", b"abc", &token(5, 3));
    scene.condemned("no more than 0 bytes were acknowledged and 0 more sent");
}

#[test]
fn a_violation_names_the_answers_that_contradict_each_other() {
    let mut scene = three();
    scene.head("s", &token(5, 6));
    let [violation] = scene.watcher.violations() else {
        panic!("one violation: {:?}", scene.watcher.violations());
    };
    assert_eq!(violation.stream, "s");
    let tail = token(5, 9);
    assert_eq!(
        violation.seen[0],
        format!("#4 POST /v1/stream/s → 204, stream-next-offset: {tail}")
    );
    assert!(
        violation.seen[1].starts_with("#5 HEAD /v1/stream/s → 200"),
        "{violation:?}"
    );
}

/// Subscriptions: wakes that are given out, acked and given back.
impl Scene {
    fn asked_of(&mut self, method: &str, below: &str, body: &Value) -> Exchange {
        let target = format!("/v1/stream/__ds/subscriptions/a{below}");
        self.ask(method, &target, &[], body.to_string().as_bytes())
    }

    fn claim(&mut self, generation: u64, acked: &str, tail: &str) {
        let asked = self.asked_of("POST", "/claim", &json!({"worker": "w"}));
        self.claimed(asked, generation, acked, tail);
    }

    fn claimed(&mut self, asked: Exchange, generation: u64, acked: &str, tail: &str) {
        let wake = wake(generation, acked, tail);
        self.answer(asked, 200, &[], wake.to_string().as_bytes());
    }

    fn acking(&mut self, generation: u64, offset: &str, done: bool) -> Exchange {
        let acks = [json!({"stream": "s", "offset": offset})];
        let body = json!({"wake_id": "w", "generation": generation, "acks": acks, "done": done});
        self.asked_of("POST", "/ack", &body)
    }

    fn ack(&mut self, generation: u64, offset: &str, done: bool) {
        let asked = self.acking(generation, offset, done);
        self.answer(asked, 200, &[], b"{}");
    }

    fn subscription(&mut self, acked: &str) {
        let asked = self.asked_of("GET", "", &json!({}));
        let told = json!({"streams": [{"path": "s", "acked_offset": acked}]});
        self.answer(asked, 200, &[], told.to_string().as_bytes());
    }
}

fn wake(generation: u64, acked: &str, tail: &str) -> Value {
    let row = json!({"path": "s", "acked_offset": acked, "tail_offset": tail});
    json!({"subscription_id": "a", "wake_id": "w", "generation": generation, "streams": [row]})
}

#[test]
fn a_generation_is_given_out_once() {
    let [start, end] = [token(5, 0), token(5, 9)];
    let mut scene = three();
    scene.claim(1, &start, &end);
    scene.claim(3, &start, &end);
    scene.fine();
    scene.claim(3, &start, &end);
    scene.condemned("was given out twice");
    let mut scene = three();
    scene.claim(3, &start, &end);
    let other = wake(2, &start, &end).to_string();
    scene.watcher.delivered(other.as_bytes());
    scene.condemned("generation 2 comes after 3");
}

#[test]
fn claims_under_way_at_once_may_be_answered_in_any_order() {
    let [start, end] = [token(5, 0), token(5, 9)];
    let mut scene = three();
    let early = scene.asked_of("POST", "/claim", &json!({"worker": "w"}));
    scene.claim(2, &start, &end);
    scene.claimed(early, 1, &start, &end);
    scene.fine();
}

#[test]
fn who_is_fenced_moves_nothing() {
    let [start, end] = [token(5, 0), token(5, 9)];
    let mut scene = three();
    scene.claim(1, &start, &end);
    let under_way = scene.acking(1, &end, false);
    scene.claim(2, &start, &end);
    scene.answer(under_way, 200, &[], b"{}");
    let late = scene.acking(1, &end, true);
    scene.answer(late, 409, &[], b"{}");
    scene.fine();
    scene.ack(1, &end, false);
    scene.condemned("generation 1 was let through after 2");
}

#[test]
fn a_wake_that_is_done_is_over() {
    let [start, end] = [token(5, 0), token(5, 9)];
    let mut scene = three();
    scene.claim(1, &start, &end);
    scene.ack(1, &start, false);
    scene.ack(1, &end, true);
    scene.fine();
    scene.ack(1, &end, true);
    scene.condemned("generation 1 was let through after its end");
}

#[test]
fn cursors_never_go_back() {
    let [start, middle, end] = [token(5, 0), token(5, 6), token(5, 9)];
    for goes_back in [false, true] {
        let mut scene = three();
        scene.claim(1, &start, &end);
        scene.ack(1, &middle, true);
        scene.subscription(&middle);
        scene.claim(2, if goes_back { &start } else { &middle }, &end);
        if goes_back {
            scene.condemned("was processed to");
        } else {
            scene.fine();
        }
    }
}

#[test]
fn a_stream_that_is_made_anew_is_processed_from_its_start() {
    let [start, end] = [token(5, 0), token(5, 9)];
    let mut scene = three();
    scene.claim(1, &start, &end);
    scene.ack(1, &end, true);
    scene.delete("s");
    scene.create("s", 8);
    scene.subscription(&token(8, 0));
    scene.fine();
}

#[test]
fn a_subscription_that_is_made_anew_begins_anew() {
    let [start, end] = [token(5, 0), token(5, 9)];
    let mut scene = three();
    scene.claim(4, &start, &end);
    scene.ack(4, &end, true);
    let deletion = scene.asked_of("DELETE", "", &json!({}));
    scene.subscription(&start);
    scene.answer(deletion, 204, &[], b"");
    scene.claim(1, &start, &end);
    scene.fine();
}

#[test]
fn nothing_is_processed_past_the_end_of_a_stream() {
    let [start, end, beyond] = [token(5, 0), token(5, 9), token(5, 12)];
    let mut scene = three();
    scene.claim(1, &beyond, &end);
    scene.condemned("past its end");
    let mut scene = three();
    scene.claim(1, &start, &end);
    scene.subscription(&beyond);
    scene.fine();
    scene.head("s", &end);
    scene.condemned("");
}
