//! Appends that count once, whatever breaks (PROTOCOL 5.2.1).
//!
//! INVARIANT: the n-th batch of an epoch has sequence number n, and the next one is sent only when
//! it was answered. A batch whose fate is unknown is sent again under its number; the server tells a
//! repetition.

use bytes::Bytes;
use millrace_core::ContentType;

use crate::{
    client::Repeat,
    error::Error,
    offset::Offset,
    patience::Tries,
    stream::{Appended, Claim, Stream},
};

/// Appends under one name.
#[derive(Debug)]
pub struct Producer {
    stream: Stream,
    id: String,
    epoch: u64,
    content_type: ContentType,
    next_seq: u64,
    /// What the server said it has of this epoch, beyond what this producer sent.
    accepted: Option<u64>,
    next_offset: Option<Offset>,
    auto_claim: bool,
}

/// What became of a batch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Produced {
    /// It is there now.
    Appended(Appended),
    /// It had been there before.
    Duplicate,
}

impl Producer {
    pub(crate) fn new(stream: Stream, id: String, epoch: u64, content_type: ContentType) -> Self {
        Self {
            stream,
            id,
            epoch,
            content_type,
            next_seq: 0,
            accepted: None,
            next_offset: None,
            auto_claim: false,
        }
    }

    /// Whether, when another session has taken over, it is taken back with the next epoch, as long
    /// as nothing of this session is in doubt. Not for input that is sent again from its beginning.
    #[must_use]
    pub fn auto_claim(mut self, auto_claim: bool) -> Self {
        self.auto_claim = auto_claim;
        self
    }

    /// The epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The number of the next batch.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The highest number that the server had before this producer sent it.
    pub fn accepted(&self) -> Option<u64> {
        self.accepted
    }

    /// The stream's tail when it was last heard of.
    pub fn next_offset(&self) -> Option<&Offset> {
        self.next_offset.as_ref()
    }

    /// Appends the next batch. One that the server is known to have is not sent at all. After an
    /// error the same batch is to be given again.
    pub async fn append(&mut self, body: Bytes) -> Result<Produced, Error> {
        if self
            .accepted
            .is_some_and(|accepted| self.next_seq <= accepted)
        {
            self.next_seq += 1;
            return Ok(Produced::Duplicate);
        }
        let (appended, was_in_doubt) = self.send(body).await?;
        let sent = self.next_seq;
        self.next_seq += 1;
        self.next_offset = Some(appended.next_offset.clone());
        // A repetition of what this call sent itself is this call's append.
        if !appended.is_duplicate || (was_in_doubt && appended.producer_seq == Some(sent)) {
            return Ok(Produced::Appended(appended));
        }
        self.accepted = appended.producer_seq.max(Some(sent));
        Ok(Produced::Duplicate)
    }

    /// The answer, and whether an earlier try had an unknown end.
    async fn send(&mut self, body: Bytes) -> Result<(Appended, bool), Error> {
        let client = self.stream.client().clone();
        let mut tries = Tries::new();
        let mut is_in_doubt = false;
        loop {
            let claim = Claim {
                id: &self.id,
                epoch: self.epoch,
                seq: self.next_seq,
            };
            let content_type = Some(&self.content_type);
            let ask = self
                .stream
                .post(content_type, body.clone(), Some(claim), Repeat::Freely)?;
            let error = match client.once(&ask).await {
                Ok(answer) => {
                    let appended = self.stream.appended(&answer, Some(self.next_seq))?;
                    return Ok((appended, is_in_doubt));
                }
                Err(error) => error,
            };
            if let (true, false, Some(epoch)) = (self.auto_claim, is_in_doubt, newer_epoch(&error))
            {
                self.epoch = epoch + 1;
                self.next_seq = 0;
                self.accepted = None;
                continue;
            }
            if !error.is_retryable() {
                return Err(error);
            }
            is_in_doubt |= !error.changed_nothing();
            tries
                .wait(error, client.patience_left(), client.rng())
                .await?;
        }
    }
}

fn newer_epoch(error: &Error) -> Option<u64> {
    let refused = error.refused()?;
    let is_stale = refused.code() == Some(millrace_wire::Code::StaleEpoch);
    refused.epoch.filter(|_| is_stale)
}
