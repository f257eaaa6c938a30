// Bytes on a socket, for requests that no HTTP client would send.

import { connect } from "node:net"

/** A connection whose received bytes can be waited for. */
export class RawConnection {
  static open(server) {
    return new Promise((done, fail) => {
      const socket = connect({ host: "127.0.0.1", port: server.port, allowHalfOpen: true })
      socket.once("error", fail)
      socket.once("connect", () => {
        socket.off("error", fail)
        done(new RawConnection(socket))
      })
    })
  }

  constructor(socket) {
    this.socket = socket
    this.received = Buffer.alloc(0)
    this.ended = false
    this.waiting = new Set()
    socket.on("data", (chunk) => {
      this.received = Buffer.concat([this.received, chunk])
      this.wake()
    })
    // A server that refuses may reset the connection; what came before it is what is looked at.
    for (const event of ["error", "end", "close"]) {
      socket.on(event, () => {
        this.ended = true
        this.wake()
      })
    }
  }

  wake() {
    for (const wake of this.waiting) wake()
  }

  write(bytes) {
    this.socket.write(bytes)
  }

  /** Ends the sending half, as a client that was cut off would. */
  endWriting() {
    this.socket.end()
  }

  close() {
    this.socket.destroy()
  }

  get text() {
    return this.received.toString("latin1")
  }

  /** Waits until `probe` of this connection is truthy, and returns that. */
  async until(what, probe, withinMs = 10_000) {
    const deadline = Date.now() + withinMs
    for (;;) {
      const found = probe(this)
      if (found) return found
      const left = deadline - Date.now()
      if (left <= 0) throw new Error(`not within ${withinMs} ms: ${what}; received ${JSON.stringify(this.text.slice(0, 2000))}`)
      await new Promise((done) => {
        const wake = () => {
          clearTimeout(timer)
          this.waiting.delete(wake)
          done()
        }
        const timer = setTimeout(wake, left)
        this.waiting.add(wake)
      })
    }
  }

  /** Waits for `count` whole responses (all with a `Content-Length` or none of a body). */
  async responses(count, withinMs) {
    return this.until(`${count} responses`, () => {
      const found = parseResponses(this.received)
      return found.length >= count ? found : undefined
    }, withinMs)
  }

  /** Waits for the end of the connection and returns the responses that came before it. */
  async untilEnd(withinMs) {
    await this.until("the connection ends", () => this.ended, withinMs)
    return parseResponses(this.received)
  }
}

/** Sends `bytes` on a new connection and waits for the first response. */
export async function exchange(server, bytes, withinMs) {
  const connection = await RawConnection.open(server)
  try {
    connection.write(bytes)
    const [first] = await connection.responses(1, withinMs)
    return first
  } finally {
    connection.close()
  }
}

/** Joins the lines of a request head. */
export const lines = (...all) => all.join("\r\n")

/** A request as bytes on the wire; headers are `[name, value]` lines or an object. */
export function rawRequest(method, path, headers = {}, body = "") {
  const listed = Array.isArray(headers) ? headers : Object.entries(headers)
  return lines(`${method} ${path} HTTP/1.1`, "Host: test", ...listed.map(([name, value]) => `${name}: ${value}`), "", body)
}

function parseResponses(bytes) {
  const found = []
  let rest = bytes
  for (;;) {
    const end = rest.indexOf("\r\n\r\n")
    if (end < 0) return found
    const [statusLine, ...headerLines] = rest.subarray(0, end).toString("latin1").split("\r\n")
    const status = Number(statusLine.split(" ")[1])
    const headers = Object.fromEntries(
      headerLines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]),
    )
    rest = rest.subarray(end + 4)
    if (status === 100) continue
    const length = Number(headers["content-length"] ?? 0)
    if (rest.length < length) return found
    found.push({ status, headers, body: rest.subarray(0, length).toString("latin1") })
    rest = rest.subarray(length)
  }
}
