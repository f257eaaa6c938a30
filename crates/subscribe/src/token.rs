//! Tokens of wakes: what shows that a callback, ack or release belongs to a wake (PROTOCOL 12.9).
//!
//! A JWT with HS256, which nobody but this server has to read. It names the subscription and its birth
//! (another may have had its id), the generation and the wake, what it is for, and when it ends. That it
//! is the current wake's is judged by the rules, not here: a lease may be extended for long.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use millrace_core::{
    Timestamp,
    subscription::{Subscription, SubscriptionRefusal},
};
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::keys::Secret;

/// `{"alg":"HS256","typ":"JWT"}`.
const HEAD: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
/// How long a token is good: as long as a lease can sensibly be extended.
const LIFE_SECONDS: u64 = 30 * 24 * 60 * 60;
/// Longer texts are no tokens.
const TOKEN_BYTES_MAX: usize = 4096;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Use {
    /// Callbacks of a webhook's worker.
    Callback,
    /// Acks and releases of a worker that claimed.
    Claim,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    sub: String,
    born: String,
    /// The generation.
    pub(crate) r#gen: u64,
    /// The wake.
    pub(crate) wake: String,
    r#use: Use,
    exp: u64,
}

/// The token of the wake in flight; empty when there is none.
pub(crate) fn issue(secret: &Secret, own: &Subscription, r#use: Use, now: Timestamp) -> String {
    let claims = Claims {
        sub: own.id.as_str().to_owned(),
        born: own.born.clone(),
        r#gen: own.generation,
        wake: own
            .wake_id()
            .map_or_else(String::new, |wake| wake.0.clone()),
        r#use,
        exp: now.get() / 1000 + LIFE_SECONDS,
    };
    let claims = serde_json::to_vec(&claims).expect("texts and numbers are JSON");
    let signed = format!("{HEAD}.{}", BASE64.encode(claims));
    let tag = hmac::sign(secret.key(), signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(tag))
}

/// Reads a token that was shown for `own`. Signatures are compared in constant time.
pub(crate) fn check(
    secret: &Secret,
    own: &Subscription,
    r#use: Use,
    shown: &[u8],
    now: Timestamp,
) -> Result<Claims, SubscriptionRefusal> {
    let claims = verified(secret, shown).ok_or(SubscriptionRefusal::TokenInvalid)?;
    let is_own = claims.sub == own.id.as_str() && claims.born == own.born && claims.r#use == r#use;
    if !is_own {
        return Err(SubscriptionRefusal::TokenInvalid);
    }
    if claims.exp <= now.get() / 1000 {
        return Err(SubscriptionRefusal::TokenExpired);
    }
    Ok(claims)
}

fn verified(secret: &Secret, shown: &[u8]) -> Option<Claims> {
    let shown = std::str::from_utf8(shown).ok()?;
    if shown.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let (signed, tag) = shown.rsplit_once('.')?;
    let tag = BASE64.decode(tag).ok()?;
    hmac::verify(secret.key(), signed.as_bytes(), &tag).ok()?;
    let claims = BASE64
        .decode(signed.strip_prefix(HEAD)?.strip_prefix('.')?)
        .ok()?;
    serde_json::from_slice(&claims).ok()
}

#[cfg(test)]
mod tests {
    use millrace_core::subscription::{SubscriptionEvent, WakeId};
    use millrace_wire::subscription::create;

    use super::*;

    fn subscription(id: &str, born: &str) -> Subscription {
        let body = br#"{"type":"webhook","pattern":"a","webhook":{"url":"https://a/"}}"#;
        let mut own = Subscription::created(&SubscriptionEvent::Created {
            id: id.to_owned().try_into().unwrap(),
            config: create(body).unwrap(),
            born: born.to_owned(),
            origin: String::new(),
            at: Timestamp(0),
        })
        .unwrap();
        let woken = own.wake(WakeId("w_1".into()), Timestamp(0)).unwrap();
        own.apply(&woken);
        own
    }

    #[test]
    fn a_token_says_which_wake_it_is_for() {
        let (secret, own) = (Secret::of("0123456789"), subscription("s", "b"));
        let token = issue(&secret, &own, Use::Callback, Timestamp(5000));
        let claims = check(
            &secret,
            &own,
            Use::Callback,
            token.as_bytes(),
            Timestamp(6000),
        );
        let claims = claims.unwrap();
        assert_eq!((claims.r#gen, claims.wake.as_str()), (1, "w_1"));
        assert_eq!(
            BASE64.decode(HEAD).unwrap(),
            br#"{"alg":"HS256","typ":"JWT"}"#
        );
    }

    #[test]
    fn what_is_not_this_subscriptions_is_refused() {
        let (secret, own) = (Secret::of("0123456789"), subscription("s", "b"));
        let now = Timestamp(5000);
        let token = issue(&secret, &own, Use::Callback, now);
        let invalid = Err(SubscriptionRefusal::TokenInvalid);
        let shown = |secret: &Secret, own: &Subscription, r#use, token: &str, now| {
            check(secret, own, r#use, token.as_bytes(), now)
        };
        let other = Secret::of("9876543210");
        assert_eq!(shown(&other, &own, Use::Callback, &token, now), invalid);
        assert_eq!(shown(&secret, &own, Use::Claim, &token, now), invalid);
        for (id, born) in [("t", "b"), ("s", "c")] {
            let other = subscription(id, born);
            assert_eq!(shown(&secret, &other, Use::Callback, &token, now), invalid);
        }
        let late = Timestamp((5 + LIFE_SECONDS) * 1000);
        let expired = Err(SubscriptionRefusal::TokenExpired);
        assert_eq!(shown(&secret, &own, Use::Callback, &token, late), expired);
    }

    #[test]
    fn no_changed_token_is_accepted() {
        let (secret, own) = (Secret::of("0123456789"), subscription("s", "b"));
        let now = Timestamp(5000);
        let token = issue(&secret, &own, Use::Callback, now);
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let refused = check(&secret, &own, Use::Callback, &changed, now);
            assert!(refused.is_err(), "byte {at}");
        }
        for text in ["", ".", "..", "a.b.c", &token[..token.len() - 1]] {
            let refused = check(&secret, &own, Use::Callback, text.as_bytes(), now);
            assert!(refused.is_err(), "{text}");
        }
        // The same claims unsigned, as an attacker would have them.
        let claims = token.split('.').nth(1).unwrap();
        let none = BASE64.encode(br#"{"alg":"none","typ":"JWT"}"#);
        let unsigned = format!("{none}.{claims}.");
        assert!(check(&secret, &own, Use::Callback, unsigned.as_bytes(), now).is_err());
    }
}
