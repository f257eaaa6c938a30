// The shell blocks of a Markdown file, run as a reader would: in order, in one shell, in a directory
// that was empty before.
//
// The convention: every block fenced as ```sh is run. So is one fenced as ```console, when its commands
// begin with `$ `, and what stands under each has to come. A command that no test can run is fenced as
// ```console below a comment `<!-- not run: why -->`; ```text is output and configuration.
// `millrace` and `cargo run --release --` are the binary under test, by the scripts in `shims/`:
// `serve` goes on beside what follows and is waited for; `check`, `repair` and `dump` need it stopped and stop
// it, every other verb asks it. The port 4437 is replaced by a free one, so that a server of the
// reader's own is left alone.

import { spawn } from "node:child_process"
import { createServer } from "node:net"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

import { binary, cleanEnvironment, freshDirectory, removeDirectory } from "./server.mjs"

const SHIMS = fileURLToPath(new URL("shims", import.meta.url))
const DEFAULT_PORT = 4437
const WITHIN_MS = 45_000
const MARK = "===== block"

/** The fenced blocks of a Markdown file: `{ language, code, before }`, `before` being the line above. */
export function fencedBlocks(path) {
  const text = readFileSync(path, "utf8")
  const found = text.matchAll(/(?:^(.*)\n)?^( *)```(.*)\n([\s\S]*?)^\2```$/gm)
  // A block in a list is indented like the list.
  return [...found].map(([, before = "", indent, language, code]) => ({
    language,
    code: code.replaceAll(new RegExp(`^${indent}`, "gm"), ""),
    before: before.trim(),
  }))
}

/** The ```sh blocks of a Markdown file. */
export const shellBlocks = (path) =>
  fencedBlocks(path)
    .filter(({ language }) => language === "sh")
    .map(({ code }) => code)

/** The commands of the ```console blocks of a Markdown file, and what stands under each. */
export const sessions = (path) =>
  fencedBlocks(path)
    .filter(({ language, code }) => language === "console" && code.startsWith("$ "))
    .map(({ code }) =>
      code
        .split(/^\$ /m)
        .slice(1)
        .map((part) => ({ command: part.slice(0, part.indexOf("\n")), output: part.slice(part.indexOf("\n") + 1) })),
    )

/** Runs blocks in one shell; gives what each wrote, and the shell's exit code. */
export async function runBlocks(blocks, directory) {
  const port = await freePort()
  const run = freshDirectory("run")
  const script = [PRELUDE, ...blocks.flatMap((block, i) => [`printf '\\n%s\\n' '${MARK} ${i}'`, block]), "stop-server"].join("\n")
  const shell = spawn("bash", ["-c", script.replaceAll(String(DEFAULT_PORT), String(port))], {
    cwd: directory,
    env: {
      ...cleanEnvironment(),
      PATH: `${SHIMS}:${process.env.PATH}`,
      MILLRACE_BIN: binary(),
      MILLRACE_URL: `http://127.0.0.1:${port}`,
      PORT: String(port),
      RUN: run,
    },
    stdio: ["ignore", "pipe", "pipe"],
    // A group of its own, so that one that hangs is ended with all that it started.
    detached: true,
  })
  const written = { out: "", err: "" }
  shell.stdout.setEncoding("utf8").on("data", (text) => (written.out += text))
  shell.stderr.setEncoding("utf8").on("data", (text) => (written.err += text))
  const late = setTimeout(() => process.kill(-shell.pid, "SIGTERM"), WITHIN_MS)
  const code = await new Promise((done) => shell.once("close", done))
  clearTimeout(late)
  removeDirectory(run)
  const outputs = written.out.split(new RegExp(`\n${MARK} \\d+\n`)).slice(1)
  return { code, outputs, err: written.err }
}

const PRELUDE = `
set -euo pipefail
trap '[ ! -e "$RUN/pid" ] || [ -e "$RUN/code" ] || kill -KILL "$(cat "$RUN/pid")"' EXIT
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
