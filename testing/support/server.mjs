// Starts and ends the real binary for tests written in JavaScript.
//
// A server is known by the process this file spawned and is ended by that pid alone. Every start
// waits until `/ready` answers 200, so a test never races recovery. Clients meet it through the monitor
// (monitor.mjs), which fails the test when an answer cannot be.
//
// Environment: `MILLRACE_BIN` names the binary (default: `target/release/millrace` of this
// repository).

import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { get as getHttp } from "node:http"
import { get as getHttps } from "node:https"
import { tmpdir } from "node:os"
import { dirname, join, resolve } from "node:path"
import { fileURLToPath } from "node:url"

import { assertHonest, rest, watch } from "./monitor.mjs"

const REPOSITORY = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..")
const READY_WITHIN_MS = 30_000
const LOG_BYTES_MAX = 64 * 1024

// Every server of a test file adds one listener.
process.setMaxListeners(0)

/** The binary under test. */
export function binary() {
  const path = process.env.MILLRACE_BIN ?? join(REPOSITORY, "target", "release", "millrace")
  if (!existsSync(path)) {
    throw new Error(`no binary at ${path}; run \`cargo build --release\` or set MILLRACE_BIN`)
  }
  return path
}

/** A new, empty directory below the system's temporary directory. */
export function freshDirectory(label = "data") {
  return mkdtempSync(join(tmpdir(), `millrace-${label}-`))
}

/** Removes what `freshDirectory` made. */
export function removeDirectory(path) {
  rmSync(path, { recursive: true, force: true })
}

/** Waits, for tests that watch the outside of a process and have nothing else to wait for. */
export const pause = (ms) => new Promise((done) => setTimeout(done, ms))

/** Waits until `probe` gives something truthy, and returns it. */
export async function until(what, probe, withinMs = 10_000) {
  const deadline = Date.now() + withinMs
  for (;;) {
    const found = await probe()
    if (found) return found
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`)
    await pause(10)
  }
}

/** A running server. Make one with `startServer`. */
class Server {
  constructor(process_, dataDir, ownsData, tls) {
    this.process = process_
    this.tls = tls
    this.dataDir = dataDir
    this.ownsData = ownsData
    this.log = ""
    this.exited = new Promise((done) => {
      process_.once("exit", (code, signal) => done({ code, signal }))
    })
    this.exited.then((exit) => (this.exit = exit))
    for (const stream of [process_.stdout, process_.stderr]) {
      stream.setEncoding("utf8")
      stream.on("data", (text) => (this.log = (this.log + text).slice(-LOG_BYTES_MAX)))
    }
  }

  get pid() {
    return this.process.pid
  }

  /** The address of a stream. */
  stream(name) {
    return `${this.url}/v1/stream/${name}`
  }

  /** Waits until the server says it is ready. */
  async becomeReady(portFile) {
    const ready = async () => {
      if (this.exit) throw new Error(`the server ended (${JSON.stringify(this.exit)}):\n${this.log}`)
      const port = this.port ?? portIn(portFile)
      if (!port) return false
      this.port = port
      this.url = `${this.tls ? "https" : "http"}://127.0.0.1:${port}`
      return (await statusOf(`${this.url}/ready`, this.tls?.ca)) === 200
    }
    await until("the server is ready", ready, READY_WITHIN_MS).catch((error) => {
      this.process.kill("SIGKILL")
      throw new Error(`${error.message}\n${this.log}`)
    })
  }

  /** Asks the server to end, and returns how it did: exit code, signal, milliseconds taken. */
  async stop(withinMs = 10_000) {
    const begun = performance.now()
    if (!this.exit) this.process.kill("SIGTERM")
    const late = setTimeout(() => this.process.kill("SIGKILL"), withinMs)
    const exit = await this.exited
    clearTimeout(late)
    const ms = Math.round(performance.now() - begun)
    await this.unwatch()
    return { ...exit, ms }
  }

  /** Ends the process as a crash would. */
  async kill() {
    if (!this.exit) this.process.kill("SIGKILL")
    await this.exited
    await this.unwatch()
  }

  /** Puts the monitor between clients and this server; they find it at `port`, unless that is 0. */
  async watch(port) {
    this.isWatched = true
    this.ownPort = this.port
    this.port = await watch(this.dataDir, this.ownPort, port)
    this.url = `http://127.0.0.1:${this.port}`
  }

  async unwatch() {
    if (!this.isWatched) return
    this.isWatched = false
    await rest(this.dataDir)
    await assertHonest(this.dataDir)
  }

  /** Ends the server and removes a data directory that was made for it. */
  async dispose() {
    try {
      await this.kill()
    } finally {
      if (this.ownsData) removeDirectory(this.dataDir)
    }
  }
}

/** The status of a GET, or undefined. A certificate is checked against `ca`. */
function statusOf(url, ca) {
  return new Promise((done) => {
    const get = url.startsWith("https:") ? getHttps : getHttp
    const request = get(url, { ca, agent: false }, (answer) => {
      answer.resume().on("error", () => {})
      done(answer.statusCode)
    })
    request.on("error", () => done(undefined))
  })
}

/**
 * Starts the binary and waits until it is ready.
 *
 * `dataDir`: kept by the caller; without it a fresh one is made, and removed by `dispose`.
 * `port`: 0 lets the system choose. `args`: further flags. `env`: further environment. `tls`: what
 * `makeCertificates` (tls.mjs) made. `watched`: whether clients meet it through the monitor; it cannot read
 * TLS, and must not watch where a test changes the data behind the server's back.
 */
export async function startServer({ dataDir, port = 0, durability = "local", shards = 1, longPoll = "500ms", args = [], env = {}, tls, watched = !tls } = {}) {
  const ownsData = dataDir === undefined
  const data = dataDir ?? freshDirectory()
  const run = freshDirectory("run")
  const portFile = join(run, "port")
  const flags = [
    "serve",
    ["--host", "127.0.0.1"],
    ["--port", String(watched ? 0 : port)],
    ["--port-file", portFile],
    ["--data-dir", data],
    ["--durability", durability],
    ["--shards", String(shards)],
    ["--long-poll-timeout", longPoll],
    tls ? ["--tls-cert", tls.cert, "--tls-key", tls.key] : [],
    args,
  ].flat()
  const child = spawn(binary(), flags, {
    env: { ...cleanEnvironment(), ...env },
    stdio: ["ignore", "pipe", "pipe"],
  })
  const server = new Server(child, data, ownsData, tls)
  // A test run that is cut short leaves no server behind.
  process.once("exit", () => child.kill("SIGKILL"))
  try {
    await server.becomeReady(portFile)
    if (watched) await server.watch(port)
  } finally {
    removeDirectory(run)
  }
  return server
}

/** The environment without settings of the server, which a developer may have. */
export function cleanEnvironment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("MILLRACE_")))
}

function portIn(file) {
  if (!existsSync(file)) return undefined
  const port = Number(readFileSync(file, "utf8").trim())
  return port > 0 ? port : undefined
}
