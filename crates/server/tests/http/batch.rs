//! Appends to many streams in one request (`docs/extensions.md`).

use serde_json::{Value, json};

use crate::support::{Answer, JSON, TEXT, TestServer, path};

const LINES: (&str, &str) = ("Content-Type", "application/x-ndjson");

async fn asked(server: &TestServer, query: &str, lines: &[Value]) -> Answer {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let target = format!("/v1/streams/_append{query}");
    server.ask("POST", &target, &[LINES], body).await
}

async fn batch(server: &TestServer, query: &str, lines: &[Value]) -> Vec<Value> {
    let answer = asked(server, query, lines).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    told(&answer)
}

fn told(answer: &Answer) -> Vec<Value> {
    let text = answer.text();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn statuses(told: &[Value]) -> Vec<u64> {
    told.iter()
        .map(|line| line["status"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn each_line_is_answered_on_its_own_and_in_order() {
    let server = TestServer::with(|engine, _| engine.shards = 2).await;
    server.create("j", JSON, "").await;
    server.create("t", TEXT, "").await;
    server
        .create("b", ("Content-Type", "application/octet-stream"), "")
        .await;
    server.create("closed", JSON, "[0]").await;
    server.close("closed").await;
    let producer = json!({"id": "p", "epoch": 0, "seq": 0});
    let lines = [
        json!({"stream": "j", "messages": [1, {"two": 2}]}),
        json!({"stream": "t", "text": "é"}),
        json!({"stream": "b", "base64": "AP8="}),
        json!({"stream": "nowhere", "messages": [1]}),
        json!({"stream": "closed", "messages": [1]}),
        json!({"stream": "t", "messages": [1]}),
        json!({"stream": "j", "messages": [3], "producer": producer}),
        json!({"stream": "j", "messages": [3], "producer": producer}),
        json!({"stream": "j", "text": "{"}),
        json!({"nothing": 1}),
        json!({"stream": "j", "messages": [4], "expectedOffset": "0000000000000_0"}),
        json!({"stream": "j", "messages": [4], "expectedOffset": "0000000000000000_0000000000000000"}),
        json!({"stream": "t", "close": true}),
    ];
    let told = batch(&server, "", &lines).await;
    assert_eq!(
        statuses(&told),
        [
            204, 204, 204, 404, 409, 409, 200, 204, 400, 400, 400, 409, 204
        ]
    );
    let codes: Vec<_> = told
        .iter()
        .filter_map(|line| line["error"]["code"].as_str())
        .collect();
    assert_eq!(
        codes,
        [
            "not-found",
            "closed",
            "content-type-mismatch",
            "invalid-json",
            "invalid-line",
            "invalid-expected-offset",
            "expected-offset"
        ]
    );
    let streams: Vec<_> = told.iter().map(|line| line["stream"].as_str()).collect();
    let asked: Vec<_> = lines.iter().map(|line| line["stream"].as_str()).collect();
    assert_eq!(streams, asked);
    assert_eq!(told[4]["closed"], true);
    assert_eq!(told[12]["closed"], true);
    assert_eq!(told[7]["producer"], json!({"epoch": 0, "seq": 0}));
    assert_eq!(told[7]["nextOffset"], server.tail("j").await);
    assert_eq!(told[11]["nextOffset"], server.tail("j").await);
    assert_eq!(server.get(&path("j")).await.text(), r#"[1,{"two":2},3]"#);
    assert_eq!(server.get(&path("t")).await.text(), "é");
    assert_eq!(server.get(&path("b")).await.body, [0, 0xff]);
}

#[tokio::test]
async fn lines_to_one_stream_are_appended_in_their_order() {
    let server = TestServer::with(|engine, _| engine.shards = 2).await;
    for name in ["a", "b", "c"] {
        server.create(name, JSON, "").await;
    }
    let lines: Vec<Value> = (0..300)
        .map(|n| {
            let stream = ["a", "b", "c"][n % 3];
            json!({"stream": stream, "messages": [n]})
        })
        .collect();
    let told = batch(&server, "", &lines).await;
    assert!(statuses(&told).iter().all(|status| *status == 204));
    for (first, name) in ["a", "b", "c"].into_iter().enumerate() {
        let want: Vec<usize> = (first..300).step_by(3).collect();
        assert_eq!(server.get(&path(name)).await.json(), json!(want));
    }
}

#[tokio::test]
async fn an_atomic_batch_is_carried_out_as_a_whole_or_not_at_all() {
    let server = TestServer::with(|engine, _| engine.shards = 2).await;
    for name in ["{o}/lines", "{o}/log", "other"] {
        server.create(name, JSON, "").await;
    }
    let one = |stream: &str, n: u64| json!({"stream": stream, "messages": [n]});
    let all = [one("{o}/lines", 1), one("{o}/log", 2), one("{o}/lines", 3)];
    assert_eq!(
        statuses(&batch(&server, "?atomic=true", &all).await),
        [204, 204, 204]
    );

    let refused = [
        // The second finds the first one's effect, and is refused: so is the first.
        vec![
            one("{o}/lines", 9),
            json!({"stream": "{o}/log", "messages": [9], "expectedOffset": "0000000000000000_0000000000000000"}),
            one("{o}/lines", 9),
        ],
        vec![one("{o}/lines", 9), one("{o}/missing", 9)],
        vec![
            json!({"stream": "{o}/log", "messages": [9], "close": true}),
            one("{o}/log", 9),
        ],
        vec![one("{o}/lines", 9), json!({"stream": "{o}/log"})],
        vec![
            json!({"stream": "{o}/log", "messages": [9], "producer": {"id": "p", "epoch": 0, "seq": 0}}),
            json!({"stream": "{o}/log", "messages": [9], "producer": {"id": "p", "epoch": 0, "seq": 2}}),
        ],
    ];
    let wanted: [(&[u64], &str); 5] = [
        (&[424, 409, 424], "expected-offset"),
        (&[424, 404], "not-found"),
        (&[424, 409], "closed"),
        (&[424, 400], "empty-body"),
        (&[424, 409], "producer-seq-gap"),
    ];
    for (lines, (status, code)) in refused.iter().zip(wanted) {
        let told = batch(&server, "?atomic=true", lines).await;
        assert_eq!(statuses(&told), status, "{told:?}");
        assert!(
            told.iter().any(|line| line["error"]["code"] == code),
            "{told:?}"
        );
    }
    let apart = [one("{o}/lines", 9), one("other", 9)];
    let told = asked(&server, "?atomic=true", &apart).await;
    assert_eq!((told.status, told.code()), (400, "hash-tags".to_owned()));

    assert_eq!(server.get(&path("{o}/lines")).await.text(), "[1,3]");
    assert_eq!(server.get(&path("{o}/log")).await.text(), "[2]");
    // Nothing of what was refused is remembered: the producer begins at 0, the stream is open.
    let producer = json!({"id": "p", "epoch": 0, "seq": 0});
    let begins = [json!({"stream": "{o}/log", "messages": [4], "producer": producer})];
    assert_eq!(statuses(&batch(&server, "?atomic=1", &begins).await), [200]);
    // A retry of a whole batch is a duplicate of each line.
    assert_eq!(statuses(&batch(&server, "?atomic=1", &begins).await), [204]);
    assert_eq!(server.get(&path("{o}/log")).await.text(), "[2,4]");

    // What was refused leaves no trace in the log either.
    let directory = server.stop().await;
    let server = TestServer::on(directory, |engine, _| engine.shards = 2).await;
    assert_eq!(server.get(&path("{o}/lines")).await.text(), "[1,3]");
    assert_eq!(server.get(&path("{o}/log")).await.text(), "[2,4]");
    assert_eq!(server.get(&path("other")).await.text(), "[]");
}

#[tokio::test]
async fn what_is_no_batch_is_refused_as_a_whole() {
    let server = TestServer::start().await;
    server.create("a", JSON, "").await;
    let target = "/v1/streams/_append";
    let line = r#"{"stream":"a","messages":[1]}"#;
    for (query, headers, body, status, code) in [
        ("", vec![], line, 400, "invalid-content-type"),
        ("", vec![JSON], line, 400, "invalid-content-type"),
        ("?atomic=yes", vec![LINES], line, 400, "invalid-query"),
        ("", vec![LINES], "", 400, "empty-body"),
        ("", vec![LINES], "\n\n", 400, "empty-body"),
    ] {
        let answer = server
            .ask("POST", &format!("{target}{query}"), &headers, body)
            .await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{query} {body}"
        );
    }
    let wrong = server.get(target).await;
    assert_eq!(
        (wrong.status, wrong.header("allow")),
        (405, Some("POST, OPTIONS"))
    );
    assert_eq!(server.get(&path("a")).await.text(), "[]");
}
