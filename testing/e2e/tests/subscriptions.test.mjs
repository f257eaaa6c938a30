// Subscriptions with real receivers and workers: crashes of the server between a delivery and its
// callback, workers that die or come too late, many wakes of which none is lost, and URLs that a
// server must not be made to ask.

import { createHash, createPublicKey, verify } from "node:crypto"
import { createServer } from "node:http"

import { afterEach, beforeEach, expect, test } from "vitest"

import { freshName } from "../../support/http.mjs"
import { freshDirectory, removeDirectory, startServer, until } from "../../support/server.mjs"

const LOCAL = ["--allow-local-webhooks"]

let server
let dataDir
const receivers = []
beforeEach(async () => {
  dataDir = freshDirectory()
  server = await startServer({ dataDir, args: LOCAL })
})
afterEach(async () => {
  await server.dispose()
  for (const receiver of receivers.splice(0)) await receiver.close()
  removeDirectory(dataDir)
})

/** Ends the server as a crash would and starts it again on the same port and data. */
async function crash(args = LOCAL) {
  const { port } = server
  await server.kill()
  server = await startServer({ dataDir, port, args })
}

const control = (path) => server.stream(`__ds/${path}`)
const subscription = (id, path = "") => control(`subscriptions/${id}${path}`)

async function send(method, url, body, token) {
  const headers = { "content-type": "application/json", ...(token ? { authorization: `Bearer ${token}` } : {}) }
  const answer = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) })
  const text = await answer.text()
  return { status: answer.status, headers: answer.headers, body: text === "" ? undefined : JSON.parse(text) }
}

/** A webhook. `answer` is called with each request, and gives `{ status, body, headers }`. */
async function receive(answer) {
  const wakes = []
  const http = createServer((request, response) => {
    const chunks = []
    request.on("data", (chunk) => chunks.push(chunk))
    request.on("end", async () => {
      const raw = Buffer.concat(chunks)
      const wake = { ...JSON.parse(raw), raw, signature: request.headers["webhook-signature"], path: request.url }
      wakes.push(wake)
      const { status = 200, body = {}, headers = {} } = (await answer(wake)) ?? {}
      response.writeHead(status, { "content-type": "application/json", ...headers })
      response.end(JSON.stringify(body))
    })
  })
  await new Promise((done) => http.listen(0, "127.0.0.1", done))
  const receiver = {
    url: `http://127.0.0.1:${http.address().port}/hook`,
    wakes,
    close: () => {
      http.closeAllConnections()
      return new Promise((done) => http.close(done))
    },
  }
  receivers.push(receiver)
  return receiver
}

const append = (name, value) => send("POST", server.stream(name), value)
const makeStream = (name) => send("PUT", server.stream(name))

const ackOf = (wake, done = true) => ({
  wake_id: wake.wake_id,
  generation: wake.generation,
  acks: wake.streams.map(({ path, tail_offset }) => ({ stream: path, offset: tail_offset })),
  done,
})

test("a delivery is signed by a key that is published under its thumbprint, over a restart", async () => {
  const receiver = await receive(() => ({ body: { done: true } }))
  const id = freshName("signed")
  const made = await send("PUT", subscription(id), { type: "webhook", pattern: `${id}/*`, webhook: { url: receiver.url } })
  expect(made.status).toBe(201)
  for (const round of [0, 1]) {
    await send("PUT", server.stream(`${id}/${round}`), { round })
    const wake = await until("a delivery", () => receiver.wakes[round])
    const { body: keys, headers } = await send("GET", made.body.webhook.signing.jwks_url)
    expect(headers.get("content-type")).toBe("application/jwk-set+json")
    expect(headers.get("cache-control")).toBe("public, max-age=300")
    const [, time, kid, signature] = /^t=(\d+),kid=([^,]+),ed25519=([\w-]+)$/.exec(wake.signature)
    const { crv, kty, x } = keys.keys.find((key) => key.kid === kid)
    const thumbprint = createHash("sha256").update(JSON.stringify({ crv, kty, x })).digest("base64url")
    expect(kid).toBe(`ds_${thumbprint}`)
    const key = createPublicKey({ key: { crv, kty, x }, format: "jwk" })
    const signed = Buffer.concat([Buffer.from(`${time}.`), wake.raw])
    expect(verify(null, signed, key, Buffer.from(signature, "base64url"))).toBe(true)
    expect(JSON.stringify(keys)).not.toMatch(/"d"/)
    await crash()
  }
})

test("a callback is taken after the server crashed between delivery and callback, and once", async () => {
  const receiver = await receive(() => ({}))
  const id = freshName("crash")
  await send("PUT", subscription(id), { type: "webhook", pattern: `${id}/*`, webhook: { url: receiver.url } })
  await send("PUT", server.stream(`${id}/a`), { n: 1 })
  const wake = await until("a delivery", () => receiver.wakes[0])
  await crash()
  const acked = await send("POST", wake.callback_url, ackOf(wake), wake.callback_token)
  expect([acked.status, acked.body]).toEqual([200, { ok: true, next_wake: false }])
  const again = await send("POST", wake.callback_url, ackOf(wake), wake.callback_token)
  expect([again.status, again.body.error.code]).toEqual([409, "FENCED"])
  const { body } = await send("GET", subscription(id))
  expect(body.streams).toEqual([{ path: `${id}/a`, link_type: "glob", acked_offset: wake.streams[0].tail_offset }])
})

test("what failed is tried again after a crash, and the subscription says so", async () => {
  let broken = true
  const receiver = await receive(() => (broken ? { status: 500 } : { body: { done: true } }))
  const id = freshName("retry")
  await send("PUT", subscription(id), { type: "webhook", pattern: `${id}/*`, webhook: { url: receiver.url } })
  await send("PUT", server.stream(`${id}/a`), { n: 1 })
  await until("a failure", async () => (await send("GET", subscription(id))).body.status === "failed")
  await crash()
  expect((await send("GET", subscription(id))).body.status).toBe("failed")
  broken = false
  await until("a success", async () => (await send("GET", subscription(id))).body.status === "active")
  const generations = receiver.wakes.map(({ generation }) => generation)
  expect(generations).toEqual([...new Set(generations)].sort((a, b) => a - b))
})

test("a worker that dies loses its lease, and one that comes too late is fenced", async () => {
  const id = freshName("dies")
  const wakes = freshName("wakes")
  await makeStream(wakes)
  await send("PUT", subscription(id), { type: "pull-wake", pattern: `${id}/*`, wake_stream: wakes, lease_ttl_ms: 1000 })
  await send("PUT", server.stream(`${id}/a`), { n: 1 })
  const first = await until("a wake", async () => {
    const claim = await send("POST", subscription(id, "/claim"), { worker: "one" })
    return claim.status === 200 && claim.body
  })
  const busy = await send("POST", subscription(id, "/claim"), { worker: "two" })
  expect(busy.status).toBe(409)
  expect(busy.body.error).toMatchObject({ code: "ALREADY_CLAIMED", current_holder: "one", generation: first.generation })
  await crash()
  const second = await until("the lease of the dead one ends", async () => {
    const claim = await send("POST", subscription(id, "/claim"), { worker: "two" })
    return claim.status === 200 && claim.body
  })
  expect(second.generation).toBeGreaterThan(first.generation)
  const late = await send("POST", subscription(id, "/ack"), ackOf(first), first.token)
  expect([late.status, late.body.error.code]).toEqual([409, "FENCED"])
  const mixed = await send("POST", subscription(id, "/ack"), ackOf(second), first.token)
  expect([mixed.status, mixed.body.error.code]).toEqual([409, "FENCED"])
  const forged = await send("POST", subscription(id, "/ack"), ackOf(second), `${second.token}x`)
  expect([forged.status, forged.body.error.code]).toEqual([401, "TOKEN_INVALID"])
  const good = await send("POST", subscription(id, "/ack"), ackOf(second), second.token)
  expect([good.status, good.body]).toEqual([200, { ok: true, next_wake: false }])
  const nothing = await send("POST", subscription(id, "/claim"), { worker: "two" })
  expect([nothing.status, nothing.body.error.code]).toEqual([409, "NO_PENDING_WORK"])
})

test("10,000 wakes of 100 subscriptions: none is lost, and none acknowledged twice", async () => {
  const id = freshName("many")
  const [count, each] = [100, 100]
  const seen = new Map()
  const fault = []
  const told = new Map()
  const receiver = await receive((wake) => {
    for (const { path, acked_offset, tail_offset } of wake.streams) {
      const key = `${wake.subscription_id} ${path}`
      // What comes next begins where the last one ended.
      if (seen.has(key) && seen.get(key) !== acked_offset) fault.push(`${key}: ${seen.get(key)} then ${acked_offset}`)
      seen.set(key, tail_offset)
      told.get(path)?.()
    }
    return { body: { done: true } }
  })
  for (let n = 0; n < count; n++) {
    const body = { type: "webhook", pattern: `${id}/${n}/*`, webhook: { url: receiver.url } }
    expect((await send("PUT", subscription(`${id}-${n}`), body)).status).toBe(201)
  }
  const writers = Array.from({ length: count }, async (_, n) => {
    await makeStream(`${id}/${n}/a`)
    // What is appended once a wake has come is not in it: every event has a wake of its own.
    for (let i = 0; i < each; i++) {
      const wake = new Promise((done) => told.set(`${id}/${n}/a`, done))
      expect((await append(`${id}/${n}/a`, { i })).status).toBeLessThan(300)
      await wake
    }
  })
  await Promise.all(writers)
  const isDone = async (n) => {
    const head = await fetch(server.stream(`${id}/${n}/a`), { method: "HEAD" })
    const { body } = await send("GET", subscription(`${id}-${n}`))
    return body.streams[0]?.acked_offset === head.headers.get("stream-next-offset")
  }
  for (let n = 0; n < count; n++) await until(`all of ${n} is acknowledged`, () => isDone(n), 60_000)
  expect(fault).toEqual([])
  const wakes = receiver.wakes.map((wake) => `${wake.subscription_id} ${wake.generation}`)
  expect(new Set(wakes).size).toBe(wakes.length)
  expect(wakes.length).toBeGreaterThanOrEqual(count * each)
}, 120_000)

test("a slow webhook delays no other", async () => {
  let release
  const held = new Promise((done) => (release = done))
  const slow = await receive(() => held)
  const quick = await receive(() => ({ body: { done: true } }))
  const id = freshName("slow")
  for (let n = 0; n < 50; n++) await send("PUT", subscription(`${id}-slow-${n}`), { type: "webhook", pattern: `${id}/*`, webhook: { url: slow.url } })
  await send("PUT", subscription(`${id}-quick`), { type: "webhook", pattern: `${id}/*`, webhook: { url: quick.url } })
  await send("PUT", server.stream(`${id}/a`), { n: 1 })
  await until("the quick one", () => quick.wakes.length === 1)
  release({ body: { done: true } })
})

test("a server is not made to ask where it must not", async () => {
  await crash([])
  const refused = [
    "http://example.com/", "http://127.0.0.1/", "https://127.0.0.1/", "https://localhost/", "https://10.0.0.1/",
    "https://192.168.1.1/", "https://172.16.0.1/", "https://169.254.169.254/latest/meta-data/", "https://100.64.0.1/",
    "https://0.0.0.0/", "https://[::1]/", "https://[fe80::1]/", "https://[fd00:ec2::254]/", "https://[::ffff:10.0.0.1]/",
    "https://[::ffff:127.0.0.1]/", "https://[64:ff9b::a00:1]/", "https://[2002:a00:1::]/", "https://user@example.com/",
    "ftp://example.com/", "file:///etc/passwd",
  ]
  for (const url of refused) {
    const { status, body } = await send("PUT", subscription(freshName("ssrf")), { type: "webhook", pattern: "a/*", webhook: { url } })
    expect([url, status, body.error.code]).toEqual([url, 400, "WEBHOOK_URL_REJECTED"])
  }
})

test("names that lead to this machine and redirects are not followed", async () => {
  const inside = await receive(() => ({ body: { done: true } }))
  const outside = await receive(() => ({ status: 307, headers: { location: inside.url } }))
  const id = freshName("redirect")
  await send("PUT", subscription(id), { type: "webhook", pattern: `${id}/*`, webhook: { url: outside.url } })
  await send("PUT", server.stream(`${id}/a`), { n: 1 })
  await until("a failure", async () => (await send("GET", subscription(id))).body.status === "failed")
  expect(inside.wakes).toEqual([])
  const before = outside.wakes.length
  // Whoever allowed local webhooks once does not allow them for ever, and decimal forms of addresses are
  // known only when they are resolved.
  const decimal = freshName("decimal")
  await crash([])
  const made = await send("PUT", subscription(decimal), { type: "webhook", pattern: `${decimal}/*`, webhook: { url: `https://2130706433:${new URL(inside.url).port}/` } })
  expect(made.status).toBe(201)
  await send("PUT", server.stream(`${decimal}/a`), { n: 1 })
  await until("a refusal", async () => (await send("GET", subscription(decimal))).body.status === "failed")
  expect(outside.wakes.length).toBe(before)
  expect(inside.wakes).toEqual([])
})

test("the server's own streams cannot be reached, and are in no listing", async () => {
  const id = freshName("own")
  await send("PUT", subscription(id), { type: "pull-wake", pattern: "a/*", wake_stream: "w" })
  const listed = await send("GET", `${server.url}/v1/streams?prefix=__ds`)
  expect(listed.body).toEqual([])
  for (const name of [`__ds/sub/${id}/0000000000000001`, "__ds/keys/0000000000000001", "%5f_ds/keys/0000000000000001"]) {
    for (const method of ["GET", "HEAD", "PUT", "POST", "DELETE"]) {
      const answer = await fetch(server.stream(name), { method })
      expect([name, method, answer.status]).toEqual([name, method, 400])
    }
  }
  const fork = await fetch(server.stream(freshName("fork")), { method: "PUT", headers: { "stream-forked-from": "/v1/stream/__ds/keys/0000000000000001" } })
  expect(fork.status).toBe(400)
})
