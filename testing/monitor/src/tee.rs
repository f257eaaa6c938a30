//! The tee: it stands between clients and a server, and reads what passes.
//!
//! Bytes go through as they come, in both directions, with half-closed connections and resets; only a
//! copy of them is read. So a test that counts bytes or breaks rules meets the server itself. A copy that
//! cannot be read (TLS, HTTP/2, what is no HTTP) is given up, and counted; the bytes go on.
//!
//! INVARIANT: the watcher is told of a request before the server has it, and of an answer before the
//! client has it. Its two moments of an exchange rest on that.

mod http;
mod overheard;
mod passing;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use crate::watch::Watcher;
pub use overheard::Overheard;
pub use passing::Passing;

const BUFFER_BYTES: usize = 64 << 10;

/// A watcher that several connections tell of what passes.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<Watcher>>);

impl Shared {
    /// The watcher; not to be held across a wait.
    pub fn lock(&self) -> MutexGuard<'_, Watcher> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A port that leads to a server, with a thread of its own.
#[derive(Debug)]
pub struct Tee {
    address: SocketAddr,
    watcher: Shared,
    to: watch::Sender<SocketAddr>,
}

impl Tee {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// When there is no port.
    pub fn begin(to: SocketAddr) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        let watcher = Shared::default();
        let (sender, receiver) = watch::channel(to);
        let shared = watcher.clone();
        std::thread::spawn(move || runtime.block_on(serve(listener, receiver, shared)));
        Ok(Self {
            address,
            watcher,
            to: sender,
        })
    }

    /// Where clients find it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server was started again, at another address.
    pub fn leads_to(&self, to: SocketAddr) {
        self.to.send_replace(to);
    }

    /// What it saw.
    pub fn watcher(&self) -> &Shared {
        &self.watcher
    }
}

/// Takes connections until the other end of `to` is gone, and leads each to the address of now.
pub async fn serve(listener: TcpListener, mut to: watch::Receiver<SocketAddr>, watcher: Shared) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // It ends when nobody can change the address any more.
            changed = to.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        if let Ok((client, _)) = accepted {
            let to = *to.borrow();
            tokio::spawn(pass(client, to, watcher.clone()));
        }
    }
}

/// One connection, to its end.
async fn pass(client: TcpStream, to: SocketAddr, watcher: Shared) {
    let Ok(server) = TcpStream::connect(to).await else {
        // As if nobody listened.
        return reset(&client);
    };
    // A failure would only delay what passes.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let passing = Arc::new(Mutex::new(Passing::new(watcher)));
    let lock = || passing.lock().unwrap_or_else(PoisonError::into_inner);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut up = Way {
        from: from_client,
        to: to_server,
    };
    let mut down = Way {
        from: from_server,
        to: to_client,
    };
    let asks = up.lead(|bytes| lock().request(bytes), || ());
    let answers = down.lead(|bytes| lock().answer(bytes), || lock().server_ended());
    let asks = async {
        match asks.await {
            // A server that takes no more may still be answering.
            Err(Broken::To) => Ok(()),
            other => other,
        }
    };
    if tokio::try_join!(asks, answers).is_err() {
        // What one side did to its connection is done to the other's.
        reset(up.from.as_ref());
        reset(down.from.as_ref());
    }
}

/// Which end of a direction broke.
enum Broken {
    From,
    To,
}

/// One direction of a connection.
struct Way {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
}

impl Way {
    /// Passes bytes on until there are no more.
    async fn lead(
        &mut self,
        mut see: impl FnMut(&[u8]),
        mut end: impl FnMut(),
    ) -> Result<(), Broken> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = self.from.read(&mut buffer).await;
            let len = read.map_err(|_| Broken::From)?;
            let passed = if len == 0 {
                end();
                self.to.shutdown().await
            } else {
                see(&buffer[..len]);
                self.to.write_all(&buffer[..len]).await
            };
            passed.map_err(|_| Broken::To)?;
            if len == 0 {
                return Ok(());
            }
        }
    }
}

/// Ends a connection at once, whatever is still to be sent on it.
fn reset(connection: &TcpStream) {
    // One that has ended cannot be reset, and need not be.
    let _ = connection.set_zero_linger();
}
