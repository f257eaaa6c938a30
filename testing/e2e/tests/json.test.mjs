// JSON is split, never re-serialised: what comes back is what was sent, to the byte.

import { afterAll, beforeAll, expect, test } from "vitest"

import { freshName, get, post, put } from "../../support/http.mjs"
import { startServer } from "../../support/server.mjs"

let server
beforeAll(async () => (server = await startServer({ args: ["--read-bytes-max", "1KiB"] })))
afterAll(() => server?.dispose())

const JSON_ = { "content-type": "application/json" }

test.each([
  ["a number beyond 2^53", "12345678901234567890", "[12345678901234567890]"],
  ["a fraction with its zeros", "[1.000, 1e5, -0.0]", "[1.000,1e5,-0.0]"],
  ["keys in their order, twice too", '{"b":1,"a":2,"b":3}', '[{"b":1,"a":2,"b":3}]'],
  ["escapes as they are", '"\\u00e9\\/\\ud83d\\ude82é"', '["\\u00e9\\/\\ud83d\\ude82é"]'],
  ["blanks inside, not outside", ' [ {"a" : 1} , {"b": [1, 2]} ] ', '[{"a" : 1},{"b": [1, 2]}]'],
  ["one level of array taken off", "[[1,2],[3],[]]", "[[1,2],[3],[]]"],
  ["an array in an array", "[[[1]]]", "[[[1]]]"],
  ["bare values", '[null,true,false,"",0]', '[null,true,false,"",0]'],
  ["line separators", '"a\u2028b\u2029c"', '["a\u2028b\u2029c"]'],
  ["a proto key", '{"__proto__":{"x":1}}', '[{"__proto__":{"x":1}}]'],
])("%s", async (_what, sent, wanted) => {
  const name = freshName("json")
  await put(server, name, { headers: JSON_ })
  expect((await post(server, name, sent, JSON_)).status).toBe(204)
  expect((await get(server, name)).text).toBe(wanted)
  // The same as first content.
  const other = freshName("json")
  await put(server, other, { headers: JSON_, body: sent })
  expect((await get(server, other)).text).toBe(wanted)
})

test("t23_whatever_is_accepted_can_be_read_at_every_size_around_a_page", async () => {
  const name = freshName("sizes")
  await put(server, name, { headers: JSON_ })
  const sent = []
  for (const size of [1021, 1022, 1023, 1024, 1025, 2047, 2048, 2049, 5000, 1, 2]) {
    const message = `"${"x".repeat(size)}"`
    sent.push(message)
    expect((await post(server, name, message, JSON_)).status).toBe(204)
  }
  const found = []
  let offset = "-1"
  for (let page = 0; page < 50; page++) {
    const { status, text, headers } = await get(server, name, `?offset=${offset}`)
    expect(status).toBe(200)
    const messages = JSON.parse(text)
    expect(messages.length).toBeGreaterThan(0)
    found.push(...messages.map((message) => JSON.stringify(message)))
    expect(headers["stream-next-offset"] > offset).toBe(true)
    offset = headers["stream-next-offset"]
    if (headers["stream-up-to-date"] === "true") break
  }
  expect(found).toEqual(sent)
})
