//! The table, row by row, against the protocol's text, and against the document that lists it.

use std::{collections::HashSet, fmt::Write as _};

use millrace_core::{Generation, Offset, StreamPos, limits::JSON_DEPTH_MAX};
use serde_json::Value;

use super::*;
use crate::cors::STREAM_METHODS;

const AT: Offset = Offset {
    generation: Generation(1),
    position: StreamPos(9),
};
const TOKEN: &str = "0000000000001-0000000000000009";

fn is(refusal: &Refusal, status: u16, code: &str, acted_on: &[(&str, &str)]) {
    let problem = Problem::from(refusal);
    assert_eq!(problem.status().as_u16(), status, "{refusal:?}");
    assert_eq!(problem.code.entry().code, code, "{refusal:?}");
    let mut headers: Vec<_> = problem.headers.iter().collect();
    headers.sort_by_key(|(name, _)| name.as_str());
    let headers: Vec<_> = headers
        .into_iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(headers, acted_on, "{refusal:?}");
}

#[test]
fn a_fault_of_a_setting_is_told_by_its_own_code() {
    let fault = SettingFault {
        kind: SettingFaultKind::Conflict,
        code: "not-state",
        message: "no".into(),
    };
    let body: Value = serde_json::from_slice(&setting_fault(&fault).body()).unwrap();
    assert_eq!(body["error"]["code"], "not-state");
    assert_eq!(body["type"], "urn:millrace:problem:not-state");
}

#[test]
fn refusals_have_the_statuses_of_the_protocol() {
    is(&Refusal::NotFound, 404, "not-found", &[]);
    is(&Refusal::SoftDeleted, 410, "deleted", &[]);
    is(
        &Refusal::Closed { tail: AT },
        409,
        "closed",
        &[("stream-closed", "true"), ("stream-next-offset", TOKEN)],
    );
    is(&Refusal::ContentType, 409, "content-type-mismatch", &[]);
    is(&Refusal::SeqRegression, 409, "seq-regression", &[]);
    is(
        &Refusal::ExpectedOffset { tail: AT },
        409,
        "expected-offset",
        &[("stream-next-offset", TOKEN)],
    );
    is(
        &Refusal::StaleEpoch { current: 7 },
        403,
        "stale-epoch",
        &[("producer-epoch", "7")],
    );
    is(
        &Refusal::SeqGap {
            expected: 1,
            received: 3,
        },
        409,
        "producer-seq-gap",
        &[
            ("producer-expected-seq", "1"),
            ("producer-received-seq", "3"),
        ],
    );
    is(
        &Refusal::NewEpochNotAtZero,
        400,
        "new-epoch-not-at-zero",
        &[],
    );
    is(
        &Refusal::TooManyProducers,
        429,
        "too-many-producers",
        &[("retry-after", "60")],
    );
    is(
        &Refusal::Config { differs: "x" },
        409,
        "config-mismatch",
        &[],
    );
    is(&Refusal::NameHeld, 409, "name-held", &[]);
    is(&Refusal::ReservedName, 400, "reserved-name", &[]);
    is(&Refusal::ExpiresInThePast, 400, "expires-in-the-past", &[]);
    is(&Refusal::SourceNotFound, 404, "source-not-found", &[]);
    is(&Refusal::SourceSoftDeleted, 409, "source-deleted", &[]);
    is(&Refusal::ForkContentType, 409, "fork-content-type", &[]);
    is(&Refusal::ForkPosition, 400, "fork-position", &[]);
    is(&Refusal::ForkDepth, 400, "fork-too-deep", &[]);
    is(
        &Refusal::OffsetGone { earliest: AT },
        410,
        "offset-gone",
        &[("stream-earliest-offset", TOKEN)],
    );
    is(
        &Refusal::OffsetNotABoundary,
        400,
        "offset-not-a-boundary",
        &[],
    );
}

#[test]
fn bodies_are_refused_as_bad_requests() {
    is(
        &Refusal::Body(BodyFault::Syntax(3)),
        400,
        "invalid-json",
        &[],
    );
    is(&Refusal::Body(BodyFault::Depth), 400, "json-too-deep", &[]);
    is(
        &Refusal::Body(BodyFault::Unicode(3)),
        400,
        "invalid-unicode",
        &[],
    );
    is(
        &Refusal::Body(BodyFault::EmptyArray),
        400,
        "empty-array",
        &[],
    );
    let depth = Problem::from(Refusal::Body(BodyFault::Depth)).detail;
    assert!(depth.contains(&JSON_DEPTH_MAX.to_string()), "{depth}");
    let problem = Problem::from(Refusal::Body(BodyFault::Syntax(3)));
    assert!(problem.detail.contains("byte 3"), "{}", problem.detail);
}

#[test]
fn t70_what_may_be_retried_says_when() {
    let retry = |seconds| [("retry-after", seconds)];
    is(&Refusal::Overloaded, 429, "overloaded", &retry("1"));
    is(&Refusal::StorageFull, 507, "storage-full", &retry("5"));
    is(&Refusal::Poisoned, 503, "poisoned", &retry("5"));
    is(&Refusal::Unavailable, 503, "unavailable", &retry("1"));
    is(&Refusal::Corrupt, 500, "corrupt", &[]);
    is(&Refusal::Internal, 500, "internal", &[]);
}

fn bad_requests() -> Vec<BadRequest> {
    use BadRequest as B;
    vec![
        B::Name(NameFault::Empty),
        B::Name(NameFault::Reserved),
        B::RepeatedHeader("Stream-TTL"),
        B::HeaderText("Stream-Seq"),
        B::ContentTypeMissing,
        B::ContentType,
        B::Ttl,
        B::TtlTooLong,
        B::ExpiresAt,
        B::TtlAndExpiresAt,
        B::ForkWithoutSource("Stream-Fork-Offset"),
        B::ForkSourcePath,
        B::ForkSource(NameFault::Empty),
        B::ForkOffset,
        B::ForkSubOffset,
        B::SubOffsetWithoutOffset,
        B::ProducerIncomplete("Producer-Seq"),
        B::ProducerId,
        B::ProducerNumber("Producer-Seq"),
        B::StreamSeq,
        B::EmptyBody,
        B::RepeatedParameter("offset"),
        B::ParameterEncoding("offset"),
        B::Offset,
        B::LastEventId,
        B::OffsetRequired,
        B::Live,
        B::Timeout("timeout"),
        B::TimeoutTwice,
        B::Limit,
    ]
}

#[test]
fn a_malformed_request_is_400_and_told_which_part() {
    for refused in bad_requests() {
        let problem = Problem::from(&refused);
        assert_eq!(problem.status(), 400, "{refused:?}");
        assert!(problem.headers.is_empty(), "{refused:?}");
        assert!(problem.detail.starts_with(&refused.to_string()));
        // "What is wrong; what is accepted", or a rule that says both.
        let says_both = ["; ", ": ", " must ", " needs "]
            .iter()
            .any(|mark| problem.detail.contains(mark));
        assert!(says_both, "{refused:?}: {}", problem.detail);
    }
}

fn http_faults() -> Vec<(HttpFault, u16)> {
    vec![
        (HttpFault::NoRoute, 404),
        (
            HttpFault::Method {
                allow: STREAM_METHODS,
            },
            405,
        ),
        (HttpFault::BodyTooLarge { bytes_max: 7 }, 413),
        (HttpFault::BodyBroken, 400),
        (HttpFault::BodyTimeout, 408),
        (HttpFault::TlsRequired, 400),
        (HttpFault::Unauthorized, 401),
        (HttpFault::Forbidden { action: "reading" }, 403),
        (
            HttpFault::NotReady {
                reason: "recovering".to_owned(),
            },
            503,
        ),
        (HttpFault::Internal, 500),
    ]
}

#[test]
fn the_servers_own_faults() {
    for (fault, status) in http_faults() {
        assert_eq!(Problem::from(&fault).status(), status, "{fault:?}");
    }
    let method = Problem::from(HttpFault::Method {
        allow: STREAM_METHODS,
    });
    assert_eq!(method.headers()[header::ALLOW], STREAM_METHODS);
    let locked = Problem::from(HttpFault::Unauthorized);
    assert_eq!(locked.headers()[header::WWW_AUTHENTICATE], "Bearer");
    let barred = Problem::from(HttpFault::Forbidden { action: "reading" });
    assert_eq!(
        barred.headers()[header::WWW_AUTHENTICATE],
        r#"Bearer error="insufficient_scope""#
    );
    assert!(barred.detail.contains("does not allow reading"));
    let early = Problem::from(HttpFault::NotReady {
        reason: "recovering".to_owned(),
    });
    assert_eq!(early.headers()[header::RETRY_AFTER], "1");
    assert!(early.detail.contains("recovering"));
}

#[test]
fn a_problem_document_also_carries_the_error_member() {
    let problem = Problem::from(Refusal::Config {
        differs: "content type",
    });
    let headers = problem.headers();
    assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    let body: Value = serde_json::from_slice(&problem.body()).unwrap();
    let detail =
        "the stream exists and differs in its content type; use it as it is, or another name";
    assert_eq!(
        body,
        serde_json::json!({
            "type": "urn:millrace:problem:config-mismatch",
            "title": "Stream exists with another configuration",
            "status": 409,
            "detail": detail,
            "error": { "code": "config-mismatch", "message": detail },
        })
    );
}

#[test]
fn every_row_is_well_formed() {
    let mut seen = HashSet::new();
    for code in Code::ALL {
        let Entry {
            status,
            code,
            title,
            help,
        } = code.entry();
        assert!(
            StatusCode::from_u16(status)
                .is_ok_and(|status| status.is_client_error() || status.is_server_error())
        );
        assert!(seen.insert(code), "{code} stands once");
        assert!(
            code.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
            "{code}"
        );
        assert!(!title.is_empty() && !help.is_empty(), "{code}");
        assert!(!help.ends_with('.'), "{code}");
    }
    let statuses: Vec<u16> = Code::ALL.iter().map(|code| code.entry().status).collect();
    assert!(statuses.is_sorted(), "the table is in order");
}

/// `docs/protocol.md` lists the codes; this is what it must contain.
#[test]
fn the_documented_table_is_the_table() {
    let document = include_str!("../../../../docs/protocol.md");
    let mut table = String::from("| Status | Code | Title | What to do |\n|---|---|---|---|\n");
    for code in Code::ALL {
        let Entry {
            status,
            code,
            title,
            help,
        } = code.entry();
        writeln!(table, "| {status} | `{code}` | {title} | {help} |").unwrap();
    }
    assert!(
        document.contains(&table),
        "docs/protocol.md must contain this table:\n{table}"
    );
}
