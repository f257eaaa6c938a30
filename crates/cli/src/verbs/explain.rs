//! `millrace offset`: what an offset says.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use millrace_wire::OffsetArg;
use serde_json::{Value, json};

use super::{args::OffsetArgs, out};
use crate::fail::Failure;

/// Explains an offset.
pub(crate) fn offset(args: &OffsetArgs) -> Result<ExitCode, Failure> {
    let Some(offset) = OffsetArg::parse(&args.token) else {
        return Err(Failure::usage(format!(
            "`{}` is no offset of this server",
            args.token.escape_debug()
        ))
        .help("an offset is 13 digits, `-`, and 16 digits, as `millrace head STREAM` prints it"));
    };
    let text = if args.talk.json {
        format!("{}\n", document(&args.token, offset))
    } else {
        explained(&args.token, offset)
    };
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    let _ = out::of(written)?;
    Ok(ExitCode::SUCCESS)
}

fn document(token: &str, offset: OffsetArg) -> Value {
    match offset {
        OffsetArg::Start => json!({ "offset": token, "kind": "start" }),
        OffsetArg::Now => json!({ "offset": token, "kind": "tail" }),
        OffsetArg::At(at) => json!({
            "offset": token,
            "kind": "position",
            "generation": at.generation.get(),
            "position": at.position.get(),
        }),
    }
}

fn explained(token: &str, offset: OffsetArg) -> String {
    match offset {
        OffsetArg::Start => format!("{token} is the start of any stream\n"),
        OffsetArg::Now => format!("{token} is the tail of any stream when it is asked\n"),
        OffsetArg::At(at) => format!(
            "offset      {token}\n\
             generation  {}  (tells a stream from an earlier one of the same name)\n\
             position    {}  (bytes of the stream before it; a JSON message counts its bytes and one more)\n",
            at.generation, at.position
        ),
    }
}
