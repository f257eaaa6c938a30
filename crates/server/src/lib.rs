//! Durable streams over HTTP.
//!
//! [`Server::start`] takes a bound socket, an [`millrace_env::Env`], the engine's options and a
//! [`Config`], and serves until [`Server::stop`].
//!
//! Threads: `millrace-front` accepts and answers `/health` and `/ready` (`front.rs`);
//! `millrace-0`, `millrace-1`, … each own an event loop, connections and one shard (`core.rs`);
//! recovery has a thread of its own (`server.rs`).
//!
//! A request's way: `conn` (a connection, its limits and deadlines) → `router.rs` (one match, and
//! what all answers have in common) → `handlers` (one file a verb: parse, call, answer) →
//! `millrace-engine` → `answer.rs` and `bodies` (what is sent, pages and events piece by piece).
//! `body.rs` reads request bodies. `metrics` counts what happens, and tells it.
//!
//! Not here: what headers and queries mean and what is answered to what (`millrace-wire`), what is
//! allowed (`millrace-core`), flags and signals (`millrace-cli`).

mod answer;
mod app;
mod bodies;
mod body;
pub mod config;
mod conn;
mod core;
mod front;
mod handlers;
mod held;
mod lane;
mod metrics;
mod router;
mod server;

pub use config::{Access, ApiKey, Config, Origins, Times};
pub use server::{Server, Setup, Stopped, listen};
