//! Many streams on one connection: what comes, across ends, cuts and restarts.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use millrace_client::{
    Client, ContentKind, ContentType, Error, Followed, ManyFollower, Offset, Page, Patience,
};
use millrace_wire::Code;

use crate::{
    cut::Cutter,
    support::{TestServer, append, name, within},
};

fn follow(client: &Client, streams: &[&str]) -> ManyFollower {
    let streams = streams.iter().map(|text| (name(text), Offset::start()));
    client.follow_many(streams).unwrap()
}

async fn page(follower: &mut ManyFollower) -> (String, Page) {
    match within(follower.next()).await.unwrap() {
        Some(Followed::Page { stream, page }) => (stream.to_string(), page),
        other => panic!("{other:?}"),
    }
}

/// Everything that comes until all streams are closed, by stream.
async fn all(follower: &mut ManyFollower) -> BTreeMap<String, Vec<Bytes>> {
    let mut all: BTreeMap<String, Vec<Bytes>> = BTreeMap::new();
    while let Some(followed) = within(follower.next()).await.unwrap() {
        let Followed::Page { stream, page } = followed else {
            panic!("{followed:?}");
        };
        let messages = all.entry(stream.to_string()).or_default();
        messages.extend(page.messages());
    }
    all
}

#[tokio::test]
async fn each_stream_comes_as_what_it_is_and_the_end_is_told() {
    let server = TestServer::start().await;
    let a = server.json("a", &["[1,2.0]"]).await;
    let mut streams = vec![a.clone()];
    for (stream, content_type) in [("b", "application/octet-stream"), ("t", "text/plain")] {
        let stream = server.stream(stream, content_type).await;
        let content_type = ContentType::new(content_type).unwrap();
        stream.append(&content_type, "x\r\n".into()).await.unwrap();
        streams.push(stream);
    }
    let mut follower = follow(&server.client, &["a", "b", "t"]);
    let mut kinds = BTreeMap::new();
    while kinds.len() < 3 {
        let (stream, page) = page(&mut follower).await;
        assert_eq!(page.from, Offset::start(), "{stream}");
        assert!(page.up_to_date && !page.closed);
        kinds.insert(stream, (page.kind, page.messages()));
    }
    let json = (ContentKind::Json, vec!["1".into(), "2.0".into()]);
    let bytes = |kind| (kind, vec![Bytes::from_static(b"x\r\n")]);
    assert_eq!(kinds["a"], json);
    assert_eq!(kinds["b"], bytes(ContentKind::Binary));
    assert_eq!(kinds["t"], bytes(ContentKind::Text));
    let next = append(&a, "3").await;
    let (stream, more) = page(&mut follower).await;
    assert_eq!((&stream[..], more.messages()), ("a", vec!["3".into()]));
    let offsets: BTreeMap<_, _> = follower.offsets().collect();
    assert_eq!((offsets.len(), offsets[&name("a")]), (3, &next));
    for stream in &streams {
        stream.close().await.unwrap();
        let (closed, page) = page(&mut follower).await;
        assert_eq!(&closed, stream.name().as_str());
        assert!(page.closed && page.up_to_date && page.is_empty());
    }
    assert!(within(follower.next()).await.unwrap().is_none());
    assert_eq!(follower.offsets().count(), 0);
}

#[tokio::test]
async fn a_stream_that_cannot_be_followed_is_told_and_the_others_go_on() {
    let server = TestServer::start().await;
    let a = server.json("a", &["1"]).await;
    let old = server.json("old", &["1", "2"]).await;
    let first = old.read_from(Offset::start()).limit(1).next().await;
    let first = first.unwrap().unwrap().next;
    let earliest = old.trim(&Offset::now()).await.unwrap().earliest_offset;
    let streams = [
        (name("a"), Offset::start()),
        (name("nope"), Offset::now()),
        (name("old"), first),
    ];
    let mut follower = server.client.follow_many(streams).unwrap();
    let mut lost = BTreeMap::new();
    while lost.len() < 2 {
        match within(follower.next()).await.unwrap() {
            Some(Followed::Lost { stream, refused }) => {
                lost.insert(stream.to_string(), refused);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(lost["nope"].code(), Some(Code::NotFound));
    assert_eq!(lost["old"].code(), Some(Code::OffsetGone));
    assert_eq!(lost["old"].earliest_offset, Some(earliest));
    assert_eq!(page(&mut follower).await.1.messages(), ["1"]);
    a.delete().await.unwrap();
    let gone = within(follower.next()).await.unwrap();
    assert!(
        matches!(&gone, Some(Followed::Lost { refused, .. }) if refused.status == 404),
        "{gone:?}"
    );
    assert!(within(follower.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_at_once() {
    let client = Client::new("http://127.0.0.1:1", None).unwrap();
    let many = |count: usize| {
        let streams = (0..count).map(|n| (name(&format!("s{n}")), Offset::start()));
        client.follow_many(streams)
    };
    assert!(many(1000).is_ok());
    for wrong in [many(0), many(1001)] {
        assert!(matches!(wrong, Err(Error::Setup(_))), "{wrong:?}");
    }
    let twice = [(name("a"), Offset::start()), (name("a"), Offset::now())];
    let twice = client.follow_many(twice);
    assert!(matches!(&twice, Err(Error::Setup(why)) if why.contains("a is named twice")));
    // Nobody listens there, and who was never there is not waited for.
    let nobody = within(follow(&client, &["a"]).next()).await;
    assert!(matches!(nobody, Err(Error::Connect { .. })), "{nobody:?}");
}

#[tokio::test]
async fn connections_that_end_are_made_anew_and_nothing_is_repeated() {
    let server = TestServer::with(|config| {
        config.times.sse = Duration::from_millis(150);
        config.times.sse_jitter = Duration::ZERO;
    })
    .await;
    let streams = [server.json("a", &[]).await, server.json("b", &[]).await];
    let mut follower = follow(&server.client, &["a", "b"]);
    let writing = async {
        for n in 0..40 {
            append(&streams[n % 2], &n.to_string()).await;
            millrace_env::sleep(Duration::from_millis(20)).await;
        }
        for stream in &streams {
            stream.close().await.unwrap();
        }
    };
    let (all, ()) = tokio::join!(all(&mut follower), writing);
    let want = |from: usize| -> Vec<Bytes> {
        (from..40)
            .step_by(2)
            .map(|n| n.to_string().into())
            .collect()
    };
    assert_eq!(all["a"], want(0));
    assert_eq!(all["b"], want(1));
}

#[tokio::test]
async fn t64c_connections_that_are_cut_anywhere_lose_and_double_nothing() {
    const MESSAGES: usize = 12;
    let server = TestServer::start().await;
    let message = |stream: &str, n: usize| format!("\"{stream}{n}{}\"", "x".repeat(50_000));
    for stream in ["a", "b", "c"] {
        let messages: Vec<String> = (0..MESSAGES).map(|n| message(stream, n)).collect();
        let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
        server.json(stream, &messages).await.close().await.unwrap();
    }
    // Inside of heads, of events, and between them.
    let cutter = Cutter::new(&server.url(), |number| 100 + number * 7919 % 160_000).await;
    let client = Client::new(&cutter.url, None).unwrap();
    let client = client.with_patience(Patience::ENDLESS);
    let told = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&told);
    let mut follower =
        follow(&client, &["a", "b", "c"]).on_trouble(move |_| tell.store(true, Ordering::Relaxed));
    let all = all(&mut follower).await;
    for stream in ["a", "b", "c"] {
        let want: Vec<String> = (0..MESSAGES).map(|n| message(stream, n)).collect();
        assert!(all[stream] == want, "{stream}: {}", all[stream].len());
    }
    assert!(cutter.cuts() > 5, "{}", cutter.cuts());
    assert!(told.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_server_that_starts_anew_is_waited_for() {
    let server = TestServer::start().await;
    server.json("a", &["1"]).await;
    let mut follower = follow(&server.client, &["a"]);
    assert_eq!(page(&mut follower).await.1.messages(), ["1"]);
    let server = server.restarted().await;
    append(&server.client.stream(name("a")), "2").await;
    assert_eq!(page(&mut follower).await.1.messages(), ["2"]);
}
