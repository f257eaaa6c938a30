// Methods, paths, and what browsers are allowed: 405 with `Allow`, 404, CORS.

import { afterAll, beforeAll, describe, expect, test } from "vitest"

import { freshName, get, put, request, target } from "../../support/http.mjs"
import { startServer } from "../../support/server.mjs"

let server
beforeAll(async () => (server = await startServer()))
afterAll(() => server?.dispose())

const TEXT = { "content-type": "text/plain" }
const list = (value) => (value ?? "").split(",").map((item) => item.trim().toLowerCase())

describe("a method that is not there is 405 and says which are", () => {
  test.each([
    ["PROPFIND", target("x"), ["patch", "put", "post", "get", "head", "delete", "options"]],
    ["TRACE", target("x"), ["put", "post", "get", "head", "delete", "options"]],
    ["BREW", target("x"), ["put", "post", "get", "head", "delete", "options"]],
    ["POST", "/v1/streams", ["get"]],
    ["DELETE", "/health", ["get"]],
    ["POST", "/ready", ["get"]],
  ])("%s %s", async (method, path, allowed) => {
    const { status, headers, text } = await request(server, method, path)
    expect({ status, text }).toMatchObject({ status: 405 })
    expect(list(headers.allow)).toEqual(expect.arrayContaining(allowed))
    expect(list(headers.allow)).not.toContain(method.toLowerCase())
    expect(JSON.parse(text).error.code).toBe("method-not-allowed")
  })
})

describe("a path that is not there is 404", () => {
  test.each(["/", "/v1", "/v1/stream", "/v2/stream/x", "/favicon.ico", "/v1/streams/x"])("%s", async (path) => {
    const { status, text } = await request(server, "GET", path)
    expect([400, 404]).toContain(status)
    expect(JSON.parse(text).error.code).toMatch(/^(no-route|invalid-name)$/)
  })
})

test("health and readiness answer", async () => {
  expect((await request(server, "GET", "/health")).status).toBe(200)
  expect((await request(server, "GET", "/ready")).status).toBe(200)
})

describe("CORS", () => {
  const ORIGIN = { origin: "https://app.example" }
  const READ = ["stream-next-offset", "stream-cursor", "stream-up-to-date", "stream-closed", "etag", "location", "stream-earliest-offset", "producer-epoch", "producer-seq", "producer-expected-seq", "producer-received-seq", "retry-after"]
  const SENT = ["content-type", "authorization", "if-none-match", "stream-seq", "stream-ttl", "stream-expires-at", "stream-closed", "producer-id", "producer-epoch", "producer-seq", "stream-forked-from", "stream-fork-offset", "stream-fork-sub-offset", "last-event-id"]

  test("a preflight allows every method and every header that clients send", async () => {
    for (const method of ["PUT", "POST", "GET", "HEAD", "DELETE"]) {
      const headers = { ...ORIGIN, "access-control-request-method": method, "access-control-request-headers": SENT.join(",") }
      const answer = await request(server, "OPTIONS", target("preflight"), { headers })
      expect([200, 204]).toContain(answer.status)
      expect(["*", ORIGIN.origin]).toContain(answer.headers["access-control-allow-origin"])
      expect(list(answer.headers["access-control-allow-methods"])).toContain(method.toLowerCase())
      const allowed = list(answer.headers["access-control-allow-headers"])
      for (const name of SENT) expect(allowed).toContain(name)
      expect(Number(answer.headers["access-control-max-age"])).toBeGreaterThan(0)
    }
  })

  test("every answer, good or bad, lets a page read what clients act on", async () => {
    const name = freshName("cors")
    const answers = [
      await put(server, name, { headers: { ...TEXT, ...ORIGIN }, body: "x" }),
      await get(server, name, "", ORIGIN),
      await get(server, name, "?offset=-1&live=long-poll", ORIGIN),
      await request(server, "POST", target(name), { headers: { ...TEXT, ...ORIGIN }, body: "y" }),
      await request(server, "HEAD", target(name), { headers: ORIGIN }),
      await get(server, freshName("absent"), "", ORIGIN),
      await get(server, name, "?offset=bad", ORIGIN),
      await request(server, "PROPFIND", target(name), { headers: ORIGIN }),
      await request(server, "GET", "/v1/streams", { headers: ORIGIN }),
    ]
    for (const { status, headers } of answers) {
      expect(["*", ORIGIN.origin], `${status}`).toContain(headers["access-control-allow-origin"])
      const exposed = list(headers["access-control-expose-headers"])
      for (const read of READ) expect(exposed, `${status}`).toContain(read)
      expect(headers["x-content-type-options"]).toBe("nosniff")
      expect(headers["cross-origin-resource-policy"]).toBe("cross-origin")
    }
  })
})

describe("caching", () => {
  test("t54_an_etag_changes_when_the_stream_closes", async () => {
    const name = freshName("etag")
    await put(server, name, { headers: TEXT, body: "x" })
    const { headers } = await get(server, name)
    expect(headers["cache-control"]).toBe("no-cache")
    const again = await get(server, name, "", { "if-none-match": headers.etag })
    expect([again.status, again.text]).toEqual([304, ""])
    await request(server, "POST", target(name), { headers: { "stream-closed": "true" } })
    const closed = await get(server, name, "", { "if-none-match": headers.etag })
    expect([closed.status, closed.headers["stream-closed"]]).toEqual([200, "true"])
    expect(closed.headers.etag).not.toBe(headers.etag)
  })

  test("t53_a_long_poll_that_timed_out_is_never_stored", async () => {
    const name = freshName("timeout")
    await put(server, name, { headers: TEXT, body: "x" })
    const tail = (await request(server, "HEAD", target(name))).headers["stream-next-offset"]
    const { status, headers } = await get(server, name, `?offset=${tail}&live=long-poll&timeout=100ms`)
    expect([status, headers["cache-control"]]).toEqual([204, "no-store"])
    expect([headers["stream-next-offset"], headers["stream-up-to-date"]]).toEqual([tail, "true"])
    expect(headers["stream-cursor"]).toMatch(/^\d+$/)
  })
})
