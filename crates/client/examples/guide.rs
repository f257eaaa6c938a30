//! The example of `docs/clients.md`: append where nobody else did, append to many streams, read by
//! message, follow. Needs a server on its default address: `millrace serve`.

use std::{error::Error, io::Write};

use millrace_client::{
    AppendContent, AppendLine, Client, ContentType, CreateOptions, Followed, LineOutcome, Offset,
    Place, Retention, StreamName, Together,
};
use serde_json::Value;

pub(crate) async fn guide(client: &Client, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let json = ContentType::new("application/json").ok_or("no content type")?;
    let orders = client.stream(StreamName::new("from-rust/orders")?);
    let log = client.stream(StreamName::new("from-rust/log")?);
    for stream in [&orders, &log] {
        let options = CreateOptions {
            content_type: Some(json.clone()),
            retention: Retention {
                messages_max: Some(1000),
                ..Retention::default()
            },
            ..CreateOptions::default()
        };
        stream.create(options).await?;
    }

    // At the tail that was seen; `Code::ExpectedOffset` when somebody else was faster.
    let seen = orders.head().await?.next_offset;
    orders.append_at(&seen, &json, r#"{"n":1}"#.into()).await?;

    // One request, many streams, an answer for each line.
    let line = |stream: &StreamName, array: &'static str| {
        AppendLine::new(stream.clone(), AppendContent::Messages(array.into()))
    };
    let lines = [
        line(orders.name(), r#"[{"n":2},{"n":3}]"#),
        line(log.name(), r#"["three orders"]"#),
    ];
    for answer in client.append_all(&lines, Together::Each).await? {
        if let LineOutcome::Refused(refused) = answer.outcome {
            writeln!(out, "{:?} was refused: {refused}", answer.stream)?;
        }
    }

    // The last two messages. Each has its offset and the time of its append.
    let mut last = orders.messages(Place::Last(2));
    while let Some(page) = last.next().await? {
        for message in page.messages {
            let value: Option<Value> = message.data.parse();
            writeln!(out, "{}", value.unwrap_or_default())?;
        }
    }

    // Both on one connection, from their starts, until they are closed.
    let names = [&orders, &log].map(|stream| stream.name().clone());
    let mut follower = client.follow_many(names.map(|name| (name, Offset::start())))?;
    orders.close().await?;
    log.close().await?;
    while let Some(followed) = follower.next().await? {
        match followed {
            Followed::Page { stream, page } => {
                for message in page.messages() {
                    writeln!(out, "{stream}: {}", String::from_utf8_lossy(&message))?;
                }
            }
            Followed::Lost { stream, refused } => writeln!(out, "{stream} is lost: {refused}")?,
        }
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::new("http://127.0.0.1:4437", None)?;
    guide(&client, &mut std::io::stdout()).await
}
