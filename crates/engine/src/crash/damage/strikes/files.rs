//! Damages to files and directories as a whole.

use std::collections::BTreeMap;

use millrace_env::Disk as _;

use super::{
    super::{
        places::{self, PAGE},
        specimen::Specimen,
        trial::{Damage, Stroke},
    },
    CUT, EXCHANGED, GONE, GROWN, OLDER, Strikes,
};

/// Files and directories as a whole.
pub(in super::super) const FILES: [&str; 13] = [
    "a sealed log segment",
    "a sealed log segment that was flushed",
    "the last log segment",
    "the last log segment after an orderly end",
    "a spare",
    "a segment",
    "the catalog",
    "the directory of a log",
    "`wal/`",
    "`segments/`",
    "`quarantine/`",
    "`LOCK`",
    "`reserve`",
];

impl Strikes {
    /// Every file and directory cut, grown, gone, exchanged and replaced.
    pub(in super::super) fn of_files(&self, specimen: &Specimen) -> Vec<Damage> {
        let kinds = kinds(specimen);
        let mut damages = Vec::new();
        for (structure, paths) in &kinds {
            for path in self.some(paths.iter().collect()) {
                damages.extend(self.of_file(specimen, structure, path));
            }
            damages.extend(exchanges(specimen, structure, paths));
        }
        damages.extend(of_dirs(specimen));
        for (when, content) in &specimen.older_catalogs {
            damages.push(Damage {
                structure: "the catalog",
                how: OLDER,
                place: (*when).to_owned(),
                strokes: vec![Stroke::Write("catalog.redb".into(), content.clone())],
            });
        }
        damages
    }

    fn of_file(&self, specimen: &Specimen, structure: &'static str, path: &str) -> Vec<Damage> {
        let whole = &specimen.files[path];
        let mut damages = vec![Damage {
            structure,
            how: GONE,
            place: path.to_owned(),
            strokes: vec![Stroke::Lose(path.to_owned())],
        }];
        let mut with_len = |how, len: usize| {
            let mut content = whole.clone();
            content.resize(len, 0);
            damages.push(Damage {
                structure,
                how,
                place: format!("{path} of {len} bytes"),
                strokes: vec![Stroke::Write(path.to_owned(), content)],
            });
        };
        with_len(GROWN, whole.len() + PAGE);
        if whole.is_empty() {
            return damages;
        }
        with_len(CUT, 0);
        with_len(CUT, whole.len() - 1);
        with_len(CUT, whole.len() / PAGE / 2 * PAGE);
        for len in self.positions_in(1, whole.len()) {
            with_len(CUT, len);
        }
        damages
    }
}

/// The files by what they are.
fn kinds(specimen: &Specimen) -> BTreeMap<&'static str, Vec<String>> {
    let mut kinds: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let structures = places::of_logs(specimen).into_iter();
    let structures = structures.chain(places::of_segments(specimen));
    for place in structures {
        // What a header belongs to; of the last log segment after an orderly end, a seal.
        let kind = match place.structure.split_once(": ") {
            Some((kind, "header")) => kind,
            Some((kind, "seal")) if kind.ends_with("an orderly end") => kind,
            None => place.structure,
            _ => continue,
        };
        let paths = kinds.entry(kind).or_default();
        if !paths.contains(&place.file) {
            paths.push(place.file);
        }
    }
    for (kind, path) in [
        ("the catalog", "catalog.redb"),
        ("`LOCK`", "LOCK"),
        ("`reserve`", "reserve"),
    ] {
        if specimen.files.contains_key(path) {
            kinds.insert(kind, vec![path.to_owned()]);
        }
    }
    kinds
}

/// Each file in the place of the next of its kind, and the other way round.
fn exchanges(specimen: &Specimen, structure: &'static str, paths: &[String]) -> Vec<Damage> {
    let pairs = paths
        .windows(2)
        .filter(|pair| specimen.files[&pair[0]] != specimen.files[&pair[1]]);
    let exchange = |pair: &[String]| Damage {
        structure,
        how: EXCHANGED,
        place: format!("{} and {}", pair[0], pair[1]),
        strokes: vec![
            Stroke::Write(pair[0].clone(), specimen.files[&pair[1]].clone()),
            Stroke::Write(pair[1].clone(), specimen.files[&pair[0]].clone()),
        ],
    };
    pairs.map(exchange).collect()
}

fn of_dirs(specimen: &Specimen) -> Vec<Damage> {
    let mut damages = Vec::new();
    let mut gone = |structure, dir: &str| {
        damages.push(Damage {
            structure,
            how: GONE,
            place: dir.to_owned(),
            strokes: vec![Stroke::Lose(dir.to_owned())],
        });
    };
    for (structure, dir) in [
        ("`wal/`", "wal"),
        ("`segments/`", "segments"),
        ("`quarantine/`", "quarantine"),
    ] {
        if specimen.disk.list(dir.as_ref()).is_ok() {
            gone(structure, dir);
        }
    }
    let logs: Vec<String> = specimen
        .logs
        .iter()
        .map(|log| log.display().to_string())
        .collect();
    for log in &logs {
        gone("the directory of a log", log);
    }
    let [a, b] = &logs[..] else {
        return damages;
    };
    let mut strokes = vec![Stroke::Lose(a.clone()), Stroke::Lose(b.clone())];
    for (path, content) in &specimen.files {
        let there = match (path.strip_prefix(a.as_str()), path.strip_prefix(b.as_str())) {
            (Some(rest), _) => format!("{b}{rest}"),
            (_, Some(rest)) => format!("{a}{rest}"),
            _ => continue,
        };
        strokes.push(Stroke::Write(there, content.clone()));
    }
    damages.push(Damage {
        structure: "the directory of a log",
        how: EXCHANGED,
        place: format!("{a} and {b}"),
        strokes,
    });
    damages
}
