//! Subscriptions as HTTP sees them (PROTOCOL 6 and 7): paths under `__ds`, the documents of requests and
//! answers, and what wakes a worker.
//!
//! Members that a document has beside those of the protocol are passed over.
//!
//! Not here: what a request does (`millrace-core`), tokens and signatures (`millrace-subscribe`).

use millrace_core::{
    Offset, StreamName, Timestamp,
    limits::{EXPLICIT_STREAMS_MAX, LEASE_MILLIS_DEFAULT, WEBHOOK_URL_BYTES_MAX, WORKER_BYTES_MAX},
    subscription::{Delivery, Path, Pattern, Subscription, SubscriptionConfig, SubscriptionId},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    offset::{Token, parse_token},
    outcome::rfc3339,
    path::{STREAM_PREFIX, percent_decoded, segment_encoded},
    refused::BadRequest,
};

const SUBSCRIPTIONS: &str = "__ds/subscriptions/";
const KEYS: &str = "__ds/jwks.json";

/// The content type of the published keys.
pub const KEYS_TYPE: &str = "application/jwk-set+json";
/// How long the published keys may be kept.
pub const KEYS_CACHE: &str = "public, max-age=300";
/// The header of a delivery's signature.
pub const SIGNATURE: &str = "webhook-signature";
/// The most bytes of a request about a subscription: names of streams, mostly.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;

/// Where a path under `__ds` leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// The public keys.
    Keys,
    /// A subscription.
    Subscription(SubscriptionId),
    /// The streams that it names.
    Streams(SubscriptionId),
    /// One of them.
    Stream(SubscriptionId, StreamName),
    /// What a webhook's worker tells.
    Callback(SubscriptionId),
    /// Where a worker takes a wake.
    Claim(SubscriptionId),
    /// Where it tells of its work.
    Ack(SubscriptionId),
    /// Where it gives the wake back.
    Release(SubscriptionId),
}

impl Control {
    /// Reads a request's path; `None` when it is no such path.
    pub fn parse(path: &str) -> Option<Result<Self, BadRequest>> {
        let path = path.strip_prefix(STREAM_PREFIX)?;
        if path == KEYS {
            return Some(Ok(Self::Keys));
        }
        let path = path.strip_prefix(SUBSCRIPTIONS)?;
        let (id, rest) = path.split_once('/').unwrap_or((path, ""));
        let bad = |text: &str| BadRequest::Subscription(text.to_owned());
        let Some(id) = percent_decoded(id).and_then(|id| SubscriptionId::new(&id)) else {
            return Some(Err(bad(
                "the path has no id of a subscription: 1 to 200 bytes of UTF-8 without `/` and control characters",
            )));
        };
        let control = match rest {
            "" if !path.ends_with('/') => Self::Subscription(id),
            "streams" => Self::Streams(id),
            "callback" => Self::Callback(id),
            "claim" => Self::Claim(id),
            "ack" => Self::Ack(id),
            "release" => Self::Release(id),
            other => {
                let name = other.strip_prefix("streams/")?;
                let name = percent_decoded(name).ok_or(millrace_core::NameFault::Encoding);
                match name.and_then(|name| StreamName::new(&name)) {
                    Ok(name) => Self::Stream(id, name),
                    Err(fault) => return Some(Err(fault.into())),
                }
            }
        };
        Some(Ok(control))
    }
}

/// The URL of the public keys, at a server that is reached at `origin`.
pub fn keys_url(origin: &str) -> String {
    format!("{origin}{STREAM_PREFIX}{KEYS}")
}

/// The URL at which a wake's worker tells of its work.
pub fn callback_url(origin: &str, id: &SubscriptionId) -> String {
    let id = segment_encoded(id.as_str());
    format!("{origin}{STREAM_PREFIX}{SUBSCRIPTIONS}{id}/callback")
}

#[derive(Deserialize)]
struct GivenCreate {
    r#type: String,
    pattern: Option<String>,
    streams: Option<Vec<String>>,
    webhook: Option<GivenWebhook>,
    wake_stream: Option<String>,
    lease_ttl_ms: Option<u64>,
    description: Option<String>,
}

#[derive(Deserialize)]
struct GivenWebhook {
    url: String,
}

/// The configuration that a PUT asks for, normalised. Whether a webhook's URL is one that may be
/// delivered to is not judged here.
pub fn create(body: &[u8]) -> Result<SubscriptionConfig, BadRequest> {
    let given: GivenCreate = read(body)?;
    let delivery = match given.r#type.as_str() {
        "webhook" => {
            let url = given.webhook.map(|webhook| webhook.url);
            let url = url.ok_or_else(|| bad("`type` `webhook` needs `webhook` with `url`"))?;
            if url.len() > WEBHOOK_URL_BYTES_MAX {
                return Err(bad(&format!(
                    "`webhook.url` is longer than {WEBHOOK_URL_BYTES_MAX} bytes"
                )));
            }
            Delivery::Webhook { url }
        }
        "pull-wake" => {
            let stream = given.wake_stream.as_deref();
            let stream = stream.ok_or_else(|| bad("`type` `pull-wake` needs `wake_stream`"))?;
            Delivery::PullWake {
                wake_stream: relative(stream)?,
            }
        }
        _ => return Err(bad("`type` must be `webhook` or `pull-wake`")),
    };
    let pattern = given.pattern.as_deref().map(Pattern::new).transpose();
    let streams = given.streams.unwrap_or_default();
    let config = SubscriptionConfig {
        delivery,
        pattern: pattern.map_err(|fault| bad(&fault.to_string()))?,
        streams: names(&streams)?,
        lease_ttl_ms: given.lease_ttl_ms.unwrap_or(LEASE_MILLIS_DEFAULT),
        description: given.description,
    };
    config.normalised().map_err(|fault| bad(&fault.to_string()))
}

#[derive(Deserialize)]
struct GivenStreams {
    streams: Vec<String>,
}

/// The streams that a POST adds.
pub fn streams(body: &[u8]) -> Result<Vec<StreamName>, BadRequest> {
    let given: GivenStreams = read(body)?;
    names(&given.streams)
}

#[derive(Deserialize)]
struct GivenClaim {
    worker: String,
}

/// The worker that claims.
pub fn claim(body: &[u8]) -> Result<String, BadRequest> {
    let given: GivenClaim = read(body)?;
    if (1..=WORKER_BYTES_MAX).contains(&given.worker.len()) {
        Ok(given.worker)
    } else {
        Err(bad(&format!(
            "`worker` must have 1 to {WORKER_BYTES_MAX} bytes"
        )))
    }
}

/// An ack or callback; a release has the first two alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckRequest {
    /// The wake that is meant.
    pub wake_id: String,
    /// Its generation.
    pub generation: u64,
    /// Up to where streams were processed.
    pub acks: Vec<(StreamName, Offset)>,
    /// Whether the work is done.
    pub done: bool,
}

#[derive(Deserialize)]
struct GivenAck {
    wake_id: String,
    generation: u64,
    #[serde(default)]
    acks: Vec<GivenOffset>,
    #[serde(default)]
    done: bool,
}

#[derive(Deserialize)]
struct GivenOffset {
    stream: String,
    offset: String,
}

/// Reads an ack, a callback or a release.
pub fn ack(body: &[u8]) -> Result<AckRequest, BadRequest> {
    let given: GivenAck = read(body)?;
    if given.acks.len() > EXPLICIT_STREAMS_MAX {
        return Err(bad(&format!(
            "`acks` has more than {EXPLICIT_STREAMS_MAX} entries; send the rest in another request"
        )));
    }
    let acks = given.acks.iter().map(|ack| {
        let offset = parse_token(&ack.offset).ok_or_else(|| {
            bad("an `offset` in `acks` is none; send one that this server returned")
        });
        Ok((relative(&ack.stream)?, offset?))
    });
    Ok(AckRequest {
        acks: acks.collect::<Result<_, BadRequest>>()?,
        wake_id: given.wake_id,
        generation: given.generation,
        done: given.done,
    })
}

#[derive(Deserialize)]
struct GivenDone {
    #[serde(default)]
    done: bool,
}

/// Whether a webhook's answer says that the work is done; one that is no such document does not.
pub fn says_done(body: &[u8]) -> bool {
    serde_json::from_slice::<GivenDone>(body).is_ok_and(|given| given.done)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, BadRequest> {
    serde_json::from_slice(body).map_err(|error| {
        bad(&format!(
            "the body is not the JSON object that is expected: {error}"
        ))
    })
}

fn names(given: &[String]) -> Result<Vec<StreamName>, BadRequest> {
    if given.len() > EXPLICIT_STREAMS_MAX {
        return Err(bad(&format!(
            "`streams` has more than {EXPLICIT_STREAMS_MAX} names; use a `pattern`"
        )));
    }
    given.iter().map(|name| relative(name)).collect()
}

/// A path below the streams' root; a slash before it counts for nothing.
fn relative(text: &str) -> Result<StreamName, BadRequest> {
    let name = text.strip_prefix('/').unwrap_or(text);
    StreamName::new(name).map_err(|fault| bad(&format!("`{text}` is no path of a stream: {fault}")))
}

fn bad(text: &str) -> BadRequest {
    BadRequest::Subscription(text.to_owned())
}

/// How a stream is linked to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// By its name.
    Explicit,
    /// By the pattern.
    Glob,
}

impl Link {
    /// How `subscription` is linked to a stream of this name, if it is.
    pub fn of(subscription: &Subscription, name: &str) -> Option<Self> {
        if subscription.explicit.contains(name) {
            Some(Self::Explicit)
        } else {
            subscription
                .config
                .globs(&Path::new(name))
                .then_some(Self::Glob)
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::Glob => "glob",
        }
    }
}

/// A stream of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    /// Its name.
    pub name: StreamName,
    /// How it is linked.
    pub link: Link,
    /// Up to where it was processed; `None` for a stream that does not exist yet.
    pub acked: Option<Offset>,
}

/// A stream of a wake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Its name.
    pub name: StreamName,
    /// How it is linked.
    pub link: Link,
    /// Up to where it was processed.
    pub acked: Offset,
    /// Up to where there is something.
    pub tail: Offset,
}

#[derive(Serialize)]
struct LinkedRow<'a> {
    path: &'a str,
    link_type: &'a str,
    acked_offset: &'a str,
}

#[derive(Serialize)]
struct PendingRow<'a> {
    path: &'a str,
    link_type: &'a str,
    acked_offset: String,
    tail_offset: String,
    has_pending: bool,
}

#[derive(Serialize)]
struct WebhookRow<'a> {
    url: &'a str,
    signing: SigningRow<'a>,
}

#[derive(Serialize)]
struct SigningRow<'a> {
    alg: &'a str,
    kid: &'a str,
    jwks_url: String,
}

#[derive(Serialize)]
struct SubscriptionRow<'a> {
    id: &'a str,
    subscription_id: &'a str,
    r#type: &'a str,
    pattern: Option<&'a str>,
    streams: Vec<LinkedRow<'a>>,
    webhook: Option<WebhookRow<'a>>,
    wake_stream: Option<&'a str>,
    lease_ttl_ms: u64,
    created_at: String,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<String>,
    description: Option<&'a str>,
}

/// The document of a subscription. `kid` is the key that signs now, `origin` where the server is reached.
///
/// # Panics
/// Never: the document holds texts and numbers.
pub fn document(own: &Subscription, linked: &[Linked], kid: &str, origin: &str) -> Vec<u8> {
    let acked: Vec<Option<Token>> = linked
        .iter()
        .map(|linked| linked.acked.map(Token::new))
        .collect();
    let streams = linked.iter().zip(&acked).map(|(linked, acked)| LinkedRow {
        path: linked.name.as_str(),
        link_type: linked.link.text(),
        // What a read from the start is asked with.
        acked_offset: acked.as_ref().map_or("-1", Token::as_str),
    });
    let (kind, webhook, wake_stream) = match &own.config.delivery {
        Delivery::Webhook { url } => {
            let signing = SigningRow {
                alg: "ed25519",
                kid,
                jwks_url: keys_url(origin),
            };
            ("webhook", Some(WebhookRow { url, signing }), None)
        }
        Delivery::PullWake { wake_stream } => ("pull-wake", None, Some(wake_stream.as_str())),
    };
    let failed = own.retry.filter(|retry| retry.failures > 0);
    to_json(&SubscriptionRow {
        id: own.id.as_str(),
        subscription_id: own.id.as_str(),
        r#type: kind,
        pattern: own.config.pattern.as_ref().map(Pattern::as_str),
        streams: streams.collect(),
        webhook,
        wake_stream,
        lease_ttl_ms: own.config.lease_ttl_ms,
        created_at: rfc3339(own.created_at),
        status: if failed.is_some() { "failed" } else { "active" },
        next_attempt_at: failed.map(|retry| rfc3339(retry.next_attempt_at)),
        description: own.config.description.as_deref(),
    })
}

/// What a wake is told with.
#[derive(Clone, Debug)]
pub struct Wake<'a> {
    /// The subscription.
    pub id: &'a SubscriptionId,
    /// The wake.
    pub wake_id: &'a str,
    /// Its generation.
    pub generation: u64,
    /// Its streams.
    pub pending: &'a [Pending],
    /// What shows that a request belongs to it.
    pub token: &'a str,
}

#[derive(Serialize)]
struct NotificationRow<'a> {
    subscription_id: &'a str,
    wake_id: &'a str,
    generation: u64,
    streams: Vec<PendingRow<'a>>,
    callback_url: String,
    callback_token: &'a str,
}

#[derive(Serialize)]
struct ClaimRow<'a> {
    wake_id: &'a str,
    generation: u64,
    token: &'a str,
    streams: Vec<PendingRow<'a>>,
    lease_ttl_ms: u64,
}

impl Wake<'_> {
    fn rows(&self) -> Vec<PendingRow<'_>> {
        let rows = self.pending.iter().map(|pending| PendingRow {
            path: pending.name.as_str(),
            link_type: pending.link.text(),
            acked_offset: Token::new(pending.acked).as_str().to_owned(),
            tail_offset: Token::new(pending.tail).as_str().to_owned(),
            has_pending: pending.acked < pending.tail,
        });
        rows.collect()
    }

    /// The body of a delivery to a webhook.
    pub fn notification(&self, origin: &str) -> Vec<u8> {
        to_json(&NotificationRow {
            subscription_id: self.id.as_str(),
            wake_id: self.wake_id,
            generation: self.generation,
            streams: self.rows(),
            callback_url: callback_url(origin, self.id),
            callback_token: self.token,
        })
    }

    /// The answer to a claim.
    pub fn claimed(&self, lease_ttl_ms: u64) -> Vec<u8> {
        to_json(&ClaimRow {
            wake_id: self.wake_id,
            generation: self.generation,
            token: self.token,
            streams: self.rows(),
            lease_ttl_ms,
        })
    }
}

#[derive(Serialize)]
struct WakeEvent<'a> {
    r#type: &'a str,
    subscription_id: &'a str,
    stream: &'a str,
    generation: u64,
    ts: u64,
}

/// The event that wakes workers who follow a stream. `stream` is one that has something for them.
pub fn wake_event(id: &SubscriptionId, stream: &str, generation: u64, at: Timestamp) -> Vec<u8> {
    to_json(&WakeEvent {
        r#type: "wake",
        subscription_id: id.as_str(),
        stream,
        generation,
        ts: at.get(),
    })
}

#[derive(Serialize)]
struct Acked {
    ok: bool,
    next_wake: bool,
}

/// The answer to an ack or callback.
pub fn acked(next_wake: bool) -> Vec<u8> {
    to_json(&Acked {
        ok: true,
        next_wake,
    })
}

/// A public key: its id and its 32 bytes in base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Its id.
    pub kid: String,
    /// The JWK's `x`.
    pub x: String,
}

#[derive(Serialize)]
struct KeyRow<'a> {
    kty: &'a str,
    crv: &'a str,
    kid: &'a str,
    r#use: &'a str,
    alg: &'a str,
    x: &'a str,
}

#[derive(Serialize)]
struct KeySet<'a> {
    keys: Vec<KeyRow<'a>>,
}

/// The published keys.
pub fn key_set(keys: &[PublicKey]) -> Vec<u8> {
    let keys = keys.iter().map(|key| KeyRow {
        kty: "OKP",
        crv: "Ed25519",
        kid: &key.kid,
        r#use: "sig",
        alg: "EdDSA",
        x: &key.x,
    });
    to_json(&KeySet {
        keys: keys.collect(),
    })
}

fn to_json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("texts and numbers are JSON")
}

#[cfg(test)]
mod tests {
    use millrace_core::subscription::SubscriptionEvent;
    use serde_json::{Value, json};

    use super::*;

    fn id(text: &str) -> SubscriptionId {
        SubscriptionId::new(text).unwrap()
    }

    fn name(text: &str) -> StreamName {
        StreamName::new(text).unwrap()
    }

    #[test]
    fn control_paths_lead_somewhere_or_nowhere() {
        let parse = |path: &str| Control::parse(&format!("/v1/stream/__ds/{path}"));
        for (path, want) in [
            ("jwks.json", Control::Keys),
            ("subscriptions/s", Control::Subscription(id("s"))),
            ("subscriptions/a%20b", Control::Subscription(id("a b"))),
            ("subscriptions/s/streams", Control::Streams(id("s"))),
            (
                "subscriptions/s/streams/a%2Fb/c",
                Control::Stream(id("s"), name("a/b/c")),
            ),
            ("subscriptions/s/callback", Control::Callback(id("s"))),
            ("subscriptions/s/claim", Control::Claim(id("s"))),
            ("subscriptions/s/ack", Control::Ack(id("s"))),
            ("subscriptions/s/release", Control::Release(id("s"))),
        ] {
            assert_eq!(parse(path), Some(Ok(want)), "{path}");
        }
        for path in [
            "",
            "x",
            "subscriptions",
            "subscriptions/s/",
            "subscriptions/s/other",
            "keys/1",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
        for path in [
            "subscriptions/",
            "subscriptions/%2e%2e",
            "subscriptions/a%2fb",
            "subscriptions/s/streams/__ds%2Fkeys",
        ] {
            assert!(matches!(parse(path), Some(Err(_))), "{path}");
        }
        assert_eq!(Control::parse("/v1/stream/a"), None);
    }

    #[test]
    fn a_callback_url_leads_back() {
        for text in ["sub-1", "a b%", "\u{2713}", "a?b#c"] {
            let own = id(text);
            let url = callback_url("https://s.example", &own);
            let path = url.strip_prefix("https://s.example").unwrap();
            assert_eq!(Control::parse(path), Some(Ok(Control::Callback(own))));
        }
    }

    #[test]
    fn a_creation_is_read_and_normalised() {
        let config = create(
            br#"{"type":"webhook","pattern":"/events/*","streams":["b","/a","b"],
                "webhook":{"url":"https://w.example/h"},"other":1}"#,
        );
        let config = config.unwrap();
        assert_eq!(config.streams, [name("a"), name("b")]);
        assert_eq!(config.pattern.unwrap().as_str(), "events/*");
        assert_eq!(config.lease_ttl_ms, 30_000);
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"type":"other","pattern":"a"}"#,
            r#"{"type":"webhook","pattern":"a"}"#,
            r#"{"type":"pull-wake","pattern":"a"}"#,
            r#"{"type":"pull-wake","wake_stream":"__ds/keys/1","pattern":"a"}"#,
            r#"{"type":"pull-wake","wake_stream":"w"}"#,
            r#"{"type":"pull-wake","wake_stream":"w","pattern":"a//b"}"#,
            r#"{"type":"pull-wake","wake_stream":"w","streams":["__ds/keys/1"]}"#,
            r#"{"type":"pull-wake","wake_stream":"w","pattern":"a","lease_ttl_ms":10}"#,
            r#"{"type":"pull-wake","wake_stream":"w","pattern":"a","lease_ttl_ms":-1}"#,
        ] {
            let refused = create(wrong.as_bytes());
            assert!(
                matches!(refused, Err(BadRequest::Subscription(_))),
                "{wrong}: {refused:?}"
            );
        }
    }

    #[test]
    fn acks_are_read() {
        let own = ack(br#"{"wake_id":"w","generation":7,"done":true,
                "acks":[{"stream":"a/b","offset":"0000000000001-0000000000000009"}]}"#);
        let own = own.unwrap();
        assert_eq!(own.acks, [(name("a/b"), Offset::from((1, 9)))]);
        assert!(own.done && own.generation == 7 && own.wake_id == "w");
        let bare = ack(br#"{"wake_id":"w","generation":7}"#).unwrap();
        assert!(bare.acks.is_empty() && !bare.done);
        for offset in ["-1", "now", "9", ""] {
            let body = format!(
                r#"{{"wake_id":"w","generation":7,"acks":[{{"stream":"a","offset":"{offset}"}}]}}"#
            );
            assert!(ack(body.as_bytes()).is_err(), "{offset}");
        }
        assert_eq!(claim(br#"{"worker":"w"}"#), Ok("w".to_owned()));
        assert!(claim(br#"{"worker":""}"#).is_err());
        for (body, done) in [
            (r#"{"done":true}"#, true),
            (r#"{"done":false}"#, false),
            ("{}", false),
            ("", false),
            ("done", false),
        ] {
            assert_eq!(says_done(body.as_bytes()), done, "{body}");
        }
    }

    fn subscription(config: &str) -> Subscription {
        Subscription::created(&SubscriptionEvent::Created {
            id: id("sub-1"),
            config: create(config.as_bytes()).unwrap(),
            born: String::new(),
            origin: String::new(),
            at: Timestamp(1_896_091_200_000),
        })
        .unwrap()
    }

    #[test]
    fn a_subscription_is_told_as_the_protocol_writes_it() {
        let own = subscription(
            r#"{"type":"webhook","pattern":"events/*","webhook":{"url":"https://w.example/h"}}"#,
        );
        let linked = [
            Linked {
                name: name("events/a"),
                link: Link::Glob,
                acked: Some(Offset::from((1, 9))),
            },
            Linked {
                name: name("x"),
                link: Link::Explicit,
                acked: None,
            },
        ];
        let told: Value =
            serde_json::from_slice(&document(&own, &linked, "ds_k", "https://s.example")).unwrap();
        assert_eq!(
            told,
            json!({
                "id": "sub-1", "subscription_id": "sub-1", "type": "webhook", "pattern": "events/*",
                "streams": [
                    {"path": "events/a", "link_type": "glob", "acked_offset": "0000000000001-0000000000000009"},
                    {"path": "x", "link_type": "explicit", "acked_offset": "-1"},
                ],
                "webhook": {"url": "https://w.example/h", "signing": {
                    "alg": "ed25519", "kid": "ds_k",
                    "jwks_url": "https://s.example/v1/stream/__ds/jwks.json",
                }},
                "wake_stream": null, "lease_ttl_ms": 30000, "created_at": "2030-01-31T12:00:00Z",
                "status": "active", "description": null,
            })
        );
    }

    #[test]
    fn a_wake_is_told_as_the_protocol_writes_it() {
        let pending = [Pending {
            name: name("events/a"),
            link: Link::Glob,
            acked: Offset::from((1, 0)),
            tail: Offset::from((1, 9)),
        }];
        let own = id("sub-1");
        let wake = Wake {
            id: &own,
            wake_id: "w_1",
            generation: 7,
            pending: &pending,
            token: "t",
        };
        let streams = json!([{
            "path": "events/a", "link_type": "glob", "has_pending": true,
            "acked_offset": "0000000000001-0000000000000000",
            "tail_offset": "0000000000001-0000000000000009",
        }]);
        let told: Value = serde_json::from_slice(&wake.notification("https://s.example")).unwrap();
        assert_eq!(
            told,
            json!({
                "subscription_id": "sub-1", "wake_id": "w_1", "generation": 7, "streams": streams,
                "callback_url": "https://s.example/v1/stream/__ds/subscriptions/sub-1/callback",
                "callback_token": "t",
            })
        );
        let told: Value = serde_json::from_slice(&wake.claimed(1000)).unwrap();
        assert_eq!(
            told,
            json!({"wake_id": "w_1", "generation": 7, "token": "t", "streams": streams, "lease_ttl_ms": 1000})
        );
        let event: Value =
            serde_json::from_slice(&wake_event(&own, "events/a", 7, Timestamp(5))).unwrap();
        assert_eq!(
            event,
            json!({"type": "wake", "subscription_id": "sub-1", "stream": "events/a", "generation": 7, "ts": 5})
        );
        assert_eq!(acked(true), br#"{"ok":true,"next_wake":true}"#);
    }
}
