//! A stream with a short sliding lifetime: it lives while it is used, ends when it is not, and once
//! it was said to be gone it never comes back (T4, T44, T45).

use std::time::{Duration, Instant};

use crate::{
    http::{Request, Response},
    schedule::Chance,
    world::{Abandoned, Caller, World},
};

const TTL: Duration = Duration::from_secs(2);
/// Every kill prolongs the stream's life; a run with many of them may never see it end.
const WAIT_FOR_END: Duration = Duration::from_secs(20);

/// Works until the run ends.
pub fn work(world: &World, mut chance: Chance) {
    let mut caller = Caller::new(world);
    let mut lives = 0;
    while !world.is_stopping() {
        lives += 1;
        if life(&mut caller, &mut chance, lives).is_err() {
            return;
        }
    }
}

fn life(caller: &mut Caller<'_>, chance: &mut Chance, lives: u32) -> Result<(), Abandoned> {
    let name = "kill/ttl";
    let request = Request::new("PUT", name, "")
        .with("Stream-TTL", TTL.as_secs())
        .carrying("text/plain", format!("life {lives};").into_bytes());
    let mut touched = Instant::now();
    let (response, _) = caller.insist(&request)?;
    if !matches!(response.head.status, 200 | 201) {
        wrong(caller, "PUT", &response);
    }
    for _ in 0..chance.between(2, 12) {
        std::thread::sleep(chance.millis(1, 900));
        let sent = Instant::now();
        let (response, _) = caller.insist(&Request::new("GET", name, ""))?;
        match response.head.status {
            200 if response.body == format!("life {lives};").as_bytes() => touched = sent,
            404 if may_be_gone(caller.world, touched) => return Ok(()),
            _ => wrong(caller, "GET of a stream in use", &response),
        }
    }
    let idle = Instant::now();
    while idle.elapsed() < WAIT_FOR_END && !caller.world.is_stopping() {
        let (response, _) = caller.insist(&Request::new("HEAD", name, ""))?;
        match response.head.status {
            200 => std::thread::sleep(Duration::from_millis(50)),
            404 if may_be_gone(caller.world, touched) => return stays_gone(caller, chance),
            _ => wrong(caller, "HEAD of an idle stream", &response),
        }
    }
    caller.insist(&Request::new("DELETE", name, "")).map(|_| ())
}

fn stays_gone(caller: &mut Caller<'_>, chance: &mut Chance) -> Result<(), Abandoned> {
    for _ in 0..chance.between(1, 40) {
        std::thread::sleep(chance.millis(1, 60));
        let (response, _) = caller.insist(&Request::new("GET", "kill/ttl", ""))?;
        if response.head.status != 404 {
            wrong(caller, "GET of an expired stream", &response);
        }
    }
    Ok(())
}

/// Not within its lifetime since it was last used, or since the server was started.
fn may_be_gone(world: &World, touched: Instant) -> bool {
    let since = world
        .started()
        .map_or(touched, |started| started.max(touched));
    since.elapsed() >= TTL
}

fn wrong(caller: &Caller<'_>, what: &str, response: &Response) {
    let what = format!(
        "{what}, kill/ttl: {} {:?}",
        response.head.status,
        String::from_utf8_lossy(&response.body)
    );
    caller.world.judge().violation(what);
}
