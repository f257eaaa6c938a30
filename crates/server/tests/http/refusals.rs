//! What is refused, with what status, and that nothing comes of it.

use millrace_server::{Access, ApiKey, Origins};

use crate::support::{JSON, TEXT, TestServer, path};

#[tokio::test]
async fn refusals_say_what_is_wrong() {
    let server = TestServer::start().await;
    let tail = server.create("text", TEXT, "before").await;
    server.create("json", JSON, "[1]").await;
    let past = tail.next_offset().replace("0006", "0099");
    for (method, target, headers, body, status, code) in [
        ("GET", path("none"), vec![], "", 404, "not-found"),
        ("HEAD", path("none"), vec![], "", 404, ""),
        ("DELETE", path("none"), vec![], "", 404, "not-found"),
        ("POST", path("none"), vec![TEXT], "x", 404, "not-found"),
        ("GET", "/nowhere".into(), vec![], "", 404, "no-route"),
        ("GET", path("a/../b"), vec![], "", 400, "invalid-name"),
        ("PUT", path("__ds/x"), vec![], "", 400, "reserved-name"),
        ("PUT", path("a/_x"), vec![], "", 400, "reserved-name"),
        (
            "PROPFIND",
            path("text"),
            vec![],
            "",
            405,
            "method-not-allowed",
        ),
        (
            "POST",
            "/v1/streams".into(),
            vec![],
            "",
            405,
            "method-not-allowed",
        ),
        (
            "POST",
            path("text"),
            vec![],
            "x",
            400,
            "invalid-content-type",
        ),
        ("POST", path("text"), vec![TEXT], "", 400, "empty-body"),
        (
            "POST",
            path("text"),
            vec![JSON],
            "{}",
            409,
            "content-type-mismatch",
        ),
        ("POST", path("json"), vec![JSON], "{", 400, "invalid-json"),
        ("POST", path("json"), vec![JSON], "[]", 400, "empty-array"),
        (
            "GET",
            path("text?offset=x"),
            vec![],
            "",
            400,
            "invalid-offset",
        ),
        (
            "GET",
            path("text?live=sse"),
            vec![],
            "",
            400,
            "offset-required",
        ),
        ("GET", path("text?live=x"), vec![], "", 400, "invalid-query"),
        (
            "GET",
            path("text?offset=") + &past,
            vec![],
            "",
            410,
            "offset-gone",
        ),
        (
            "GET",
            "/v1/streams?limit=0".into(),
            vec![],
            "",
            400,
            "invalid-query",
        ),
    ] {
        let answer = server.ask(method, &target, &headers, body).await;
        let what = format!("{method} {target}: {}", answer.text());
        assert_eq!(answer.status, status, "{what}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        if method != "HEAD" {
            assert_eq!(answer.code(), code, "{what}");
        }
    }
    assert_eq!(server.get(&path("text")).await.text(), "before");
    assert_eq!(server.get(&path("json")).await.text(), "[1]");
}

#[tokio::test]
async fn a_method_that_is_not_there_names_those_that_are() {
    let server = TestServer::start().await;
    let answer = server.ask("PROPFIND", &path("a"), &[], "").await;
    let allow = answer.header("allow").unwrap();
    for method in ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"] {
        assert!(allow.contains(method), "{allow}");
    }
}

#[tokio::test]
async fn without_the_key_only_the_state_of_the_server_is_told() {
    let key = ApiKey::new("0123456789").unwrap();
    let server = TestServer::with(|_, config| config.access = Access::Key(key)).await;
    for shown in [
        None,
        Some("Bearer 0123456780"),
        Some("Basic 0123456789"),
        Some("Bearer"),
    ] {
        let headers: Vec<_> = shown
            .map(|shown| ("Authorization", shown))
            .into_iter()
            .collect();
        for target in [path("a"), "/v1/streams".into(), "/nowhere".into()] {
            let answer = server.ask("GET", &target, &headers, "").await;
            assert_eq!((answer.status, answer.code()), (401, "unauthorized".into()));
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        assert_eq!(
            server.ask("PUT", &path("a"), &headers, "x").await.status,
            401
        );
    }
    assert_eq!(server.get("/health").await.status, 200);
    assert_eq!(server.get("/ready").await.status, 200);
    assert_eq!(server.ask("OPTIONS", &path("a"), &[], "").await.status, 204);
    let right = ("Authorization", "bearer 0123456789");
    let created = server.ask("PUT", &path("a"), &[right, TEXT], "xy").await;
    assert_eq!(created.status, 201);
    // What is behind a key is kept by no shared cache.
    let first = created.next_offset().replace("0002", "0000");
    let target = path(&format!("a?offset={first}"));
    let read = server.ask("GET", &target, &[right], "").await;
    assert_eq!(read.header("cache-control"), Some("no-cache"));
}

#[tokio::test]
async fn only_listed_origins_may_look() {
    let listed = "https://app.example".parse().unwrap();
    let origins = Origins::Listed(vec![listed]);
    let server = TestServer::with(|_, config| config.origins = origins).await;
    let own = [("Origin", "https://app.example")];
    let answer = server.ask("GET", "/health", &own, "").await;
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    assert_eq!(answer.header("vary"), Some("origin"));
    for headers in [vec![("Origin", "https://other.example")], vec![]] {
        let answer = server.ask("GET", "/health", &headers, "").await;
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("vary"), Some("origin"));
    }
}
