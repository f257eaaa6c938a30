// Server-sent events as they stand on the wire: order, ids, line breaks, ends.

import { afterAll, beforeAll, describe, expect, test } from "vitest"

import { freshName, get, head, post, put, target } from "../../support/http.mjs"
import { RawConnection, rawRequest } from "../../support/raw.mjs"
import { startServer } from "../../support/server.mjs"
import { controls, jsonMessages, parseEvents } from "../../support/sse.mjs"

let server
beforeAll(async () => (server = await startServer()))
afterAll(() => server?.dispose())

const JSON_ = { "content-type": "application/json" }
const TEXT = { "content-type": "text/plain" }
const CLOSE = { "stream-closed": "true" }

/** A connection that reads a stream's events as raw text. */
async function follow(name, query = "?offset=-1&live=sse", headers = {}) {
  const connection = await RawConnection.open(server)
  connection.write(rawRequest("GET", target(name, query), headers))
  await connection.until("the head", () => connection.text.includes("\r\n\r\n"))
  return connection
}

const headOf = (connection) => connection.text.slice(0, connection.text.indexOf("\r\n\r\n"))

/** The body so far, with the chunk sizes taken out. */
function bodyOf(connection) {
  const bytes = connection.received.subarray(connection.received.indexOf("\r\n\r\n") + 4)
  if (!/transfer-encoding: chunked/i.test(headOf(connection))) return bytes.toString("utf8")
  const parts = []
  for (let at = 0; ; ) {
    const end = bytes.indexOf("\r\n", at)
    const size = end < 0 ? 0 : parseInt(bytes.subarray(at, end).toString("latin1"), 16)
    if (!(size > 0)) return Buffer.concat(parts).toString("utf8")
    parts.push(bytes.subarray(end + 2, end + 2 + size))
    at = end + 2 + size + 2
  }
}

const eventsOf = (connection) => parseEvents(bodyOf(connection))

describe("the head", () => {
  test("says what it is, is not stored, and ends the connection", async () => {
    const name = freshName("head")
    await put(server, name, { headers: JSON_ })
    const connection = await follow(name)
    const lines = headOf(connection).toLowerCase()
    expect(lines).toContain("content-type: text/event-stream")
    expect(lines).toContain("cache-control: no-cache")
    // T49: a connection that the server will end is not offered for another request.
    expect(lines).toContain("connection: close")
    expect(lines).not.toContain("\r\nstream-sse-data-encoding:")
    connection.close()
  })

  test("names the encoding of bytes", async () => {
    const name = freshName("head")
    await put(server, name)
    const connection = await follow(name)
    expect(headOf(connection).toLowerCase()).toContain("\r\nstream-sse-data-encoding: base64")
    connection.close()
  })
})

describe("events", () => {
  test("each data event is followed by its control event, and both carry the offset after them", async () => {
    const name = freshName("pairs")
    await put(server, name, { headers: JSON_, body: "[1,2]" })
    const connection = await follow(name)
    for (let n = 3; n < 13; n++) await post(server, name, `${n}`, JSON_)
    await connection.until("all messages", () => jsonMessages(eventsOf(connection)).length === 12)
    await connection.until("the last control", () => eventsOf(connection).at(-1)?.type === "control")
    connection.close()
    const events = eventsOf(connection)
    expect(jsonMessages(events)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1))
    for (const [i, event] of events.entries()) {
      if (event.type !== "data") continue
      const control = JSON.parse(events[i + 1].data)
      expect(events[i + 1].type).toBe("control")
      expect([event.id, events[i + 1].id]).toEqual([control.streamNextOffset, control.streamNextOffset])
    }
    expect(controls(events).at(-1)).toMatchObject({ upToDate: true, streamCursor: expect.stringMatching(/^\d+$/) })
    expect(bodyOf(connection)).not.toContain("\r")
  })

  test("every id resumes by Last-Event-ID, which beats the offset of the URL", async () => {
    const name = freshName("ids")
    await put(server, name, { headers: JSON_ })
    const first = await follow(name)
    for (let n = 0; n < 5; n++) await post(server, name, `${n}`, JSON_)
    await first.until("all messages", () => jsonMessages(eventsOf(first)).length === 5)
    first.close()
    let seen = 0
    for (const event of eventsOf(first).filter(({ type }) => type === "data")) {
      seen += JSON.parse(event.data).length
      const again = await follow(name, "?offset=-1&live=sse", { "Last-Event-ID": event.id })
      await again.until("a control event", () => controls(eventsOf(again)).at(-1)?.upToDate)
      expect(jsonMessages(eventsOf(again))).toEqual([0, 1, 2, 3, 4].slice(seen))
      again.close()
    }
  })

  test.each([
    ["lines", "one\ntwo\n", "one\ntwo\n"],
    ["leading blanks", "  two blanks\n x", "  two blanks\n x"],
    ["an event of its own", "x\n\nevent: control\ndata: {}\n\ny", "x\n\nevent: control\ndata: {}\n\ny"],
    ["carriage returns", "a\r\nb\rc", "a\nb\nc"],
    ["T23: other line separators", "a\u2028b\u2029c\u0085d", "a\u2028b\u2029c\u0085d"],
    ["nothing but a line break", "\n", "\n"],
    ["a colon first", ":comment?", ":comment?"],
  ])("text with %s arrives as text", async (_what, sent, wanted) => {
    const name = freshName("text")
    await put(server, name, { headers: TEXT })
    await post(server, name, sent, { ...TEXT, ...CLOSE })
    const connection = await follow(name)
    await connection.until("the end", () => connection.ended)
    const events = eventsOf(connection)
    const text = events.filter(({ type }) => type === "data").map(({ data }) => data).join("")
    expect(text).toBe(wanted)
    expect(controls(events).at(-1)).toMatchObject({ streamClosed: true })
  })

  test("a code point that comes in two appends is never torn", async () => {
    const name = freshName("torn")
    const train = Buffer.from("🚂")
    await put(server, name, { headers: TEXT })
    const connection = await follow(name)
    await post(server, name, Buffer.concat([Buffer.from("a"), train.subarray(0, 2)]), TEXT)
    await connection.until("the a", () => eventsOf(connection).some(({ data }) => data === "a"))
    await post(server, name, train.subarray(2), { ...TEXT, ...CLOSE })
    await connection.until("the end", () => connection.ended)
    const events = eventsOf(connection)
    expect(events.filter(({ type }) => type === "data").map(({ data }) => data).join("")).toBe("a🚂")
    expect(controls(events).at(-1).streamNextOffset).toBe((await head(server, name)).headers["stream-next-offset"])
  })

  test("t52_each_event_of_bytes_is_base64_of_its_own", async () => {
    const name = freshName("bytes")
    await put(server, name)
    const connection = await follow(name)
    const sent = [1, 2, 4, 5, 7].map((length) => Buffer.alloc(length, length))
    for (const bytes of sent) await post(server, name, bytes)
    const data = () => eventsOf(connection).filter(({ type }) => type === "data")
    const decoded = () => Buffer.concat(data().map((event) => Buffer.from(event.data.replace(/\n/g, ""), "base64")))
    await connection.until("all bytes", () => decoded().length === Buffer.concat(sent).length)
    for (const event of data()) expect(event.data.replace(/\n/g, "").length % 4).toBe(0)
    expect(decoded()).toEqual(Buffer.concat(sent))
    connection.close()
  })
})

describe("the end of a stream", () => {
  test("t48_the_last_message_comes_before_the_close_it_came_with", async () => {
    for (let i = 0; i < 25; i++) {
      const name = freshName("final")
      await put(server, name, { headers: JSON_ })
      const [sse, poll] = [await follow(name), get(server, name, "?offset=-1&live=long-poll&timeout=10s")]
      await post(server, name, '{"last":true}', { ...JSON_, ...CLOSE })
      await sse.until("the end", () => sse.ended)
      const events = eventsOf(sse)
      expect(jsonMessages(events)).toEqual([{ last: true }])
      expect(controls(events).at(-1)).toMatchObject({ streamClosed: true })
      const polled = await poll
      expect([polled.status, polled.text]).toEqual([200, '[{"last":true}]'])
    }
  })

  test("a closed stream opened at its end says so at once and ends", async () => {
    const name = freshName("closed")
    await put(server, name, { headers: { ...JSON_, ...CLOSE }, body: "[1]" })
    const tail = (await head(server, name)).headers["stream-next-offset"]
    for (const offset of [tail, "now"]) {
      const connection = await follow(name, `?offset=${offset}&live=sse`)
      await connection.until("the end", () => connection.ended)
      expect(controls(eventsOf(connection))).toEqual([expect.objectContaining({ streamNextOffset: tail, streamClosed: true, upToDate: true })])
    }
  })

  test("an EventSource that comes back to the end gets 204, which ends it", async () => {
    const name = freshName("again")
    await put(server, name, { headers: { ...JSON_, ...CLOSE }, body: "[1]" })
    const tail = (await head(server, name)).headers["stream-next-offset"]
    const { status, headers } = await get(server, name, "?offset=-1&live=sse", { "last-event-id": tail })
    expect([status, headers["stream-closed"]]).toEqual([204, "true"])
  })

  test("a reader of a stream that is deleted is let go, and is told 404 when it comes back", async () => {
    const name = freshName("deleted")
    await put(server, name, { headers: JSON_, body: "[1]" })
    const connection = await follow(name)
    await connection.until("the message", () => jsonMessages(eventsOf(connection)).length === 1)
    await fetch(server.stream(name), { method: "DELETE" })
    await connection.until("the end", () => connection.ended)
    // T64e: the end of a connection is not the end of the stream.
    expect(bodyOf(connection)).not.toContain("streamClosed")
    expect((await get(server, name)).status).toBe(404)
  })
})
