// The browser example against the binary: live messages, a reload, a restart, the end of a stream.

import assert from "node:assert/strict"
import { after, afterEach, before, beforeEach, test } from "node:test"

import { freshDirectory, removeDirectory, startServer } from "../support/server.mjs"
import { Tab, pageOnDisk, servePage, startBrowser } from "./page.mjs"

const JSON_ = { "content-type": "application/json" }
const upTo = (last) => Array.from({ length: last }, (_, i) => i + 1)

let browser, profile, page
before(async () => {
  profile = freshDirectory("profile")
  browser = await startBrowser(profile)
  page = await servePage()
})
after(async () => {
  page?.close()
  await browser?.close()
  removeDirectory(profile)
})

let server, dataDir, stream
beforeEach(async (t) => {
  dataDir = freshDirectory()
  server = await startServer({ dataDir, longPoll: "2s" })
  stream = server.stream(encodeURIComponent(t.name.slice(0, 30)))
  assert.equal((await fetch(stream, { method: "PUT", headers: JSON_ })).status, 201)
})
afterEach(async () => {
  for (const tab of browser.pages().slice(1)) await tab.close()
  await server.dispose()
  removeDirectory(dataDir)
})

async function append(from, to = from) {
  for (let n = from; n <= to; n++) {
    const answer = await fetch(stream, { method: "POST", headers: JSON_, body: JSON.stringify({ n }) })
    assert.equal(answer.status, 204)
  }
}

async function restart(end) {
  const { port } = server
  await end()
  server = await startServer({ dataDir, port, longPoll: "2s" })
}

test("history and live messages arrive in both panes, on a page of another origin", async () => {
  await append(1, 3)
  const tab = await Tab.open(browser, page.url, stream)
  await tab.shows(upTo(3), "live")
  await append(4, 30)
  await tab.shows(upTo(30), "live")
})

test("a page from the disk follows as well", async () => {
  await append(1, 2)
  const tab = await Tab.open(browser, pageOnDisk, stream)
  await tab.shows(upTo(2), "live")
  await append(3)
  await tab.shows(upTo(3), "live")
})

test("a reload goes on without a gap or a repeat", async () => {
  const tab = await Tab.open(browser, page.url, stream)
  await append(1, 5)
  await tab.shows(upTo(5), "live")
  await tab.page.goto("about:blank")
  await append(6, 9)
  const asked = []
  tab.page.on("request", (request) => asked.push(request.url()))
  await tab.page.goBack()
  await tab.shows(upTo(9), "live")
  await tab.page.reload()
  await append(10)
  await tab.shows(upTo(10), "live")
  // It was not read again from the start.
  const reads = asked.filter((url) => url.includes("live="))
  assert.ok(reads.length >= 4)
  assert.deepEqual(reads.filter((url) => url.includes("offset=-1")), [])
})

test("a reload in the middle of a stream of appends misses nothing", async () => {
  const tab = await Tab.open(browser, page.url, stream)
  const appends = append(1, 120)
  for (let i = 0; i < 3; i++) await tab.page.reload()
  await appends
  await tab.shows(upTo(120), "live")
})

test("a graceful restart and a crash are survived", async () => {
  const tab = await Tab.open(browser, page.url, stream)
  await append(1, 3)
  await tab.shows(upTo(3), "live")
  await restart(() => server.stop())
  await append(4, 6)
  await tab.shows(upTo(6), "live")
  await restart(() => server.kill())
  await append(7, 9)
  await tab.shows(upTo(9), "live")
})

test("a closed stream ends both panes, and is known as closed after a reload", async () => {
  const tab = await Tab.open(browser, page.url, stream)
  await append(1, 2)
  await fetch(stream, { method: "POST", headers: { ...JSON_, "stream-closed": "true" }, body: '{"n":3}' })
  await tab.shows(upTo(3), "closed")
  await tab.page.reload()
  await tab.shows(upTo(3), "closed")
  // Nobody asks any more.
  const asked = []
  tab.page.on("request", (request) => asked.push(request.url()))
  await new Promise((done) => setTimeout(done, 4000))
  assert.deepEqual(asked, [])
})

test("a deleted stream is told apart from a lost connection", async () => {
  await append(1)
  const tab = await Tab.open(browser, page.url, stream)
  await tab.shows(upTo(1), "live")
  await fetch(stream, { method: "DELETE" })
  await tab.shows(upTo(1), "gone")
})

test("the page creates, appends and closes", async () => {
  const own = server.stream("made by the page")
  const tab = await Tab.open(browser, page.url, stream)
  await tab.page.fill("#url", own)
  await tab.page.click("#open button")
  await tab.shows([], "live")
  await tab.page.fill("#message", '{"n":1}')
  await tab.page.click("#append button:not([type])")
  await tab.shows([1], "live")
  await tab.page.click("#close")
  await tab.shows([1], "closed")
  await tab.page.click("#append button:not([type])")
  await tab.page.waitForFunction(() => document.querySelector("#said").textContent.startsWith("Stream closed"))
})

test("a stream that is no JSON is refused with a word", async () => {
  const text = server.stream("some text")
  await fetch(text, { method: "PUT", headers: { "content-type": "text/plain" }, body: "hello" })
  const tab = await Tab.open(browser, page.url, text)
  await tab.page.waitForFunction(() => document.querySelector("#said").textContent.includes("text/plain"))
})
