//! Work beside the event loop.
#![allow(clippy::disallowed_methods, reason = "this is the door")]

use std::io;

/// Lets another thread run that waits for this core, if there is one.
pub fn let_others_run() {
    std::thread::yield_now();
}

/// Runs blocking work on a helper thread of the runtime and waits for it.
///
/// # Panics
/// When the work panics.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
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

    #[test]
    fn a_thread_carries_its_name() {
        let (tell, told) = std::sync::mpsc::channel();
        let name = || std::thread::current().name().map(str::to_owned);
        let started = thread("worker", move || drop(tell.send(name()))).expect("starts");
        started.join().expect("ends");
        assert_eq!(told.recv().expect("tells"), Some("worker".to_owned()));
    }
}
