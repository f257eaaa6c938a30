//! The oracle itself, against the protocol text: it is the judge, so its own word is checked once.

use std::time::Duration;

use bytes::Bytes;
use millrace_core::{
    Append, Body, BodyFault, ContentType, CreateSpec, ForkAnchor, ForkRequest, Lifetime, Offset,
    Payload, ProducerClaim, ProducerId, Refusal, StreamName, Timestamp,
    limits::{PRODUCER_IDLE_MILLIS_MIN, PRODUCERS_PER_STREAM_MAX},
    stream::Outcome,
};
use millrace_model::Model;

fn name(text: &str) -> StreamName {
    StreamName::new(text).expect("a name")
}

fn text(content: &str) -> Body {
    Body::Framed(Payload::single(Bytes::copy_from_slice(content.as_bytes())))
}

/// Messages that each come with their comma.
fn json(messages: &[&str]) -> Body {
    let len = |message: &&str| u32::try_from(message.len()).expect("short");
    let lengths: Vec<u32> = messages.iter().map(len).collect();
    Body::Framed(Payload::from_lengths(messages.concat().into(), &lengths))
}

fn spec(content_type: &str) -> CreateSpec {
    CreateSpec {
        content_type: ContentType::new(content_type),
        lifetime: Lifetime::Unlimited,
        closed: false,
        fork: None,
    }
}

fn fork_of(source: &str, anchor: ForkAnchor, sub_offset: u64) -> CreateSpec {
    CreateSpec {
        content_type: None,
        fork: Some(ForkRequest {
            source: name(source),
            anchor,
            sub_offset,
        }),
        ..spec("text/plain")
    }
}

fn append(body: Body, content_type: &str) -> Append {
    Append {
        body,
        content_type: ContentType::new(content_type),
        ..Append::default()
    }
}

/// A model with a `text/plain` stream `s` of "abcdef" in two appends.
fn with_stream() -> Model {
    let mut model = Model::new();
    model
        .create(&name("s"), &spec("text/plain"), &text("abcd"))
        .expect("is created");
    write(&mut model, "s", "ef");
    model
}

fn write(model: &mut Model, stream: &str, content: &str) {
    let command = append(text(content), "text/plain");
    model.append(&name(stream), &command).expect("is appended");
}

fn page(model: &mut Model, stream: &str) -> Result<String, Refusal> {
    let content = model.read(&name(stream))?;
    Ok(String::from_utf8(content.page()).expect("text"))
}

fn fork(model: &mut Model, to: &str, spec: &CreateSpec) -> Option<Refusal> {
    model.create(&name(to), spec, &Body::Empty).err()
}

#[test]
fn appends_are_read_in_order_and_from_any_offset() {
    let mut model = with_stream();
    assert_eq!(page(&mut model, "s"), Ok("abcdef".into()));
    let from = model.stream(&name("s")).expect("is there").offset_at(4);
    let content = model.read_from(&name("s"), from).expect("is read");
    assert_eq!(content.bytes, b"ef");
    assert_eq!(content.next.position.get(), 6);
}

#[test]
fn json_pages_are_arrays_and_begin_at_messages() {
    let mut model = Model::new();
    let stream = name("j");
    model
        .create(
            &stream,
            &spec("application/json"),
            &Body::Invalid(BodyFault::EmptyArray),
        )
        .expect("is created");
    assert_eq!(page(&mut model, "j"), Ok("[]".into()));
    let command = append(json(&["1,", "[2],"]), "application/json");
    model.append(&stream, &command).expect("is appended");
    assert_eq!(page(&mut model, "j"), Ok("[1,[2]]".into()));
    let at = |model: &Model, position| model.stream(&stream).expect("is there").offset_at(position);
    let (middle, boundary) = (at(&model, 3), at(&model, 2));
    assert_eq!(
        model.read_from(&stream, middle),
        Err(Refusal::OffsetNotABoundary)
    );
    let rest = model.read_from(&stream, boundary).expect("is read");
    assert_eq!(rest.page(), b"[[2]]");
}

#[test]
fn a_recreated_stream_answers_old_offsets_with_gone() {
    let mut model = with_stream();
    let old = model.head(&name("s")).expect("is there").tail;
    model.delete(&name("s")).expect("is deleted");
    assert_eq!(page(&mut model, "s"), Err(Refusal::NotFound));
    model
        .create(&name("s"), &spec("text/plain"), &text("123456"))
        .expect("is created");
    let earliest = model.head(&name("s")).expect("is there").start;
    let gone = Refusal::OffsetGone { earliest };
    assert_eq!(model.read_from(&name("s"), old), Err(gone));
}

#[test]
fn forks_copy_up_to_anchor_and_sub_offset_within_the_append_there() {
    type Row = (ForkAnchor, u64, Result<&'static str, Option<Refusal>>);
    let mut model = with_stream();
    let at = |position| {
        let stream = with_stream();
        ForkAnchor::At(
            stream
                .stream(&name("s"))
                .expect("is there")
                .offset_at(position),
        )
    };
    let beyond = Some(Refusal::ForkPosition);
    let rows: [Row; 8] = [
        (ForkAnchor::Tail, 0, Ok("abcdef")),
        (ForkAnchor::Start, 0, Ok("")),
        (ForkAnchor::Start, 3, Ok("abc")),
        (ForkAnchor::Start, 4, Ok("abcd")),
        (ForkAnchor::Start, 5, Err(beyond.clone())),
        (at(4), 1, Ok("abcde")),
        (at(2), 3, Err(beyond.clone())),
        (ForkAnchor::Tail, 1, Err(beyond)),
    ];
    for (index, (anchor, sub_offset, want)) in rows.into_iter().enumerate() {
        let to = format!("f{index}");
        let refused = fork(&mut model, &to, &fork_of("s", anchor, sub_offset));
        match want {
            Ok(want) => assert_eq!(page(&mut model, &to), Ok(want.into()), "{index}"),
            Err(want) => assert_eq!(refused, want, "{index}"),
        }
    }
}

#[test]
fn source_and_fork_go_their_own_ways() {
    let mut model = with_stream();
    fork(&mut model, "f", &fork_of("s", ForkAnchor::Tail, 0));
    write(&mut model, "s", "S");
    write(&mut model, "f", "F");
    assert_eq!(page(&mut model, "s"), Ok("abcdefS".into()));
    assert_eq!(page(&mut model, "f"), Ok("abcdefF".into()));
    let offset = |model: &Model, stream: &str, position| -> Offset {
        model
            .stream(&name(stream))
            .expect("is there")
            .offset_at(position)
    };
    assert_eq!(offset(&model, "s", 6), offset(&model, "f", 6));
    assert_ne!(offset(&model, "s", 7), offset(&model, "f", 7));
}

#[test]
fn a_deleted_source_is_gone_with_its_last_fork_however_deep() {
    let mut model = with_stream();
    fork(&mut model, "f", &fork_of("s", ForkAnchor::Tail, 0));
    fork(&mut model, "g", &fork_of("f", ForkAnchor::Tail, 0));
    for stream in ["s", "f"] {
        assert_eq!(model.delete(&name(stream)), Ok(Outcome::Deleted));
        assert_eq!(model.delete(&name(stream)), Err(Refusal::SoftDeleted));
        let again = model.create(&name(stream), &spec("text/plain"), &Body::Empty);
        assert_eq!(again, Err(Refusal::NameHeld));
    }
    let onto_deleted = fork_of("s", ForkAnchor::Tail, 0);
    assert_eq!(
        fork(&mut model, "h", &onto_deleted),
        Some(Refusal::SourceSoftDeleted)
    );
    assert_eq!(page(&mut model, "g"), Ok("abcdef".into()));
    assert_eq!(model.list(""), [name("g")]);
    model.delete(&name("g")).expect("is deleted");
    assert_eq!(model.names().count(), 0);
    assert_eq!(
        fork(&mut model, "h", &onto_deleted),
        Some(Refusal::SourceNotFound)
    );
}

#[test]
fn reads_and_writes_keep_a_stream_alive_and_head_does_not() {
    let live = |touch: fn(&mut Model)| {
        let mut model = Model::new();
        let with_ttl = CreateSpec {
            lifetime: Lifetime::Ttl(2),
            ..spec("text/plain")
        };
        model
            .create(&name("s"), &with_ttl, &Body::Empty)
            .expect("is created");
        model.advance(Duration::from_millis(1999));
        touch(&mut model);
        model.advance(Duration::from_millis(1999));
        model.head(&name("s")).is_ok()
    };
    assert!(live(|model| write(model, "s", "x")));
    assert!(live(|model| drop(model.read(&name("s")))));
    assert!(live(|model| model
        .begin_live(&name("s"))
        .expect("is there")));
    assert!(live(Model::reboot));
    assert!(!live(|model| drop(model.head(&name("s")))));
    assert!(!live(|model| drop(
        model.append(&name("s"), &append(text("x"), "text/html"))
    )));
}

#[test]
fn a_live_reader_holds_up_a_sliding_life_and_no_absolute_one() {
    for (lifetime, alive) in [
        (Lifetime::Ttl(1), true),
        (Lifetime::Until(Timestamp(1000)), false),
    ] {
        let mut model = Model::new();
        let spec = CreateSpec {
            lifetime,
            ..spec("text/plain")
        };
        model
            .create(&name("s"), &spec, &Body::Empty)
            .expect("is created");
        model.begin_live(&name("s")).expect("is there");
        model.advance(Duration::from_secs(9));
        assert_eq!(model.head(&name("s")).is_ok(), alive, "{lifetime:?}");
    }
}

#[test]
fn an_expired_name_is_free_again() {
    let mut model = Model::new();
    let with_ttl = CreateSpec {
        lifetime: Lifetime::Ttl(1),
        ..spec("text/plain")
    };
    model
        .create(&name("s"), &with_ttl, &text("old"))
        .expect("is created");
    model.advance(Duration::from_secs(1));
    assert!(model.list("").is_empty());
    let made = model.create(&name("s"), &spec("text/html"), &Body::Empty);
    assert!(matches!(made, Ok(Outcome::Created(_))));
}

#[test]
fn a_model_can_be_split_to_try_both_outcomes_of_an_operation() {
    let mut happened = with_stream();
    let did_not = happened.clone();
    write(&mut happened, "s", "?");
    let len = |model: &Model| model.stream(&name("s")).expect("is there").len();
    assert_eq!((len(&happened), len(&did_not)), (7, 6));
}

#[test]
fn t68_producers_have_a_bound_and_long_idle_ones_make_room() {
    let mut model = with_stream();
    let send = |model: &mut Model, id: u32, seq| {
        let id = ProducerId::new(&format!("p{id}")).expect("an id");
        // Without bytes, because so many messages would take the naive model minutes.
        let mut command = append(Body::Empty, "text/plain");
        command.producer = Some(ProducerClaim { id, epoch: 0, seq });
        model.append(&name("s"), &command)
    };
    for id in 0..PRODUCERS_PER_STREAM_MAX {
        send(&mut model, id, 0).expect("is accepted");
    }
    let new = PRODUCERS_PER_STREAM_MAX;
    assert_eq!(send(&mut model, new, 0), Err(Refusal::TooManyProducers));
    model.advance(Duration::from_millis(PRODUCER_IDLE_MILLIS_MIN));
    assert_eq!(send(&mut model, new, 0), Err(Refusal::TooManyProducers));
    model.advance(Duration::from_millis(1));
    assert!(send(&mut model, new, 0).is_ok());
    assert!(matches!(
        send(&mut model, new, 0),
        Ok(Outcome::Duplicate { .. })
    ));
}
