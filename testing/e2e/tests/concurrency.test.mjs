// Many at once: writers of one stream, creators of one name, readers under a storm of appends.

import { afterAll, beforeAll, expect, test } from "vitest"

import { freshName, get, head, post, put, request, target } from "../../support/http.mjs"
import { startServer, until } from "../../support/server.mjs"
import { jsonMessages, parseEvents } from "../../support/sse.mjs"

let server
beforeAll(async () => (server = await startServer({ shards: 2 })))
afterAll(() => server?.dispose())

const JSON_ = { "content-type": "application/json" }

async function stream(label, body) {
  const name = freshName(label)
  expect((await put(server, name, { headers: JSON_, body })).status).toBe(201)
  return name
}

test("t32_fifty_concurrent_appends_get_fifty_offsets_and_none_is_lost", async () => {
  const name = await stream("fifty")
  const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => post(server, name, `{"n":${n}}`, JSON_)))
  expect(answers.map(({ status }) => status)).toEqual(Array(50).fill(204))
  const offsets = answers.map(({ headers }) => headers["stream-next-offset"])
  // T34: every offset is its own.
  expect(new Set(offsets).size).toBe(50)
  const { text, headers } = await get(server, name)
  expect(headers["stream-next-offset"]).toBe(offsets.toSorted().at(-1))
  const order = JSON.parse(text).map(({ n }) => n)
  expect(order.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, n) => n))
  // The offsets are in the order of the messages.
  expect(order.map((n) => offsets[n])).toEqual(offsets.toSorted())
})

test("t33_an_append_that_was_answered_comes_before_one_that_is_sent_later", async () => {
  const name = await stream("order")
  const sent = []
  const writer = async (who) => {
    for (let n = 0; n < 40; n++) {
      const began = sent.length
      sent.push(0)
      const { status } = await post(server, name, JSON.stringify({ who, n, began }), JSON_)
      expect(status).toBe(204)
      // Read-your-writes: whoever was answered sees it.
      if (n % 10 === 0) expect((await get(server, name)).text).toContain(`{"who":${who},"n":${n},`)
    }
  }
  await Promise.all(Array.from({ length: 8 }, (_, who) => writer(who)))
  const found = JSON.parse((await get(server, name)).text)
  expect(found.length).toBe(320)
  for (let who = 0; who < 8; who++) {
    expect(found.filter((message) => message.who === who).map(({ n }) => n)).toEqual(Array.from({ length: 40 }, (_, n) => n))
  }
})

test("t34_offsets_grow_strictly_however_quickly_appends_come", async () => {
  const name = await stream("quick")
  let last = (await head(server, name)).headers["stream-next-offset"]
  for (let n = 0; n < 200; n++) {
    const next = (await post(server, name, "0", JSON_)).headers["stream-next-offset"]
    expect(next > last).toBe(true)
    last = next
  }
})

test("t39_of_many_who_create_one_name_one_makes_it_and_the_others_find_it", async () => {
  for (let round = 0; round < 10; round++) {
    const name = freshName("race")
    const answers = await Promise.all(Array.from({ length: 20 }, () => put(server, name, { headers: JSON_ })))
    const statuses = answers.map(({ status }) => status).toSorted()
    expect(statuses).toEqual([...Array(19).fill(200), 201])
    expect(new Set(answers.map(({ headers }) => headers["stream-next-offset"])).size).toBe(1)
  }
})

test("t40_an_append_that_meets_a_deletion_gets_a_definite_answer", async () => {
  for (let round = 0; round < 10; round++) {
    const name = await stream("gone")
    const appends = Array.from({ length: 20 }, () => post(server, name, "1", JSON_))
    const deletion = request(server, "DELETE", target(name))
    const statuses = (await Promise.all(appends)).map(({ status }) => status)
    expect(statuses.every((status) => status === 204 || status === 404)).toBe(true)
    expect((await deletion).status).toBe(204)
    expect((await get(server, name)).status).toBe(404)
  }
})

test("t43_a_second_delete_of_a_source_with_forks_is_410", async () => {
  const source = await stream("source", "[1]")
  const fork = freshName("fork")
  expect((await put(server, fork, { headers: { "stream-forked-from": target(source) } })).status).toBe(201)
  expect((await request(server, "DELETE", target(source))).status).toBe(204)
  for (const method of ["DELETE", "GET", "HEAD", "POST"]) {
    const headers = method === "POST" ? JSON_ : {}
    expect((await request(server, method, target(source), { headers, body: method === "POST" ? "2" : undefined })).status).toBe(410)
  }
  expect((await put(server, source, { headers: JSON_ })).status).toBe(409)
  expect((await get(server, fork)).text).toBe("[1]")
  expect((await request(server, "DELETE", target(fork))).status).toBe(204)
  await until("the source is gone", async () => (await get(server, source)).status === 404)
  expect((await put(server, source, { headers: JSON_ })).status).toBe(201)
})

test("t56_a_storm_of_appends_reaches_every_reader_whole", async () => {
  const name = await stream("storm")
  const appends = 3000
  const reading = new AbortController()
  const readers = await Promise.all(
    Array.from({ length: 10 }, async () => {
      const seen = { text: "" }
      const { body } = await fetch(`${server.stream(name)}?offset=-1&live=sse`, { signal: reading.signal })
      const decoder = new TextDecoder()
      const read = async () => {
        for await (const chunk of body) seen.text += decoder.decode(chunk, { stream: true })
      }
      read().catch(() => {})
      return seen
    }),
  )
  const begun = performance.now()
  await Promise.all(
    Array.from({ length: 30 }, async (_, writer) => {
      for (let n = 0; n < appends / 30; n++) await post(server, name, `[[${writer},${n}]]`, JSON_)
    }),
  )
  const count = (text) => (text.match(/\[\d+,\d+\]/g) ?? []).length
  await until("all readers have all", () => readers.every(({ text }) => count(text) === appends), 20_000)
  reading.abort()
  const [first, ...others] = readers.map(({ text }) => JSON.stringify(jsonMessages(parseEvents(text))))
  expect(others.every((other) => other === first)).toBe(true)
  expect(performance.now() - begun).toBeLessThan(20_000)
})

test("t60_a_reader_never_sees_another_streams_bytes", async () => {
  const names = await Promise.all(Array.from({ length: 20 }, (_, i) => stream(`tenant${i}`)))
  await Promise.all(names.flatMap((name) => Array.from({ length: 10 }, (_, n) => post(server, name, JSON.stringify({ name, n }), JSON_))))
  for (const name of names) {
    const { text, headers } = await get(server, name)
    expect(JSON.parse(text).every((message) => message.name === name)).toBe(true)
    // An offset of one stream opens nothing in another one, unless it is an offset there as well.
    const other = names[(names.indexOf(name) + 1) % names.length]
    const answer = await get(server, other, `?offset=${headers["stream-next-offset"]}`)
    expect(answer.text).not.toContain(name)
  }
})

test("t64c_a_client_that_does_not_wait_for_its_answers_keeps_its_order_with_a_producer", async () => {
  const name = await stream("pipelined")
  const send = (seq) => post(server, name, `${seq}`, { ...JSON_, "producer-id": "p", "producer-epoch": "0", "producer-seq": `${seq}` })
  // What comes too early is refused and sent again; nothing is ever out of order.
  const persist = async (seq) => {
    for (let attempt = 0; attempt < 500; attempt++) {
      const { status } = await send(seq)
      if (status === 200) return
      expect(status).toBe(409)
    }
    throw new Error(`request ${seq} was never taken`)
  }
  await Promise.all(Array.from({ length: 30 }, (_, seq) => persist(seq)))
  expect(JSON.parse((await get(server, name)).text)).toEqual(Array.from({ length: 30 }, (_, seq) => seq))
})
