//! Damages: flipped bits, zeros, other content; files that are cut, grown, gone or in another's place.

mod files;

use std::collections::BTreeMap;

use millrace_env::Rng;
use millrace_store::{
    StoreError,
    check::{self, Lock},
};

pub(super) use files::FILES;

use super::{
    places::{PAGE, Place, page_count, page_place},
    serve,
    specimen::Specimen,
    trial::{Damage, Stroke, strike},
};

/// What a medium loses at once.
const SECTOR: usize = 512;
const FLIP: &str = "a flipped bit";
const ZEROS: &str = "zeros";
const CUT: &str = "cut off";
const GROWN: &str = "grown";
const GONE: &str = "gone";
const EXCHANGED: &str = "exchanged with another";
pub(super) const OLDER: &str = "an older one";

/// Makes damages.
pub(super) struct Strikes {
    rng: Rng,
    /// How many positions of a structure are hit; `None`: all.
    positions: Option<usize>,
}

impl Strikes {
    pub(super) fn new() -> Self {
        let seed = std::env::var("MILLRACE_SEED").map_or(1, |text| text.parse().expect("a number"));
        let positions = std::env::var("MILLRACE_POSITIONS");
        Self {
            rng: Rng::from_seed(seed),
            positions: match positions.as_deref() {
                Ok("all") => None,
                Ok(text) => Some(text.parse().expect("a number, or all")),
                Err(_) => Some(1),
            },
        }
    }

    /// Flipped bits in each structure, zeros over it and over a sector of it; of many alike, some.
    pub(super) fn of_places(&self, specimen: &Specimen, places: &[Place]) -> Vec<Damage> {
        let mut alike: BTreeMap<&'static str, Vec<&Place>> = BTreeMap::new();
        for place in places {
            alike.entry(place.structure).or_default().push(place);
        }
        let chosen = alike
            .into_iter()
            .flat_map(|(structure, alike)| match structure {
                "the catalog: a page in use" => alike,
                _ => self.some(alike),
            });
        chosen
            .flat_map(|place| self.of_place(specimen, place))
            .collect()
    }

    /// The first, the last, and some in between. All pages of the catalog: each is something else.
    fn some<T>(&self, mut alike: Vec<T>) -> Vec<T> {
        let Some(positions) = self.positions else {
            return alike;
        };
        let most = 3 * positions;
        while alike.len() > most {
            let between = 1 + self.below(alike.len() - 2);
            alike.swap_remove(between);
        }
        alike
    }

    fn of_place(&self, specimen: &Specimen, place: &Place) -> Vec<Damage> {
        let whole = &specimen.files[&place.file];
        let bytes = place.bytes.clone();
        let mut damages = Vec::new();
        let mut add = |how, from: usize, change: &dyn Fn(&mut Vec<u8>)| {
            let mut content = whole.clone();
            change(&mut content);
            if content != *whole {
                damages.push(Damage {
                    structure: place.structure,
                    how,
                    place: format!("{} at {from}", place.file),
                    strokes: vec![Stroke::Write(place.file.clone(), content)],
                });
            }
        };
        if bytes.is_empty() {
            return damages;
        }
        for at in self.positions_in(bytes.start, bytes.end) {
            let bit = self.below(8);
            add(FLIP, at, &|content| content[at] ^= 1 << bit);
        }
        let sector = (bytes.start + self.below(bytes.len())) / SECTOR * SECTOR;
        let of_sector = sector.max(bytes.start)..(sector + SECTOR).min(bytes.end);
        add(ZEROS, bytes.start, &|content| {
            content[bytes.clone()].fill(0);
        });
        if of_sector.len() < bytes.len() {
            add(ZEROS, of_sector.start, &|content| {
                content[of_sector.clone()].fill(0);
            });
        }
        damages
    }

    /// The positions from `from` up to `until` that are hit.
    fn positions_in(&self, from: usize, until: usize) -> Vec<usize> {
        match self.positions {
            None => (from..until).collect(),
            Some(positions) => {
                let any = (0..positions).map(|_| from + self.below(until - from));
                any.collect()
            }
        }
    }

    fn below(&self, end: usize) -> usize {
        usize::try_from(self.rng.below(end as u64)).expect("less than a length")
    }
}

/// Which pages of the catalog a commit refers to: those that `check` misses. That it misses all of them
/// is what the trials of the others show.
pub(super) fn pages_in_use(specimen: &Specimen) -> Vec<bool> {
    let whole = &specimen.files["catalog.redb"];
    let is_missed = |page: usize| {
        let disk = specimen.disk.copy(1);
        let mut content = whole.clone();
        content[page_place(page) + 1] ^= 1;
        strike(&disk, &[Stroke::Write("catalog.redb".into(), content)]);
        let report = check::run(&serve::env(&disk), Lock::Take);
        let report = report.map_err(|error: StoreError| error.to_string());
        !report.expect("it can be looked at").is_whole()
    };
    let pages = page_count(whole);
    let mut in_use: Vec<bool> = (1..pages).map(is_missed).collect();
    in_use.insert(0, true);
    let count = in_use.iter().filter(|in_use| **in_use).count();
    assert!(
        count > 20 && count < pages - 20,
        "{count} of {pages} pages are in use"
    );
    in_use
}

/// Zeros over both copies of the catalog's header, and other bytes in both.
pub(super) fn both_header_copies(specimen: &Specimen) -> Vec<Damage> {
    let strike = |how, change: &dyn Fn(&mut [u8])| {
        let mut content = specimen.files["catalog.redb"].clone();
        let header = page_place(0);
        for copy in content[header..header + 2 * SECTOR].chunks_mut(SECTOR) {
            change(copy);
        }
        Damage {
            structure: "the catalog: both copies of the header",
            how,
            place: "all of them".into(),
            strokes: vec![Stroke::Write("catalog.redb".into(), content)],
        }
    };
    vec![
        strike(FLIP, &|copy| copy[200] ^= 1),
        strike(ZEROS, &|copy| copy.fill(0)),
    ]
}

/// Zeros from a frame of the last log segment to its end: a medium that lost the last writes.
pub(super) fn ends_of_logs(specimen: &Specimen) -> Vec<Damage> {
    let mut damages = Vec::new();
    for log in super::places::last_log_segments(specimen) {
        for at in log.frames {
            let mut content = specimen.files[&log.file].clone();
            content[at..].fill(0);
            damages.push(Damage {
                structure: log.structure,
                how: "zeros from one on",
                place: format!("{} from {at}", log.file),
                strokes: vec![Stroke::Write(log.file.clone(), content)],
            });
        }
    }
    damages
}

/// Other bytes in all of them at once.
pub(super) fn all_pages_not_in_use(specimen: &Specimen, in_use: &[bool]) -> Damage {
    let mut content = specimen.files["catalog.redb"].clone();
    for (page, _) in in_use.iter().enumerate().filter(|(_, in_use)| !**in_use) {
        content[page_place(page)..][..PAGE].fill(0x5A);
    }
    Damage {
        structure: "the catalog: a page not in use",
        how: "other bytes",
        place: "all of them".into(),
        strokes: vec![Stroke::Write("catalog.redb".into(), content)],
    }
}
