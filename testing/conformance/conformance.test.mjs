// The public conformance suite, whole, against a server that already runs (see run.mjs).
//
// The suite uses the global `fetch`, which speaks HTTP/1.1. For HTTP/2 it is replaced by the same
// implementation with HTTP/2 allowed. Which protocol every connection really negotiated is written
// down for run.mjs to look at.

import { subscribe } from "node:diagnostics_channel"
import { writeFileSync } from "node:fs"

import { runConformanceTests } from "@durable-streams/server-conformance-tests"
import { Agent, install, setGlobalDispatcher } from "undici"
import { afterAll } from "vitest"

const { MILLRACE_URL: baseUrl, MILLRACE_PROTOCOL: protocol, MILLRACE_PROTOCOLS_FILE: protocolsFile } = process.env
if (!baseUrl) throw new Error("MILLRACE_URL is not set; run `node run.mjs`, which starts the server")

const longPollTimeoutMs = Number(process.env.MILLRACE_LONG_POLL_MS)
if (!(longPollTimeoutMs > 0)) throw new Error("MILLRACE_LONG_POLL_MS is not a number of milliseconds")

const protocols = new Set()
subscribe("undici:client:connected", ({ socket }) => protocols.add(socket.alpnProtocol === false ? "http/1.1" : (socket.alpnProtocol ?? null)))
afterAll(() => writeFileSync(protocolsFile, JSON.stringify([...protocols])))

if (protocol === "h2") {
  install()
  setGlobalDispatcher(new Agent({ allowH2: true }))
}

runConformanceTests({ baseUrl, longPollTimeoutMs, subscriptions: true })
