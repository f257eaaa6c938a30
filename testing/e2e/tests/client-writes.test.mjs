// The published TypeScript client writes: create, append, batching, close, delete.

import { DurableStream, stream } from "@durable-streams/client"
import { afterAll, beforeAll, expect, test } from "vitest"

import { freshName } from "../../support/http.mjs"
import { startServer } from "../../support/server.mjs"

let server
beforeAll(async () => (server = await startServer()))
afterAll(() => server?.dispose())

const create = (label, contentType = "application/json", more = {}) =>
  DurableStream.create({ url: server.stream(freshName(label)), contentType, ...more })

const read = (handle) => handle.stream({ live: false })

test("a created stream is found by connect and by create again", async () => {
  const made = await create("create")
  const found = await DurableStream.connect({ url: made.url })
  expect(found.contentType).toBe("application/json")
  await expect(DurableStream.create({ url: made.url, contentType: "application/json" })).resolves.toBeDefined()
  await expect(DurableStream.create({ url: made.url, contentType: "text/plain" })).rejects.toMatchObject({
    status: 409,
  })
})

test("a stream that does not exist is not found", async () => {
  const url = server.stream(freshName("absent"))
  expect(await DurableStream.head({ url })).toEqual({ exists: false })
  await expect(stream({ url, live: false })).rejects.toMatchObject({ status: 404 })
  await expect(new DurableStream({ url, contentType: "text/plain" }).append("x")).rejects.toMatchObject({ status: 404 })
})

test("appended JSON comes back as it was sent, in order", async () => {
  const handle = await create("append")
  for (let i = 0; i < 10; i++) await handle.append(JSON.stringify({ i, text: `züge ${i} 🚂` }))
  const items = await (await read(handle)).json()
  expect(items).toEqual(Array.from({ length: 10 }, (_, i) => ({ i, text: `züge ${i} 🚂` })))
})

test("appends that are not waited for are batched and none is lost", async () => {
  let posts = 0
  const counting = (...args) => {
    if (args[1]?.method === "POST") posts++
    return fetch(...args)
  }
  const handle = await create("batch", "application/json", { fetch: counting })
  await Promise.all(Array.from({ length: 500 }, (_, i) => handle.append(JSON.stringify({ i }))))
  const items = await (await read(handle)).json()
  expect(items.map(({ i }) => i)).toEqual(Array.from({ length: 500 }, (_, i) => i))
  expect(posts).toBeLessThan(500)
})

test("bytes come back unchanged", async () => {
  const handle = await create("bytes", "application/octet-stream")
  const all = Uint8Array.from({ length: 256 * 64 }, (_, i) => (i * 7 + (i >> 8)) & 255)
  await handle.append(all.slice(0, 1000))
  await handle.append(all.slice(1000))
  expect(Buffer.from(await (await read(handle)).body()).equals(Buffer.from(all))).toBe(true)
})

test("a stream of chunks is one append", async () => {
  const handle = await create("chunks", "text/plain")
  async function* source() {
    for (const part of ["one ", "two ", "three"]) yield part
  }
  await handle.appendStream(source())
  expect(await (await read(handle)).text()).toBe("one two three")
})

test("a writer's sequence may not go back", async () => {
  const handle = await create("seq", "text/plain")
  await handle.append("a", { seq: "0002" })
  await expect(handle.append("b", { seq: "0001" })).rejects.toMatchObject({ status: 409 })
  expect(await (await read(handle)).text()).toBe("a")
})

test("close with a last message ends the stream, and closing again is fine", async () => {
  const handle = await create("close")
  await handle.append(JSON.stringify({ n: 1 }))
  const { finalOffset } = await handle.close({ body: JSON.stringify({ n: 2 }) })
  const response = await read(handle)
  expect(await response.json()).toEqual([{ n: 1 }, { n: 2 }])
  expect(response.streamClosed).toBe(true)
  expect(response.offset).toBe(finalOffset)
  const { streamClosed, offset } = await handle.head()
  expect({ streamClosed, offset }).toEqual({ streamClosed: true, offset: finalOffset })
  await expect(handle.close()).resolves.toEqual({ finalOffset })
  await expect(handle.append(JSON.stringify({ n: 3 }))).rejects.toMatchObject({ status: 409 })
})

test("a deleted stream is gone, and its name can be used again without showing old bytes", async () => {
  const handle = await create("delete", "text/plain")
  await handle.append("old")
  const { offset } = await handle.head()
  await handle.delete()
  expect(await handle.head()).toEqual({ exists: false })
  await handle.create({ contentType: "text/plain" })
  await handle.append("new")
  expect(await (await read(handle)).text()).toBe("new")
  // T41: an offset of the old stream names nothing in the new one.
  const stale = await fetch(`${handle.url}?offset=${offset}`)
  expect(stale.status).toBe(410)
  expect(stale.headers.get("stream-earliest-offset")).toBeTruthy()
})
