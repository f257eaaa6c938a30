//! The examples are run, so that they stay true.

#[allow(dead_code, unreachable_pub, reason = "it is a program of its own")]
#[path = "../examples/embed.rs"]
mod embed;

#[test]
fn the_watcher_sees_every_step_once() {
    let dir = std::env::temp_dir().join(format!("millrace-facade-{}", std::process::id()));
    let seen = embed::run(&dir).expect("runs");
    let want = (0..5).fold(String::new(), |all, step| {
        all + &format!("{{\"step\":{step}}},")
    });
    assert_eq!(String::from_utf8(seen).expect("is text"), want);
    std::fs::remove_dir_all(&dir).expect("is there");
}
