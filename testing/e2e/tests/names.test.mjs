// T99: names with slashes and dots, reserved names, and escapes, as they stand on the wire.

import { afterAll, beforeAll, describe, expect, test } from "vitest"

import { freshName, get, put, request, target } from "../../support/http.mjs"
import { exchange, rawRequest } from "../../support/raw.mjs"
import { startServer } from "../../support/server.mjs"

let server
beforeAll(async () => (server = await startServer()))
afterAll(() => server?.dispose())

const TEXT = { "content-type": "text/plain" }
const create = (path) => exchange(server, rawRequest("PUT", path, { "Content-Type": "text/plain", "Content-Length": "0" }))

describe("t99_names_that_would_leave_the_tree_or_are_reserved_are_refused", () => {
  const rows = [
    ["/v1/stream/", 400],
    ["/v1/stream/..", 400],
    ["/v1/stream/../../etc/passwd", 400],
    ["/v1/stream/a/../b", 400],
    ["/v1/stream/a/./b", 400],
    ["/v1/stream/.", 400],
    ["/v1/stream/a//b", 400],
    ["/v1/stream/a/", 400],
    ["/v1/stream//a", 400],
    ["/v1/stream/%2e%2e", 400],
    ["/v1/stream/%2e%2e%2fetc", 400],
    ["/v1/stream/a%2f%2e%2e%2fb", 400],
    ["/v1/stream/a%2fb%2f", 400],
    ["/v1/stream/%00", 400],
    ["/v1/stream/a%0ab", 400],
    ["/v1/stream/a%7f", 400],
    ["/v1/stream/%c2%85", 400],
    ["/v1/stream/%ff", 400],
    ["/v1/stream/%c3%28", 400],
    ["/v1/stream/%e0%80%af", 400],
    ["/v1/stream/%zz", 400],
    ["/v1/stream/a%2", 400],
    ["/v1/stream/a%", 400],
    [`/v1/stream/${"x".repeat(1025)}`, 400],
    ["/v1/stream/__ds", 400],
    ["/v1/stream/__ds/x", 400],
    ["/v1/stream/__ds%2fx", 400],
    ["/v1/stream/a/_details", 400],
    ["/v1/stream/_x", 400],
  ]
  test.each(rows)("%s", async (path, status) => {
    const answer = await create(path)
    expect(answer.status).toBe(status)
    expect(JSON.parse(answer.body).error.code).toMatch(/^(invalid-name|reserved-name)$/)
  })

  test("none of them left a stream behind", async () => {
    expect((await request(server, "GET", "/v1/streams")).text).toBe("[]")
  })
})

describe("t99_names_that_are_odd_and_allowed_work", () => {
  const rows = [
    "a/b/c",
    "__like_this__",
    "a/__b",
    "_a/b",
    "...",
    ".hidden",
    "a.b..c",
    "with%20blank",
    "plus+plus",
    "%C3%BCml%C3%A4ut/%F0%9F%9A%82",
    "a:b@c!$'()*,;=~",
    "%3Fquery%23fragment%25percent",
    "{tag}/rest",
    "back%5cslash",
    "x".repeat(1024),
  ]
  test.each(rows)("%s", async (name) => {
    expect((await create(`/v1/stream/${name}`)).status).toBe(201)
    expect((await get(server, name)).status).toBe(200)
    const appended = await request(server, "POST", target(name), { headers: TEXT, body: "here" })
    expect(appended.status).toBe(204)
    expect((await get(server, name)).text).toBe("here")
  })

  test("an escaped slash is a slash, and escapes are decoded once", async () => {
    const name = freshName("slash")
    await put(server, `${name}/x`, { headers: TEXT, body: "one" })
    expect((await get(server, `${name}%2Fx`)).text).toBe("one")
    await put(server, `${name}%252Fx`, { headers: TEXT, body: "two" })
    expect((await get(server, `${name}%252Fx`)).text).toBe("two")
    expect((await get(server, `${name}/x`)).text).toBe("one")
  })

  test("a Location leads back to the stream", async () => {
    const name = `${freshName("where")}/%C3%A4%20%25b`
    const { headers } = await put(server, name, { headers: TEXT, body: "found" })
    expect(headers.location).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/v1\/stream\//)
    expect(await (await fetch(headers.location)).text()).toBe("found")
  })
})

test("names are listed in byte order, page after page", async () => {
  const prefix = freshName("list")
  const names = ["b", "a", "a/b", "ä", "a b", "B", "z/_", "a-b"].filter((name) => !name.endsWith("/_"))
  for (const name of names) await put(server, `${prefix}/${encodeURIComponent(name)}`, { headers: TEXT })
  const expected = names.map((name) => `${prefix}/${name}`).sort((one, two) => Buffer.compare(Buffer.from(one), Buffer.from(two)))
  const found = []
  let after = ""
  for (let page = 0; page < 20; page++) {
    const { status, headers, text } = await request(server, "GET", `/v1/streams?prefix=${encodeURIComponent(`${prefix}/`)}&limit=2${after}`)
    expect(status).toBe(200)
    found.push(...JSON.parse(text).map((entry) => (typeof entry === "string" ? entry : entry.name)))
    if (!headers["stream-list-next"]) break
    after = `&after=${headers["stream-list-next"]}`
  }
  expect(found).toEqual(expected)
})
