// HTTP/1.1 as bytes on a socket: framing tricks, pipelining, slow and broken bodies.

import { afterAll, beforeAll, describe, expect, test } from "vitest"

import { freshName, get, post, put, target } from "../../support/http.mjs"
import { exchange, lines, RawConnection, rawRequest } from "../../support/raw.mjs"
import { pause, startServer } from "../../support/server.mjs"

const APPEND_BYTES_MAX = 64 * 1024

let server
beforeAll(async () => (server = await startServer({ args: ["--append-bytes-max", `${APPEND_BYTES_MAX}`] })))
afterAll(() => server?.dispose())

const TEXT = { "Content-Type": "text/plain" }
const CHUNKED = { ...TEXT, "Transfer-Encoding": "chunked" }

async function stream(label, body = "") {
  const name = freshName(label)
  expect((await put(server, name, { headers: TEXT, body })).status).toBe(201)
  return name
}

const content = async (name) => (await get(server, name)).text
const chunk = (text) => `${text.length.toString(16)}\r\n${text}\r\n`

describe("t94_a_request_is_never_read_as_two", () => {
  // Each of these hides a second request in what one reading of the framing calls the body.
  const hidden = (name) => rawRequest("POST", target(name), { ...TEXT, "Content-Length": "8" }, "smuggled")
  const rows = [
    ["Content-Length and Transfer-Encoding", (name) => [["Content-Length", "4"], ["Transfer-Encoding", "chunked"]], (smuggled) => `0\r\n\r\n${smuggled}`],
    ["two different Content-Lengths", () => [["Content-Length", "1"], ["Content-Length", "200"]], (smuggled) => `x${smuggled}`],
    ["a list of Content-Lengths", () => [["Content-Length", "1, 200"]], (smuggled) => `x${smuggled}`],
    ["a Content-Length with a sign", () => [["Content-Length", "+1"]], (smuggled) => `x${smuggled}`],
    ["a Content-Length that overflows", () => [["Content-Length", "18446744073709551617"]], (smuggled) => `x${smuggled}`],
    ["a Transfer-Encoding that is not chunked last", () => [["Transfer-Encoding", "chunked, identity"]], (smuggled) => `0\r\n\r\n${smuggled}`],
    ["an unknown Transfer-Encoding", () => [["Transfer-Encoding", "xchunked"]], (smuggled) => `0\r\n\r\n${smuggled}`],
    ["a blank before the colon", () => [["Transfer-Encoding ", "chunked"]], (smuggled) => `0\r\n\r\n${smuggled}`],
    ["a folded header", () => [["X", "y\r\n Transfer-Encoding: chunked"], ["Content-Length", "5"]], (smuggled) => `0\r\n\r\n${smuggled}`],
    ["a chunk size with a sign", () => [["Transfer-Encoding", "chunked"]], (smuggled) => `+1\r\nx\r\n0\r\n\r\n${smuggled}`],
    ["a chunk size that overflows", () => [["Transfer-Encoding", "chunked"]], (smuggled) => `1000000000000000000001\r\nx\r\n0\r\n\r\n${smuggled}`],
  ]
  test.each(rows)("%s", async (what, framing, body) => {
    const [name, victim] = [await stream("outer"), await stream("victim")]
    const connection = await RawConnection.open(server)
    connection.write(rawRequest("POST", target(name), [["Content-Type", "text/plain"], ...framing(name)], body(hidden(victim))))
    // Whatever the answer, the connection is not used for what follows.
    const [first] = await connection.untilEnd(5000).catch(() => [{ status: "still open" }])
    connection.close()
    // Transfer-Encoding wins over Content-Length (RFC 9112, 6.3), but then the connection must end.
    const fine = what === "Content-Length and Transfer-Encoding" ? [400, 204] : [400, 413, 501]
    expect(fine).toContain(first?.status)
    expect(await content(victim)).toBe("")
    if (first.status !== 204) expect(await content(name)).toBe("")
  })

  test("bare line feeds and blanks in the request line start no second request", async () => {
    const victim = await stream("victim")
    const connection = await RawConnection.open(server)
    connection.write(`GET ${target(victim)} HTTP/1.1 extra\r\nHost: x\r\n\r\n${hidden(victim)}`)
    const [first] = await connection.untilEnd(5000)
    expect(first.status).toBe(400)
    expect(await content(victim)).toBe("")
  })

  test("what is no HTTP at all is answered and ended, and nobody else notices", async () => {
    const connection = await RawConnection.open(server)
    connection.write("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is a TLS hello\r\n\r\n")
    await connection.until("the connection ends", () => connection.ended)
    expect((await get(server, "there-is-none")).status).toBe(404)
  })
})

describe("one connection", () => {
  test("pipelined requests are answered in order", async () => {
    const name = await stream("pipeline")
    const connection = await RawConnection.open(server)
    const appends = Array.from({ length: 20 }, (_, i) => rawRequest("POST", target(name), { ...TEXT, "Content-Length": "4" }, String(1000 + i)))
    connection.write(`${appends.join("")}${rawRequest("GET", target(name))}`)
    const answers = await connection.responses(21)
    connection.close()
    expect(answers.slice(0, 20).map(({ status }) => status)).toEqual(Array(20).fill(204))
    const offsets = answers.slice(0, 20).map(({ headers }) => headers["stream-next-offset"])
    expect(offsets).toEqual([...new Set(offsets)].sort())
    expect(answers[20].body).toBe(Array.from({ length: 20 }, (_, i) => String(1000 + i)).join(""))
  })

  test("a client that closed its half is still answered", async () => {
    const name = await stream("half")
    const connection = await RawConnection.open(server)
    connection.write(rawRequest("POST", target(name), { ...TEXT, "Content-Length": "1" }, "x"))
    connection.endWriting()
    const [answer] = await connection.responses(1)
    expect(answer.status).toBe(204)
    expect(await content(name)).toBe("x")
  })

  test("HTTP/1.0 is answered, and the connection ended", async () => {
    const name = await stream("old", "x")
    const connection = await RawConnection.open(server)
    connection.write(lines(`GET ${target(name)} HTTP/1.0`, "", ""))
    const [answer] = await connection.untilEnd()
    expect([answer.status, answer.body]).toEqual([200, "x"])
  })

  test("a client that expects 100 gets it before it sends its body", async () => {
    const name = await stream("expect")
    const connection = await RawConnection.open(server)
    connection.write(rawRequest("POST", target(name), { ...TEXT, "Content-Length": "4", Expect: "100-continue" }))
    await connection.until("100 Continue", () => connection.text.includes(" 100 "))
    connection.write("body")
    const [answer] = await connection.responses(1)
    expect(answer.status).toBe(204)
    expect(await content(name)).toBe("body")
  })
})

describe("a chunked body", () => {
  test("is one append, however it was chunked", async () => {
    const name = await stream("chunked")
    const connection = await RawConnection.open(server)
    connection.write(rawRequest("POST", target(name), CHUNKED))
    for (const part of ["one ", "two ", "three"]) {
      connection.write(chunk(part))
      await pause(20)
      // Nothing is appended before the body is whole.
      expect(await content(name)).toBe("")
    }
    connection.write("0\r\n\r\n")
    expect((await connection.responses(1))[0].status).toBe(204)
    expect(await content(name)).toBe("one two three")
    connection.close()
  })

  test("may have trailers and extensions, which count for nothing", async () => {
    const name = await stream("trailers")
    const answer = await exchange(server, rawRequest("POST", target(name), CHUNKED, "3;ext=1\r\nabc\r\n0\r\nProducer-Id: sneaky\r\n\r\n"))
    expect(answer.status).toBe(204)
    expect(await content(name)).toBe("abc")
  })

  test("that is empty appends nothing", async () => {
    const name = await stream("empty")
    expect((await exchange(server, rawRequest("POST", target(name), CHUNKED, "0\r\n\r\n"))).status).toBe(400)
  })

  test("that grows too large is refused while it is read", async () => {
    const name = await stream("large")
    const connection = await RawConnection.open(server)
    connection.write(rawRequest("POST", target(name), CHUNKED))
    const piece = chunk("x".repeat(16 * 1024))
    for (let i = 0; i < 6; i++) connection.write(piece)
    // The body never ends; the refusal comes anyway.
    const [answer] = await connection.responses(1, 5000)
    expect(answer.status).toBe(413)
    connection.close()
    expect(await content(name)).toBe("")
  })
})

describe("a body that is cut half way", () => {
  test.each([
    ["with a length", { ...TEXT, "Content-Length": "100" }, "half of it"],
    ["in a chunk", CHUNKED, "64\r\nhalf of it"],
    ["between two chunks", CHUNKED, chunk("half of it")],
    ["before the last line", CHUNKED, `${chunk("half of it")}0\r\n`],
  ])("%s appends nothing", async (_what, headers, body) => {
    for (const cut of ["endWriting", "close"]) {
      const name = await stream("cut", "before;")
      const producer = { "Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": "0" }
      const connection = await RawConnection.open(server)
      connection.write(rawRequest("POST", target(name), { ...headers, ...producer }, body))
      await pause(50)
      connection[cut]()
      if (cut === "endWriting") {
        await connection.until("the connection ends", () => connection.ended, 5000)
        expect(connection.text).not.toMatch(/^HTTP\/1\.1 20/)
      }
      connection.close()
      await pause(50)
      expect(await content(name)).toBe("before;")
      // T70: the same request, whole this time, is no duplicate.
      const again = await post(server, name, "whole", { ...TEXT, ...producer })
      expect(again.status).toBe(200)
      expect(await content(name)).toBe("before;whole")
    }
  })
})
