//! The driver: one loop that sees changed streams, the clock and requests, and begins a task for each
//! thing that is to be done. No task waits for another: a webhook that takes its time holds up itself
//! alone.

use std::{
    collections::HashSet,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use foldhash::fast::FixedState;
use millrace_core::StreamId;
use millrace_engine::{Change, Engine};
use millrace_env::{
    mutant::{self, Mutant},
    sleep,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{
    SubscriptionOptions,
    book::Book,
    look::look_after,
    metrics::Counters,
    subscriptions::{READY, Request, UNREADABLE},
};

/// The longest sleep while something is due: the clock on the wall may be set.
const NAP: Duration = Duration::from_secs(1);
/// Between two looks at changed streams while they keep changing: one that changes often is taken up so
/// much less often, and shards are let alone.
const REST: Duration = Duration::from_millis(2);
/// How often keys are looked at.
const KEYS_EVERY: Duration = Duration::from_hours(1);
/// How many streams are listed in one go at a start.
const PAGE: usize = 1000;

/// What [`run`] runs.
#[derive(Debug)]
pub struct Driver {
    pub(crate) engine: Engine,
    pub(crate) options: SubscriptionOptions,
    pub(crate) inbox: mpsc::Receiver<Request>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) state: Arc<AtomicU8>,
}

/// Runs the subscriptions of a server until [`crate::Subscriptions::stop`]. Inside a `LocalSet`; the
/// engine's shards must run, on this thread or others.
pub async fn run(driver: Driver) {
    let Driver {
        engine,
        options,
        mut inbox,
        counters,
        state,
    } = driver;
    let book = Book::new(engine, options, counters);
    match book.load().await {
        Ok(()) => state.store(READY, Ordering::SeqCst),
        Err(refusal) => {
            if !book.engine.stopping().is_stopping() {
                tracing::error!(%refusal, "subscriptions cannot be read, and stay as they are");
            }
            state.store(UNREADABLE, Ordering::SeqCst);
            book.engine.ignore_changes();
            refuse_all(inbox).await;
            return;
        }
    }
    let mut tasks = Tasks::default();
    if book.len() > 0 && !mutant::is(Mutant::LoseWakesAtStart) {
        tasks.work.spawn_local(catch_up(Rc::clone(&book)));
    } else {
        if book.len() == 0 {
            book.engine.ignore_changes();
        }
        book.caught_up.on();
    }
    tasks.work.spawn_local(look_after_keys(Rc::clone(&book)));
    let done = serve(&book, &mut inbox, &mut tasks).await;
    tasks.work.shutdown().await;
    // Whoever waits for it waits no longer.
    book.caught_up.on();
    inbox.close();
    while let Ok(request) = inbox.try_recv() {
        tasks.begin(&book, request);
    }
    while tasks.requests.join_next().await.is_some() {}
    if let Some(done) = done {
        let _ = done.send(());
    }
}

/// What is under way.
#[derive(Debug, Default)]
struct Tasks {
    /// BOUND: the requests that wait, and one more for each that is answered.
    requests: JoinSet<()>,
    /// BOUND: one a subscription.
    work: JoinSet<()>,
}

impl Tasks {
    /// Begins a request; who asks to stop is told of nothing more.
    fn begin(&mut self, book: &Rc<Book>, request: Request) -> Option<oneshot::Sender<()>> {
        match request {
            Request::Work(begin) => {
                self.requests.spawn_local(begin(Rc::clone(book)));
                None
            }
            Request::Stop(done) => Some(done),
        }
    }

    /// Lets go of what is done. A panic in it was told by the panic hook.
    fn tidy(&mut self) {
        while self.requests.try_join_next().is_some() {}
        while self.work.try_join_next().is_some() {}
    }
}

/// Serves until it is asked to stop; who asked.
async fn serve(
    book: &Rc<Book>,
    inbox: &mut mpsc::Receiver<Request>,
    tasks: &mut Tasks,
) -> Option<oneshot::Sender<()>> {
    let stopping = book.engine.stopping();
    loop {
        tasks.tidy();
        let is_stopping = stopping.is_stopping();
        let had_changes = !is_stopping && begin_visits(book, tasks);
        tokio::select! {
            biased;
            request = inbox.recv() => match request {
                Some(request) => if let Some(done) = tasks.begin(book, request) {
                    return Some(done);
                },
                None => return None,
            },
            () = stopping.wait(), if !is_stopping => tasks.work.abort_all(),
            () = book.news.notified() => {}
            // Once it stops, nobody takes these up any more: they would be news for ever.
            () = changes(book, had_changes), if !is_stopping => {}
            () = until_due(book), if !is_stopping => {}
        }
    }
}

/// Waits until streams changed, after a rest.
async fn changes(book: &Book, rests: bool) {
    if rests {
        sleep(REST).await;
    }
    book.engine.changed().await;
}

/// Begins a task for each subscription that has to be looked after. Whether streams had changed.
fn begin_visits(book: &Rc<Book>, tasks: &mut Tasks) -> bool {
    let had_changes = book.drain();
    let visits = book.index.borrow_mut().take_visits(book.now());
    let changed = book.index.borrow().len() as u64;
    book.counters.changed_streams.set(changed);
    for key in visits {
        let Some(entry) = book.by_key(key) else {
            continue;
        };
        if entry.busy.replace(true) {
            entry.again.set(true);
        } else {
            tasks.work.spawn_local(look_after(Rc::clone(book), entry));
        }
    }
    had_changes
}

async fn until_due(book: &Book) {
    let due = book.index.borrow().next_due();
    match due {
        Some(due) => {
            let left = due.get().saturating_sub(book.now().get());
            sleep(Duration::from_millis(left).min(NAP)).await;
        }
        None => std::future::pending().await,
    }
}

/// After a start: every stream counts as changed once, so that what was appended before the end of
/// the last one is found. Then cursors of streams that are gone are let go of.
async fn catch_up(book: Rc<Book>) {
    let mut seen: HashSet<StreamId, FixedState> = HashSet::with_hasher(FixedState::default());
    let mut after: Option<String> = None;
    loop {
        let page = match book.engine.list("", after.as_deref(), PAGE).await {
            Ok(page) => page,
            Err(refusal) => {
                tracing::warn!(%refusal, "streams cannot be listed for subscriptions; it will be tried again");
                sleep(NAP).await;
                continue;
            }
        };
        let Some(last) = page.last() else { break };
        after = Some(last.name.as_str().to_owned());
        seen.extend(page.iter().map(|listed| listed.id));
        // What changed meanwhile is newer than what was listed.
        let newer = book.engine.changes();
        let changes = page.into_iter().map(|listed| Change {
            id: listed.id,
            name: listed.name,
            start: listed.start,
            tail: listed.tail,
            gone: false,
        });
        let has_visits = book.index.borrow_mut().take_listed(changes, newer);
        if has_visits {
            book.news.notify_one();
        }
        tokio::task::yield_now().await;
    }
    book.caught_up.on();
    for entry in book.all() {
        let cursors = {
            let inner = entry.inner.lock().await;
            let unseen = inner.state.cursors.keys().filter(|id| !seen.contains(id));
            unseen.copied().collect::<Vec<_>>()
        };
        for id in cursors {
            if let Ok(false) = book.engine.exists(id).await {
                entry.inner.lock().await.state.cursors.remove(&id);
            }
        }
    }
}

/// Makes a new key now and then, and lets go of old ones.
async fn look_after_keys(book: Rc<Book>) {
    loop {
        if let Some(keys) = book.keys.lock().await.as_mut() {
            let (env, age_max) = (book.engine.env(), book.options.key_age_max);
            if let Err(refusal) = keys.rotate(env, age_max).await {
                tracing::warn!(%refusal, "signing keys cannot be renewed; it will be tried again");
            }
        }
        sleep(KEYS_EVERY.min(book.options.key_age_max)).await;
    }
}

/// Nothing is known of subscriptions: whoever asks is told that it is not available.
async fn refuse_all(mut inbox: mpsc::Receiver<Request>) {
    while let Some(request) = inbox.recv().await {
        if let Request::Stop(done) = request {
            let _ = done.send(());
            return;
        }
    }
}
