//! A client's own connection, told to a watcher without a tee in between.

use std::io::{self, Read, Write};

use super::{Passing, Shared};

/// A connection of a client that waits for what it reads.
pub struct Overheard<S> {
    connection: S,
    passing: Option<Passing>,
}

impl<S> Overheard<S> {
    /// One that nobody watches.
    pub fn alone(connection: S) -> Self {
        Self {
            connection,
            passing: None,
        }
    }

    /// One that a watcher is told of.
    pub fn by(watcher: &Shared, connection: S) -> Self {
        Self {
            connection,
            passing: Some(Passing::new(watcher.clone())),
        }
    }

    /// The connection itself.
    pub fn get_ref(&self) -> &S {
        &self.connection
    }
}

impl<S: Read> Read for Overheard<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.connection.read(buffer)?;
        if let Some(passing) = &mut self.passing {
            match len {
                0 => passing.server_ended(),
                len => passing.answer(&buffer[..len]),
            }
        }
        Ok(len)
    }
}

impl<S: Write> Write for Overheard<S> {
    /// Writes all of it: the watcher has to know before how much the server will get.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(passing) = &mut self.passing {
            passing.request(bytes);
        }
        self.connection.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.connection.flush()
    }
}

impl<S: std::fmt::Debug> std::fmt::Debug for Overheard<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.connection.fmt(f)
    }
}
