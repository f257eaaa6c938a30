//! Every route asks before it does anything, and what it asks is what it does.

use std::{sync::Mutex, time::Duration};

use millrace_core::{Body::Empty as Nothing, CreateSpec, Timestamp};
use millrace_engine::NewStream;
use millrace_env::Clock as _;

use super::*;
use crate::{
    access::{Action, Decision, Policy, Principal, Target, bearer},
    config::Access,
    refusals::Refused,
};

/// What was asked, in order.
type Asked = Arc<Mutex<Vec<String>>>;

/// Knows one token, writes down what is asked, and denies what it is told to.
#[derive(Clone, Debug, Default)]
struct Recorder {
    asked: Asked,
    denied: Vec<Action>,
    /// When reading ends.
    until: Option<Timestamp>,
}

impl Policy for Recorder {
    fn identify(&self, headers: &HeaderMap) -> Option<Arc<dyn Principal>> {
        let is_known = bearer(headers) == Some(b"somebody");
        is_known.then(|| Arc::new(self.clone()) as Arc<dyn Principal>)
    }
}

impl Principal for Recorder {
    fn may(&self, action: Action, target: Target<'_>) -> Decision {
        let on = match target {
            Target::Stream(name) => name.as_str().to_owned(),
            Target::Prefix(prefix) => format!("{prefix}*"),
            Target::Subscription(id) => format!("subscription {id}"),
            Target::Server => "server".to_owned(),
        };
        self.asked.lock().unwrap().push(format!("{action:?} {on}"));
        match self.until {
            _ if self.denied.contains(&action) => Decision::Denied,
            Some(until) if action == Action::Read => Decision::AllowedUntil(until),
            _ => Decision::Allowed,
        }
    }
}

impl Recorder {
    fn access(&self) -> Access {
        Access::Policy(Arc::new(self.clone()))
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// A method, a path, headers and a body, and what is asked for it.
struct Case {
    method: &'static str,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    asks: &'static [&'static str],
    status: u16,
}

/// Every route with every method that it knows, and every way in which it means something else.
fn cases() -> Vec<Case> {
    let case = |method, path, headers, body, asks, status| Case {
        method,
        path,
        headers,
        body,
        asks,
        status,
    };
    let fork: &[(&str, &str)] = &[("stream-forked-from", "/v1/stream/a")];
    let close: &[(&str, &str)] = &[("stream-closed", "true")];
    vec![
        case("PUT", "/v1/stream/a", &[], "", &["Create a"], 201),
        case("PUT", "/v1/stream/a", &[], "", &["Create a"], 200),
        case(
            "PUT",
            "/v1/stream/f",
            fork,
            "",
            &["Create f", "Fork a"],
            201,
        ),
        case("POST", "/v1/stream/a", &[], "x", &["Append a"], 204),
        case("POST", "/v1/stream/a", &[], "", &["Append a"], 400),
        case("GET", "/v1/stream/a", &[], "", &["Read a"], 200),
        case("GET", "/v1/stream/a?offset=now", &[], "", &["Read a"], 200),
        case(
            "GET",
            "/v1/stream/a?offset=-1&live=long-poll",
            &[],
            "",
            &["Read a"],
            200,
        ),
        case(
            "GET",
            "/v1/stream/a?offset=-1&live=sse",
            &[],
            "",
            &["Read a"],
            200,
        ),
        case("HEAD", "/v1/stream/a", &[], "", &["Head a"], 200),
        case("POST", "/v1/stream/f", close, "", &["Close f"], 204),
        case(
            "POST",
            "/v1/stream/a",
            close,
            "y",
            &["Append a", "Close a"],
            204,
        ),
        case("DELETE", "/v1/stream/f", &[], "", &["Delete f"], 204),
        case(
            "PUT",
            "/v1/stream/__ds/subscriptions/s",
            &[],
            r#"{"type":"pull-wake","pattern":"e/*","streams":["b"],"wake_stream":"w"}"#,
            &[
                "ManageSubscription subscription s",
                "List e/*",
                "Head b",
                "Append w",
            ],
            201,
        ),
        case(
            "GET",
            "/v1/stream/__ds/subscriptions/s",
            &[],
            "",
            &["ManageSubscription subscription s"],
            200,
        ),
        case(
            "POST",
            "/v1/stream/__ds/subscriptions/s/streams",
            &[],
            r#"{"streams":["c"]}"#,
            &["ManageSubscription subscription s", "Head c"],
            204,
        ),
        case(
            "DELETE",
            "/v1/stream/__ds/subscriptions/s/streams/c",
            &[],
            "",
            &["ManageSubscription subscription s"],
            204,
        ),
        case(
            "POST",
            "/v1/stream/__ds/subscriptions/s/claim",
            &[],
            r#"{"worker":"w"}"#,
            &["ConsumeSubscription subscription s"],
            409,
        ),
        case(
            "DELETE",
            "/v1/stream/__ds/subscriptions/s",
            &[],
            "",
            &["ManageSubscription subscription s"],
            204,
        ),
        case("GET", "/v1/streams?prefix=a", &[], "", &["List a*"], 200),
        case("HEAD", "/v1/streams", &[], "", &["List *"], 200),
    ]
}

fn asking(case: &Case, token: Option<&str>) -> Request<Full<Bytes>> {
    let mut request = request(case.method, case.path, case.body);
    let headers = request.headers_mut();
    for (name, value) in case.headers {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    if let Some(token) = token {
        let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        headers.insert(header::AUTHORIZATION, value);
    }
    request
}

#[tokio::test]
async fn every_request_states_what_it_does_and_to_what() {
    let recorder = Recorder::default();
    with_engine_and(recorder.access(), async |app| {
        for case in cases() {
            let answer = answer(&app, asking(&case, Some("somebody"))).await;
            let what = format!("{} {}", case.method, case.path);
            assert_eq!(answer.status().as_u16(), case.status, "{what}");
            assert_eq!(recorder.take(), case.asks, "{what}");
        }
    })
    .await;
}

/// Denied everything, and not known at all: nothing is reached, nothing changes.
#[tokio::test]
async fn no_route_is_reached_without_a_decision() {
    let recorder = Recorder {
        denied: Action::ALL.to_vec(),
        ..Recorder::default()
    };
    with_engine_and(recorder.access(), async |app| {
        for case in cases() {
            let what = format!("{} {}", case.method, case.path);
            let barred = answer(&app, asking(&case, Some("somebody"))).await;
            assert_eq!(barred.status(), 403, "{what}");
            let challenge = &barred.headers()[header::WWW_AUTHENTICATE];
            assert_eq!(challenge, r#"Bearer error="insufficient_scope""#);
            assert!(text(barred).await.contains("\"code\":\"forbidden\""));
            for token in [None, Some("stranger")] {
                let locked = answer(&app, asking(&case, token)).await;
                assert_eq!(locked.status(), 401, "{what}");
                assert_eq!(locked.headers()[header::WWW_AUTHENTICATE], "Bearer");
            }
        }
        let number = cases().len() as u64;
        assert_eq!(app.refusals.count(Refused::Forbidden), number);
        assert_eq!(app.refusals.count(Refused::Unauthorized), number * 2);
        let engine = app.opened().unwrap();
        let listed = engine.list("", None, 10).await.unwrap();
        assert!(listed.is_empty(), "{listed:?}");
        // What is no route says no more to a stranger than what is one.
        for (method, path) in [("GET", "/nowhere"), ("PATCH", "/v1/stream/a")] {
            let locked = answer(&app, request(method, path, "")).await;
            assert_eq!(locked.status(), 401, "{method} {path}");
        }
        for path in ["/health", "/ready"] {
            assert_eq!(answer(&app, request("GET", path, "")).await.status(), 200);
        }
        let preflight = answer(&app, request("OPTIONS", "/v1/stream/a", "")).await;
        assert_eq!(preflight.status(), 204);
    })
    .await;
}

/// What a wake's worker shows is its token, whatever else a policy knows; public keys need nothing.
#[tokio::test]
async fn workers_show_their_token_and_no_other_credentials() {
    let recorder = Recorder::default();
    with_engine_and(recorder.access(), async |app| {
        let wake = r#"{"wake_id":"w","generation":1}"#;
        let of = |method, path, body| Case {
            method,
            path,
            headers: &[],
            body,
            asks: &[],
            status: 0,
        };
        for path in [
            "/v1/stream/__ds/subscriptions/s/callback",
            "/v1/stream/__ds/subscriptions/s/ack",
            "/v1/stream/__ds/subscriptions/s/release",
        ] {
            let nothing = answer(&app, asking(&of("POST", path, wake), None)).await;
            assert_eq!(nothing.status(), 401, "{path}");
            assert!(text(nothing).await.contains("TOKEN_INVALID"), "{path}");
            let unknown = answer(&app, asking(&of("POST", path, wake), Some("somebody"))).await;
            assert_eq!(unknown.status(), 404, "{path}");
        }
        let keys = answer(
            &app,
            asking(&of("GET", "/v1/stream/__ds/jwks.json", ""), None),
        )
        .await;
        assert_eq!(keys.status(), 200);
        assert_eq!(text(keys).await, r#"{"keys":[]}"#);
        assert!(recorder.take().is_empty());
        // No other way leads to the server's own streams.
        for (method, path) in [
            ("GET", "/v1/stream/__ds/keys/0000000000000001"),
            ("PUT", "/v1/stream/__ds/x"),
            ("DELETE", "/v1/stream/__ds/sub/s/0000000000000001"),
            ("GET", "/v1/stream/%5f%5fds/keys/0000000000000001"),
        ] {
            let barred = answer(&app, asking(&of(method, path, ""), Some("somebody"))).await;
            assert_eq!(barred.status(), 400, "{method} {path}");
        }
    })
    .await;
}

/// Each of several actions of one request is decided by itself.
#[tokio::test]
async fn one_denied_action_of_two_denies_the_request() {
    for (denied, method, path, headers, body) in [
        (
            Action::Fork,
            "PUT",
            "/v1/stream/f",
            ("stream-forked-from", "/v1/stream/a"),
            "",
        ),
        (
            Action::Append,
            "POST",
            "/v1/stream/a",
            ("stream-closed", "true"),
            "x",
        ),
        (
            Action::Close,
            "POST",
            "/v1/stream/a",
            ("stream-closed", "true"),
            "x",
        ),
    ] {
        let recorder = Recorder {
            denied: vec![denied],
            ..Recorder::default()
        };
        with_engine_and(recorder.access(), async |app| {
            let known = |mut request: Request<Full<Bytes>>| {
                let token = HeaderValue::from_static("Bearer somebody");
                request.headers_mut().insert(header::AUTHORIZATION, token);
                request
            };
            let created = answer(&app, known(request("PUT", "/v1/stream/a", ""))).await;
            assert_eq!(created.status(), 201);
            let mut asked = known(request(method, path, body));
            let value = HeaderValue::from_static(headers.1);
            asked.headers_mut().insert(headers.0, value);
            assert_eq!(answer(&app, asked).await.status(), 403, "{denied:?}");
            let listed = app.opened().unwrap().list("", None, 10).await.unwrap();
            assert_eq!(listed.len(), 1, "{denied:?}");
            assert!(!listed[0].closed, "{denied:?}");
            assert_eq!(listed[0].tail.position.get(), 0, "{denied:?}");
        })
        .await;
    }
}

/// A batch asks for each of its lines, and whoever may do nothing is told so line by line.
#[tokio::test]
async fn a_batch_is_decided_line_by_line() {
    let lines = r#"{"stream":"a","text":"x"}
{"stream":"b","close":true}"#;
    for (denied, asks, statuses) in [
        (vec![], ["Append a", "Close b"], [204, 204]),
        (vec![Action::Close], ["Append a", "Close b"], [204, 403]),
        (Action::ALL.to_vec(), ["Append a", "Close b"], [403, 403]),
    ] {
        let recorder = Recorder {
            denied: denied.clone(),
            ..Recorder::default()
        };
        with_engine_and(recorder.access(), async |app| {
            let lines_type = &[("content-type", "application/x-ndjson")][..];
            let ask = async |method, path, headers, body, token| {
                let case = Case {
                    method,
                    path,
                    headers,
                    body,
                    asks: &[],
                    status: 0,
                };
                answer(&app, asking(&case, token)).await
            };
            let somebody = Some("somebody");
            for name in ["a", "b"] {
                let name = StreamName::new(name).unwrap();
                let new = NewStream::new(name, CreateSpec::default(), Nothing);
                app.opened().unwrap().create(new).await.unwrap();
            }
            let path = "/v1/streams/_append";
            let told = text(ask("POST", path, lines_type, lines, somebody).await).await;
            let said: Vec<_> = told.lines().collect();
            for (line, status) in said.iter().zip(statuses) {
                assert!(line.contains(&format!("\"status\":{status}")), "{line}");
            }
            assert_eq!(
                (said.len(), recorder.take()),
                (2, asks.map(str::to_owned).to_vec())
            );
            let locked = ask("POST", path, lines_type, lines, None).await;
            assert_eq!(locked.status(), 401);
        })
        .await;
    }
}

/// A grant that ends takes live reads with it; each is told where to go on.
#[tokio::test]
async fn a_live_read_ends_with_its_grant() {
    let lasts = Duration::from_millis(200);
    let until = Timestamp(RealClock::new().wall() + 200);
    let recorder = Recorder {
        until: Some(until),
        ..Recorder::default()
    };
    with_engine_and(recorder.access(), async |app| {
        let of = |method, path| Case {
            method,
            path,
            headers: &[],
            body: "",
            asks: &[],
            status: 0,
        };
        let ask =
            async |method, path| answer(&app, asking(&of(method, path), Some("somebody"))).await;
        assert_eq!(ask("PUT", "/v1/stream/a").await.status(), 201);
        let begun = app.env.clock.mono();
        let events = ask("GET", "/v1/stream/a?offset=-1&live=sse").await;
        let polled = ask("GET", "/v1/stream/a?offset=-1&live=long-poll&timeout=60s").await;
        assert_eq!(polled.status(), 204);
        assert!(text(events).await.contains("streamNextOffset"));
        let took = app.env.clock.mono().saturating_sub(begun);
        assert!(took < app.config.times.sse / 2, "{took:?} for {lasts:?}");
    })
    .await;
}
