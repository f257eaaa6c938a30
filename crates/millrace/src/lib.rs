//! Durable streams inside your own program.
//!
//! [`Millrace::open`] opens a data directory and runs its shards; [`Engine`] then creates, appends
//! to, reads, deletes and lists streams with the guarantees of the server: an append that was
//! answered is on disk, readers see nothing that a crash could take back, and a producer's request
//! counts once. [`serve`] puts HTTP in front of a data directory.
//!
//! ```
//! use millrace::{
//!     Append, ContentType, CreateSpec, From, Millrace, NewStream, Options, StreamName, frame,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = std::env::temp_dir().join(format!("millrace-doc-{}", std::process::id()));
//! let millrace = Millrace::open(&dir, Options::for_memory(64 << 20))?;
//! let name = StreamName::new("greetings")?;
//! let read = millrace.block_on(async {
//!     let hello = frame(None, "hello ".into());
//!     millrace.create(NewStream::new(name.clone(), CreateSpec::default(), hello)).await?;
//!     let content_type = ContentType::default();
//!     let world = Append {
//!         body: frame(Some(&content_type), "world".into()),
//!         content_type: Some(content_type),
//!         ..Append::default()
//!     };
//!     millrace.append(&name, world, None).await?;
//!
//!     let mut reader = millrace.engine().open(&name).await?.read_from(From::Start).await?;
//!     reader.next(1024).await?.collect().await
//! })??;
//! assert_eq!(read, "hello world");
//! millrace.close()?;
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok(())
//! # }
//! ```
//!
//! `examples/embed.rs` follows a stream while it is written to.
//!
//! This is the only crate of the workspace with a promise about its versions: what is named here
//! changes with them, what lies below may change with any release.

mod embedded;

pub use embedded::Millrace;
pub use millrace_core::{
    Append, Body, ContentKind, ContentType, CreateSpec, ForkAnchor, ForkRequest, Lifetime, Offset,
    Payload, ProducerClaim, ProducerId, Refusal, StreamName, Timestamp, limits,
    stream::{Outcome, decide::Summary},
};
pub use millrace_engine::{
    Batch, Changed, Durability, Engine, From, Head, Listed, NewStream, OpenError, Options, Permit,
    Reader, Status, Stopping, Stream,
};
pub use millrace_env::Env;
pub use millrace_wire::{OffsetArg, Token, frame};

/// HTTP in front of a data directory.
pub mod serve {
    pub use millrace_server::{
        Access, ApiKey, Config, Origins, Server, Setup, Stopped, Times, listen,
    };
}
