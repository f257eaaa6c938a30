// HTTP/2 without TLS, as a client that knows it would speak it: the same streams, the same answers.

import { connect } from "node:http2"
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest"

import { freshName, get, target } from "../../support/http.mjs"
import { startServer, until } from "../../support/server.mjs"
import { controls, jsonMessages, parseEvents } from "../../support/sse.mjs"

let server
beforeAll(async () => (server = await startServer()))
afterAll(() => server?.dispose())

let session
beforeEach(() => (session = connect(server.url)))
afterEach(() => session.destroy())

const JSON_ = { "content-type": "application/json" }

/** Begins a request; `text` grows as the body comes. */
function begin(method, path, headers = {}, body) {
  const exchange = { status: undefined, headers: {}, text: "", ended: false }
  const stream = session.request({ ":method": method, ":path": path, ...headers }, { endStream: body === undefined })
  stream.setEncoding("utf8")
  stream.on("response", (received) => Object.assign(exchange, { status: received[":status"], headers: received }))
  stream.on("data", (text) => (exchange.text += text))
  stream.on("error", (error) => Object.assign(exchange, { error, ended: true }))
  stream.on("end", () => (exchange.ended = true))
  if (body !== undefined) stream.end(body)
  return Object.assign(exchange, { stream })
}

async function send(method, path, headers, body) {
  const exchange = begin(method, path, headers, body)
  await until(`${method} ${path} ends`, () => exchange.ended)
  return exchange
}

test("create, append and read", async () => {
  const path = target(freshName("h2"))
  expect((await send("PUT", path, JSON_)).status).toBe(201)
  expect((await send("POST", path, JSON_, '{"n":1}')).status).toBe(204)
  const producer = { ...JSON_, "producer-id": "p", "producer-epoch": "0", "producer-seq": "0" }
  expect((await send("POST", path, producer, '[{"n":2},{"n":3}]')).status).toBe(200)
  expect((await send("POST", path, producer, '[{"n":2},{"n":3}]')).status).toBe(204)
  const read = await send("GET", path)
  expect([read.status, read.text]).toEqual([200, '[{"n":1},{"n":2},{"n":3}]'])
  expect(read.headers["stream-up-to-date"]).toBe("true")
  const head = await send("HEAD", path)
  expect([head.status, head.text]).toEqual([200, ""])
  expect((await send("DELETE", path)).status).toBe(204)
  expect((await send("GET", path)).status).toBe(404)
})

test("no answer carries a header that HTTP/2 forbids", async () => {
  const path = target(freshName("h2"))
  const answers = [await send("PUT", path, JSON_), await send("GET", path), await send("GET", "/nowhere"), await send("GET", `${path}?offset=-1&live=long-poll&timeout=50ms`)]
  for (const { headers } of answers) {
    for (const name of ["connection", "keep-alive", "transfer-encoding", "upgrade"]) expect(headers[name]).toBeUndefined()
  }
})

test("a long-poll and an SSE reader share one connection with their writer", async () => {
  const path = target(freshName("h2"))
  await send("PUT", path, JSON_)
  const events = begin("GET", `${path}?offset=-1&live=sse`)
  const poll = begin("GET", `${path}?offset=-1&live=long-poll&timeout=10s`)
  await until("SSE begins", () => parseEvents(events.text).length > 0)
  expect(events.headers["content-type"]).toMatch(/^text\/event-stream/)
  await send("POST", path, JSON_, '{"n":1}')
  await until("the long-poll ends", () => poll.ended)
  expect([poll.status, poll.text]).toEqual([200, '[{"n":1}]'])
  await send("POST", path, { ...JSON_, "stream-closed": "true" }, '{"n":2}')
  await until("SSE ends", () => events.ended)
  expect(events.error).toBeUndefined()
  const parsed = parseEvents(events.text)
  expect(jsonMessages(parsed)).toEqual([{ n: 1 }, { n: 2 }])
  expect(controls(parsed).at(-1)).toMatchObject({ streamClosed: true })
})

test("100 readers on one connection all see an append", async () => {
  const path = target(freshName("h2"))
  await send("PUT", path, JSON_)
  const readers = Array.from({ length: 100 }, () => begin("GET", `${path}?offset=-1&live=sse`))
  await until("all readers are there", () => readers.every(({ text }) => parseEvents(text).length > 0))
  await send("POST", path, JSON_, '{"n":1}')
  await until("all readers saw it", () => readers.every(({ text }) => jsonMessages(parseEvents(text)).length === 1))
})

test("a request that is reset half way appends nothing", async () => {
  const path = target(freshName("h2"))
  await send("PUT", path, JSON_)
  const cut = session.request({ ":method": "POST", ":path": path, ...JSON_, "content-length": "100" })
  cut.on("error", () => {})
  cut.write('{"half":')
  await new Promise((done) => setTimeout(done, 50))
  cut.close(8)
  expect((await send("POST", path, JSON_, '{"n":1}')).status).toBe(204)
  expect((await send("GET", path)).text).toBe('[{"n":1}]')
})

test("a reader that resets its stream leaves the connection to others", async () => {
  const path = target(freshName("h2"))
  await send("PUT", path, JSON_)
  const gone = begin("GET", `${path}?offset=-1&live=sse`)
  await until("SSE begins", () => gone.text.length > 0)
  gone.stream.close(8)
  expect((await send("POST", path, JSON_, '{"n":1}')).status).toBe(204)
})

test("both versions of HTTP see the same stream", async () => {
  const name = freshName("h2")
  await send("PUT", target(name), JSON_, "[1,2,3]")
  const [one, two] = [await get(server, name), await send("GET", target(name))]
  expect(two.text).toBe(one.text)
  for (const header of ["etag", "stream-next-offset", "cache-control", "content-type"]) expect(two.headers[header]).toBe(one.headers[header])
})
