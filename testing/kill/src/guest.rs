//! Writers to streams that are not theirs, so that several producers meet in one stream, and a close
//! meets appends in flight.

use std::collections::HashMap;

use millrace_monitor::judge::{Closing, Deleting, Id};

use crate::{
    schedule::Chance,
    world::{Abandoned, Caller, Live, World},
    writer::{Pen, Sent},
};

/// Works until the run ends.
pub fn work(world: &World, number: u32, mut chance: Chance) {
    let mut caller = Caller::new(world);
    let mut pens: HashMap<Id, Pen> = HashMap::new();
    while !world.is_stopping() {
        let board = world.board();
        pens.retain(|id, _| board.iter().any(|live| live.id == *id));
        if board.is_empty() {
            std::thread::sleep(chance.millis(1, 10));
            continue;
        }
        let live = &board[chance.index(board.len())];
        let pen = pens.entry(live.id).or_insert_with(|| Pen::new(number));
        if visit(&mut caller, live, pen, &mut chance).is_err() {
            return;
        }
        std::thread::sleep(chance.millis(0, 8));
    }
}

fn visit(
    caller: &mut Caller<'_>,
    live: &Live,
    pen: &mut Pen,
    chance: &mut Chance,
) -> Result<(), Abandoned> {
    let _inside = live.gate.read();
    for _ in 0..chance.between(1, 6) {
        let open = caller.world.judge().get(live.id).is_some_and(|found| {
            found.deleting == Deleting::No && !matches!(found.closing, Closing::Closed(_))
        });
        if !open {
            return Ok(());
        }
        let sent = Sent {
            close: false,
            plain: chance.percent(20),
            messages: vec![chance.index(200)],
        };
        pen.append(caller, live, &sent)?;
    }
    Ok(())
}
