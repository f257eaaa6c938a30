//! A page of a stream: sent at once when it is short, else read while it is sent.

use bytes::{Bytes, BytesMut};
use millrace_core::{ContentKind, Refusal};
use millrace_engine::Batch;
use millrace_wire::page::Page;

use super::{
    Broken,
    bulk::Bulk,
    pulled::{Pulled, Source},
};
use crate::answer::AnswerBody;

/// A page that is read while it is sent.
pub(crate) type PageBody = Pulled<PageSource>;

/// The page of `batch`. The first piece is read before the answer begins, so that bytes which cannot
/// be read are an error with a status wherever possible (T81).
pub(crate) async fn page(
    kind: ContentKind,
    mut batch: Batch,
    bulk: &Bulk,
) -> Result<AnswerBody, Refusal> {
    let page = Page::new(kind, batch.len);
    let len = page.content_length();
    if !batch.is_long {
        let whole = whole(page, batch).await?;
        return Ok(whole.into());
    }
    let place = bulk.turn().await;
    let first = batch.chunk().await.transpose()?;
    drop(place);
    let source = PageSource {
        page,
        batch,
        opening: Some(page.opening()),
        first,
        is_closed: false,
        bulk: bulk.clone(),
    };
    Ok(AnswerBody::Page(Pulled::new(source, Some(len))))
}

/// A copy: the log's own buffers are large, and a slow client would keep all of one in memory.
async fn whole(mut page: Page, mut batch: Batch) -> Result<Bytes, Refusal> {
    let len = usize::try_from(page.content_length()).expect("a short page");
    let opening = page.opening();
    let mut whole = BytesMut::with_capacity(len);
    whole.extend_from_slice(&opening);
    while let Some(chunk) = batch.chunk().await {
        whole.extend_from_slice(&page.pass(chunk?));
    }
    whole.extend_from_slice(&page.closing());
    Ok(batch.hold(whole.freeze()))
}

/// Where a page that is being sent is.
#[derive(Debug)]
pub(crate) struct PageSource {
    page: Page,
    batch: Batch,
    opening: Option<Bytes>,
    first: Option<Bytes>,
    is_closed: bool,
    bulk: Bulk,
}

impl Source for PageSource {
    async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        // An empty piece would be a frame without meaning: it is passed over.
        if let Some(opening) = self.opening.take().filter(|opening| !opening.is_empty()) {
            return Some(Ok(opening));
        }
        if let Some(first) = self.first.take() {
            return Some(Ok(self.page.pass(first)));
        }
        loop {
            let place = self.bulk.turn().await;
            let chunk = self.batch.chunk().await;
            drop(place);
            match chunk {
                Some(Ok(chunk)) => {
                    let piece = self.page.pass(chunk);
                    if !piece.is_empty() {
                        return Some(Ok(piece));
                    }
                }
                Some(Err(refusal)) => {
                    tracing::error!(?refusal, "a page broke off while it was sent");
                    // What was read before leaves the connection's buffer first: the client sees an
                    // answer that breaks off, not a connection that was never answered.
                    tokio::task::yield_now().await;
                    return Some(Err(Broken("stored bytes cannot be read")));
                }
                None if self.is_closed => return None,
                None => {
                    self.is_closed = true;
                    let closing = self.page.closing();
                    return (!closing.is_empty()).then_some(Ok(closing));
                }
            }
        }
    }
}
