// Live reads over time: no wake is lost, an answer carries what it says, ends are told apart.

import { afterAll, beforeAll, expect, test } from "vitest"

import { freshName, get, head, post, put, request, target } from "../../support/http.mjs"
import { pause, startServer } from "../../support/server.mjs"

let server
beforeAll(async () => (server = await startServer({ args: ["--read-bytes-max", "64KiB"] })))
afterAll(() => server?.dispose())

const JSON_ = { "content-type": "application/json" }
const TEXT = { "content-type": "text/plain" }

async function stream(label, { headers = TEXT, body = "" } = {}) {
  const name = freshName(label)
  const made = await put(server, name, { headers, body })
  expect(made.status).toBe(201)
  return { name, tail: made.headers["stream-next-offset"] }
}

const poll = (name, offset, timeout = "5s") => get(server, name, `?offset=${offset}&live=long-poll&timeout=${timeout}`)

test("t47_a_long_poll_whose_time_ends_as_an_append_comes_skips_nothing", { timeout: 60_000 }, async () => {
  // Timed so that the deadline and the append fall together, again and again.
  await Promise.all(
    Array.from({ length: 20 }, async (_, worker) => {
      const { name, tail } = await stream("deadline")
      let [offset, seen, sent] = [tail, "", ""]
      for (let round = 0; round < 15; round++) {
        const reading = poll(name, offset, "50ms")
        await pause(44 + ((round + worker) % 12))
        const message = `<${round}>`
        sent += message
        await post(server, name, message, TEXT)
        const { status, text, headers } = await reading
        seen += text
        if (status === 204) expect(headers["stream-next-offset"]).toBe(offset)
        offset = headers["stream-next-offset"]
      }
      seen += (await get(server, name, `?offset=${offset}`)).text
      expect(seen).toBe(sent)
    }),
  )
})

test("t64d_a_reader_that_catches_up_as_an_append_comes_is_woken", { timeout: 60_000 }, async () => {
  const { name } = await stream("woken")
  for (let round = 0; round < 300; round++) {
    const { headers } = await head(server, name)
    const begun = performance.now()
    const [answer] = await Promise.all([poll(name, headers["stream-next-offset"]), post(server, name, "x", TEXT)])
    expect([answer.status, answer.text]).toEqual([200, "x"])
    expect(performance.now() - begun).toBeLessThan(2000)
  }
})

test("t50_an_idle_follower_is_served_when_something_comes_at_last", async () => {
  const { name, tail } = await stream("idle")
  const reading = poll(name, tail, "20s")
  await pause(4000)
  await post(server, name, "at last", TEXT)
  const answer = await reading
  expect([answer.status, answer.text]).toEqual([200, "at last"])
})

test("t51_what_waits_is_delivered_before_a_close_is_told", async () => {
  for (let round = 0; round < 30; round++) {
    const { name, tail } = await stream("drain")
    const reading = poll(name, tail)
    await Promise.all([post(server, name, "1", TEXT), post(server, name, "2", TEXT)])
    await post(server, name, "3", { ...TEXT, "stream-closed": "true" })
    const first = await reading
    let [seen, offset] = [first.text, first.headers["stream-next-offset"]]
    if (first.headers["stream-closed"] !== "true") {
      const rest = await poll(name, offset)
      seen += rest.text
      expect(rest.headers["stream-closed"]).toBe("true")
    }
    expect([...seen].toSorted().join("")).toBe("123")
    expect(seen.at(-1)).toBe("3")
  }
})

test("t64e_the_end_of_a_stream_and_of_a_wait_are_told_apart_in_every_mode", async () => {
  const { name, tail } = await stream("ends")
  const waited = await poll(name, tail, "50ms")
  expect([waited.status, waited.headers["stream-closed"]]).toEqual([204, undefined])
  expect((await get(server, name)).headers["stream-closed"]).toBeUndefined()
  await request(server, "POST", target(name), { headers: { "stream-closed": "true" } })
  const begun = performance.now()
  const ended = await poll(name, tail, "20s")
  expect([ended.status, ended.headers["stream-closed"], ended.headers["stream-next-offset"]]).toEqual([204, "true", tail])
  expect(performance.now() - begun).toBeLessThan(2000)
  const read = await get(server, name)
  expect([read.status, read.headers["stream-closed"]]).toEqual([200, "true"])
})

test("t64f_a_large_backlog_comes_in_pieces_of_bounded_size", async () => {
  const { name } = await stream("backlog", { headers: JSON_ })
  const message = JSON.stringify({ pad: "x".repeat(1000) })
  for (let i = 0; i < 10; i++) await post(server, name, `[${Array(100).fill(message).join(",")}]`, JSON_)
  const pages = []
  for (let offset = "-1"; ; ) {
    const { body, headers } = await get(server, name, `?offset=${offset}`)
    pages.push(body.length)
    offset = headers["stream-next-offset"]
    if (headers["stream-up-to-date"] === "true") break
  }
  expect(Math.max(...pages)).toBeLessThanOrEqual(64 * 1024 + 2)
  expect(pages.length).toBeGreaterThan(10)
})

test("t64g_a_reader_that_comes_back_need_not_begin_at_the_start", async () => {
  const { name } = await stream("reload", { body: "a long history" })
  const { headers } = await head(server, name)
  await post(server, name, " and what is new", TEXT)
  expect((await get(server, name, `?offset=${headers["stream-next-offset"]}`)).text).toBe(" and what is new")
  expect((await get(server, name, "?offset=now")).text).toBe("")
})

test("t55_a_cursor_is_always_given_and_never_goes_back", async () => {
  const { name, tail } = await stream("cursor")
  let cursor = 0
  for (let round = 0; round < 5; round++) {
    const { headers } = await get(server, name, `?offset=${tail}&live=long-poll&timeout=10ms${cursor ? `&cursor=${cursor}` : ""}`)
    expect(Number(headers["stream-cursor"])).toBeGreaterThan(cursor)
    cursor = Number(headers["stream-cursor"])
  }
})

test("t19_a_client_that_leaves_before_its_answer_leaves_a_whole_append_or_none", async () => {
  const { name } = await stream("leaver")
  const message = `<${"m".repeat(5000)}>`
  for (let round = 0; round < 60; round++) {
    const abort = new AbortController()
    const sending = fetch(server.stream(name), { method: "POST", headers: TEXT, body: message, signal: abort.signal }).catch(() => {})
    await pause(round % 6)
    abort.abort()
    await sending
    // Whatever became of it, readers and the tail agree.
    const [{ text, headers }, asked] = [await get(server, name), await head(server, name)]
    if (headers["stream-up-to-date"] === "true") expect(text.length % message.length).toBe(0)
    expect(asked.headers["stream-next-offset"] >= headers["stream-next-offset"]).toBe(true)
  }
})
