// The monitor between the tests and their servers sees what passes, and a server that lies is told of.

import { createServer } from "node:http"
import { afterEach, expect, test } from "vitest"

import { freshName, get, post, put } from "../../support/http.mjs"
import { assertHonest, report, rest, watch } from "../../support/monitor.mjs"
import { freshDirectory, removeDirectory, startServer } from "../../support/server.mjs"

const offset = (position) => `0000000000005-${String(position).padStart(16, "0")}`
const liars = []

/** A server that answers each request with the next of `answers`, behind the monitor. */
async function liar(key, answers) {
  const server = createServer((request, response) => {
    const [status, position, body = ""] = answers.shift()
    response.writeHead(status, { "content-type": "text/plain", "stream-next-offset": offset(position), "stream-up-to-date": "true" })
    response.end(body)
  })
  await new Promise((done) => server.listen(0, "127.0.0.1", done))
  liars.push(server)
  return { port: await watch(key, server.address().port) }
}

afterEach(() => liars.splice(0).forEach((server) => server.close()))

const TEXT = { headers: { "content-type": "text/plain" } }

test("what a test asks and is answered passes the monitor", async () => {
  const server = await startServer()
  try {
    const name = freshName("watched")
    await put(server, name)
    await post(server, name, "abc")
    expect((await get(server, name)).text).toBe("abc")
    const seen = await report(server.dataDir)
    expect(seen).toMatchObject({ asked: 3, answered: 3, appends: 1, unwatched: 0, violations: [] })
    expect(seen.bytes).toBe(6)
  } finally {
    await server.dispose()
  }
})

test("a server that moves a reader past what it carried is told of", async () => {
  const server = await liar("moves", [[200, 9, "abc"]])
  await get(server, "s")
  await expect(assertHonest("moves")).rejects.toThrow(/s: 3 bytes moved a reader .*\n {2}#1 GET/)
})

test("what was seen before a restart binds what is answered after it", async () => {
  const before = await liar("forgets", [[201, 0], [204, 3]])
  await put(before, "s", TEXT)
  await post(before, "s", "abc", TEXT.headers)
  await rest("forgets")
  const after = await liar("forgets", [[200, 0]])
  await assertHonest("forgets")
  await get(after, "s")
  await expect(assertHonest("forgets")).rejects.toThrow(/its tail is .* after it had reached 3/)
})

test("a test fails whose server lied, when the server ends", async () => {
  const dataDir = freshDirectory()
  const server = await startServer({ dataDir })
  const name = freshName("honest")
  await put(server, name, TEXT)
  await post(server, name, "abc", TEXT.headers)
  const tail = (await get(server, name)).headers["stream-next-offset"]
  const other = createServer((request, response) => response.writeHead(200, { "content-type": "text/plain", "stream-next-offset": tail }).end("abd"))
  await new Promise((done) => other.listen(0, "127.0.0.1", done))
  liars.push(other)
  const port = await watch(dataDir, other.address().port)
  await get({ port }, name)
  await expect(server.stop()).rejects.toThrow(/are not those that were told before/)
  removeDirectory(dataDir)
})
