//! Durable streams over HTTP.
//!
//! [`Server::start`] takes a bound socket, an [`millrace_env::Env`], the engine's options and a
//! [`Config`], and serves until [`Server::stop`].
//!
//! Threads: `millrace-front` accepts, makes TLS handshakes (`tls`) and answers `/health` and `/ready`
//! (`front`);
//! `millrace-0`, `millrace-1`, … each own an event loop, connections and one shard (`core.rs`);
//! recovery has a thread of its own (`server.rs`). A simulation runs the cores without threads
//! (`one_thread.rs`).
//!
//! A request's way: `conn` (a connection, its limits and deadlines) → `router.rs` (one match, and
//! what all answers have in common) → `handlers` (one file a verb: parse, call, answer) →
//! `millrace-engine` → `answer.rs` and `bodies` (what is sent, pages and events piece by piece).
//! `body.rs` reads request bodies. `access.rs` decides who may do what; `refusals.rs` counts who was
//! refused; `metrics` counts what happens, and tells it.
//!
//! Not here: what headers and queries mean and what is answered to what (`millrace-wire`), what is
//! allowed (`millrace-core`), flags and signals (`millrace-cli`).

pub mod access;
mod addresses;
mod answer;
mod app;
mod bodies;
mod body;
pub mod config;
mod conn;
mod core;
mod front;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handlers;
mod held;
mod lane;
mod metrics;
#[doc(hidden)]
pub mod one_thread;
pub mod refusals;
mod router;
mod running;
mod server;
pub mod tls;

pub use access::{Action, Decision, Policy, Principal, Target};
pub use config::{Access, ApiKey, Config, Origins, Times};
pub use refusals::{Refusals, Refused};
pub use running::Stopped;
pub use server::{Server, Setup, listen};
pub use tls::{Tls, TlsFault, TlsFiles};
