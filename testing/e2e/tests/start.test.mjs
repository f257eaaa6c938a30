// Starting: what is refused, and that a refusal harms nothing.

import { spawn } from "node:child_process"
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"

import { freshName, get, post, put } from "../../support/http.mjs"
import { binary, cleanEnvironment, freshDirectory, removeDirectory, startServer } from "../../support/server.mjs"

const TEXT = { "content-type": "text/plain" }

let directory
beforeEach(() => (directory = freshDirectory("start")))
afterEach(() => removeDirectory(directory))

/** Runs the binary to its end; one that does not end by itself is ended, and has no code. */
function run(args, env = {}) {
  return new Promise((done) => {
    const child = spawn(binary(), args, { cwd: directory, env: { ...cleanEnvironment(), ...env }, stdio: ["ignore", "pipe", "pipe"] })
    let said = ""
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (said += text))
    const late = setTimeout(() => child.kill("SIGKILL"), 5000)
    child.once("close", (code) => {
      clearTimeout(late)
      done({ code, said })
    })
  })
}

describe("t100_a_hostile_setting_refuses_the_start_and_says_which", () => {
  test.each([
    ["--port", "http"],
    ["--port", "65536"],
    ["--port", "-1"],
    ["--port", "NaN"],
    ["--host", "no such host"],
    ["--durability", "none"],
    ["--shards", "0"],
    ["--shards", "many"],
    ["--shards", "100000"],
    ["--long-poll-timeout", "NaN"],
    ["--long-poll-timeout", "-1s"],
    ["--read-bytes-max", "0"],
    ["--read-bytes-max", "lots"],
    ["--append-bytes-max", "-1"],
    ["--append-bytes-max", "99999999999999999999"],
    ["--memory-max", "1"],
    ["--no-such-flag", "1"],
  ])("%s %s", async (flag, value) => {
    const { code, said } = await run(["serve", "--port", "0", "--data-dir", join(directory, "data"), `${flag}=${value}`].filter((arg) => flag !== "--port" || (arg !== "--port" && arg !== "0")))
    expect(code, said).toBeGreaterThan(0)
    expect(said).toContain(flag.slice(2))
    expect(said).not.toContain("panicked")
    expect(existsSync(join(directory, "data"))).toBe(false)
  })
})

/** All files below a directory, with their bytes. */
function snapshot(root) {
  const files = {}
  const walk = (path) => {
    for (const name of readdirSync(join(root, path))) {
      const at = join(path, name)
      if (statSync(join(root, at)).isDirectory()) walk(at)
      else files[at] = readFileSync(join(root, at))
    }
  }
  walk(".")
  return files
}

/** A data directory with a few streams, flushed and not, and what is in them. */
async function filled() {
  const data = join(directory, "data")
  const server = await startServer({ dataDir: data, args: ["--flush-bytes", "64KiB", "--flush-interval", "50ms"] })
  const streams = {}
  for (let i = 0; i < 4; i++) {
    const name = freshName("kept")
    await put(server, name, { headers: TEXT })
    for (let n = 0; n < 5; n++) await post(server, name, `${n}${"abcdefgh".repeat(4000)}`, TEXT)
    streams[name] = (await get(server, name)).text
  }
  await server.kill()
  return { data, streams }
}

/** What a server on damaged `data` answers for each stream; `refused` when it does not start. */
async function answers(data, streams) {
  const server = await startServer({ dataDir: data, watched: false }).catch((error) => error)
  if (server instanceof Error) return { refused: server.message }
  const found = {}
  for (const name of Object.keys(streams)) {
    found[name] = await get(server, name).catch((error) => ({ status: 0, text: error.message }))
  }
  const alive = server.exit === undefined
  await server.kill()
  return { found, alive }
}

test("t9_a_missing_log_directory_refuses_the_start_and_loses_nothing", async () => {
  const { data, streams } = await filled()
  const [log] = readdirSync(join(data, "wal"))
  const [there, away] = [join(data, "wal", log), join(directory, "away")]
  renameSync(there, away)
  const { refused } = await answers(data, streams)
  expect(refused).toContain(log)
  expect(refused).not.toContain("panicked")
  if (existsSync(there)) throw new Error("the missing directory was made anew")
  renameSync(away, there)
  const { found } = await answers(data, streams)
  for (const [name, text] of Object.entries(streams)) expect(found[name].text).toBe(text)
})

test("t8_damage_is_told_and_never_deletes_or_serves_wrong_bytes", { timeout: 120_000 }, async () => {
  const { data, streams } = await filled()
  const whole = snapshot(data)
  const files = Object.keys(whole).filter((path) => whole[path].length > 0)
  expect(files.some((path) => path.startsWith("segments"))).toBe(true)
  for (const path of files) {
    const damaged = join(directory, "damaged")
    cpSync(data, damaged, { recursive: true })
    // One bit in the middle of what is not zeros.
    const bytes = Buffer.from(whole[path])
    let used = bytes.length - 1
    while (used > 0 && bytes[used] === 0) used--
    bytes[used >> 1] ^= 0x10
    writeFileSync(join(damaged, path), bytes)
    const { refused, found, alive } = await answers(damaged, streams)
    if (refused) {
      expect(refused, path).not.toContain("panicked")
      // What cannot be used is left for repair, with all its neighbours.
      const left = snapshot(damaged)
      const kept = files.filter((name) => !/\.(tmp|spare)$/.test(name))
      for (const other of kept) expect(Object.keys(left).some((name) => name.endsWith(other.split("/").at(-1))), other).toBe(true)
    } else {
      expect(alive, `${path}: ended by a read`).toBe(true)
      for (const [name, text] of Object.entries(streams)) {
        const { status, text: read } = found[name]
        if (status === 200) expect(read === text, `${path}: wrong bytes`).toBe(true)
        // Damage behind the first bytes of an answer can only cut the answer off.
        else expect([0, 500, 503], `${path}: ${read}`).toContain(status)
      }
    }
    removeDirectory(damaged)
  }
})
