//! What a repair takes away, kept where a person finds it: `quarantine/repair-<n>/`, in the directories
//! it came from, with a text that says so.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use millrace_env::{Env, File, FileExt as _, OpenMode};

use super::plan::Plan;
use crate::{StoreError, check::files, dump::Format, segment::QUARANTINE_DIR};

/// The text.
const TEXT: &str = "README.txt";
/// How much is copied at once.
const COPY_BYTES: usize = 1 << 20;

/// The place of one repair.
#[derive(Debug)]
pub(super) struct Aside {
    env: Env,
    dir: PathBuf,
    /// How many files are in it, the text not counted.
    pub(super) files: u64,
}

impl Aside {
    /// Makes the place, with a text that says what is going to be done.
    pub(super) fn begin(env: &Env, plan: &Plan) -> Result<Self, StoreError> {
        let quarantine = Path::new(QUARANTINE_DIR);
        let taken: BTreeSet<String> = files::list(env, QUARANTINE_DIR)?
            .into_iter()
            .map(|entry| entry.name)
            .collect();
        let name = (1..u64::MAX)
            .map(|number| format!("repair-{number}"))
            .find(|name| !taken.contains(name))
            .expect("a directory holds fewer names than there are numbers");
        let dir = quarantine.join(name);
        let made = env.disk.create_dir(&dir).and_then(|()| {
            let text = env.disk.open(&dir.join(TEXT), OpenMode::CreateNew)?;
            text.write_all_at(&text_of(plan, &dir)?, 0)?;
            text.sync()?;
            env.disk.sync_dir(&dir)?;
            env.disk.sync_dir(quarantine)?;
            env.disk.sync_dir(Path::new(""))
        });
        made.map_err(|error| StoreError::io(format!("make {}", dir.display()), &error))?;
        Ok(Self {
            env: env.clone(),
            dir,
            files: 0,
        })
    }

    /// Its directory, below the data directory.
    pub(super) fn dir(&self) -> String {
        self.dir.display().to_string()
    }

    /// Keeps a copy of a file of the data directory.
    pub(super) fn copy(&mut self, name: &str) -> Result<(), StoreError> {
        let to = self.dir.join(name);
        let copied = self.env.disk.open(Path::new(name), OpenMode::Read);
        let copied = copied.and_then(|from| {
            copy(&*from, &*self.env.disk.open(&to, OpenMode::CreateNew)?)?;
            self.env.disk.sync_dir(&self.dir)
        });
        self.files += 1;
        copied.map_err(|error| StoreError::io(format!("copy {name} to {}", to.display()), &error))
    }

    /// Moves files of one directory here; the directory goes with them where `emptied` says so.
    pub(super) fn take(
        &mut self,
        dir: &Path,
        names: &[String],
        emptied: bool,
    ) -> Result<(), StoreError> {
        let moved = self.try_take(dir, names, emptied);
        moved.map_err(|error| StoreError::io(format!("move {} away", dir.display()), &error))
    }

    fn try_take(&mut self, dir: &Path, names: &[String], emptied: bool) -> io::Result<()> {
        let disk = &self.env.disk;
        let to = self.dir.join(dir);
        disk.create_dir(&to)?;
        for name in names {
            disk.rename(&dir.join(name), &to.join(name))?;
        }
        self.files += names.len() as u64;
        // Where they went, before where they came from: they are never in neither.
        let above = to
            .ancestors()
            .take_while(|above| above.starts_with(&self.dir));
        for above in above {
            disk.sync_dir(above)?;
        }
        disk.sync_dir(dir)?;
        if emptied {
            disk.remove_dir(dir)?;
            disk.sync_dir(dir.parent().unwrap_or(Path::new("")))?;
        }
        Ok(())
    }
}

fn copy(from: &dyn File, to: &dyn File) -> io::Result<()> {
    let mut piece = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let read = from.read_at(&mut piece, at)?;
        if read == 0 {
            return to.sync();
        }
        to.write_all_at(&piece[..read], at)?;
        at += read as u64;
    }
}

fn text_of(plan: &Plan, dir: &Path) -> io::Result<Vec<u8>> {
    let mut text = format!(
        "What `millrace repair` took away, each file in the directory it came from. Nothing reads it.

A repair that was interrupted may have left a part of it where it was, or directly in {QUARANTINE_DIR}/.
To undo the repair, with the server stopped and before it served again: keep a copy of all,
then move everything from {} back, over what is there now.
Once the streams are as they should be, this directory can be deleted.

",
        dir.display()
    )
    .into_bytes();
    plan.write(Format::Human, &mut text)?;
    Ok(text)
}
