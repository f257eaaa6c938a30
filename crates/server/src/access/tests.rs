use millrace_wire::Code;

use super::*;
use crate::config::ApiKey;

fn headers(authorization: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(authorization).unwrap();
    headers.insert(header::AUTHORIZATION, value);
    headers
}

#[test]
fn the_token_is_what_follows_bearer() {
    for (value, want) in [
        ("Bearer abc", Some("abc")),
        ("bEARER   abc ", Some("abc")),
        ("Bearer ", Some("")),
        ("Bearer", None),
        ("Basic abc", None),
        ("", None),
    ] {
        let headers = headers(value);
        assert_eq!(bearer(&headers), want.map(str::as_bytes), "{value:?}");
    }
    assert_eq!(bearer(&HeaderMap::new()), None);
}

#[test]
fn who_shows_the_key_may_do_everything_and_nobody_else_anything() {
    let access = Access::Key(ApiKey::new("0123456789").unwrap());
    let refused = access.identify(&headers("Bearer 0123456780")).unwrap_err();
    assert_eq!(refused.code, Code::Unauthorized);
    let caller = access.identify(&headers("Bearer 0123456789")).unwrap();
    let unknown = Caller::Unknown;
    for action in Action::ALL {
        assert!(caller.may(action, Target::Server).is_ok(), "{action:?}");
        let refused = unknown.may(action, Target::Server).unwrap_err();
        assert_eq!(refused.code, Code::Unauthorized, "{action:?}");
    }
}

#[test]
fn a_grant_covers_no_more_than_it_lasts() {
    let wait = Duration::from_secs(20);
    let now = Timestamp(50_000);
    for (until, want) in [
        (None, 20_000),
        (Some(Timestamp(90_000)), 20_000),
        (Some(Timestamp(51_500)), 1_500),
        (Some(Timestamp(49_000)), 0),
    ] {
        let grant = Grant { until };
        assert_eq!(grant.covers(wait, now), Duration::from_millis(want));
    }
}
