// The public conformance suite, whole, against a server that already runs (see run.mjs).

import { runConformanceTests } from "@durable-streams/server-conformance-tests"

const baseUrl = process.env.MILLRACE_URL
if (!baseUrl) throw new Error("MILLRACE_URL is not set; run `node run.mjs`, which starts the server")

const longPollTimeoutMs = Number(process.env.MILLRACE_LONG_POLL_MS)
if (!(longPollTimeoutMs > 0)) throw new Error("MILLRACE_LONG_POLL_MS is not a number of milliseconds")

runConformanceTests({ baseUrl, longPollTimeoutMs, subscriptions: false })
