//! A stream with a short sliding lifetime: it lives while it is used, ends when it is not, and once it
//! was said to be gone it never comes back (T4, T44, T45).

use std::time::Duration;

use millrace_env::{Clock as _, sleep};

use super::Caller;
use crate::http::Request;

const NAME: &str = "sim/ttl";
const TTL: Duration = Duration::from_secs(2);
/// A clock that was set back makes it live for as much longer.
const WAIT_FOR_END: Duration = Duration::from_secs(8);

/// Works until the run ends.
pub(crate) async fn work(mut caller: Caller) {
    let mut lives = 0;
    while !caller.world.is_stopping() {
        lives += 1;
        life(&mut caller, lives).await;
    }
}

async fn life(caller: &mut Caller, lives: u32) {
    let content = format!("life {lives};").into_bytes();
    let request = Request::new("PUT", NAME, "")
        .with("Stream-TTL", TTL.as_secs())
        .carrying("text/plain", content.clone());
    let mut touched = caller.world.clock.mono();
    let (response, _) = caller.insist(&request).await;
    if !matches!(response.head.status, 200 | 201) {
        caller.wrong("PUT", NAME, &response);
    }
    for _ in 0..caller.chance.between(2, 8) {
        let pause = caller.chance.millis(1, 900);
        sleep(pause).await;
        let sent = caller.world.clock.mono();
        let (response, _) = caller.insist(&Request::new("GET", NAME, "")).await;
        match response.head.status {
            200 if response.body == content => touched = sent,
            404 if caller.world.may_be_over(touched, TTL) => return,
            _ => {
                let what = format!("GET of a stream in use since {touched:?}, at {sent:?}");
                return caller.wrong(&what, NAME, &response);
            }
        }
    }
    let idle = caller.world.clock.mono();
    while caller.world.clock.mono() < idle + WAIT_FOR_END && !caller.world.is_stopping() {
        let (response, _) = caller.insist(&Request::new("HEAD", NAME, "")).await;
        match response.head.status {
            200 => sleep(Duration::from_millis(80)).await,
            404 if caller.world.may_be_over(touched, TTL) => return stays_gone(caller).await,
            _ => {
                let what = format!("HEAD of a stream idle since {touched:?}");
                return caller.wrong(&what, NAME, &response);
            }
        }
    }
    caller.insist(&Request::new("DELETE", NAME, "")).await;
}

async fn stays_gone(caller: &mut Caller) {
    caller.world.count("streams expired");
    for _ in 0..caller.chance.between(1, 15) {
        let pause = caller.chance.millis(1, 100);
        sleep(pause).await;
        let (response, _) = caller.insist(&Request::new("GET", NAME, "")).await;
        if response.head.status != 404 {
            caller.wrong("GET of an expired stream", NAME, &response);
        }
    }
}
