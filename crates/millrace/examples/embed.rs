//! Millrace inside a program, without HTTP: a job writes its progress into a stream, and a watcher
//! follows it to its end. The job sends everything twice, as after a crash, and it counts once.
//!
//! `cargo run -p millrace --example embed`

use std::{error::Error, path::Path};

use millrace::{
    Append, Body, Changed, ContentType, CreateSpec, Engine, From, Millrace, NewStream, Options,
    ProducerClaim, ProducerId, Refusal, StreamName, frame,
};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::temp_dir().join(format!("millrace-embed-{}", std::process::id()));
    let seen = run(&dir)?;
    println!("{}", String::from_utf8_lossy(&seen));
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Runs job and watcher on the data directory `dir`; what the watcher saw.
pub fn run(dir: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let millrace = Millrace::open(dir, Options::for_memory(64 << 20))?;
    let name = StreamName::new("jobs/42")?;
    let spec = CreateSpec {
        content_type: ContentType::new("application/json"),
        ..CreateSpec::default()
    };
    let seen = millrace.block_on(async {
        // Creating again finds the stream that is there, as long as it is open.
        millrace
            .create(NewStream::new(name.clone(), spec, Body::Empty))
            .await?;
        // A permit bounds memory: take it before holding a large body.
        let (worked, seen) = tokio::join!(job(&millrace, &name), watch(&millrace, &name));
        worked?;
        seen
    })?;
    millrace.close()?;
    Ok(seen?)
}

/// Writes five steps and the end. Every request has a number, so sending it twice counts once.
async fn job(engine: &Engine, name: &StreamName) -> Result<(), Refusal> {
    let content_type = ContentType::new("application/json");
    for step in 0..5 {
        let append = Append {
            body: frame(content_type.as_ref(), format!("{{\"step\":{step}}}").into()),
            content_type: content_type.clone(),
            producer: ProducerId::new("job").map(|id| ProducerClaim {
                id,
                epoch: 0,
                seq: step,
            }),
            close: step == 4,
            ..Append::default()
        };
        let again = append.clone();
        engine.append(name, append, None).await?;
        engine.append(name, again, None).await?;
    }
    Ok(())
}

/// Follows the stream to its end.
async fn watch(engine: &Engine, name: &StreamName) -> Result<Vec<u8>, Refusal> {
    let mut reader = engine.open(name).await?.read_from(From::Start).await?;
    reader.follow();
    let mut seen = Vec::new();
    loop {
        let batch = reader.next(64 << 10).await?;
        let is_end = batch.closed;
        seen.extend_from_slice(&batch.collect().await?);
        if is_end || reader.changed().await == Changed::Gone {
            return Ok(seen);
        }
    }
}
