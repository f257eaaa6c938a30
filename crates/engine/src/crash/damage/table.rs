//! What was made of the damages, as the tables in `docs/reliability.md`.

use std::{collections::BTreeSet, fmt::Write as _, sync::Mutex};

use millrace_store::check::Severity;

use super::trial::{Damage, Start, Verdict};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reliability.md");

/// What was made of each damage to each structure, in the order in which they were tried.
#[derive(Default)]
pub(super) struct Rows {
    rows: Vec<(&'static str, &'static str, BTreeSet<Verdict>)>,
}

impl Rows {
    pub(super) fn add(&mut self, damage: &Damage, verdict: Verdict) {
        let (structure, how) = (damage.structure, damage.how);
        let row = self
            .rows
            .iter_mut()
            .find(|row| (row.0, row.1) == (structure, how));
        match row {
            Some((_, _, verdicts)) => _ = verdicts.insert(verdict),
            None => self.rows.push((structure, how, BTreeSet::from([verdict]))),
        }
    }

    /// A line for each structure and verdict, in this order.
    fn text(&self, structures: &[&str]) -> String {
        let mut text =
            String::from("| what | damage | `check` | scrub | a start |\n|---|---|---|---|---|\n");
        for structure in structures {
            let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
            for (_, how, verdicts) in self.rows.iter().filter(|row| row.0 == *structure) {
                let cells = cells(verdicts);
                match lines.iter_mut().find(|(same, _)| *same == cells) {
                    Some((_, hows)) => hows.push(how),
                    None => lines.push((cells, vec![how])),
                }
            }
            assert!(!lines.is_empty(), "no damage hit {structure}");
            for (cells, hows) in lines {
                let _ = writeln!(text, "| {structure} | {} | {cells} |", hows.join(", "));
            }
        }
        text
    }

    /// All of `structures` were hit, nothing else was, and the docs have this table; or they get it.
    pub(super) fn compare(&self, name: &str, structures: &[&str]) {
        let table = self.text(structures);
        for (structure, ..) in &self.rows {
            assert!(structures.contains(structure), "{structure} is in no list");
        }
        if std::env::var_os("MILLRACE_UPDATE_DOCS").is_some() {
            write(name, &table);
            return;
        }
        if ["MILLRACE_POSITIONS", "MILLRACE_SEED"]
            .iter()
            .any(|name| std::env::var_os(name).is_some())
        {
            return;
        }
        let page = read();
        let (_, found, _) = parts(&page, name);
        assert!(
            found.trim() == table.trim(),
            "docs/reliability.md does not have this table; MILLRACE_UPDATE_DOCS=1 writes it:\n{table}"
        );
    }
}

fn cells(verdicts: &BTreeSet<Verdict>) -> String {
    let each = |word: &dyn Fn(&Verdict) -> &'static str| {
        let mut words: Vec<&str> = Vec::new();
        for verdict in verdicts {
            if !words.contains(&word(verdict)) {
                words.push(word(verdict));
            }
        }
        words.join(", or ")
    };
    let check = each(&|verdict| match verdict.check {
        Some(Severity::Error) => "error",
        Some(Severity::Warning) => "warning",
        Some(Severity::Note) => "note",
        None => "—",
    });
    let scrub = each(&|verdict| if verdict.scrub { "found" } else { "—" });
    let start = each(&|verdict| match verdict.start {
        Start::Refused => "refused",
        Start::SomeReadsFail => "serves; what is damaged cannot be read",
        Start::Repaired => "serves all, repaired",
        Start::Serves => "serves all",
        Start::EndLost => "serves what was before it",
    });
    format!("{check} | {scrub} | {start}")
}

fn parts<'p>(page: &'p str, name: &str) -> (&'p str, &'p str, &'p str) {
    let (begin, end) = (format!("<!-- damage: {name} -->"), "<!-- end -->");
    let from = page.find(&begin).expect("the page has the table") + begin.len();
    let until = from + page[from..].find(end).expect("the table ends");
    (&page[..from], &page[from..until], &page[until..])
}

fn read() -> String {
    std::fs::read_to_string(DOCS).expect("the page is there")
}

#[expect(
    clippy::disallowed_methods,
    reason = "a page of the docs, no data directory"
)]
fn write(name: &str, table: &str) {
    // Tests run side by side.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().expect("no test failed in here");
    let page = read();
    let (before, _, after) = parts(&page, name);
    std::fs::write(DOCS, format!("{before}\n{table}{after}")).expect("it can be written");
}
