//! Making, changing and deleting subscriptions. On the driver's thread.

use std::{collections::BTreeSet, rc::Rc, sync::Arc};

use millrace_core::{
    Offset, Refusal, StreamId, StreamName,
    limits::{EXPLICIT_STREAMS_MAX, SUBSCRIPTIONS_MAX},
    subscription::{
        Delivery, Path, Subscription, SubscriptionConfig, SubscriptionEvent, SubscriptionId,
        SubscriptionRefusal,
    },
};
use millrace_wire::subscription::{Link, Linked, document};

use crate::{
    book::{Book, Entry, Inner, explicit_of, hash, journal_prefix, whole},
    journal::Journal,
    keys::Keys,
    subscriptions::{Fault, Made},
    webhook::WebhookUrl,
};

/// How many streams are listed in one go.
const PAGE: usize = 1000;

impl Book {
    /// Makes a subscription, or finds it as it was asked for.
    pub(crate) async fn create(
        &self,
        id: SubscriptionId,
        config: SubscriptionConfig,
        origin: String,
    ) -> Result<(Made, Vec<u8>), Fault> {
        if let Delivery::Webhook { url } = &config.delivery {
            WebhookUrl::new(url, self.options.rules).map_err(SubscriptionRefusal::WebhookUrl)?;
        }
        let _making = self.making.lock().await;
        if let Some(entry) = self.by_id(&id) {
            self.confirm(&entry, &config, origin).await?;
            return Ok((Made::Found, self.told(&entry).await?));
        }
        if self.len() >= SUBSCRIPTIONS_MAX {
            return Err(SubscriptionRefusal::TooMany.into());
        }
        self.make_keys().await?;
        let entry = self.make(id, config, origin).await?;
        let told = self.told(&entry).await?;
        self.visit(&entry);
        Ok((Made::New, told))
    }

    async fn confirm(
        &self,
        entry: &Entry,
        config: &SubscriptionConfig,
        origin: String,
    ) -> Result<(), Fault> {
        if entry.hash != hash(config) {
            return Err(SubscriptionRefusal::Exists.into());
        }
        let mut inner = entry.inner.lock().await;
        if inner.state.origin != origin {
            let moved = SubscriptionEvent::Moved { origin };
            self.record(entry, &mut inner, vec![moved]).await?;
        }
        Ok(())
    }

    async fn make_keys(&self) -> Result<(), Refusal> {
        let mut keys = self.keys.lock().await;
        if keys.is_none() {
            *keys = Some(Keys::make(&self.engine).await?);
        }
        Ok(())
    }

    /// PROTOCOL 6.2: existing streams are linked at their tails. What changes from the moment that it
    /// watches is pending, unless its tail was taken after that.
    async fn make(
        &self,
        id: SubscriptionId,
        config: SubscriptionConfig,
        origin: String,
    ) -> Result<Rc<Entry>, Refusal> {
        let rng = &self.engine.env().rng;
        let mut state = Subscription::created(&SubscriptionEvent::Created {
            id: id.clone(),
            config: config.clone(),
            born: format!("{:016x}", rng.next()),
            origin,
            at: self.now(),
        })
        .expect("a creation creates");
        state.explicit = config.streams.iter().cloned().collect();
        self.engine.watch_changes();
        self.drain();
        let key = self.next_key();
        let watched = (Arc::new(config), explicit_of(&state));
        self.index.borrow_mut().watch(key, watched.0, watched.1);
        let prefix = journal_prefix(&id);
        let made = async {
            state.cursors = self.tails_of(&state).await?.into_iter().collect();
            state.complete = true;
            Journal::create(&self.engine, prefix, &whole(&state)).await
        };
        match made.await {
            Ok(journal) => Ok(self.enter(key, state, journal)),
            Err(refusal) => {
                self.index.borrow_mut().unwatch(key);
                Err(refusal)
            }
        }
    }

    /// The tails of all streams that are meant, where they are not empty.
    async fn tails_of(&self, state: &Subscription) -> Result<Vec<(StreamId, Offset)>, Refusal> {
        let mut tails = Vec::new();
        let pattern = state.config.pattern.as_ref();
        let prefix = pattern.map(millrace_core::subscription::Pattern::prefix);
        let mut after: Option<String> = None;
        while let Some(prefix) = &prefix {
            let page = self.engine.list(prefix, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.as_str().to_owned());
            let meant = page.iter().filter(|listed| {
                state.config.globs(&Path::new(listed.name.as_str())) && listed.tail != listed.start
            });
            tails.extend(meant.map(|listed| (listed.id, listed.tail)));
            // Others have their turn.
            tokio::task::yield_now().await;
        }
        for name in &state.explicit {
            tails.extend(self.tail_of(name).await?);
        }
        Ok(tails)
    }

    async fn tail_of(&self, name: &StreamName) -> Result<Option<(StreamId, Offset)>, Refusal> {
        match self.engine.open(name).await {
            Ok(stream) => {
                let head = stream.head();
                Ok((head.tail != head.start).then_some((head.id, head.tail)))
            }
            Err(Refusal::NotFound | Refusal::SoftDeleted) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// The document of a subscription.
    pub(crate) async fn read(&self, id: &SubscriptionId) -> Result<Vec<u8>, Fault> {
        let entry = self.by_id(id).ok_or(SubscriptionRefusal::NotFound)?;
        self.told(&entry).await
    }

    async fn told(&self, entry: &Entry) -> Result<Vec<u8>, Fault> {
        // Listing takes a while with many streams: acks go on meanwhile.
        let state = entry.inner.lock().await.state.clone();
        let linked = self.linked(&state).await?;
        let keys = self.keys.lock().await;
        let kid = keys
            .as_ref()
            .map_or("", |keys| keys.signing(self.now()).kid());
        Ok(document(&state, &linked, kid, self.origin(&state)))
    }

    /// All streams of a subscription, by name.
    async fn linked(&self, state: &Subscription) -> Result<Vec<Linked>, Refusal> {
        let mut linked = Vec::new();
        for name in &state.explicit {
            let acked = match self.engine.open(name).await {
                Ok(stream) => {
                    let head = stream.head();
                    let own = state.cursors.get(&head.id).copied();
                    Some(own.filter(|at| stream.owns(*at)).unwrap_or(head.start))
                }
                Err(Refusal::NotFound | Refusal::SoftDeleted) => None,
                Err(refusal) => return Err(refusal),
            };
            linked.push(Linked {
                name: name.clone(),
                link: Link::Explicit,
                acked,
            });
        }
        let Some(pattern) = &state.config.pattern else {
            return Ok(linked);
        };
        let prefix = pattern.prefix();
        let mut after: Option<String> = None;
        loop {
            let page = self.engine.list(&prefix, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.as_str().to_owned());
            let meant = page
                .into_iter()
                .filter(|listed| Link::of(state, listed.name.as_str()) == Some(Link::Glob));
            linked.extend(meant.map(|listed| {
                Linked {
                    link: Link::Glob,
                    acked: Some(
                        state
                            .cursors
                            .get(&listed.id)
                            .copied()
                            .unwrap_or(listed.start),
                    ),
                    name: listed.name,
                }
            }));
            tokio::task::yield_now().await;
        }
        linked.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(linked)
    }

    /// Deletes a subscription; whoever works for it is fenced from here on.
    pub(crate) async fn delete(&self, id: &SubscriptionId) -> Result<(), Fault> {
        let _making = self.making.lock().await;
        let entry = self.by_id(id).ok_or(SubscriptionRefusal::NotFound)?;
        let mut inner = entry.inner.lock().await;
        self.delete_journal(&inner).await?;
        inner.deleted = true;
        self.leave(&entry, id);
        Ok(())
    }

    /// Links streams by name, at their tails; those that are linked already stay as they are.
    pub(crate) async fn add(
        &self,
        id: &SubscriptionId,
        names: Vec<StreamName>,
    ) -> Result<(), Fault> {
        let entry = self.by_id(id).ok_or(SubscriptionRefusal::NotFound)?;
        let mut inner = entry.inner.lock().await;
        let known = &inner.state.explicit;
        let fresh: BTreeSet<_> = names.into_iter().filter(|n| !known.contains(n)).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let mut explicit = known.clone();
        explicit.extend(fresh.iter().cloned());
        if explicit.len() > EXPLICIT_STREAMS_MAX {
            return Err(SubscriptionRefusal::TooMany.into());
        }
        // It watches before tails are taken, so that nothing falls in between.
        self.index.borrow_mut().rename(entry.key, explicit);
        let added = self.link(&entry, &mut inner, fresh).await;
        let explicit = explicit_of(&inner.state);
        if added.is_err() {
            self.index.borrow_mut().rename(entry.key, explicit);
        }
        self.visit(&entry);
        Ok(added?)
    }

    async fn link(
        &self,
        entry: &Entry,
        inner: &mut Inner,
        fresh: BTreeSet<StreamName>,
    ) -> Result<(), Refusal> {
        let mut cursors = Vec::new();
        for name in &fresh {
            if !inner.state.is_linked(name.as_str()) {
                cursors.extend(self.tail_of(name).await?);
            }
        }
        let streams = fresh.into_iter().collect();
        let facts = vec![
            SubscriptionEvent::Added { streams },
            SubscriptionEvent::Linked { cursors },
        ];
        self.record(entry, inner, facts).await
    }

    /// Takes back a link by name; one by pattern stays.
    pub(crate) async fn remove(&self, id: &SubscriptionId, name: StreamName) -> Result<(), Fault> {
        let entry = self.by_id(id).ok_or(SubscriptionRefusal::NotFound)?;
        let mut inner = entry.inner.lock().await;
        if !inner.state.explicit.contains(&name) {
            return Ok(());
        }
        let forgets = if inner.state.config.globs(&Path::new(name.as_str())) {
            None
        } else {
            match self.engine.open(&name).await {
                Ok(stream) => Some(stream.head().id),
                Err(Refusal::NotFound | Refusal::SoftDeleted) => None,
                Err(refusal) => return Err(refusal.into()),
            }
        };
        let removed = SubscriptionEvent::Removed {
            stream: name,
            forgets,
        };
        self.record(&entry, &mut inner, vec![removed]).await?;
        if let Some(stream) = forgets {
            inner.pending.remove(&stream);
        }
        let explicit = explicit_of(&inner.state);
        self.index.borrow_mut().rename(entry.key, explicit);
        self.visit(&entry);
        Ok(())
    }
}
