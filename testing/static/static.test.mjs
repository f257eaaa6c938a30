// The binary that deploy/static.sh makes: it asks for no loader and no library, and serves in a root
// directory that holds nothing but itself, as an unprivileged user who can write to `/data` alone.
// That is what the image of deploy/Containerfile is, as far as it can be had without an engine.
//
// Environment: `MILLRACE_STATIC` names the binary (default: `target/static/millrace`).

import assert from "node:assert/strict"
import { execFile, execFileSync, spawn } from "node:child_process"
import { chmodSync, chownSync, copyFileSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { join, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { after, before, test } from "node:test"

import { freshDirectory, removeDirectory, until } from "../support/server.mjs"

const REPOSITORY = fileURLToPath(new URL("../../", import.meta.url))
const BINARY = resolve(process.env.MILLRACE_STATIC ?? join(process.env.CARGO_TARGET_DIR ?? join(REPOSITORY, "target"), "static", "millrace"))
const NOBODY = 65532
const IS_ROOT = process.getuid() === 0
const JSON_ = { "content-type": "application/json" }

/** The settings of the image, but for loopback. */
function settingsOfImage() {
  const file = readFileSync(join(REPOSITORY, "deploy", "Containerfile"), "utf8").replaceAll("\\\n", " ")
  const pairs = file.match(/^ENV (.*)$/m)[1].trim().split(/\s+/)
  return { ...Object.fromEntries(pairs.map((pair) => pair.split("="))), MILLRACE_HOST: "127.0.0.1" }
}

let root, port
before(async () => {
  root = freshDirectory("root")
  copyFileSync(BINARY, join(root, "millrace"))
  chmodSync(join(root, "millrace"), 0o755)
  mkdirSync(join(root, "data"), { mode: 0o700 })
  if (IS_ROOT) chownSync(join(root, "data"), NOBODY, NOBODY)
  chmodSync(root, 0o555)
  port = await freePort()
})
after(() => {
  chmodSync(root, 0o700)
  removeDirectory(root)
})

/** A command line that runs the binary in its root; whoever is not root gets a namespace of users. */
function inRoot(args) {
  const own = [root, "/millrace", ...args]
  if (IS_ROOT) return ["chroot", [`--userspec=${NOBODY}:${NOBODY}`, ...own]]
  return ["unshare", ["--user", "--map-root-user", "chroot", ...own]]
}

/** Nothing of this machine's environment but where `chroot` is. */
const environment = (more = {}) => ({ PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...more })

function millrace(...args) {
  const [command, all] = inRoot(args)
  return new Promise((done) => {
    execFile(command, all, { env: environment(), timeout: 30_000 }, (error, out, err) => done({ code: error ? error.code : 0, out, err }))
  })
}

/** Serves in the root until `stop`; says how long it took until `/ready`. */
async function serve() {
  const [command, args] = inRoot(["serve", "--port", String(port)])
  const begun = performance.now()
  const child = spawn(command, args, { env: environment(settingsOfImage()), stdio: ["ignore", "pipe", "pipe"] })
  let log = ""
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (log += text))
  const exited = new Promise((done) => child.once("exit", (code, signal) => done({ code, signal })))
  let ended
  exited.then((exit) => (ended = exit))
  process.once("exit", () => child.kill("SIGKILL"))
  const answers = () => fetch(`http://127.0.0.1:${port}/ready`).then(({ ok }) => ok, () => false)
  await until("it is ready", async () => {
    assert.equal(ended, undefined, `it ended: ${log}`)
    return answers()
  })
  const ms = Math.round(performance.now() - begun)
  const stop = () => {
    child.kill("SIGTERM")
    return exited
  }
  return { ms, stop, pid: child.pid, log: () => log }
}

function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port: found } = server.address()
      server.close(() => done(found))
    })
  })
}

/** The types of the segments and the tags of the dynamic section of a 64-bit little-endian ELF file. */
function elf(bytes) {
  assert.equal(bytes.subarray(0, 6).toString("latin1"), "\x7fELF\x02\x01")
  const at = (offset) => Number(bytes.readBigUInt64LE(offset))
  const [table, size, count] = [at(32), bytes.readUInt16LE(54), bytes.readUInt16LE(56)]
  const segments = Array.from({ length: count }, (_, i) => table + i * size).map((start) => ({
    type: bytes.readUInt32LE(start),
    offset: at(start + 8),
    length: at(start + 32),
  }))
  const dynamic = segments.filter(({ type }) => type === 2)
  const tags = dynamic.flatMap(({ offset, length }) => Array.from({ length: length / 16 }, (_, i) => at(offset + i * 16)))
  return { types: segments.map(({ type }) => type), tags }
}

test("it names no loader and no library", (t) => {
  const [NEEDED, INTERP, LOAD] = [1, 3, 1]
  const found = elf(readFileSync(BINARY))
  assert.ok(found.types.includes(LOAD))
  assert.ok(!found.types.includes(INTERP))
  assert.ok(!found.tags.includes(NEEDED))
  // That this would be seen: node itself is linked dynamically.
  assert.ok(elf(readFileSync("/bin/sh")).types.includes(INTERP))
  t.diagnostic(`size: ${(statSync(BINARY).size / 1e6).toFixed(1)} MB`)
})

test("in an empty root it serves, keeps what it was told, and stops", async (t) => {
  const stream = `http://127.0.0.1:${port}/v1/stream/in-a-box`
  const first = await serve()
  assert.equal((await fetch(stream, { method: "PUT", headers: JSON_, body: '[{"n":1}]' })).status, 201)
  assert.equal((await fetch(stream, { method: "POST", headers: JSON_, body: '{"n":2}' })).status, 204)
  if (IS_ROOT) {
    assert.match(readFileSync(`/proc/${first.pid}/status`, "utf8"), new RegExp(`^Uid:\\s${NOBODY}\\s${NOBODY}`, "m"))
  }
  assert.deepEqual(await first.stop(), { code: 0, signal: null })
  // As the image says, lines for programs.
  const lines = first.log().split("\n").filter((line) => line.startsWith("{"))
  assert.ok(lines.some((line) => JSON.parse(line).message === "ready"))

  const second = await serve()
  assert.deepEqual(await (await fetch(stream)).json(), [{ n: 1 }, { n: 2 }])
  assert.deepEqual(await second.stop(), { code: 0, signal: null })
  t.diagnostic(`from start to ready: ${first.ms} ms with nothing there, ${second.ms} ms with a little`)
  // It wrote where it may, and nowhere else.
  assert.deepEqual(readdirSync(root).sort(), ["data", "millrace"])
})

test("its verbs work in there: health check, names of hosts, check", async () => {
  const url = ["--url", `http://127.0.0.1:${port}`]
  const nobody = await millrace("ready", ...url)
  assert.deepEqual([nobody.code, nobody.out], [5, ""])
  const server = await serve()
  assert.deepEqual(await millrace("ready", ...url), { code: 0, out: "ready\n", err: "" })
  assert.equal((await millrace("create", "by-the-verb", ...url)).code, 0)
  // A container is given this file.
  chmodSync(root, 0o755)
  mkdirSync(join(root, "etc"))
  writeFileSync(join(root, "etc", "hosts"), "127.0.0.1 localhost streams\n")
  const named = await millrace("head", "by-the-verb", "--url", `http://streams:${port}`)
  assert.deepEqual([named.code, named.err], [0, ""])
  assert.deepEqual(await server.stop(), { code: 0, signal: null })
  const checked = await millrace("check", "--data-dir", "/data")
  assert.equal(checked.code, 0, checked.err)
})

test("it is of the version that is declared", () => {
  const version = execFileSync(BINARY, ["--version"], { encoding: "utf8" })
  const declared = readFileSync(join(REPOSITORY, "Cargo.toml"), "utf8").match(/^version = "(.*)"$/m)[1]
  assert.equal(version, `millrace ${declared}\n`)
})
