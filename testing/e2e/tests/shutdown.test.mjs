// A server that is asked to end, while a thousand readers wait: it ends in under 5 s, and each
// reader knows where to go on.

import { Agent, get as open } from "node:http"
import { connect } from "node:net"
import { afterEach, beforeEach, describe, expect, test } from "vitest"

import { freshName, get, post, put, target } from "../../support/http.mjs"
import { freshDirectory, removeDirectory, startServer, until } from "../../support/server.mjs"
import { controls, jsonMessages, parseEvents } from "../../support/sse.mjs"

const READERS = 1000
const WITHIN_MS = 5000
const JSON_ = { "content-type": "application/json" }

let server
let dataDir
beforeEach(async () => {
  dataDir = freshDirectory()
  server = await startServer({ dataDir, longPoll: "60s" })
})
afterEach(async () => {
  await server.dispose()
  removeDirectory(dataDir)
})

const agent = new Agent({ maxSockets: Infinity })

/** A reader that collects what comes until the server ends the response. */
function reader(name, query) {
  const seen = { status: undefined, headers: {}, text: "", ended: false, error: undefined }
  const request = open({ host: "127.0.0.1", port: server.port, path: target(name, query), agent }, (incoming) => {
    Object.assign(seen, { status: incoming.statusCode, headers: incoming.headers })
    incoming.setEncoding("utf8")
    incoming.on("data", (text) => (seen.text += text))
    incoming.on("end", () => (seen.ended = true))
    incoming.on("error", (error) => Object.assign(seen, { error, ended: true }))
  })
  request.on("error", (error) => Object.assign(seen, { error, ended: true }))
  return seen
}

/** How many readers wait, as the server counts them. */
async function followers() {
  const metrics = await (await fetch(`http://127.0.0.1:${server.ownPort}/metrics`)).text()
  const counts = [...metrics.matchAll(/^millrace_followers\{.*\} (\d+)$/gm)]
  return counts.reduce((sum, [, count]) => sum + Number(count), 0)
}

/** Connects to a port of this machine. */
function opened(port) {
  return new Promise((done, fail) => {
    const socket = connect(port, "127.0.0.1")
    socket.once("error", fail).once("connect", () => done(socket.destroy()))
  })
}

describe(`with ${READERS} live readers`, () => {
  test("every SSE reader ends with an offset it can resume from", { timeout: 60_000 }, async () => {
    const name = freshName("sse")
    await put(server, name, { headers: JSON_, body: '[{"n":1}]' })
    const readers = Array.from({ length: READERS }, () => reader(name, "?offset=-1&live=sse"))
    await until("all readers are caught up", () => readers.every(({ text }) => jsonMessages(parseEvents(text)).length === 1), 30_000)
    await post(server, name, '{"n":2}', JSON_)
    const { code, ms } = await server.stop()
    await until("all readers ended", () => readers.every(({ ended }) => ended))
    expect({ code, inTime: ms < WITHIN_MS, ms }).toMatchObject({ code: 0, inTime: true })
    expect(readers.filter(({ error }) => error)).toEqual([])
    const offsets = readers.map(({ text }) => controls(parseEvents(text)).at(-1)?.streamNextOffset)
    const messages = readers.map(({ text }) => jsonMessages(parseEvents(text)).length)
    server = await startServer({ dataDir })
    // Each reader saw one or both of the messages, and its offset stands exactly after them.
    for (const count of new Set(messages)) {
      const places = new Set(offsets.filter((_, i) => messages[i] === count))
      expect(places.size).toBe(1)
      const rest = await get(server, name, `?offset=${[...places][0]}`)
      expect(JSON.parse(rest.text)).toEqual([{ n: 1 }, { n: 2 }].slice(count))
    }
    expect(readers.every(({ text }) => !text.includes("streamClosed"))).toBe(true)
  })

  test("every long-poll reader is answered with its own offset", { timeout: 60_000 }, async () => {
    const name = freshName("poll")
    const { headers } = await put(server, name, { headers: JSON_, body: '[{"n":1}]' })
    const tail = headers["stream-next-offset"]
    const readers = Array.from({ length: READERS }, () => reader(name, `?offset=${tail}&live=long-poll`))
    await until("all of them wait", async () => (await followers()) === READERS, 30_000)
    const { code, ms } = await server.stop()
    await until("all readers ended", () => readers.every(({ ended }) => ended))
    expect({ code, inTime: ms < WITHIN_MS, ms }).toMatchObject({ code: 0, inTime: true })
    expect(readers.filter(({ error }) => error)).toEqual([])
    const answers = new Set(readers.map(({ status, headers: received, text }) => `${status} ${received["stream-next-offset"]} ${text}`))
    expect([...answers]).toEqual([`204 ${tail} `])
  })
})

test("what was acknowledged before the end is there after it, and the port is closed", async () => {
  const name = freshName("kept")
  await put(server, name, { headers: JSON_ })
  const acked = []
  const writing = (async () => {
    for (let n = 0; ; n++) {
      const answer = await post(server, name, JSON.stringify({ n }), JSON_).catch(() => undefined)
      if (answer?.status !== 204) return
      acked.push(n)
    }
  })()
  await until("some appends", () => acked.length > 20)
  const { code } = await server.stop()
  await writing
  expect(code).toBe(0)
  // A connection of its own: one that is kept may be cut only now.
  for (const port of [server.ownPort, server.port]) {
    await expect(opened(port)).rejects.toMatchObject({ code: "ECONNREFUSED" })
  }
  server = await startServer({ dataDir })
  const kept = JSON.parse((await get(server, name)).text).map(({ n }) => n)
  expect(kept.slice(0, acked.length)).toEqual(acked)
  expect(kept.length - acked.length).toBeLessThanOrEqual(1)
})

test("a data directory in use is refused with a clear word", async () => {
  await expect(startServer({ dataDir })).rejects.toThrow(/in use|another|lock/i)
})

test("SIGINT ends it as well, and twice is no worse than once", async () => {
  server.process.kill("SIGINT")
  const { code } = await server.stop()
  expect(code).toBe(0)
})
