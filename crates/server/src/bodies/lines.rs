//! A page as lines, one for each message. Small enough to be made at once.

use millrace_core::{ContentKind, Refusal};
use millrace_engine::{Batch, Reader};
use millrace_wire::lines::Lines;

use super::bulk::Bulk;
use crate::answer::AnswerBody;

/// The lines of `batch`, which `reader` read and which begins and ends with messages.
pub(crate) async fn lines(
    kind: ContentKind,
    reader: &Reader,
    batch: Batch,
    bulk: &Bulk,
) -> Result<AnswerBody, Refusal> {
    let place = bulk.turn().await;
    let messages = reader.messages(&batch).await?;
    let from = batch.from.position;
    let bytes = batch.collect().await?;
    drop(place);
    let mut lines = Lines::with_capacity(kind, messages.len(), bytes.len());
    let mut start = 0;
    for message in messages {
        let end = usize::try_from(message.next.position.since(from)).expect("a small page");
        lines.push(&bytes[start..end], message.next, message.at);
        start = end;
    }
    assert_eq!(start, bytes.len(), "messages add up to their page");
    Ok(AnswerBody::from(lines.finish()))
}
