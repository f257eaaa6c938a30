//! Wakes the event loop when the next request is due: `epoll` alone counts in milliseconds, which is
//! as long as what is measured.

#[cfg(target_os = "linux")]
pub(crate) use linux::Pacer;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::Pacer;

#[cfg(target_os = "linux")]
mod linux {
    use std::{io, os::fd::AsRawFd as _, os::fd::OwnedFd, time::Duration};

    use mio::{Interest, Registry, Token, unix::SourceFd};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    /// A timer that the event loop listens to.
    #[derive(Debug)]
    pub(crate) struct Pacer(OwnedFd);

    impl Pacer {
        pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            let raw = timer.as_raw_fd();
            registry.register(&mut SourceFd(&raw), token, Interest::READABLE)?;
            Ok(Self(timer))
        }

        /// Wakes the loop after `wait`; each call replaces the one before.
        pub(crate) fn wake_after(&self, wait: Duration) -> io::Result<()> {
            // No time at all would stop the timer.
            let wait = wait.max(Duration::from_nanos(1));
            let once = Itimerspec {
                it_interval: Timespec::default(),
                it_value: Timespec::try_from(wait).map_err(io::Error::other)?,
            };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
            Ok(())
        }

        /// How long the loop may sleep by itself.
        #[expect(clippy::unused_self, reason = "the other one needs it")]
        pub(crate) fn sleep_at_most(&self) -> Option<Duration> {
            None
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::{cell::Cell, io, time::Duration};

    use mio::{Registry, Token};

    /// Without timers in the loop, it wakes to the millisecond.
    #[derive(Debug)]
    pub(crate) struct Pacer(Cell<Option<Duration>>);

    impl Pacer {
        #[expect(clippy::unnecessary_wraps, reason = "the other one can fail")]
        pub(crate) fn new(_registry: &Registry, _token: Token) -> io::Result<Self> {
            Ok(Self(Cell::new(None)))
        }

        #[expect(clippy::unnecessary_wraps, reason = "the other one can fail")]
        pub(crate) fn wake_after(&self, wait: Duration) -> io::Result<()> {
            self.0.set(Some(wait));
            Ok(())
        }

        /// How long the loop may sleep by itself.
        pub(crate) fn sleep_at_most(&self) -> Option<Duration> {
            self.0.take()
        }
    }
}
