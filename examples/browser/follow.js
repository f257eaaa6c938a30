// Two ways to follow a JSON stream in a browser, without a library. Both begin at `offset`, hand over
// whole messages with the offset after them, and survive a server that goes away and comes back.
//
//   on.messages(list, offset)  some messages, and where to go on after them
//   on.state(name, status)     "connecting", "live", "reconnecting", "closed", "gone" or "refused";
//                              `status` is the answer's that led there, if there was one
//
// Each returns a function that stops it. Keep the offset together with what was done with the
// messages: then a page that is loaded again continues without a gap or a repeat.

const RETRY_MS_MIN = 250
const RETRY_MS_MAX = 8000

/** A bare EventSource. The browser reconnects by itself, with the last id it saw. */
function followByEventSource(url, offset, on) {
  let source
  let timer
  let retry = RETRY_MS_MIN
  let stopped = false

  const stop = () => {
    stopped = true
    clearTimeout(timer)
    source.close()
  }
  const end = (state, status) => {
    stop()
    on.state(state, status)
  }

  function connect() {
    source = new EventSource(address(url, { offset, live: "sse" }))
    source.addEventListener("data", (event) => {
      offset = event.lastEventId
      on.messages(JSON.parse(event.data), offset)
    })
    source.addEventListener("control", (event) => {
      retry = RETRY_MS_MIN
      const control = JSON.parse(event.data)
      if (control.streamClosed) end("closed")
      else if (control.upToDate) on.state("live")
    })
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) ask()
      else on.state("reconnecting")
    })
  }

  // The browser gave up, because the answer was no event stream: 204 at the end of a closed stream,
  // or an error, such as 503 while the server starts. It does not tell which, so this asks.
  async function ask() {
    const answer = await fetch(address(url, { offset })).catch(() => undefined)
    answer?.body?.cancel()
    if (stopped) return
    const next = answer?.headers.get("stream-next-offset")
    if (answer?.ok && answer.headers.has("stream-closed") && next === offset) return end("closed")
    if (answer && isFinal(answer.status)) return end(finalState(answer.status), answer.status)
    on.state("reconnecting", answer?.status)
    timer = setTimeout(connect, retry)
    retry = Math.min(retry * 2, RETRY_MS_MAX)
  }

  on.state("connecting")
  connect()
  return stop
}

/** Long-polls with fetch: can send headers, such as `Authorization`, which EventSource cannot. */
function followByFetch(url, offset, on, headers = {}) {
  const abort = new AbortController()
  const { signal } = abort

  async function run() {
    let cursor
    let retry = RETRY_MS_MIN
    on.state("connecting")
    while (!signal.aborted) {
      const page = await ask(cursor).catch(() => undefined)
      if (signal.aborted) return
      if (page && isFinal(page.status)) return on.state(finalState(page.status), page.status)
      if (!page?.ok) {
        on.state("reconnecting", page?.status)
        await pause(retry)
        retry = Math.min(retry * 2, RETRY_MS_MAX)
        continue
      }
      retry = RETRY_MS_MIN
      cursor = page.cursor
      offset = page.next
      if (page.messages.length > 0) on.messages(page.messages, offset)
      if (page.closed) return on.state("closed")
      if (page.upToDate) on.state("live")
    }
  }

  // A page counts once it is here as a whole: one that breaks off is asked for again.
  async function ask(cursor) {
    const answer = await fetch(address(url, { offset, live: "long-poll", cursor }), { signal, headers })
    const { ok, status } = answer
    const header = (name) => answer.headers.get(name) ?? undefined
    return {
      ok,
      status,
      messages: status === 200 ? await answer.json() : [],
      next: header("stream-next-offset"),
      cursor: header("stream-cursor"),
      upToDate: answer.headers.has("stream-up-to-date"),
      // A page may stop short of the end of a closed stream; then it does not say so.
      closed: header("stream-closed") === "true",
    }
  }

  run()
  return () => abort.abort()
}

function address(url, query) {
  const whole = new URL(url)
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) whole.searchParams.set(name, value)
  }
  return whole.href
}

// 429 and 5xx pass; everything else below 500 stays as it is, however often it is asked.
const isFinal = (status) => status >= 400 && status < 500 && status !== 408 && status !== 429
const finalState = (status) => (status === 404 || status === 410 ? "gone" : "refused")
const pause = (ms) => new Promise((done) => setTimeout(done, ms))
