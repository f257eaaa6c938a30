//! What is compared is built here, or installed from its registry.

use std::{path::PathBuf, process::Command};

use crate::{
    servers::Who,
    settings::{self, Settings},
};

/// The peer, its version, and what its binary is called.
pub(crate) const PEER: (&str, &str, &str) = ("durable-streams", "0.1.5", "durable-streams-server");

/// Where the binaries are.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) ours: PathBuf,
    pub(crate) peer: PathBuf,
    pub(crate) limit: PathBuf,
    pub(crate) scale: PathBuf,
}

/// Builds and installs what is missing.
pub(crate) fn ready(settings: &Settings) -> Result<Tools, String> {
    let target = settings::target();
    let installed = target.join("tools");
    let tools = Tools {
        ours: settings.binary.clone(),
        peer: installed.join("bin").join(PEER.2),
        limit: target.join("release/millrace-limit"),
        scale: target.join("release/millrace-scale"),
    };
    if settings.builds {
        let packages = [
            "-p",
            "millrace-cli",
            "-p",
            "millrace-limit",
            "-p",
            "millrace-scale",
        ];
        cargo(
            Command::new("cargo")
                .args(["build", "--release", "--locked"])
                .args(packages),
        )?;
    } else if !tools.limit.exists() || !tools.scale.exists() {
        let packages = ["-p", "millrace-limit", "-p", "millrace-scale"];
        cargo(
            Command::new("cargo")
                .args(["build", "--release", "--locked"])
                .args(packages),
        )?;
    }
    if settings.who.contains(&Who::Peer) && !tools.peer.exists() {
        let (name, version, _) = PEER;
        cargo(
            Command::new("cargo")
                .args(["install", name, "--version", version, "--locked", "--root"])
                .arg(&installed),
        )?;
    }
    Ok(tools)
}

fn cargo(command: &mut Command) -> Result<(), String> {
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../../..");
    let done = command.current_dir(workspace).status();
    match done {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?} ended with {status}")),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
