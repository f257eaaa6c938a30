//! Writers to streams that are not theirs, so that several producers meet in one stream, and a close
//! meets appends under way.

use std::collections::BTreeMap;

use millrace_env::sleep;

use super::{
    Caller,
    pen::{How, Pen, Sent},
};
use crate::{
    witness::{Closing, Deleting, Id},
    world::Live,
};

/// Works until the run ends.
pub(crate) async fn work(mut caller: Caller) {
    let mut pens: BTreeMap<Id, Pen> = BTreeMap::new();
    while !caller.world.is_stopping() {
        let board = caller.world.board();
        pens.retain(|id, _| board.iter().any(|live| live.id == *id));
        if !board.is_empty() {
            let live = &board[caller.chance.index(board.len())];
            let pen = pens.entry(live.id).or_insert_with(|| Pen::new(caller.who));
            visit(&mut caller, live, pen).await;
        }
        let pause = caller.chance.millis(1, 40);
        sleep(pause).await;
    }
}

async fn visit(caller: &mut Caller, live: &Live, pen: &mut Pen) {
    let _inside = live.gate.read().await;
    for _ in 0..caller.chance.between(1, 6) {
        let is_open = caller.world.monitor().get(live.id).is_some_and(|found| {
            found.deleting == Deleting::No && !matches!(found.closing, Closing::Closed(_))
        });
        if !is_open {
            break;
        }
        let how = if caller.chance.percent(20) {
            How::Plain
        } else {
            How::Producer
        };
        let sent = Sent {
            close: false,
            how,
            messages: vec![caller.chance.index(200)],
        };
        pen.append(caller, live, &sent).await;
    }
    // What is still under way arrives while the stream cannot be deleted.
    caller.quiet().await;
}
