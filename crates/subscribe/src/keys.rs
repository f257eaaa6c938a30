//! What signs: Ed25519 keys for deliveries (PROTOCOL 6.5, 7.1), and a secret for tokens.
//!
//! They are made with the first subscription and kept in a journal. A key is published for a while
//! before it signs, so that whoever keeps the published keys knows it by then, and for a day after
//! another took its place: longer than any delivery is accepted by who checks its age.
//!
//! A key's id is the thumbprint of its JWK (RFC 7638).

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use millrace_core::{Refusal, Timestamp};
use millrace_engine::Engine;
use millrace_env::Env;
use millrace_wire::subscription::PublicKey;
use ring::{
    digest, hmac,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use serde::{Deserialize, Serialize};

use crate::journal::Journal;

/// Where keys are kept.
const PREFIX: &str = "__ds/keys/";
/// How long a key is published before it signs: twice as long as published keys are kept.
const BEFORE: Duration = Duration::from_mins(10);
/// How long a key is published after another took its place.
const AFTER: Duration = Duration::from_hours(24);

/// What is kept.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeyFact {
    /// A signing key.
    Key {
        /// Its seed, in base64url.
        seed: String,
        /// When it was made.
        at: Timestamp,
    },
    /// What tokens are signed with.
    Secret {
        /// In base64url.
        secret: String,
    },
    /// All that came before is there.
    Complete,
}

impl fmt::Debug for KeyFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFact(hidden)")
    }
}

/// The keys of a server.
#[derive(Debug)]
pub(crate) struct Keys {
    journal: Journal<KeyFact>,
    /// Oldest first.
    signing: Vec<Key>,
    secret: Secret,
}

/// A signing key.
pub(crate) struct Key {
    pair: Ed25519KeyPair,
    kid: String,
    seed: String,
    made_at: Timestamp,
}

/// What tokens are signed with.
#[derive(Clone)]
pub(crate) struct Secret {
    key: hmac::Key,
    text: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.kid)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Keys {
    /// Those of an earlier start, if there are any.
    pub(crate) async fn read(engine: &Engine) -> Result<Option<Self>, Refusal> {
        let is_whole = |facts: &[KeyFact]| facts.iter().any(|f| matches!(f, KeyFact::Complete));
        let mut found = Journal::read_all(engine, PREFIX, is_whole).await?;
        let Some((journal, facts)) = found.pop() else {
            return Ok(None);
        };
        let mut keys = Vec::new();
        let mut secret = None;
        for fact in facts {
            match fact {
                KeyFact::Key { seed, at } => keys.push(Key::from_seed(seed, at)?),
                KeyFact::Secret { secret: text } => secret = Some(Secret::from_text(text)?),
                KeyFact::Complete => {}
            }
        }
        let secret = secret
            .filter(|_| !keys.is_empty())
            .ok_or(Refusal::Corrupt)?;
        Ok(Some(Self {
            journal,
            signing: keys,
            secret,
        }))
    }

    /// New ones.
    pub(crate) async fn make(engine: &Engine) -> Result<Self, Refusal> {
        let env = engine.env();
        let key = Key::make(env)?;
        let secret = Secret::from_text(random(env)?)?;
        let facts = [key.fact(), secret.fact(), KeyFact::Complete];
        let journal = Journal::create(engine, PREFIX.to_owned(), &facts).await?;
        Ok(Self {
            journal,
            signing: vec![key],
            secret,
        })
    }

    /// Makes a key where the newest is older than `age_max`, and lets go of those that nobody needs.
    pub(crate) async fn rotate(&mut self, env: &Env, age_max: Duration) -> Result<(), Refusal> {
        let now = Timestamp(env.clock.wall());
        let newest = self.signing.last().map_or(now, |key| key.made_at);
        if newest.plus_millis(millis(age_max)) > now && self.needed_from(now) == 0 {
            return Ok(());
        }
        let mut facts: Vec<KeyFact> = self.signing[self.needed_from(now)..]
            .iter()
            .map(Key::fact)
            .collect();
        let fresh = if newest.plus_millis(millis(age_max)) <= now {
            let fresh = Key::make(env)?;
            facts.push(fresh.fact());
            Some(fresh)
        } else {
            None
        };
        facts.extend([self.secret.fact(), KeyFact::Complete]);
        self.journal.renew(&facts).await?;
        self.signing.drain(..self.needed_from(now));
        self.signing.extend(fresh);
        Ok(())
    }

    /// The key that signs: the newest that was published for long enough, else the oldest.
    pub(crate) fn signing(&self, now: Timestamp) -> &Key {
        &self.signing[self.signing_at(now)]
    }

    /// Those to be published.
    pub(crate) fn published(&self) -> Vec<PublicKey> {
        let public = |key: &Key| PublicKey {
            kid: key.kid.clone(),
            x: key.x(),
        };
        self.signing.iter().map(public).collect()
    }

    /// What tokens are signed with.
    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    fn signing_at(&self, now: Timestamp) -> usize {
        let is_known = |key: &Key| key.made_at.plus_millis(millis(BEFORE)) <= now;
        self.signing.iter().rposition(is_known).unwrap_or(0)
    }

    /// The first key that is still needed: one that signs, or whose successor has not signed for long.
    fn needed_from(&self, now: Timestamp) -> usize {
        let until = |successor: &Key| {
            let wait = millis(BEFORE) + millis(AFTER);
            successor.made_at.plus_millis(wait)
        };
        (1..self.signing.len())
            .rfind(|next| until(&self.signing[*next]) <= now)
            .unwrap_or(0)
    }
}

impl Key {
    fn make(env: &Env) -> Result<Self, Refusal> {
        Self::from_seed(random(env)?, Timestamp(env.clock.wall()))
    }

    fn from_seed(seed: String, made_at: Timestamp) -> Result<Self, Refusal> {
        let bytes = BASE64.decode(&seed).map_err(|_| damaged())?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&bytes).map_err(|_| damaged())?;
        let kid = kid(pair.public_key().as_ref());
        Ok(Self {
            pair,
            kid,
            seed,
            made_at,
        })
    }

    fn fact(&self) -> KeyFact {
        KeyFact::Key {
            seed: self.seed.clone(),
            at: self.made_at,
        }
    }

    fn x(&self) -> String {
        BASE64.encode(self.pair.public_key().as_ref())
    }

    /// Its id.
    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    /// `Webhook-Signature` of a body that is sent at `now`.
    pub(crate) fn sign(&self, body: &[u8], now: Timestamp) -> String {
        let seconds = now.get() / 1000;
        let mut signed = format!("{seconds}.").into_bytes();
        signed.extend_from_slice(body);
        let signature = BASE64.encode(self.pair.sign(&signed).as_ref());
        format!("t={seconds},kid={},ed25519={signature}", self.kid)
    }
}

impl Secret {
    fn from_text(text: String) -> Result<Self, Refusal> {
        let bytes = BASE64.decode(&text).map_err(|_| damaged())?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        Ok(Self { key, text })
    }

    fn fact(&self) -> KeyFact {
        KeyFact::Secret {
            secret: self.text.clone(),
        }
    }

    /// The key.
    pub(crate) fn key(&self) -> &hmac::Key {
        &self.key
    }

    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self::from_text(BASE64.encode(text)).unwrap()
    }
}

/// RFC 7638: the hash of the required members, in their order, without blanks.
fn kid(public: &[u8]) -> String {
    let x = BASE64.encode(public);
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    let thumbprint = digest::digest(&digest::SHA256, members.as_bytes());
    format!("ds_{}", BASE64.encode(thumbprint))
}

fn random(env: &Env) -> Result<String, Refusal> {
    let mut bytes = [0; 32];
    env.rng.fill_secret(&mut bytes).map_err(|error| {
        tracing::error!(%error, "the system gives no random numbers");
        Refusal::Internal
    })?;
    Ok(BASE64.encode(bytes))
}

fn damaged() -> Refusal {
    tracing::error!("the signing keys cannot be read");
    Refusal::Corrupt
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    /// RFC 8037, appendix A: its key, and the thumbprint of it.
    #[test]
    fn the_id_is_the_thumbprint_of_the_rfc() {
        let seed = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A".to_owned();
        let key = Key::from_seed(seed, Timestamp(0)).unwrap();
        assert_eq!(key.x(), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(key.kid(), "ds_kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_signature_covers_time_and_body() {
        let key = Key::from_seed(BASE64.encode([7; 32]), Timestamp(0)).unwrap();
        let header = key.sign(b"{}", Timestamp(1_700_000_000_999));
        let parts: Vec<&str> = header.split(',').collect();
        let [time, kid, signature] = parts[..] else {
            panic!("{header}");
        };
        assert_eq!(time, "t=1700000000");
        assert_eq!(kid, format!("kid={}", key.kid()));
        let signature = BASE64
            .decode(signature.strip_prefix("ed25519=").unwrap())
            .unwrap();
        let public = UnparsedPublicKey::new(&ED25519, BASE64.decode(key.x()).unwrap());
        assert!(public.verify(b"1700000000.{}", &signature).is_ok());
        assert!(public.verify(b"1700000001.{}", &signature).is_err());
        assert!(public.verify(b"1700000000.{ }", &signature).is_err());
    }

    #[test]
    fn nothing_secret_shows_in_a_debug_text() {
        let seed = BASE64.encode([7; 32]);
        let key = Key::from_seed(seed.clone(), Timestamp(0)).unwrap();
        let secret = Secret::of("0123456789");
        let shown = format!("{key:?} {:?} {secret:?} {:?}", key.fact(), secret.fact());
        assert!(
            !shown.contains(&seed) && !shown.contains(&secret.text),
            "{shown}"
        );
    }
}
