// Runs the public conformance suite against the shipped binary, once for every configuration, and
// counts what was executed: a suite that silently skips tests fails here (T96).
//
// In the clear, the suite runs through the monitor (testing/monitor), which holds every answer against all
// others.
//
// `node run.mjs` runs the whole matrix; `node run.mjs local/4` only that configuration.

import { spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

import { report as seenBy } from "../support/monitor.mjs"
import { freshDirectory, removeDirectory, startServer } from "../support/server.mjs"
import { makeCertificates } from "../support/tls.mjs"
import { count, faultsOf } from "./counts.mjs"

const HERE = dirname(fileURLToPath(import.meta.url))
const LONG_POLL_MS = 500
const STOP_WITHIN_MS = 5_000
// Most of a run is waiting: for long-polls that time out, for lives that end.
const AT_ONCE = 2

// What passes the monitor at least: much of the suite is random, and on a slow machine asks less.
const WATCHED = { asked: 1500, answered: 1500, appends: 500, events: 90, bytes: 5_000_000 }

// In the clear over HTTP/1.1; then with TLS, over both versions of HTTP.
const MATRIX = [
  ...["local", "memory"].flatMap((durability) =>
    [1, 4].map((shards) => ({ durability, shards, name: `${durability}/${shards}` })),
  ),
  { durability: "local", shards: 1, protocol: "http/1.1", name: "tls/http1" },
  { durability: "local", shards: 4, protocol: "h2", name: "tls/http2" },
]

async function main() {
  const wanted = process.argv.slice(2)
  const unknown = wanted.filter((name) => !MATRIX.some((configuration) => configuration.name === name))
  if (unknown.length > 0) {
    throw new Error(`unknown configuration ${unknown}; known: ${MATRIX.map(({ name }) => name).join(", ")}`)
  }
  const chosen = MATRIX.filter(({ name }) => wanted.length === 0 || wanted.includes(name))
  let faults = 0
  const waiting = chosen.values()
  const work = async () => {
    for (const configuration of waiting) {
      const found = await check(configuration)
      for (const fault of found) console.error(`conformance ${configuration.name}: ${fault}`)
      faults += found.length
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  process.exitCode = faults === 0 ? 0 : 1
}

/** Runs the suite against one configuration and says what was not as it should be. */
async function check({ durability, shards, protocol, name }) {
  const begun = performance.now()
  const secrets = freshDirectory("tls")
  const tls = protocol && makeCertificates(secrets)
  const server = await startServer({ durability, shards, longPoll: `${LONG_POLL_MS}ms`, tls, args: ["--allow-local-webhooks"] })
  try {
    const { report, protocols, talk } = await runSuite(server.url, tls, protocol)
    const alive = server.exit === undefined
    const stopped = await server.stop()
    const counts = count(report)
    const seconds = ((performance.now() - begun) / 1000).toFixed(1)
    process.stdout.write(talk)
    console.log(
      `conformance ${name}: ${counts.total} tests, ${counts.passed} passed, ` +
        `${counts.skipped} skipped, ${counts.failed} failed, ${seconds} s`,
    )
    const found = [...faultsOf(report, counts), ...faultsOfProtocol(protocol, protocols), ...faultsOfExit(alive, stopped)]
    if (!tls) found.push(...faultsOfWatch(await seenBy(server.dataDir), name))
    if (found.length > 0) console.error(server.log)
    return found
  } finally {
    await server.dispose()
    removeDirectory(secrets)
  }
}

async function runSuite(url, tls, protocol) {
  const directory = freshDirectory("conformance")
  const outputFile = join(directory, "report.json")
  const protocolsFile = join(directory, "protocols.json")
  const secure = tls ? { NODE_EXTRA_CA_CERTS: tls.caFile, MILLRACE_PROTOCOL: protocol } : {}
  const vitest = spawn(
    process.execPath,
    [join(HERE, "node_modules", "vitest", "vitest.mjs"), "run", "--reporter=json", "--reporter=default", `--outputFile.json=${outputFile}`],
    {
      cwd: HERE,
      env: { ...process.env, ...secure, MILLRACE_URL: url, MILLRACE_LONG_POLL_MS: String(LONG_POLL_MS), MILLRACE_PROTOCOLS_FILE: protocolsFile },
      stdio: ["ignore", "pipe", "pipe"],
    },
  )
  // Told when it is over: another configuration's suite runs beside it.
  let talk = ""
  for (const stream of [vitest.stdout, vitest.stderr]) stream.setEncoding("utf8").on("data", (text) => (talk += text))
  // Its exit code is not asked: the report says more, and a report that is missing throws.
  await new Promise((done, fail) => vitest.once("close", done).once("error", fail))
  try {
    const [report, protocols] = [outputFile, protocolsFile].map((file) => JSON.parse(readFileSync(file, "utf8")))
    return { report, protocols, talk }
  } catch (error) {
    console.error(talk)
    throw error
  } finally {
    removeDirectory(directory)
  }
}

/** That every connection of the suite spoke what was to be tested: `null` is no TLS. */
function faultsOfProtocol(protocol, protocols) {
  const wanted = JSON.stringify([protocol ?? null])
  const spoken = JSON.stringify(protocols)
  return spoken === wanted ? [] : [`the suite spoke ${spoken}, expected ${wanted}`]
}

/** That the monitor saw all of it. What it found wrong was told when the server ended. */
function faultsOfWatch(seen, name) {
  console.log(`conformance ${name}: the monitor saw ${seen.answered} of ${seen.asked} answers, ${seen.events} events, ${seen.appends} appends, ${seen.bytes} bytes`)
  const missed = Object.keys(WATCHED)
    .filter((key) => seen[key] < WATCHED[key])
    .map((key) => `the monitor saw ${seen[key]} ${key}, expected at least ${WATCHED[key]}`)
  return seen.unwatched > 0 ? [...missed, `the monitor lost sight of ${seen.unwatched} connections`] : missed
}

function faultsOfExit(alive, { code, signal, ms }) {
  if (!alive) return [`the server ended during the suite (code ${code}, signal ${signal})`]
  const found = []
  if (code !== 0) found.push(`the server ended with code ${code}, signal ${signal}, expected code 0`)
  if (ms > STOP_WITHIN_MS) found.push(`the server took ${ms} ms to end, expected at most ${STOP_WITHIN_MS}`)
  return found
}

await main()
