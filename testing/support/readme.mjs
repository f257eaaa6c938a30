// The shell blocks of a Markdown file, run as a reader would: in order, in one shell, in a directory
// that was empty before.
//
// The convention: every block fenced as ```sh is run; a block that is not meant to be run is fenced
// otherwise (```console, ```text). `cargo run --release -- …` is the binary under test: `serve` goes
// on beside what follows and is waited for, every other verb needs the server stopped and stops it.
// The port 4437 is replaced by a free one, so that a server of the reader's own is left alone.

import { spawn } from "node:child_process"
import { createServer } from "node:net"
import { readFileSync } from "node:fs"

import { binary, cleanEnvironment } from "./server.mjs"

const DEFAULT_PORT = 4437
const WITHIN_MS = 45_000
const MARK = "===== block"

/** The ```sh blocks of a Markdown file. */
export function shellBlocks(path) {
  const text = readFileSync(path, "utf8")
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block]) => block)
}

/** Runs blocks in one shell; gives what each wrote, and the shell's exit code. */
export async function runBlocks(blocks, directory) {
  const port = await freePort()
  const script = [PRELUDE, ...blocks.flatMap((block, i) => [`printf '\\n%s\\n' '${MARK} ${i}'`, block]), "stop_server"].join("\n")
  const shell = spawn("bash", ["-c", script.replaceAll(String(DEFAULT_PORT), String(port))], {
    cwd: directory,
    env: { ...cleanEnvironment(), MILLRACE_BIN: binary(), PORT: String(port) },
    stdio: ["ignore", "pipe", "pipe"],
  })
  const written = { out: "", err: "" }
  shell.stdout.setEncoding("utf8").on("data", (text) => (written.out += text))
  shell.stderr.setEncoding("utf8").on("data", (text) => (written.err += text))
  const late = setTimeout(() => shell.kill("SIGTERM"), WITHIN_MS)
  const code = await new Promise((done) => shell.once("close", done))
  clearTimeout(late)
  const outputs = written.out.split(new RegExp(`\n${MARK} \\d+\n`)).slice(1)
  return { code, outputs, err: written.err }
}

const PRELUDE = `
set -euo pipefail
server=
cargo() {
  if [ "$1 $2 $3" != "run --release --" ]; then
    echo "the test knows only cargo run --release --" >&2
    return 1
  fi
  shift 3
  if [ "$1" = serve ]; then
    "$MILLRACE_BIN" "$@" --port "$PORT" >server.log 2>&1 &
    server=$!
    wait_until_ready
  else
    stop_server
    "$MILLRACE_BIN" "$@"
  fi
}
wait_until_ready() {
  for _ in $(seq 200); do
    if command curl -sf -o /dev/null "http://127.0.0.1:$PORT/ready"; then return; fi
    sleep 0.05
  done
  cat server.log >&2
  return 1
}
stop_server() {
  if [ -n "$server" ]; then
    kill -TERM "$server"
    wait "$server"
    server=
  fi
}
trap '[ -z "$server" ] || kill -KILL "$server"' EXIT
`

function freePort() {
  return new Promise((done, fail) => {
    const server = createServer()
    server.once("error", fail)
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address()
      server.close(() => done(port))
    })
  })
}
