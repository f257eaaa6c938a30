// The monitor between the clients of a test and its servers: bytes pass through it untouched, and it holds
// every answer against all others that passed (testing/monitor). A test whose server answered what cannot
// be fails when the server ends.
//
// One process watches all servers of a test file. A data directory is one server to it, however often that
// is started again: what was seen before a crash binds what is answered after it.
//
// Environment: `MILLRACE_MONITOR` names the binary (default: `target/release/millrace-monitor` of this
// repository).

import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { join, resolve } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

const REPOSITORY = resolve(fileURLToPath(new URL("../..", import.meta.url)))
const TARGET = process.env.CARGO_TARGET_DIR ?? join(REPOSITORY, "target")

function binary() {
  const path = process.env.MILLRACE_MONITOR ?? join(TARGET, "release", "millrace-monitor")
  if (!existsSync(path)) {
    throw new Error(`no monitor at ${path}; run \`cargo build --release -p millrace-monitor\` or set MILLRACE_MONITOR`)
  }
  return path
}

let monitor
const waiting = []

function begin() {
  const child = spawn(binary(), [], { stdio: ["pipe", "pipe", "inherit"] })
  const ended = (why) => {
    for (const { fail } of waiting.splice(0)) fail(new Error(`the monitor ended: ${why}`))
  }
  child.once("error", ended).once("exit", (code, signal) => ended(`code ${code}, signal ${signal}`))
  createInterface({ input: child.stdout }).on("line", (line) => {
    waiting.shift().done(line)
    // Idle, it keeps no test from ending; it ends with the pipe.
    if (waiting.length === 0) child.stdout.unref()
  })
  child.unref()
  child.stdin.unref()
  return child
}

/** Gives the monitor an order and returns its answer. */
function order(line) {
  monitor ??= begin()
  return new Promise((done, fail) => {
    waiting.push({ done, fail })
    monitor.stdout.ref()
    monitor.stdin.write(`${line}\n`)
  })
}

/** Watches the server at `port`, known as `key`, and returns the port to use instead: `listen`, unless that is 0. */
export async function watch(key, port, listen = 0) {
  const answer = await order(["watch", key, port, ...(listen ? [listen] : [])].join(" "))
  return Number(answer.split(" ").at(-1))
}

/** The server has ended: its port is closed, and what is known of it is kept. */
export const rest = (key) => order(`rest ${key}`)

/** What was seen of a server: counts, and violations. */
export async function report(key) {
  const answer = await order(`report ${key}`)
  return JSON.parse(answer.slice(`report ${key} `.length))
}

/** Throws when a server answered what cannot be. */
export async function assertHonest(key) {
  const { violations } = await report(key)
  if (violations.length === 0) return
  const told = violations.map(({ stream, what, seen }) => [`${stream}: ${what}`, ...seen].join("\n  "))
  throw new Error(`the monitor found ${told.length} violations:\n${told.join("\n")}`)
}
