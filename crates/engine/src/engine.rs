//! The engine as its users see it: find, create, append, read, delete, list.
//!
//! Nothing here judges a command; it is handed to the shard that owns the stream, and the request
//! only waits. Dropping a request after that changes nothing: the command owns its body, its memory
//! permit and its reply.
//!
//! Next on the append walk: `shard/task.rs`.

use std::sync::Arc;

use millrace_core::{
    Append, Body, Change, ContentKind, Create, CreateSpec, ForkSource, NewSettings, Offset,
    Refusal, ShardId, StreamId, StreamName, Timestamp,
    slot::{shard_of, slot_of},
    stream::Outcome,
};
use millrace_env::{Env, Switch, Watcher};
use millrace_store::{Catalog, Segments};
use tokio::sync::{mpsc, oneshot};

use crate::{
    batch,
    budget::{Budget, Growing, Permit, Reading},
    directory::Directory,
    feed::Feed,
    fork,
    live::Live,
    metrics::{Figures, ShardFigures, ShardMetrics, StoreMetrics},
    options::Options,
    read::From,
    retention::{Passes, Retained},
    scrub::Scrub,
    shard::{Command, Entry, LoadKey, Message, Reply},
    status::{ShardStatus, Status},
    stream::Stream,
};

/// A running engine; cheap to clone, usable from every thread.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// A stream to be created.
#[derive(Debug)]
pub struct NewStream {
    /// Its name.
    pub name: StreamName,
    /// What is asked for.
    pub spec: CreateSpec,
    /// The documents that it begins with. [`SettingKey::ASKED`](millrace_core::SettingKey::ASKED) among
    /// them is what a repeated creation is held against.
    pub settings: NewSettings,
    /// Its first content.
    pub body: Body,
    /// What kind of content the body was framed for: of a fork that names no type, its source's.
    pub framed_for: ContentKind,
    /// The memory of the body.
    pub permit: Option<Permit>,
}

impl NewStream {
    /// A stream whose body is framed for the type that `spec` names, else for the default one.
    pub fn new(name: StreamName, spec: CreateSpec, body: Body) -> Self {
        let content_type = spec.content_type.clone().unwrap_or_default();
        Self {
            framed_for: content_type.kind(),
            name,
            spec,
            settings: NewSettings::new(),
            body,
            permit: None,
        }
    }
}

/// What all cores share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) env: Env,
    pub(crate) options: Options,
    pub(crate) budget: Budget,
    pub(crate) reading: Reading,
    pub(crate) segments: Segments,
    pub(crate) catalog: Catalog,
    pub(crate) shards: Vec<ShardHandle>,
    pub(crate) metrics: StoreMetrics,
    pub(crate) scrub: Scrub,
    pub(crate) retained: Arc<Retained>,
    pub(crate) passes: Passes,
    pub(crate) feed: Arc<Feed>,
    pub(crate) stopping: Switch,
    /// When this process started: no sliding lifetime ends before it has passed from here.
    pub(crate) booted_at: Timestamp,
    /// Keeps other processes off the data directory.
    pub(crate) _lock: Lock,
}

/// The lock of the data directory, held as long as this lives.
pub(crate) struct Lock(
    #[expect(dead_code, reason = "held, never used")] pub(crate) Box<dyn Send + Sync>,
);

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

/// How to reach a shard.
#[derive(Debug)]
pub(crate) struct ShardHandle {
    /// BOUND: [`crate::shard::INBOX_MAX`] messages; beyond it commands are refused.
    pub(crate) inbox: mpsc::Sender<Message>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) status: Arc<ShardStatus>,
    pub(crate) metrics: Arc<ShardMetrics>,
}

impl ShardHandle {
    fn figures(&self) -> ShardFigures {
        ShardFigures {
            streams_in_memory: self.directory.len() as u64,
            queue: (self.inbox.max_capacity() - self.inbox.capacity()) as u64,
            wal_bytes: self.metrics.wal_bytes.get(),
            unflushed_bytes: self.metrics.unflushed_bytes.get(),
            poisoned: self.status.is_poisoned(),
        }
    }
}

/// Tells when the engine is stopping.
#[derive(Clone, Debug)]
pub struct Stopping(Watcher);

impl Stopping {
    /// Waits until the engine is stopping.
    pub async fn wait(&self) {
        // An engine that is gone has stopped too.
        self.0.wait().await;
    }

    /// Whether it is.
    pub fn is_stopping(&self) -> bool {
        self.0.is_on()
    }
}

impl Engine {
    /// Creates a stream with its first content, or finds it as it was asked for.
    pub async fn create(&self, new: NewStream) -> Result<Outcome, Refusal> {
        let NewStream {
            name,
            spec,
            settings,
            body,
            framed_for,
            permit,
        } = new;
        let source = self.fork_source(&name, &spec).await?;
        let inherited = source.as_ref().filter(|_| spec.content_type.is_none());
        let framed = matches!(body, Body::Framed(_));
        if framed && inherited.is_some_and(|source| source.content_type.kind() != framed_for) {
            // The source was replaced by one of another type since the body was framed for it.
            return Err(Refusal::Unavailable);
        }
        let shard = self.shared.shard_of_name(&name);
        let create = Box::new(Create {
            name,
            spec,
            settings,
            body,
            source,
        });
        self.shared
            .command(shard, Command::Create(create), permit)
            .await
    }

    /// Appends, closes, or both.
    pub async fn append(
        &self,
        name: &StreamName,
        append: Append,
        permit: Option<Permit>,
    ) -> Result<Outcome, Refusal> {
        let shard = self.shared.shard_of_name(name);
        let command = Command::Append {
            name: name.clone(),
            append,
        };
        self.shared.command(shard, command, permit).await
    }

    /// Appends to many streams: those of one shard in one turn, in order. `atomic`: all or none, and
    /// then of streams with equal hash tags, or it is [`Refusal::HashTags`]. The answers are in the order
    /// of the appends.
    pub async fn append_all(
        &self,
        appends: Vec<(StreamName, Append)>,
        atomic: bool,
    ) -> Result<Vec<Result<Outcome, Refusal>>, Refusal> {
        batch::append_all(&self.shared, appends, atomic).await
    }

    /// Lets nobody read what lies before `to` any more, and gives its space back with the next flush.
    /// Where that is reads go on as before, [`Refusal::OffsetGone`] elsewhere. In a JSON stream an
    /// offset inside of a message is [`Refusal::OffsetNotABoundary`].
    pub async fn trim(&self, name: &StreamName, to: Offset) -> Result<Stream, Refusal> {
        let stream = self.open(name).await?;
        let is_new = to.position > stream.head().start.position;
        if is_new {
            stream.read_from(From::At(to)).await?;
        }
        let shard = self.shared.shard_of_name(name);
        let name = name.clone();
        let command = Command::Trim { name, to };
        self.shared.command(shard, command, None).await?;
        Ok(stream)
    }

    /// Changes documents of a stream's settings, judged against how it stands between two appends.
    /// [`Refusal::Setting`] says why not.
    pub async fn configure(
        &self,
        name: &StreamName,
        change: Box<dyn Change>,
    ) -> Result<Stream, Refusal> {
        let stream = self.open(name).await?;
        let shard = self.shared.shard_of_name(name);
        let name = name.clone();
        let command = Command::Configure { name, change };
        self.shared.command(shard, command, None).await?;
        Ok(stream)
    }

    /// Deletes a stream.
    pub async fn delete(&self, name: &StreamName) -> Result<Outcome, Refusal> {
        let shard = self.shared.shard_of_name(name);
        self.shared
            .command(shard, Command::Delete { name: name.clone() }, None)
            .await
    }

    /// Finds a stream to read it. A stream whose life is over is ended first, durably.
    pub async fn open(&self, name: &StreamName) -> Result<Stream, Refusal> {
        let shard = self.shared.shard_of_name(name);
        let resident = self.shared.handle(shard).directory.by_name(name.as_str());
        let live = match resident {
            Some(live) => live,
            None => self
                .shared
                .ask(shard, LoadKey::Name(name.clone()))
                .await?
                .ok_or(Refusal::NotFound)?,
        };
        let (expired, soft_deleted) = {
            let view = live.view();
            if view.gone {
                return Err(Refusal::NotFound);
            }
            let expired = live.is_expired(&view.state, self.shared.now());
            (expired, view.state.soft_deleted)
        };
        if soft_deleted {
            return Err(Refusal::SoftDeleted);
        }
        if expired {
            self.shared
                .command(shard, Command::Expire { stream: live.id }, None)
                .await?;
            let view = live.view();
            let kept = !view.gone && view.state.soft_deleted;
            return Err(if kept {
                Refusal::SoftDeleted
            } else {
                Refusal::NotFound
            });
        }
        Ok(Stream {
            shared: Arc::clone(&self.shared),
            live,
        })
    }

    /// Takes memory for a body that is there. [`Refusal::Overloaded`] when there is none.
    pub async fn admit(&self, bytes: u64) -> Result<Permit, Refusal> {
        self.shared
            .budget
            .admit(bytes, &*self.shared.env.clock)
            .await
    }

    /// For a body that begins to come: its memory is taken as it does.
    pub fn begin_body(&self) -> Growing {
        self.shared.budget.begin(self.shared.env.clock.mono())
    }

    /// Whether there is memory for one more reader that may take its answer slowly.
    /// [`Refusal::Overloaded`] when there is not.
    pub fn admit_reader(&self) -> Result<(), Refusal> {
        if self.shared.reading.is_full() {
            return Err(Refusal::Overloaded);
        }
        Ok(())
    }

    /// Whether a stream of this identity exists, reachable by its name or not.
    pub async fn exists(&self, stream: StreamId) -> Result<bool, Refusal> {
        let live = self.shared.load(stream).await?;
        Ok(live.is_some_and(|live| !live.view().gone))
    }

    /// Whether it takes work, and why not; and what else somebody should look at.
    pub fn status(&self) -> Status {
        let shards = self.shared.shards.iter().map(|shard| &*shard.status);
        Status::of(shards, self.shared.scrub.warnings())
    }

    /// What was counted and measured so far. Asks no disk.
    pub fn figures(&self) -> Figures {
        let shared = &self.shared;
        let mut figures = Figures {
            shards: shared.shards.iter().map(ShardHandle::figures).collect(),
            budget_used_bytes: shared.budget.used(),
            budget_max_bytes: shared.budget.max(),
            scrub: shared.scrub.figures(),
            retention: shared.passes.figures(&shared.retained),
            ..Figures::default()
        };
        for shard in &shared.shards {
            shard.metrics.add_to(&mut figures);
        }
        shared.metrics.add_to(&mut figures);
        figures
    }

    /// How it was configured.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// The outside world it uses.
    pub fn env(&self) -> &Env {
        &self.shared.env
    }

    /// Tells when it is stopping.
    pub fn stopping(&self) -> Stopping {
        self.shared.stopping()
    }

    /// Ends live reads, each with an offset to go on from. Appends go on until [`Self::shutdown`].
    pub fn stop_readers(&self) {
        self.shared.stopping.on();
    }

    /// Finishes what waits, flushes, and marks the data directory as cleanly closed. Shards end.
    pub async fn shutdown(&self) {
        self.stop_readers();
        self.shared.catalog.hurry();
        let mut is_clean = true;
        for shard in &self.shared.shards {
            let (done, wait) = oneshot::channel();
            // A shard that ended on its own has nothing left to finish, and did not end in order.
            is_clean &= match shard.inbox.send(Message::Stop(done)).await {
                Ok(()) => wait.await.unwrap_or(false),
                Err(_) => false,
            };
        }
        if is_clean {
            crate::open::mark_clean(&self.shared).await;
        }
    }

    /// The source of a fork; `None` for a plain creation, and where the target exists already, so
    /// that a repeated PUT finds it even when its source is gone.
    async fn fork_source(
        &self,
        name: &StreamName,
        spec: &CreateSpec,
    ) -> Result<Option<ForkSource>, Refusal> {
        let Some(request) = &spec.fork else {
            return Ok(None);
        };
        match self.open(name).await {
            Ok(_) | Err(Refusal::SoftDeleted) => Ok(None),
            Err(Refusal::NotFound) => fork::resolve(self, request).await.map(Some),
            Err(other) => Err(other),
        }
    }
}

impl Shared {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.env.clock.wall())
    }

    pub(crate) fn stopping(&self) -> Stopping {
        Stopping(self.stopping.watcher())
    }

    pub(crate) fn shard_of_name(&self, name: &StreamName) -> ShardId {
        shard_of(slot_of(name.as_str()), self.options.shards)
    }

    pub(crate) fn shard_of_stream(&self, stream: StreamId) -> ShardId {
        shard_of(stream.slot(), self.options.shards)
    }

    pub(crate) fn handle(&self, shard: ShardId) -> &ShardHandle {
        &self.shards[usize::from(shard.get())]
    }

    /// The stream with this identity, reachable by name or not.
    pub(crate) async fn load(&self, stream: StreamId) -> Result<Option<Arc<Live>>, Refusal> {
        let shard = self.shard_of_stream(stream);
        match self.handle(shard).directory.by_id(stream) {
            Some(live) => Ok(Some(live)),
            None => self.ask(shard, LoadKey::Id(stream)).await,
        }
    }

    async fn ask(&self, shard: ShardId, key: LoadKey) -> Result<Option<Arc<Live>>, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(shard, Message::Load { key, reply })?;
        answer.await.map_err(|_| Refusal::Unavailable)?
    }

    pub(crate) async fn command(
        &self,
        shard: ShardId,
        command: Command,
        permit: Option<Permit>,
    ) -> Result<Outcome, Refusal> {
        let (reply, answer) = oneshot::channel();
        let entry = Entry {
            command,
            reply: Reply::Client(reply),
            permit,
        };
        self.send(shard, Message::Command(entry))?;
        answer.await.map_err(|_| Refusal::Unavailable)?
    }

    pub(crate) fn send(&self, shard: ShardId, message: Message) -> Result<(), Refusal> {
        self.handle(shard)
            .inbox
            .try_send(message)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Refusal::Overloaded,
                mpsc::error::TrySendError::Closed(_) => Refusal::Unavailable,
            })
    }
}
