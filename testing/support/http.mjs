// Plain requests over node's HTTP client: paths go out as they are written (`fetch` rewrites `..`
// and percent escapes), and every header that comes back can be looked at.

import { request as send } from "node:http"

/**
 * Sends one request and returns `{ status, headers, body, text }`.
 *
 * `target` is the request target as it goes on the wire, for example `/v1/stream/a?offset=-1`.
 */
export function request(server, method, target, { headers = {}, body } = {}) {
  return new Promise((done, fail) => {
    const bytes = body === undefined ? undefined : Buffer.from(body)
    const length = bytes === undefined ? {} : { "content-length": String(bytes.length) }
    const outgoing = send(
      { host: "127.0.0.1", port: server.port, method, path: target, headers: { ...length, ...headers }, agent: false },
      (incoming) => {
        const chunks = []
        incoming.on("data", (chunk) => chunks.push(chunk))
        incoming.on("error", fail)
        incoming.on("end", () => {
          const whole = Buffer.concat(chunks)
          done({ status: incoming.statusCode, headers: incoming.headers, body: whole, text: whole.toString("utf8") })
        })
      },
    )
    outgoing.on("error", fail)
    outgoing.end(bytes)
  })
}

/** The request target of a stream. */
export const target = (name, query = "") => `/v1/stream/${name}${query}`

const BYTES = { "content-type": "application/octet-stream" }

/** Creates a stream of bytes, or of another type where `headers` say so. */
export const put = (server, name, { headers = BYTES, body } = {}) =>
  request(server, "PUT", target(name), { headers, body })

/** Appends to a stream of bytes, or of another type where `headers` say so. */
export const post = (server, name, body, headers = {}) =>
  request(server, "POST", target(name), { headers: { ...BYTES, ...headers }, body })

/** Reads a stream; `query` begins with `?`. */
export const get = (server, name, query = "", headers = {}) =>
  request(server, "GET", target(name, query), { headers })

/** Asks about a stream. */
export const head = (server, name) => request(server, "HEAD", target(name))

let counter = 0
/** A stream name no other test uses. */
export const freshName = (label) => `${label}-${process.pid}-${counter++}`
