use std::sync::Arc;

use millrace_env::{SimDisk, timeout};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::{clock::LoopClock, mishap::Mishap, power::Death};

/// A network, a server's end of it, and the server's life.
fn network(seed: u64, death: Death) -> (Net, SimListener, Power) {
    let trace = Trace::new(Arc::new(LoopClock::start()), false);
    let net = Net::new(trace.clone(), Chance::new(seed, 0));
    let power = Power::on(SimDisk::new(seed), trace, death);
    let listener = net.listen(1, &power).remove(0);
    (net, listener, power)
}

async fn connected(net: &Net, listener: &SimListener) -> (Conn, Conn) {
    let client = net.connect(7).await.expect("a server listens");
    let (server, _) = listener.accept().await.expect("it accepts");
    (client, server)
}

#[tokio::test(start_paused = true)]
async fn bytes_arrive_once_and_in_order_whatever_the_connection_is_like() {
    let sent: Vec<u8> = (0..40_000_u32).flat_map(u32::to_le_bytes).collect();
    let (mut whole, mut broken) = (0, 0);
    for seed in 0..40 {
        let (net, listener, _power) = network(seed, Death::Never);
        net.set_rough(100);
        let (mut client, mut server) = connected(&net, &listener).await;
        let send = async {
            let sent = client.write_all(&sent).await;
            drop(client);
            sent
        };
        let mut came = Vec::new();
        let (sending, receiving) = tokio::join!(send, server.read_to_end(&mut came));
        assert_eq!(came, sent[..came.len()], "seed {seed}");
        match (sending, receiving) {
            (Ok(()), Ok(_)) => {
                assert_eq!(came.len(), sent.len(), "seed {seed}");
                whole += 1;
            }
            _ => broken += 1,
        }
    }
    assert!(whole > 5 && broken > 5, "{whole} whole, {broken} broken");
}

#[tokio::test(start_paused = true)]
async fn nothing_arrives_while_a_client_is_parted_and_all_of_it_after() {
    let (net, listener, _power) = network(1, Death::Never);
    let (mut client, mut server) = connected(&net, &listener).await;
    let long = Duration::from_secs(1);
    net.part(7, long);
    client.write_all(b"late").await.expect("it is sent");
    let mut came = [0; 4];
    let early = timeout(long / 2, server.read_exact(&mut came)).await;
    assert!(early.is_none(), "something came");
    server.read_exact(&mut came).await.expect("it comes");
    assert_eq!(&came, b"late");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_dies_before_it_sends_has_not_sent() {
    let (net, listener, power) = network(1, Death::AtSend(2));
    let (mut client, mut server) = connected(&net, &listener).await;
    server.write_all(b"one").await.expect("it is alive");
    let wait = Duration::from_mins(1);
    assert!(timeout(wait, server.write_all(b"two")).await.is_none());
    assert!(power.is_off());
    drop(server);
    let mut came = [0; 6];
    assert_eq!(client.read(&mut came).await.expect("one came"), 3);
    let more = timeout(wait, client.read(&mut came)).await;
    assert!(more.is_none(), "a dead server did something");
}

#[tokio::test(start_paused = true)]
async fn without_a_server_nobody_connects_and_its_connections_end_or_are_silent() {
    let (mut ended, mut silent) = (0, 0);
    for seed in 0..20 {
        let (net, listener, power) = network(seed, Death::Never);
        let (mut client, server) = connected(&net, &listener).await;
        power.cut(Mishap::KilledAtTime);
        drop(server);
        net.unplug();
        match timeout(Duration::from_mins(1), client.read_u8()).await {
            Some(_) => ended += 1,
            None => silent += 1,
        }
        let refused = net.connect(7).await.expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
    assert!(ended > 2 && silent > 2, "{ended} ended, {silent} silent");
}
