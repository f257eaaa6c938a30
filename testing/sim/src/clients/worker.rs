//! Workers of pull-wake subscriptions: each follows the stream of wakes, claims when one is announced,
//! reads, acks. Some die with a wake, give it back, leave half of it, or come too late.
//!
//! A worker claims because of an event, never at random in the end, so that a wake that is not announced
//! is a wake lost. Of each event it makes sure that its claim was answered.

use std::time::Duration;

use millrace_env::{Clock as _, sleep};
use serde_json::{Value, json};

use super::{
    Caller,
    wake::{Acked, JSON, Wake, ack, code, path, read, subscribe, unprocessed},
};
use crate::{http::Request, world::World};

/// Everything is processed within this time once nothing fails: leases have ended by then.
const DONE_WITHIN: Duration = Duration::from_secs(90);

/// A pull-wake subscription.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulled {
    pub(crate) id: &'static str,
    wakes: &'static str,
    pattern: Option<&'static str>,
    streams: &'static [&'static str],
    lease_millis: u64,
}

/// Streams of the owners and the one with a lifetime: they come and go, are forked and made anew. Its
/// own wakes fit the pattern, too, and must not wake it.
pub(crate) const BY_PATTERN: Pulled = Pulled {
    id: "all",
    wakes: "sim/wakes",
    pattern: Some("sim/**"),
    streams: &[],
    lease_millis: 1500,
};

/// Streams of the steward, which are trimmed and compacted, one with a lifetime, one that never is.
pub(crate) const BY_NAME: Pulled = Pulled {
    id: "some",
    wakes: "sim-wakes",
    pattern: None,
    streams: &["sim-log", "sim-keys", "{sim-pair}/a", "sim/ttl", "sim-none"],
    lease_millis: 2500,
};

impl Pulled {
    fn config(&self) -> Value {
        json!({
            "type": "pull-wake",
            "pattern": self.pattern,
            "streams": self.streams,
            "wake_stream": self.wakes,
            "lease_ttl_ms": self.lease_millis,
        })
    }

    /// The streams that have to be linked.
    pub(crate) fn expected(&self, world: &World) -> Vec<String> {
        match self.pattern {
            Some(_) => world.board().iter().map(|live| live.name.clone()).collect(),
            None => self.streams.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

/// A worker.
#[derive(Debug)]
struct Worker {
    caller: Caller,
    of: Pulled,
    /// Up to where it read the stream of wakes.
    at: String,
    /// The last generation that it saw announced.
    announced: u64,
    /// A wake that it held once.
    stale: Option<Wake>,
}

/// Works until the run is settled, and then until everything is processed.
pub(crate) async fn work(caller: Caller, of: Pulled) {
    let mut worker = Worker {
        caller,
        of,
        at: "-1".to_owned(),
        announced: 0,
        stale: None,
    };
    worker.begin().await;
    while !worker.caller.world.is_settled() {
        worker.step().await;
        let pause = worker.caller.chance.millis(0, 80);
        sleep(pause).await;
    }
    worker.finish().await;
}

impl Worker {
    async fn begin(&mut self) {
        let wakes = self.of.wakes;
        let request = Request::new("PUT", wakes, "").with("Content-Type", JSON);
        let (response, _) = self.caller.insist(&request).await;
        if !matches!(response.head.status, 200 | 201) {
            self.caller.wrong("PUT", wakes, &response);
        }
        subscribe(&mut self.caller, self.of.id, &self.of.config()).await;
    }

    async fn step(&mut self) {
        let is_told = self.follow().await;
        if !is_told && !self.caller.chance.percent(10) {
            return;
        }
        let claimed = self.claim().await;
        self.come_too_late().await;
        if let Some(wake) = claimed {
            self.use_it(wake).await;
        }
    }

    /// Whether wakes were announced.
    async fn follow(&mut self) -> bool {
        let query = format!("?offset={}&live=long-poll", self.at);
        let request = Request::new("GET", self.of.wakes, &query);
        let (response, _) = self.caller.insist(&request).await;
        let head = &response.head;
        let next = head.next().filter(|_| matches!(head.status, 200 | 204));
        let Some(next) = next else {
            self.caller.wrong("GET of wakes,", self.of.wakes, &response);
            return false;
        };
        next.clone_into(&mut self.at);
        let events: Vec<Value> = match head.status {
            200 => serde_json::from_slice(&response.body).unwrap_or_default(),
            _ => Vec::new(),
        };
        for event in &events {
            let generation = event["generation"].as_u64().unwrap_or_default();
            if event["subscription_id"] != self.of.id || generation <= self.announced {
                let what = format!("{event} was announced after {}", self.announced);
                self.caller.world.monitor().violation(what);
            }
            self.announced = generation;
        }
        !events.is_empty()
    }

    async fn claim(&mut self) -> Option<Wake> {
        let worker = json!({"worker": format!("worker {}", self.caller.who)});
        let request = Request::new("POST", &path(self.of.id, "/claim"), "")
            .carrying(JSON, worker.to_string().into_bytes());
        // Where an answer was lost, the lease of nobody runs out, which is announced.
        let (response, _) = self.caller.insist(&request).await;
        let wake = match response.head.status {
            200 => Wake::parse(&response.body),
            409 if matches!(
                code(&response).as_str(),
                "ALREADY_CLAIMED" | "NO_PENDING_WORK"
            ) =>
            {
                return None;
            }
            _ => None,
        };
        match wake {
            Some(_) => self.caller.world.count("wakes claimed"),
            None => self.caller.wrong("POST", &request.target, &response),
        }
        wake
    }

    async fn use_it(&mut self, wake: Wake) {
        if self.caller.chance.percent(15) {
            self.caller.world.count("workers that died with a wake");
            self.stale = Some(wake);
            return;
        }
        let mut acks = Vec::new();
        for told in &wake.streams {
            if self.caller.chance.percent(15) {
                continue;
            }
            acks.extend(read(&mut self.caller, told).await);
            if self.caller.chance.percent(10) {
                let sign_of_life = wake.request(self.of.id, "/ack", &acks, false);
                if ack(&mut self.caller, &sign_of_life).await == Acked::Fenced {
                    return;
                }
            }
        }
        let gives_back = self.caller.chance.percent(10);
        let last = if gives_back {
            wake.request(self.of.id, "/release", &[], false)
        } else {
            wake.request(self.of.id, "/ack", &acks, true)
        };
        while ack(&mut self.caller, &last).await == Acked::Unclear {
            if self.caller.chance.percent(50) {
                break;
            }
        }
        if self.caller.chance.percent(20) {
            self.stale = Some(wake);
        }
    }

    /// A worker that was held up says that it has done what was another's by then.
    async fn come_too_late(&mut self) {
        if let Some(stale) = self.stale.take() {
            let done = self.caller.chance.percent(50);
            let late = stale.request(self.of.id, "/ack", &stale.tails(), done);
            ack(&mut self.caller, &late).await;
        }
    }

    /// Does all that there is to be done, and nothing but that.
    async fn finish(&mut self) {
        let begun = self.caller.world.clock.mono();
        loop {
            let expected = self.of.expected(&self.caller.world);
            let left = unprocessed(&mut self.caller, self.of.id, &expected).await;
            if left.is_empty() {
                return self
                    .caller
                    .world
                    .count("subscriptions that were served to the end");
            }
            if self.caller.world.clock.mono() > begun + DONE_WITHIN {
                let what = format!("subscription {}: nobody is told that {left:?}", self.of.id);
                return self.caller.world.monitor().violation(what);
            }
            if self.follow().await
                && let Some(wake) = self.claim().await
            {
                let mut acks = Vec::new();
                for told in &wake.streams {
                    acks.extend(read(&mut self.caller, told).await);
                }
                let done = wake.request(self.of.id, "/ack", &acks, true);
                ack(&mut self.caller, &done).await;
            }
        }
    }
}
