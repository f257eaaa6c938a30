// Clients that are slow, or stop: they are let go after a while, and nobody else notices.
//
// These tests wait for the server's own patience to end (10 s for a head, 30 s for a body), side by
// side.

import { afterAll, beforeAll, describe, expect, test } from "vitest"

import { freshName, get, post, put, target } from "../../support/http.mjs"
import { RawConnection, rawRequest } from "../../support/raw.mjs"
import { pause, startServer, until } from "../../support/server.mjs"

const PATIENCE_MS = 40_000

let server
beforeAll(async () => (server = await startServer()))
afterAll(() => server?.dispose())

const TEXT = { "Content-Type": "text/plain" }

async function stream(label) {
  const name = freshName(label)
  expect((await put(server, name, { headers: TEXT })).status).toBe(201)
  return name
}

const content = async (name) => (await get(server, name)).text

/** Others are served while this one is waited for. */
async function othersAreServed() {
  const name = await stream("other")
  const begun = performance.now()
  expect((await post(server, name, "x", TEXT)).status).toBe(204)
  expect(await content(name)).toBe("x")
  expect(performance.now() - begun).toBeLessThan(2000)
}

describe("a sender that stops", { concurrent: true, timeout: PATIENCE_MS + 10_000 }, () => {
  test("in the middle of its headers is let go", async () => {
    const connection = await RawConnection.open(server)
    connection.write("GET /v1/stream/x HTTP/1.1\r\nHost: t\r\nX-Half: ")
    await othersAreServed()
    const answers = await connection.untilEnd(PATIENCE_MS)
    expect(answers.map(({ status }) => status)).toEqual(answers.length === 0 ? [] : [408])
  })

  test("in the middle of its body is told so, and nothing is appended", async () => {
    const name = await stream("body")
    const connection = await RawConnection.open(server)
    connection.write(rawRequest("POST", target(name), { ...TEXT, "Content-Length": "100" }, "half of it"))
    await othersAreServed()
    const [answer] = await connection.untilEnd(PATIENCE_MS)
    expect(answer.status).toBe(408)
    expect(JSON.parse(answer.body).error.code).toBe("body-timeout")
    expect(await content(name)).toBe("")
  })

  test("and sends one byte now and then finishes its headers in time, or is let go", async () => {
    const connection = await RawConnection.open(server)
    const drip = async () => {
      for (const letter of `GET /v1/stream/x HTTP/1.1\r\nHost: t\r\nX-Slow: ${"y".repeat(200)}\r\n\r\n`) {
        if (connection.ended) return
        connection.write(letter)
        await pause(150)
      }
    }
    await Promise.race([drip(), connection.until("it is let go", () => connection.ended, PATIENCE_MS)])
    await connection.until("it is let go", () => connection.ended, PATIENCE_MS)
    expect(connection.text).not.toMatch(/^HTTP\/1\.1 [25]/)
  })
})

describe("a reader that takes nothing", () => {
  test("t57_does_not_hold_up_the_writer_or_other_readers", { timeout: 60_000 }, async () => {
    const name = await stream("deaf")
    const deaf = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const connection = await RawConnection.open(server)
        connection.socket.pause()
        connection.write(rawRequest("GET", target(name, "?offset=-1&live=sse")))
        return connection
      }),
    )
    const listener = await RawConnection.open(server)
    listener.write(rawRequest("GET", target(name, "?offset=-1&live=sse")))
    const block = "z".repeat(256 * 1024)
    let slowest = 0
    for (let i = 0; i < 60; i++) {
      const begun = performance.now()
      expect((await post(server, name, block, TEXT)).status).toBe(204)
      slowest = Math.max(slowest, performance.now() - begun)
    }
    expect(slowest).toBeLessThan(3000)
    await until("the listener has all", () => listener.received.length > 60 * block.length, 20_000)
    listener.close()
    // T58: what the deaf ones did not take is not kept for them: 20 times 15 MiB would show.
    const resident = await residentBytes(server.pid)
    expect(resident).toBeLessThan(256 * 1024 * 1024)
    for (const connection of deaf) connection.close()
    await othersAreServed()
  })
})

async function residentBytes(pid) {
  const { readFile } = await import("node:fs/promises")
  const status = await readFile(`/proc/${pid}/status`, "utf8")
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)[1]) * 1024
}
