// The page around follow.js: two panes, each with messages, an offset and a memory of its own.

const SHOWN_MAX = 200
const $ = (selector) => document.querySelector(selector)
const query = new URLSearchParams(location.search)

let panes = []

/** What a state means, and what there is to do. */
const WORDS = {
  connecting: () => "Asking the server.",
  live: () => "Up to date. New messages appear by themselves.",
  reconnecting: (status) =>
    status ? `The server answers ${status}. Trying again.` : "The server cannot be reached. Trying again; is it running?",
  closed: () => "The stream was closed. This is all of it.",
  gone: (status) =>
    status === 410
      ? "Deleted, or made anew since. Choose “Read from the start”."
      : "There is no such stream. Choose “Create and follow”.",
  refused: (status) =>
    status === 401 ? "The server wants a key, which this page does not have." : `The server refuses this with ${status}.`,
}

/** What a pane has seen of a stream. One item holds offset and messages, so that they never disagree. */
class Memory {
  constructor(pane, url) {
    this.key = `millrace ${pane} ${url}`
    const kept = JSON.parse(localStorage.getItem(this.key) ?? "{}")
    Object.assign(this, { offset: "-1", count: 0, recent: [] }, kept)
  }

  add(messages, offset) {
    this.offset = offset
    this.count += messages.length
    this.recent = [...this.recent, ...messages].slice(-SHOWN_MAX)
    const { count, recent } = this
    localStorage.setItem(this.key, JSON.stringify({ offset, count, recent }))
  }

  forget() {
    localStorage.removeItem(this.key)
  }
}

function openPane(id, follow, url) {
  const root = document.getElementById(id)
  const memory = new Memory(id, url)
  const list = root.querySelector("ol")

  const show = (messages, kind) => {
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40
    for (const message of messages) {
      const item = document.createElement("li")
      item.className = kind
      item.textContent = JSON.stringify(message)
      list.append(item)
    }
    while (list.children.length > SHOWN_MAX) list.firstChild.remove()
    if (atEnd) list.scrollTop = list.scrollHeight
    root.querySelector(".count").textContent = memory.count === 1 ? "1 message" : `${memory.count} messages`
    root.querySelector(".offset").textContent = memory.offset
  }

  list.replaceChildren()
  show(memory.recent, "kept")
  const stop = follow(url, memory.offset, {
    messages: (messages, offset) => {
      memory.add(messages, offset)
      show(messages, "new")
    },
    state: (state, status) => {
      root.dataset.state = state
      root.querySelector(".state").textContent = state
      root.querySelector(".word").textContent = WORDS[state](status)
    },
  })
  return { stop, memory }
}

async function follow(url) {
  for (const { stop } of panes) stop()
  panes = []
  const head = await fetch(url, { method: "HEAD" }).catch(() => undefined)
  const type = head?.headers.get("content-type") ?? ""
  if (head?.ok && !type.startsWith("application/json")) return say(`This page shows JSON streams; that one is ${type}.`)
  panes = [openPane("events", followByEventSource, url), openPane("fetch", followByFetch, url)]
}

async function send(headers, body) {
  const url = $("#url").value
  const answer = await fetch(url, { method: "POST", headers, body }).catch(() => undefined)
  if (answer?.ok) return say("")
  const problem = await answer?.json().catch(() => undefined)
  say(problem ? `${problem.title}: ${problem.detail}` : "The server cannot be reached.")
}

const say = (text) => ($("#said").textContent = text)
const json = { "content-type": "application/json" }

$("#open").addEventListener("submit", async (event) => {
  event.preventDefault()
  const url = $("#url").value
  // Whatever the answer: a stream that is there already is followed as it is.
  const answer = await fetch(url, { method: "PUT", headers: json }).catch(() => undefined)
  say(answer ? "" : "The server cannot be reached.")
  history.replaceState(null, "", `?url=${encodeURIComponent(url)}`)
  follow(url)
})

$("#append").addEventListener("submit", (event) => {
  event.preventDefault()
  send(json, $("#message").value)
})

$("#close").addEventListener("click", () => send({ "stream-closed": "true" }))

$("#forget").addEventListener("click", () => {
  for (const { memory } of panes) memory.forget()
  follow($("#url").value)
})

if (query.has("url")) {
  $("#url").value = query.get("url")
  follow(query.get("url"))
}
