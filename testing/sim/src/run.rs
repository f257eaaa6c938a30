//! One run: a seed, its server and clients, and the verdict.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::Path,
    rc::Rc,
    sync::{Arc, Once},
    time::Duration,
};

use millrace_engine::OpenError;
use millrace_env::{Clock as _, Disk as _, Env, OpenMode, Rng, SimDisk, sleep, tasks, timeout};
use millrace_kill::schedule::Chance;
use millrace_server::Stopped;
use millrace_store::{StoreError, catalog::CATALOG_FILE, check};
use tokio::{
    sync::Notify,
    task::{JoinSet, LocalSet},
};

use crate::{
    clients::{
        self, CLIENTS, Caller, hook, wake,
        worker::{BY_NAME, BY_PATTERN},
    },
    clock::LoopClock,
    http::Request,
    medium::Temper,
    mishap::{self, Mishap, Mishaps},
    net::Net,
    plan::{LifePlan, Plan},
    saboteur,
    server::{Ended, Server},
    trace::{Digest, Trace},
    witness::Counts,
    world::World,
};

/// Once nothing fails any more, all clients get their answers within this time.
const ENDS_WITHIN: Duration = Duration::from_mins(40);
/// More than this many broken promises say nothing new.
const VIOLATIONS_MAX: usize = 10;

/// A defect put into the server, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// It acknowledges appends before they are synced.
    AcknowledgesBeforeSync,
    /// It does not sync directories, so that power loss may take back any new or changed name.
    ForgetsNames,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What happened that must not.
    pub violations: Vec<String>,
    /// What happened on the network and the disk.
    pub trace: Digest,
    /// The same as text, where it was asked for.
    pub text: Option<String>,
    /// How many lives the server had.
    pub lives: u64,
    /// How long it took by the simulated clock.
    pub simulated: Duration,
    /// What the judge counted.
    pub counts: Counts,
    /// What went wrong, and how often.
    pub mishaps: Mishaps,
    /// How often each other kind of thing happened.
    pub tally: BTreeMap<&'static str, u64>,
}

/// Runs one seed; `text` keeps the text of the trace.
pub fn run(seed: u64, mutant: Option<Mutant>, text: bool) -> Outcome {
    note_panics();
    PANICS.take();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without sockets needs nothing of the system");
    let mut outcome = LocalSet::new().block_on(&runtime, async {
        let mut run = Run::new(seed, mutant, text);
        run.work().await;
        run.outcome()
    });
    outcome.violations.extend(PANICS.take());
    outcome
}

thread_local! {
    /// What panicked in the run of this thread.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A panic is a violation, whoever catches it.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            eprintln!("{info}");
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
        }));
    });
}

struct Run {
    seed: u64,
    plan: Plan,
    world: Rc<World>,
    server: Server,
}

impl Run {
    /// Call it inside the run's runtime, where the clock begins.
    fn new(seed: u64, mutant: Option<Mutant>, text: bool) -> Self {
        let plan = Plan::of(seed);
        let clock = Arc::new(LoopClock::start());
        let trace = Trace::new(Arc::clone(&clock), text);
        let net = Net::new(trace.clone(), Chance::new(seed, 1001));
        let disk = SimDisk::new(seed);
        let temper = Arc::new(Temper::new(Chance::new(seed, 1002)));
        temper.set_lies(mutant == Some(Mutant::AcknowledgesBeforeSync));
        temper.set_forgets_names(mutant == Some(Mutant::ForgetsNames));
        let world = Rc::new(World::new(
            net,
            Arc::clone(&clock),
            trace.clone(),
            Arc::clone(&disk),
            plan.options.durability,
        ));
        let server = Server {
            world: Rc::clone(&world),
            clock,
            trace,
            temper,
            disk,
            options: plan.options.clone(),
            config: plan.config.clone(),
            seed,
            chance: Chance::new(seed, 1003),
            lives: 0,
        };
        Self {
            seed,
            plan,
            world,
            server,
        }
    }

    fn outcome(self) -> Outcome {
        let Self {
            seed,
            world,
            server,
            ..
        } = self;
        let mut monitor = world.monitor();
        let mut tally = world.tally.borrow().clone();
        tally.extend(monitor.watched());
        let mut mishaps = server.trace.mishaps();
        mishaps.extend(mishap::of_disk(server.disk.harm()));
        let violations = monitor.violations().iter().take(VIOLATIONS_MAX);
        Outcome {
            seed,
            violations: violations.cloned().collect(),
            trace: server.trace.digest(),
            text: server.trace.text(),
            lives: server.lives,
            simulated: server.clock.mono(),
            counts: monitor.counts,
            mishaps,
            tally,
        }
    }

    /// Until the first broken promise, or the end.
    async fn work(&mut self) {
        let _simulated = self.simulate_blocking();
        let clients = clients::start(&self.world, self.seed);
        let faults = self.plan.faults.clone();
        let saboteurs = saboteur::start(&self.world, faults, &self.server.temper, self.seed);
        for life in std::mem::take(&mut self.plan.lives) {
            self.live_badly(life).await;
            if self.has_failed() {
                return;
            }
        }
        drop(saboteurs);
        saboteur::calm(&self.world, &self.server.temper);
        let busy = self.server.chance.millis(500, 3000);
        let mut auditor = Caller::new(&self.world, CLIENTS + 1, Chance::new(self.seed, 1005));
        self.calmly(async |world| {
            // For a while everything works: what goes wrong in here was not to be blamed on a start.
            sleep(busy).await;
            world.stop();
            end(clients.others, world).await;
            world.settle();
            end(clients.subscribers, world).await;
            audit(&mut auditor).await;
        })
        .await;
        if let Err(what) = self.check(Arc::clone(&self.server.disk)) {
            self.world.monitor().violation(what);
        }
        self.calmly(async |_| audit(&mut auditor).await).await;
    }

    /// Work beside the event loop takes a little, and more while the disk is slow.
    fn simulate_blocking(&self) -> tasks::Simulated {
        let temper = Arc::clone(&self.server.temper);
        let chance = RefCell::new(Chance::new(self.seed, 1006));
        tasks::simulate(move || {
            let takes = || chance.borrow_mut().millis(0, 3) + temper.takes();
            tasks::Took {
                before: takes(),
                after: takes(),
            }
        })
    }

    /// A life in which anything fails. A start that is refused leaves everything as it is: it is tried
    /// again on a disk in order.
    async fn live_badly(&mut self, life: LifePlan) {
        for life in [life, life.again()] {
            let ended = self.server.live(life, &Rc::default()).await;
            let is_refused = matches!(ended, Ended::NotOpened(_));
            let is_distrusted = matches!(&ended, Ended::NotOpened(error) if is_distrust(error));
            self.judge(ended);
            self.look_at_disk(is_distrusted);
            if self.has_failed() {
                return;
            }
            if is_refused || self.server.chance.percent(70) {
                self.world.mend();
            }
            sleep(life.pause).await;
            if !is_refused {
                return;
            }
        }
    }

    /// A life in which nothing fails, for as long as `work` takes.
    async fn calmly(&mut self, work: impl AsyncFnOnce(&World)) {
        if self.has_failed() {
            return;
        }
        let stop = Rc::<Notify>::default();
        let world = Rc::clone(&self.world);
        let work = async {
            work(&world).await;
            stop.notify_one();
            std::future::pending().await
        };
        let ended = tokio::select! {
            biased;
            ended = self.server.live(LifePlan::calm(2), &stop) => ended,
            never = work => never,
        };
        if !matches!(ended, Ended::Stopped(Stopped::Clean)) {
            let what = format!("a server on a good disk ended so: {ended:?}");
            self.world.monitor().violation(what);
        }
    }

    /// Whether a life may end like this.
    fn judge(&self, ended: Ended) {
        let fails = self.world.disk_fails();
        let error = match ended {
            Ended::NotOpened(error) => error,
            Ended::Died => return self.world.count("lives cut off"),
            Ended::Poisoned if !fails => {
                let what = "a server on a good disk stopped writing".to_owned();
                return self.world.monitor().violation(what);
            }
            Ended::Poisoned => return self.world.count("lives that stopped writing"),
            Ended::Stopped(_) => return self.world.count("lives that ended in order"),
        };
        let (mishap, is_excused) = if is_distrust(&error) {
            let is_named = self.world.names_rot(&error.to_string());
            (Mishap::StartRefused, is_named)
        } else {
            (Mishap::StartFailed, fails)
        };
        self.world.trace.count(mishap);
        if !is_excused {
            let what = format!("the data directory was not opened: {error}");
            self.world.monitor().violation(what);
        }
    }

    /// `millrace check` finds nothing, unless bits have flipped: then it finds whatever a start refuses.
    fn look_at_disk(&self, is_distrusted: bool) {
        let copy = self.server.disk.copy(self.seed);
        if copy.open(Path::new(CATALOG_FILE), OpenMode::Read).is_err() {
            // There was no start yet that had made a data directory.
            return;
        }
        let found = self.check(copy);
        let is_fine = match (&found, self.world.is_rotten()) {
            (Ok(()), rotten) => !(is_distrusted && rotten),
            (Err(_), rotten) => rotten,
        };
        if !is_fine {
            let what = format!("bytes were refused: {is_distrusted}, and {found:?}");
            self.world.monitor().violation(what);
        }
    }

    /// What `millrace check` finds.
    fn check(&self, disk: Arc<SimDisk>) -> Result<(), String> {
        let env = Env {
            disk,
            clock: Arc::clone(&self.server.clock) as _,
            rng: Arc::new(Rng::from_seed(self.seed)),
        };
        match check::run(&env, check::Lock::Take) {
            Ok(report) if report.is_whole() => Ok(()),
            Ok(report) => Err(format!("check finds {:?}", report.findings)),
            Err(error) => Err(format!("check fails: {error}")),
        }
    }

    fn has_failed(&self) -> bool {
        let panicked = PANICS.with_borrow(|panics| !panics.is_empty());
        panicked || !self.world.monitor().violations().is_empty()
    }
}

/// Whether a start was refused because stored bytes are not what was written, rather than by a failure.
fn is_distrust(error: &OpenError) -> bool {
    !matches!(
        error,
        OpenError::Store(StoreError::Io(_) | StoreError::Full | StoreError::Poisoned { .. })
    )
}

/// Lets clients finish what they are at.
async fn end(mut clients: JoinSet<()>, world: &World) {
    let all = async { while clients.join_next().await.is_some() {} };
    if timeout(ENDS_WITHIN, all).await.is_none() {
        let what = format!("{} clients still wait for their answers", clients.len());
        world.monitor().violation(what);
    }
}

/// Everything that anybody was told is there, HEAD says the same as reads, and what was processed stays so.
async fn audit(auditor: &mut Caller) {
    audit_subscriptions(auditor).await;
    for live in auditor.world.board() {
        auditor.verify(&live).await;
        let request = Request::new("HEAD", &live.name, "");
        let (response, _) = auditor.insist(&request).await;
        let Some(whole) = auditor.read_whole(&live).await else {
            continue;
        };
        let head = &response.head;
        if head.next() != Some(whole.tail.as_str()) || head.closed() != whole.closed {
            let what = format!("HEAD, where reads end at {}, of", whole.tail);
            auditor.wrong(&what, &live.name, &response);
        }
    }
}

async fn audit_subscriptions(auditor: &mut Caller) {
    let board = hook::expected(&auditor.world);
    for (id, expected) in [
        (hook::ID, board),
        (BY_PATTERN.id, BY_PATTERN.expected(&auditor.world)),
        (BY_NAME.id, BY_NAME.expected(&auditor.world)),
    ] {
        let left = wake::unprocessed(auditor, id, &expected).await;
        if !left.is_empty() {
            let what = format!("subscription {id} was served to the end, and then {left:?}");
            auditor.world.monitor().violation(what);
        }
    }
}

/// Runs a seed twice. An error shows where the second run's trace differs from the first's.
pub fn same_twice(seed: u64) -> Result<(), String> {
    let (first, second) = (run(seed, None, true), run(seed, None, true));
    if first.trace == second.trace {
        return Ok(());
    }
    let [first, second] = [first, second].map(|outcome| outcome.text.unwrap_or_default());
    let mut before = Vec::new();
    for (one, two) in first.lines().zip(second.lines()) {
        if one != two {
            let before = before[before.len().saturating_sub(10)..].join("\n");
            return Err(format!("{before}\nfirst:  {one}\nsecond: {two}"));
        }
        before.push(one);
    }
    Err("one ends before the other".to_owned())
}
