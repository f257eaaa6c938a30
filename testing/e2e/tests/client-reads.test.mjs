// The published TypeScript client reads: catch-up, long-poll and SSE, in JSON, text and bytes.

import { DurableStream, stream } from "@durable-streams/client"
import { afterAll, beforeAll, expect, test } from "vitest"

import { freshName } from "../../support/http.mjs"
import { startServer, until } from "../../support/server.mjs"

let server
// Small pages, so that every catch-up here is made of several.
beforeAll(async () => (server = await startServer({ args: ["--read-bytes-max", "4KiB"] })))
afterAll(() => server?.dispose())

const create = (label, contentType) =>
  DurableStream.create({ url: server.stream(freshName(label)), contentType })

/** Collects what a live session delivers. */
async function follow(url, live, contentType, offset = "-1") {
  const abort = new AbortController()
  const session = await stream({ url, live, offset, signal: abort.signal })
  session.closed.catch(() => {})
  const seen = { items: [], text: "", bytes: [], offset: undefined }
  const note = (batch) => (seen.offset = batch.offset)
  if (contentType === "application/json") {
    session.subscribeJson((batch) => (seen.items.push(...batch.items), note(batch)))
  } else if (contentType.startsWith("text/")) {
    session.subscribeText((chunk) => ((seen.text += chunk.text), note(chunk)))
  } else {
    session.subscribeBytes((chunk) => (seen.bytes.push(...chunk.data), note(chunk)))
  }
  return { seen, session, end: () => abort.abort() }
}

test("a catch-up over many pages is whole and in order", async () => {
  const handle = await create("pages", "application/json")
  const sent = Array.from({ length: 400 }, (_, i) => ({ i, pad: "x".repeat(i % 90) }))
  await Promise.all(sent.map((item) => handle.append(JSON.stringify(item))))
  // With `live: false` this client reads one page; without, it goes on until it is up to date.
  expect(await (await stream({ url: handle.url })).json()).toEqual(sent)
})

test("a message larger than a page is read whole", async () => {
  const handle = await create("large", "application/json")
  const large = { text: "y".repeat(50_000) }
  await handle.append(JSON.stringify(large))
  await handle.append(JSON.stringify({ after: true }))
  expect(await (await stream({ url: handle.url })).json()).toEqual([large, { after: true }])
})

for (const live of ["long-poll", "sse"]) {
  test(`a ${live} reader catches up and follows JSON to the stream's end`, async () => {
    const handle = await create(live, "application/json")
    await handle.append(JSON.stringify({ n: 0 }))
    const { seen, session } = await follow(handle.url, live, "application/json")
    await until("the first item", () => seen.items.length === 1)
    for (let n = 1; n < 20; n++) await handle.append(JSON.stringify({ n }))
    await until("all items", () => seen.items.length === 20)
    await handle.close({ body: JSON.stringify({ n: 20 }) })
    await until("the last item", () => seen.items.length === 21)
    await session.closed
    expect(session.streamClosed).toBe(true)
    expect(seen.items.map(({ n }) => n)).toEqual(Array.from({ length: 21 }, (_, n) => n))
  })

  test(`a ${live} reader follows text with line breaks`, async () => {
    const handle = await create(live, "text/plain")
    const parts = ["one\n", "two\nthree\n", "  indented\n", "\n", "last 🚂"]
    const { seen, end } = await follow(handle.url, live, "text/plain")
    for (const part of parts) await handle.append(part)
    await until("all text", () => seen.text.length >= parts.join("").length)
    expect(seen.text).toBe(parts.join(""))
    end()
  })

  test(`a ${live} reader follows bytes`, async () => {
    const handle = await create(live, "application/octet-stream")
    const { seen, end } = await follow(handle.url, live, "application/octet-stream")
    const parts = [1, 2, 3, 4, 5, 6].map((size) => Uint8Array.from({ length: size }, (_, i) => 250 + size + i))
    for (const part of parts) await handle.append(part)
    const sent = parts.flatMap((part) => [...part])
    await until("all bytes", () => seen.bytes.length >= sent.length)
    expect(seen.bytes).toEqual(sent)
    end()
  })

  test(`a ${live} reader that starts at now sees only what comes later`, async () => {
    const handle = await create(live, "application/json")
    await handle.append(JSON.stringify({ n: "before" }))
    const { offset } = await handle.head()
    const { seen, end } = await follow(handle.url, live, "application/json", offset)
    await handle.append(JSON.stringify({ n: "after" }))
    await until("the item", () => seen.items.length > 0)
    expect(seen.items).toEqual([{ n: "after" }])
    end()
  })
}

test("any offset a live reader was given resumes without a gap or a repeat", async () => {
  const handle = await create("resume", "application/json")
  const batches = []
  const abort = new AbortController()
  const session = await stream({ url: handle.url, live: "sse", signal: abort.signal })
  session.closed.catch(() => {})
  session.subscribeJson((batch) => void batches.push({ items: [...batch.items], offset: batch.offset }))
  for (let n = 0; n < 30; n++) await handle.append(JSON.stringify({ n }))
  await until("all items", () => batches.flatMap(({ items }) => items).length === 30)
  abort.abort()
  let before = 0
  for (const { items, offset } of batches) {
    before += items.length
    const rest = await (await stream({ url: handle.url, live: false, offset })).json()
    expect(rest.map(({ n }) => n)).toEqual(Array.from({ length: 30 - before }, (_, i) => before + i))
  }
})

test("two tabs on one stream see the same", async () => {
  const handle = await create("tabs", "application/json")
  const tabs = await Promise.all(["sse", "long-poll", "sse"].map((live) => follow(handle.url, live, "application/json")))
  for (let n = 0; n < 25; n++) await handle.append(JSON.stringify({ n }))
  await until("all tabs are there", () => tabs.every(({ seen }) => seen.items.length === 25))
  for (const { seen, end } of tabs) {
    expect(seen.items.map(({ n }) => n)).toEqual(Array.from({ length: 25 }, (_, n) => n))
    end()
  }
})
