//! Certificates that are replaced while the server runs.
//!
//! The files are read every few seconds and compared byte by byte: they are a few kilobytes, and
//! no time stamp, inode or notification tells as surely that something changed, least of all through
//! the symbolic links that orchestrators swap. What is new is taken up when two looks in a row see
//! the same, because certificate and key are seldom replaced in one step.
//!
//! INVARIANT: what cannot be used replaces nothing, and is told once.

use std::{sync::Arc, time::Duration};

use millrace_env::{sleep, tasks};

use super::{Contents, Made, Tls, TlsFault};

/// What one look saw.
type Seen = Result<Contents, TlsFault>;

/// What was seen so far and is not in use.
#[derive(Default)]
struct Watch {
    /// By the last look.
    last: Option<Seen>,
    /// And refused.
    refused: Option<Seen>,
}

impl Tls {
    /// Looks at the files for as long as it is polled. Reads them beside the event loop.
    pub(crate) async fn renew(&self, every: Duration) {
        let mut watch = Watch::default();
        loop {
            sleep(every).await;
            let tls = self.clone();
            watch = tasks::blocking(move || {
                watch.look(&tls);
                watch
            })
            .await;
        }
    }
}

impl Watch {
    fn look(&mut self, tls: &Tls) {
        let shared = &tls.0;
        let seen = Contents::read(&*shared.disk, &shared.files);
        if seen.as_ref() == Ok(&shared.current.load().contents) {
            *self = Self::default();
            return;
        }
        let last = self.last.replace(seen.clone());
        if last.as_ref() != Some(&seen) || self.refused.as_ref() == Some(&seen) {
            return;
        }
        let cert = shared.files.cert.display();
        match seen.clone().and_then(|new| Made::new(new, &shared.files)) {
            Ok(made) => {
                shared.current.store(Arc::new(made));
                *self = Self::default();
                tracing::info!(%cert, "the certificate was replaced");
            }
            Err(fault) => {
                self.refused = Some(seen);
                tracing::warn!(%fault, "the new certificate cannot be used; the old one stays");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{Pair, disk_with, files},
        *,
    };

    fn is_in_use(tls: &Tls, pair: &Pair) -> bool {
        tls.0.current.load().contents.cert == pair.cert
    }

    #[test]
    fn a_new_pair_is_taken_up_when_it_has_settled() {
        let (old, new) = (Pair::new(), Pair::new());
        let disk = disk_with(&old);
        let tls = Tls::load(Arc::clone(&disk), files()).unwrap();
        let mut watch = Watch::default();
        watch.look(&tls);
        assert!(is_in_use(&tls, &old));
        let before = tls.config();
        new.write_cert(&*disk);
        watch.look(&tls);
        new.write_key(&*disk);
        watch.look(&tls);
        assert!(is_in_use(&tls, &old), "half of it was seen in between");
        watch.look(&tls);
        assert!(is_in_use(&tls, &new));
        assert!(!Arc::ptr_eq(&before, &tls.config()));
    }

    #[test]
    fn what_cannot_be_used_replaces_nothing_until_it_is_mended() {
        let (old, new) = (Pair::new(), Pair::new());
        let disk = disk_with(&old);
        let tls = Tls::load(Arc::clone(&disk), files()).unwrap();
        let mut watch = Watch::default();
        new.write_cert(&*disk);
        for _ in 0..3 {
            watch.look(&tls);
            assert!(is_in_use(&tls, &old));
        }
        assert!(watch.refused.is_some());
        disk.remove(&files().key).unwrap();
        for _ in 0..3 {
            watch.look(&tls);
            assert!(is_in_use(&tls, &old));
        }
        new.write_key(&*disk);
        watch.look(&tls);
        watch.look(&tls);
        assert!(is_in_use(&tls, &new));
        assert!(watch.refused.is_none());
    }
}
