//! Work beside the event loop.
//!
//! A simulation has one thread, so that a seed decides what comes before what: [`simulate`] makes
//! [`blocking`] carry its work out on the event loop, at a moment that the simulation draws.
#![allow(clippy::disallowed_methods, reason = "this is the door")]

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    time::Duration,
};

use crate::sleep;

/// When simulated work is carried out, counted from when it was asked for, and when its caller
/// hears of it, counted from then.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Until it is carried out, all in one moment.
    pub before: Duration,
    /// From then until the caller hears of it.
    pub after: Duration,
}

type Draw = Rc<dyn Fn() -> Took>;

thread_local! {
    /// Set while this thread is a simulation.
    static SIMULATED: RefCell<Option<Draw>> = const { RefCell::new(None) };
    /// Set while a simulation carries out blocking work.
    static BESIDE: Cell<bool> = const { Cell::new(false) };
}

/// This thread is a simulation until this is dropped.
#[derive(Debug)]
pub struct Simulated(());

impl Drop for Simulated {
    fn drop(&mut self) {
        SIMULATED.set(None);
    }
}

/// From here on blocking work that is begun on this thread stays on its event loop, inside a
/// `LocalSet`, and takes as long as `draw` says.
#[must_use = "the simulation ends when this is dropped"]
pub fn simulate(draw: impl Fn() -> Took + 'static) -> Simulated {
    SIMULATED.set(Some(Rc::new(draw)));
    Simulated(())
}

/// Whether a simulation is carrying out blocking work: what is called now would run beside the event
/// loop, and not hold it up.
pub fn is_beside() -> bool {
    BESIDE.get()
}

/// Carries out blocking work of a simulation.
fn beside<T>(work: impl FnOnce() -> T) -> T {
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            BESIDE.set(false);
        }
    }
    BESIDE.set(true);
    let _back = Back;
    work()
}

/// Lets another thread run that waits for this core, if there is one.
pub fn let_others_run() {
    std::thread::yield_now();
}

/// Runs blocking work on a helper thread of the runtime and waits for it. The work goes on when who
/// waits does not.
///
/// # Panics
/// When the work panics.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let simulated = SIMULATED.with_borrow(|draw| draw.as_ref().map(|draw| draw()));
    let done = match simulated {
        None => tokio::task::spawn_blocking(work),
        Some(Took { before, after }) => tokio::task::spawn_local(async move {
            sleep(before).await;
            let done = beside(work);
            sleep(after).await;
            done
        }),
    };
    match done.await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// Starts a named thread.
pub fn thread(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn blocking_work_gives_its_result() {
        assert_eq!(blocking(|| 1 + 1).await, 2);
    }

    #[tokio::test]
    #[should_panic(expected = "work failed")]
    async fn a_panic_of_blocking_work_reaches_who_waits_for_it() {
        blocking(|| panic!("work failed")).await;
    }

    #[tokio::test(start_paused = true)]
    async fn simulated_work_is_done_on_this_thread_when_the_simulation_says() {
        let (before, after) = (Duration::from_millis(30), Duration::from_millis(5));
        let simulated = simulate(move || Took { before, after });
        let start = tokio::time::Instant::now();
        let work = move || (std::thread::current().id(), start.elapsed());
        let local = tokio::task::LocalSet::new();
        let (thread, carried_out) = local.run_until(blocking(work)).await;
        assert_eq!(thread, std::thread::current().id());
        assert_eq!((carried_out, start.elapsed()), (before, before + after));
        drop(simulated);
        let other = blocking(|| std::thread::current().id()).await;
        assert_ne!(other, std::thread::current().id());
    }

    #[tokio::test(start_paused = true)]
    async fn simulated_work_goes_on_when_nobody_waits_for_it() {
        let took = Duration::from_millis(10);
        let _simulated = simulate(move || Took {
            before: took,
            after: took,
        });
        let (tell, told) = std::sync::mpsc::channel();
        let run = async {
            let waits = blocking(move || tell.send(()).expect("somebody hears"));
            assert!(crate::timeout(took / 2, waits).await.is_none());
            sleep(took).await;
        };
        tokio::task::LocalSet::new().run_until(run).await;
        assert_eq!(told.try_recv(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn simulated_work_knows_that_it_is_beside_the_loop_even_after_a_panic() {
        let _simulated = simulate(|| Took {
            before: Duration::ZERO,
            after: Duration::ZERO,
        });
        let local = tokio::task::LocalSet::new();
        assert!(local.run_until(blocking(is_beside)).await);
        let panicking = local.spawn_local(blocking(|| panic!("work failed")));
        let failed = local.run_until(panicking).await;
        assert!(failed.expect_err("it panics").is_panic());
        assert!(!is_beside());
    }

    #[test]
    fn a_thread_carries_its_name() {
        let (tell, told) = std::sync::mpsc::channel();
        let name = || std::thread::current().name().map(str::to_owned);
        let started = thread("worker", move || drop(tell.send(name()))).expect("starts");
        started.join().expect("ends");
        assert_eq!(told.recv().expect("tells"), Some("worker".to_owned()));
    }
}
