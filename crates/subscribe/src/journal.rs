//! State on disk: a list of facts, in a stream of the server's own.
//!
//! BOUND: when a journal has grown to more than twice what its state takes, it is written anew: a
//! stream with the next number, which counts from the moment that its last fact is there; then the
//! old one is deleted. A start takes the highest that is whole, and deletes the others.
//!
//! INVARIANT: nothing is added while one with the next number may be there, written by halves as far as
//! anybody was told and whole on disk: a start would take that one, and what was added would be gone.

use std::marker::PhantomData;

use bytes::Bytes;
use millrace_core::{Append, Body, ContentType, CreateSpec, Refusal, StreamName, stream::Outcome};
use millrace_engine::{Engine, From, NewStream};
use millrace_wire::frame;
use serde::{Serialize, de::DeserializeOwned};

/// A journal that is smaller is not written anew.
const SMALL_BYTES: u64 = 64 << 10;
/// About the most bytes of one append, and of one read.
const PIECE_BYTES: usize = 256 << 10;

/// A list of facts.
#[derive(Debug)]
pub(crate) struct Journal<T> {
    engine: Engine,
    /// The name without its number; ends in a slash.
    prefix: String,
    number: u64,
    bytes: u64,
    /// How many there were when it was last written anew.
    bytes_whole: u64,
    /// One with the next number may be there.
    is_doubtful: bool,
    facts: PhantomData<fn(T)>,
}

impl<T: Serialize + DeserializeOwned> Journal<T> {
    /// Begins a journal.
    pub(crate) async fn create(
        engine: &Engine,
        prefix: String,
        facts: &[T],
    ) -> Result<Self, Refusal> {
        let mut own = Self {
            engine: engine.clone(),
            prefix,
            number: 1,
            bytes: 0,
            bytes_whole: 0,
            is_doubtful: false,
            facts: PhantomData,
        };
        own.write_whole(1, facts).await?;
        Ok(own)
    }

    /// Adds facts; they are durable when this returns, all of them or none.
    pub(crate) async fn add(&mut self, facts: &[T]) -> Result<(), Refusal> {
        if facts.is_empty() {
            return Ok(());
        }
        let piece = piece_of(facts)?;
        let bytes = piece.len() as u64;
        if self.is_doubtful {
            delete(&self.engine, &self.name(self.number + 1)).await?;
            self.is_doubtful = false;
        }
        let name = self.name(self.number);
        append(&self.engine, &name, piece).await?;
        self.bytes += bytes;
        Ok(())
    }

    /// Whether it is time for [`Self::renew`].
    pub(crate) fn is_long(&self) -> bool {
        self.bytes > SMALL_BYTES.max(2 * self.bytes_whole)
    }

    /// Writes it anew, as `facts`.
    pub(crate) async fn renew(&mut self, facts: &[T]) -> Result<(), Refusal> {
        let old = self.name(self.number);
        self.write_whole(self.number + 1, facts).await?;
        // What stays behind after a failure is deleted by the next start.
        delete(&self.engine, &old).await
    }

    /// Ends it. The newest goes last: what a crash leaves is never an older state.
    pub(crate) async fn delete(&self) -> Result<(), Refusal> {
        let all = self.engine.list_internal(&self.prefix, None, 1000).await?;
        for left in all {
            if left.name != self.name(self.number) {
                delete(&self.engine, &left.name).await?;
            }
        }
        delete(&self.engine, &self.name(self.number)).await
    }

    /// Reads the journals whose names begin with `prefix`, each with the name before its number.
    /// `is_whole` says whether facts are complete; where none are, nothing is left of a journal.
    pub(crate) async fn read_all(
        engine: &Engine,
        prefix: &str,
        is_whole: impl Fn(&[T]) -> bool,
    ) -> Result<Vec<(Self, Vec<T>)>, Refusal> {
        let mut found: Vec<(Self, Vec<T>)> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = engine.list_internal(prefix, after.as_deref(), 1000).await?;
            let Some(last) = page.last() else {
                return Ok(found);
            };
            after = Some(last.name.as_str().to_owned());
            for listed in page {
                let (facts, bytes) = match read(engine, &listed.name).await {
                    Ok(read) => read,
                    Err(Refusal::NotFound) => continue,
                    Err(refusal) => return Err(refusal),
                };
                let Some((prefix, number)) = parts(&listed.name) else {
                    continue;
                };
                if !is_whole(&facts) {
                    delete(engine, &listed.name).await?;
                    continue;
                }
                let journal = Self {
                    engine: engine.clone(),
                    prefix: prefix.to_owned(),
                    number,
                    bytes,
                    bytes_whole: bytes / 2,
                    is_doubtful: false,
                    facts: PhantomData,
                };
                // Numbers grow in the order of names.
                match found.last_mut() {
                    Some((last, old)) if last.prefix == journal.prefix => {
                        delete(engine, &last.name(last.number)).await?;
                        (*last, *old) = (journal, facts);
                    }
                    _ => found.push((journal, facts)),
                }
            }
        }
    }

    async fn write_whole(&mut self, number: u64, facts: &[T]) -> Result<(), Refusal> {
        let name = self.name(number);
        let written = self.write_pieces(&name, facts).await;
        match written {
            Ok(bytes) => {
                self.number = number;
                self.bytes = bytes;
                self.bytes_whole = bytes;
                Ok(())
            }
            Err(refusal) => {
                // Its last fact may be on disk though its append was refused.
                self.is_doubtful = delete(&self.engine, &name).await.is_err();
                Err(refusal)
            }
        }
    }

    async fn write_pieces(&self, name: &StreamName, facts: &[T]) -> Result<u64, Refusal> {
        // What a failure left there.
        delete(&self.engine, name).await?;
        let spec = CreateSpec {
            content_type: Some(json()),
            ..CreateSpec::default()
        };
        let new = NewStream::new(name.clone(), spec, Body::Empty);
        let outcome = self.engine.create(new).await?;
        if !matches!(outcome, Outcome::Created { .. }) {
            return Err(Refusal::Unavailable);
        }
        let mut bytes = 0;
        let mut piece = Vec::new();
        for fact in facts {
            let fact = encoded(fact)?;
            if !piece.is_empty() && piece.len() + fact.len() > PIECE_BYTES {
                bytes += append_piece(&self.engine, name, &mut piece).await?;
            }
            put(&mut piece, &fact);
        }
        bytes += append_piece(&self.engine, name, &mut piece).await?;
        Ok(bytes)
    }

    fn name(&self, number: u64) -> StreamName {
        let name = format!("{}{number:016}", self.prefix);
        StreamName::stored(&name).expect("a prefix is short and has no odd segments")
    }
}

fn parts(name: &StreamName) -> Option<(&str, u64)> {
    let (prefix, number) = name.as_str().rsplit_once('/')?;
    let prefix = &name.as_str()[..=prefix.len()];
    Some((prefix, number.parse().ok()?))
}

fn json() -> ContentType {
    ContentType::new("application/json").expect("a content type")
}

fn encoded(fact: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(fact).map_err(|error| {
        tracing::error!(%error, "a fact cannot be written");
        Refusal::Internal
    })
}

fn put(piece: &mut Vec<u8>, fact: &[u8]) {
    piece.push(if piece.is_empty() { b'[' } else { b',' });
    piece.extend_from_slice(fact);
}

fn piece_of(facts: &[impl Serialize]) -> Result<Vec<u8>, Refusal> {
    let mut piece = Vec::new();
    for fact in facts {
        put(&mut piece, &encoded(fact)?);
    }
    piece.push(b']');
    Ok(piece)
}

async fn append_piece(
    engine: &Engine,
    name: &StreamName,
    piece: &mut Vec<u8>,
) -> Result<u64, Refusal> {
    if piece.is_empty() {
        return Ok(0);
    }
    piece.push(b']');
    let bytes = piece.len() as u64;
    append(engine, name, std::mem::take(piece)).await?;
    Ok(bytes)
}

async fn append(engine: &Engine, name: &StreamName, piece: Vec<u8>) -> Result<(), Refusal> {
    let content_type = json();
    let append = Append {
        body: frame(Some(&content_type), Bytes::from(piece)),
        content_type: Some(content_type),
        ..Append::default()
    };
    engine.append(name, append, None).await.map(|_| ())
}

async fn delete(engine: &Engine, name: &StreamName) -> Result<(), Refusal> {
    match engine.delete(name).await {
        Ok(_) | Err(Refusal::NotFound) => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

async fn read<T: DeserializeOwned>(
    engine: &Engine,
    name: &StreamName,
) -> Result<(Vec<T>, u64), Refusal> {
    let mut reader = engine.open(name).await?.read_from(From::Start).await?;
    let mut facts = Vec::new();
    let mut read = 0;
    loop {
        let batch = reader.next(PIECE_BYTES as u64).await?;
        if batch.len == 0 {
            return Ok((facts, read));
        }
        read += batch.len;
        let bytes = batch.collect().await?;
        // Messages as they are stored: each with a comma after it.
        let mut page = Vec::with_capacity(bytes.len() + 2);
        page.push(b'[');
        page.extend_from_slice(&bytes);
        page.pop();
        page.push(b']');
        let page: Vec<T> = serde_json::from_slice(&page).map_err(|error| {
            tracing::error!(%error, %name, "a journal of subscriptions cannot be read");
            Refusal::Corrupt
        })?;
        facts.extend(page);
    }
}
