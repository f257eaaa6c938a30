// Bad input gets a clear 4xx that says what is wrong, and changes nothing. One table of requests,
// each against a stream whose tail is looked at before and after.

import { afterAll, beforeAll, describe, expect, test } from "vitest"

import { freshName, get, head, post, put, request, target } from "../../support/http.mjs"
import { exchange, rawRequest } from "../../support/raw.mjs"
import { startServer } from "../../support/server.mjs"

const APPEND_BYTES_MAX = 64 * 1024

let server
beforeAll(async () => (server = await startServer({ args: ["--append-bytes-max", `${APPEND_BYTES_MAX}`] })))
afterAll(() => server?.dispose())

const TEXT = { "content-type": "text/plain" }
const JSON_ = { "content-type": "application/json" }
const PRODUCER = { "producer-id": "p", "producer-epoch": "0", "producer-seq": "0" }

/** A problem document that also carries what the suite and other clients read. */
function expectProblem({ status, headers, text }, wantedStatus, code) {
  expect({ status, text }).toMatchObject({ status: wantedStatus })
  expect(headers["content-type"]).toMatch(/^application\/problem\+json/)
  expect(headers["x-content-type-options"]).toBe("nosniff")
  expect(headers["cache-control"]).toBe("no-store")
  const problem = JSON.parse(text)
  expect(problem).toMatchObject({ status: wantedStatus, error: { code: code ?? expect.any(String) } })
  expect(problem.title.length).toBeGreaterThan(3)
  expect(problem.error.message.length).toBeGreaterThan(3)
}


describe("an append that is refused moves nothing", () => {
  const long = (count) => "x".repeat(count)
  const rows = [
    ["no content type", {}, "x", 400, "invalid-content-type"],
    ["an empty body", TEXT, "", 400, "empty-body"],
    ["a producer without an epoch", { ...TEXT, "producer-id": "p", "producer-seq": "0" }, "x", 400, "invalid-producer"],
    ["a producer without a sequence", { ...TEXT, "producer-id": "p", "producer-epoch": "0" }, "x", 400, "invalid-producer"],
    ["an epoch without a producer", { ...TEXT, "producer-epoch": "0", "producer-seq": "0" }, "x", 400, "invalid-producer"],
    ["a sequence alone", { ...TEXT, "producer-seq": "0" }, "x", 400, "invalid-producer"],
    ["an empty producer id", { ...TEXT, ...PRODUCER, "producer-id": "" }, "x", 400, "invalid-producer"],
    ["a long producer id", { ...TEXT, ...PRODUCER, "producer-id": long(257) }, "x", 400, "invalid-producer"],
    ["a negative epoch", { ...TEXT, ...PRODUCER, "producer-epoch": "-1" }, "x", 400, "invalid-producer"],
    ["an epoch with a sign", { ...TEXT, ...PRODUCER, "producer-epoch": "+1" }, "x", 400, "invalid-producer"],
    ["an epoch with a leading zero", { ...TEXT, ...PRODUCER, "producer-epoch": "01" }, "x", 400, "invalid-producer"],
    ["a sequence that is no number", { ...TEXT, ...PRODUCER, "producer-seq": "one" }, "x", 400, "invalid-producer"],
    ["a sequence of 2^53", { ...TEXT, ...PRODUCER, "producer-seq": "9007199254740992" }, "x", 400, "invalid-producer"],
    ["t36_a_sequence_of_2_64", { ...TEXT, ...PRODUCER, "producer-seq": "18446744073709551616" }, "x", 400, "invalid-producer"],
    ["a first sequence that is not 0", { ...TEXT, ...PRODUCER, "producer-seq": "1" }, "x", 409, "producer-seq-gap"],
    ["another content type", JSON_, "{}", 409, "content-type-mismatch"],
    ["an empty Stream-Seq", { ...TEXT, "stream-seq": "" }, "x", 400, "invalid-seq"],
    ["a long Stream-Seq", { ...TEXT, "stream-seq": long(257) }, "x", 400, "invalid-seq"],
    ["a body one byte too large", TEXT, long(APPEND_BYTES_MAX + 1), 413, "body-too-large"],
  ]
  test.each(rows)("%s", async (_what, headers, body, status, code) => {
    const name = freshName("bad")
    expect((await put(server, name, { headers: TEXT, body: "before" })).status).toBe(201)
    const before = (await head(server, name)).headers["stream-next-offset"]
    expectProblem(await request(server, "POST", target(name), { headers, body }), status, code)
    const after = await get(server, name)
    expect([after.text, after.headers["stream-next-offset"]]).toEqual(["before", before])
    // T66: nothing that failed moved the producer's state, or the writer's sequence.
    const first = await post(server, name, "+", { ...TEXT, ...PRODUCER, "stream-seq": "0" })
    expect(first.status).toBe(200)
  })

  test("a body of exactly the largest size is taken, and can be read", async () => {
    const name = freshName("largest")
    await put(server, name, { headers: TEXT })
    expect((await post(server, name, long(APPEND_BYTES_MAX), TEXT)).status).toBe(204)
    expect((await get(server, name)).body.length).toBe(APPEND_BYTES_MAX)
  })
})

describe("JSON that is refused moves nothing", () => {
  const rows = [
    ["nothing but blanks", "  ", "invalid-json"],
    ["half an object", '{"a":', "invalid-json"],
    ["two values", "{} {}", "invalid-json"],
    ["a trailing comma", "[1,]", "invalid-json"],
    ["a bare word", "nope", "invalid-json"],
    ["a number with a leading zero", "[01]", "invalid-json"],
    ["an unescaped line break in a string", '"a\nb"', "invalid-json"],
    ["an empty array", "[]", "empty-array"],
    ["an empty array with blanks", " [ ] ", "empty-array"],
    ["an array nested too deeply", `[${"[".repeat(200)}${"]".repeat(200)}]`, "json-too-deep"],
    ["a lone surrogate", '"\\ud800"', "invalid-unicode"],
    ["a byte that is no UTF-8", Buffer.from([0x22, 0xff, 0x22]), "invalid-unicode"],
    ["a good message before a bad one", '[{"a":1},{"a":]', "invalid-json"],
  ]
  test.each(rows)("%s", async (_what, body, code) => {
    const name = freshName("json")
    await put(server, name, { headers: JSON_, body: "[1]" })
    expectProblem(await request(server, "POST", target(name), { headers: JSON_, body }), 400, code)
    expect((await get(server, name)).text).toBe("[1]")
  })
})

describe("a creation that is refused creates nothing", () => {
  const rows = [
    ["a TTL with a sign", { "stream-ttl": "+60" }, 400, "invalid-lifetime"],
    ["a TTL with a leading zero", { "stream-ttl": "060" }, 400, "invalid-lifetime"],
    ["a TTL with a fraction", { "stream-ttl": "1.5" }, 400, "invalid-lifetime"],
    ["a negative TTL", { "stream-ttl": "-1" }, 400, "invalid-lifetime"],
    ["a TTL that overflows", { "stream-ttl": "99999999999999999999" }, 400, "invalid-lifetime"],
    ["an expiry that is no time", { "stream-expires-at": "tomorrow" }, 400, "invalid-lifetime"],
    ["an expiry in the past", { "stream-expires-at": "2001-01-01T00:00:00Z" }, 400, "expires-in-the-past"],
    ["both a TTL and an expiry", { "stream-ttl": "60", "stream-expires-at": "2099-01-01T00:00:00Z" }, 400, "invalid-lifetime"],
    ["a fork of nothing", { "stream-forked-from": "/v1/stream/there-is-none" }, 404, "source-not-found"],
    ["a fork offset without a source", { "stream-fork-offset": "-1" }, 400, "invalid-fork"],
    ["a fork of another server", { "stream-forked-from": "http://elsewhere/v1/stream/x" }, 400, "invalid-fork"],
    ["a content type that is none", { "content-type": "nonsense" }, 400, "invalid-content-type"],
  ]
  test.each(rows)("%s", async (_what, headers, status, code) => {
    const name = freshName("create")
    expectProblem(await put(server, name, { headers }), status, code)
    expect((await head(server, name)).status).toBe(404)
  })

  test.each([
    ["a malformed fork offset", { "stream-fork-offset": "x" }, "invalid-fork"],
    ["a fork offset past the tail", { "stream-fork-offset": "0000000000001-0000000000009999" }, "fork-position"],
    ["a sub-offset that overshoots", { "stream-fork-offset": "-1", "stream-fork-sub-offset": "99" }, "fork-position"],
    ["a sub-offset that is no number", { "stream-fork-offset": "-1", "stream-fork-sub-offset": "one" }, "invalid-fork"],
  ])("%s", async (_what, headers, code) => {
    const [source, name] = [freshName("source"), freshName("fork")]
    await put(server, source, { headers: TEXT, body: "0123456789" })
    const from = { "stream-forked-from": target(source) }
    expectProblem(await put(server, name, { headers: { ...from, ...headers } }), 400, code)
    expect((await head(server, name)).status).toBe(404)
    // T72: the refused fork holds nothing, so the source goes at once.
    expect((await request(server, "DELETE", target(source))).status).toBe(204)
    expect((await get(server, source)).status).toBe(404)
  })
})

describe("a read with a bad query is refused", () => {
  const rows = [
    ["a malformed offset", "?offset=abc", "invalid-offset"],
    ["an empty offset", "?offset=", "invalid-offset"],
    ["an offset with a comma", "?offset=0000000000001-0000000000000001,2", "invalid-offset"],
    ["a negative offset", "?offset=-2", "invalid-offset"],
    ["a position that overflows", "?offset=0000000001-99999999999999999999", "invalid-offset"],
    ["two offsets", "?offset=-1&offset=now", "invalid-query"],
    ["an unknown live mode", "?offset=-1&live=yes", "invalid-query"],
    ["an empty live mode", "?offset=-1&live=", "invalid-query"],
    ["long-poll without an offset", "?live=long-poll", "offset-required"],
    ["SSE without an offset", "?live=sse", "offset-required"],
    ["a broken escape", "?offset=%zz", "invalid-query"],
    ["half an escape", "?offset=%2", "invalid-query"],
    ["a timeout that is no time", "?offset=-1&live=long-poll&timeout=soon", "invalid-query"],
  ]
  test.each(rows)("%s", async (_what, query, code) => {
    const name = freshName("read")
    await put(server, name, { headers: TEXT, body: "x" })
    expectProblem(await get(server, name, query), 400, code)
  })

  test("a malformed Last-Event-ID", async () => {
    const name = freshName("last")
    await put(server, name, { headers: TEXT, body: "x" })
    expectProblem(await get(server, name, "?offset=-1&live=sse", { "last-event-id": "18446744073709551615" }), 400, "invalid-offset")
  })

  test("an offset inside a JSON message", async () => {
    const name = freshName("inside")
    await put(server, name, { headers: JSON_, body: '[{"n":1}]' })
    const { headers } = await head(server, name)
    const [generation] = headers["stream-next-offset"].split("-")
    expectProblem(await get(server, name, `?offset=${generation}-0000000000000003`), 400, "offset-not-a-boundary")
  })

  test("an offset past the tail", async () => {
    const name = freshName("past")
    await put(server, name, { headers: TEXT, body: "x" })
    const { headers } = await head(server, name)
    const [generation] = headers["stream-next-offset"].split("-")
    const answer = await get(server, name, `?offset=${generation}-0000000000000099`)
    expectProblem(answer, 410, "offset-gone")
    expect(answer.headers["stream-earliest-offset"]).toMatch(/^\d{13}-0{16}$/)
  })
})

describe("headers that are too much or come twice are refused", () => {
  test("a header that has one value and comes twice", async () => {
    const name = freshName("twice")
    await put(server, name, { headers: TEXT })
    const twice = [["Content-Type", "text/plain"], ["Producer-Id", "a"], ["Producer-Id", "b"], ["Producer-Epoch", "0"], ["Producer-Seq", "0"], ["Content-Length", "1"]]
    expectProblem(textual(await exchange(server, rawRequest("POST", target(name), twice, "x"))), 400, "invalid-header")
    expect((await get(server, name)).text).toBe("")
  })

  test.each([
    ["one large header", { "X-Large": "x".repeat(2 << 20) }, "/v1/stream/a"],
    ["thousands of headers", Array.from({ length: 5000 }, (_, i) => [`X-${i}`, "x"]), "/v1/stream/a"],
    ["a long path", {}, `/v1/stream/${"x".repeat(200_000)}`],
  ])("%s", async (_what, headers, path) => {
    const { status } = await exchange(server, rawRequest("GET", path, headers))
    expect([400, 414, 431]).toContain(status)
    expect((await get(server, "there-is-none")).status).toBe(404)
  })
})

const textual = ({ status, headers, body }) => ({ status, headers, text: body })

describe("listing with a bad query is refused", () => {
  test.each(["?limit=0", "?limit=1001", "?limit=many", "?limit=-1", "?prefix=a&prefix=b", "?after=%ff"])("%s", async (query) => {
    expectProblem(await request(server, "GET", `/v1/streams${query}`), 400, "invalid-query")
  })
})
