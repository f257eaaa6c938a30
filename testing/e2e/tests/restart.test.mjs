// What a client keeps across a crash of the server: offsets, live sessions, exactly-once.

import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client"
import { afterEach, beforeEach, expect, test } from "vitest"

import { freshName } from "../../support/http.mjs"
import { freshDirectory, pause, removeDirectory, startServer, until } from "../../support/server.mjs"

let server
let dataDir
beforeEach(async () => {
  dataDir = freshDirectory()
  server = await startServer({ dataDir })
})
afterEach(async () => {
  await server.dispose()
  removeDirectory(dataDir)
})

/** Ends the server as a crash would and starts it again on the same port and data. */
async function crash() {
  const { port } = server
  await server.kill()
  server = await startServer({ dataDir, port })
}

/** Ends the server with SIGTERM and starts it again. */
async function restart() {
  const { port } = server
  const { code } = await server.stop()
  expect(code).toBe(0)
  server = await startServer({ dataDir, port })
}

const numbers = (from, to) => Array.from({ length: to - from }, (_, i) => from + i)

for (const [how, again] of [["a crash", crash], ["a restart", restart]]) {
  test(`a saved offset resumes after ${how}, twice`, async () => {
    const handle = await DurableStream.create({ url: server.stream(freshName("offset")), contentType: "application/json" })
    let offset = "-1"
    const seen = []
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 5; i++) await handle.append(JSON.stringify({ n: round * 5 + i }))
      const session = await stream({ url: handle.url, live: false, offset })
      seen.push(...(await session.json()))
      offset = session.offset
      await again()
    }
    expect(seen.map(({ n }) => n)).toEqual(numbers(0, 15))
    const whole = await (await stream({ url: handle.url, live: false })).json()
    expect(whole.map(({ n }) => n)).toEqual(numbers(0, 15))
    expect((await handle.head()).offset).toBe(offset)
  })
}

for (const live of ["sse", "long-poll"]) {
  test(`t62_a_${live}_reader_goes_on_after_two_crashes_without_gap_or_repeat`, async () => {
    const handle = await DurableStream.create({ url: server.stream(freshName("live")), contentType: "application/json" })
    await handle.append(JSON.stringify({ n: 0 }))
    const { seen, end } = followThroughCrashes(handle.url, live)
    for (let round = 1; round <= 2; round++) {
      await until("what was there", () => seen.length === round)
      await crash()
      await handle.append(JSON.stringify({ n: round }))
    }
    await until("what came after the crashes", () => seen.length >= 3, 20_000)
    expect(seen.map(({ n }) => n)).toEqual([0, 1, 2])
    end()
  })
}

/** Follows a stream as an application has to: a session that dies is begun again where it was. */
function followThroughCrashes(url, live) {
  const abort = new AbortController()
  const seen = []
  const run = async () => {
    let offset = "-1"
    while (!abort.signal.aborted) {
      try {
        const session = await stream({ url, live, offset, signal: abort.signal, backoffOptions: QUICK, sseResilience: { logWarnings: false } })
        session.subscribeJson((batch) => {
          seen.push(...batch.items)
          offset = batch.offset
        })
        await session.closed
      } catch {
        await pause(20)
      }
    }
  }
  run()
  return { seen, end: () => abort.abort() }
}

const QUICK = { initialDelay: 20, maxDelay: 100, multiplier: 1.3 }

test("t65_an_idempotent_producer_that_retries_over_a_crash_makes_no_second_copy", async () => {
  const handle = await DurableStream.create({ url: server.stream(freshName("producer")), contentType: "application/json" })
  const failures = []
  const producer = new IdempotentProducer(handle, "writer", {
    maxBatchBytes: 64,
    lingerMs: 0,
    // The published producer gives up on a refused connection and on 503; this is what it takes to
    // go on.
    fetch: persistentFetch,
    onError: (error) => failures.push(error.message),
  })
  for (let n = 0; n < 200; n++) {
    producer.append(JSON.stringify({ n }))
    if (n % 5 === 0) await pause(1)
    if (n === 60 || n === 140) await crash()
  }
  await producer.flush()
  expect(failures).toEqual([])
  await producer.close()
  const session = await stream({ url: handle.url, live: false })
  expect((await session.json()).map(({ n }) => n)).toEqual(numbers(0, 200))
  expect(session.streamClosed).toBe(true)
})

async function persistentFetch(...args) {
  for (let attempt = 0; ; attempt++) {
    try {
      const response = await fetch(...args)
      if (response.status !== 503) return response
      await response.arrayBuffer()
    } catch (error) {
      if (attempt === 200) throw error
    }
    await pause(25)
  }
}

test("what a producer sent before a crash is a duplicate after it", async () => {
  const url = server.stream(freshName("raw"))
  await fetch(url, { method: "PUT", headers: { "content-type": "text/plain" } })
  const send = (seq, epoch = 0, more = {}) =>
    fetch(url, {
      method: "POST",
      headers: { "content-type": "text/plain", "producer-id": "p", "producer-epoch": `${epoch}`, "producer-seq": `${seq}`, ...more },
      body: `<${epoch}.${seq}>`,
    })
  for (const seq of [0, 1, 2]) expect((await send(seq)).status).toBe(200)
  await crash()
  for (const seq of [0, 1, 2]) expect((await send(seq)).status).toBe(204)
  const gap = await send(9)
  expect([gap.status, gap.headers.get("producer-expected-seq")]).toEqual([409, "3"])
  expect((await send(0, 1)).status).toBe(200)
  await crash()
  const stale = await send(3, 0)
  expect([stale.status, stale.headers.get("producer-epoch")]).toEqual([403, "1"])
  expect((await send(1, 1, { "stream-closed": "true" })).status).toBe(200)
  await crash()
  const closing = await send(1, 1, { "stream-closed": "true" })
  expect([closing.status, closing.headers.get("stream-closed")]).toEqual([204, "true"])
  const after = await send(2, 1)
  expect([after.status, after.headers.get("stream-closed")]).toEqual([409, "true"])
  expect(await (await fetch(url)).text()).toBe("<0.0><0.1><0.2><1.0><1.1>")
})

test("t4_delete_close_and_fork_outlive_a_crash", async () => {
  const make = (name, headers = {}, body) =>
    fetch(server.stream(name), { method: "PUT", headers: { "content-type": "text/plain", ...headers }, body })
  const [deleted, closed, source, fork] = ["deleted", "closed", "source", "fork"].map(freshName)
  for (const name of [deleted, closed, source]) expect((await make(name, {}, `${name}-bytes`)).status).toBe(201)
  expect((await make(fork, { "stream-forked-from": `/v1/stream/${source}` })).status).toBe(201)
  expect((await fetch(server.stream(deleted), { method: "DELETE" })).status).toBe(204)
  expect((await fetch(server.stream(closed), { method: "POST", headers: { "stream-closed": "true" } })).status).toBe(204)
  expect((await fetch(server.stream(source), { method: "DELETE" })).status).toBe(204)
  for (let round = 0; round < 2; round++) {
    await crash()
    expect((await fetch(server.stream(deleted))).status).toBe(404)
    const ended = await fetch(server.stream(closed))
    expect([await ended.text(), ended.headers.get("stream-closed")]).toEqual([`${closed}-bytes`, "true"])
    expect((await fetch(server.stream(source))).status).toBe(410)
    expect(await (await fetch(server.stream(fork))).text()).toBe(`${source}-bytes`)
  }
})
