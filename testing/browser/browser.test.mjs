// The browser example against the binary: live messages, a reload, a restart, the end of a stream.

import assert from "node:assert/strict"
import { after, afterEach, before, beforeEach, test } from "node:test"

import { freshDirectory, removeDirectory, startServer, until } from "../support/server.mjs"
import { fencedBlocks } from "../support/readme.mjs"
import { Tab, pageOnDisk, servePage, serveText, startBrowser } from "./page.mjs"

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

for (const width of [1100, 390]) {
  test(`each state says what it means and what to do, and moves nothing, at ${width} pixels`, async () => {
    const tab = await Tab.open(browser, page.url, server.stream("not there"))
    await tab.page.setViewportSize({ width, height: 900 })
    await tab.says("gone", "Create and follow")
    const places = await tab.places()
    const stays = async (when) => assert.deepEqual(await tab.places(), places, when)
    await tab.page.click("#open button")
    await tab.says("live", "Up to date")
    await stays("live")
    await tab.page.click("#append button:not([type])")
    await tab.page.waitForFunction(() => document.querySelectorAll("li.new").length === 2)
    await stays("with a message")
    const { port } = server
    await server.kill()
    await tab.says("reconnecting", "cannot be reached")
    await stays("reconnecting")
    server = await startServer({ dataDir, port, longPoll: "2s" })
    await tab.says("live", "Up to date")
    await tab.page.reload()
    await tab.says("live", "Up to date")
    // What was kept over the reload is told from what comes after it.
    await tab.page.click("#append button:not([type])")
    await tab.page.waitForFunction(() => document.querySelectorAll("li.kept + li.new").length === 2)
    await stays("after a reload")
    await tab.page.click("#close")
    await tab.says("closed", "all of it")
    await stays("closed")
  })
}

test("a stream that was made anew is said to be, and can be read from its start", async () => {
  await append(1, 2)
  const tab = await Tab.open(browser, page.url, stream)
  await tab.shows(upTo(2), "live")
  await tab.page.goto("about:blank")
  await fetch(stream, { method: "DELETE" })
  await fetch(stream, { method: "PUT", headers: JSON_ })
  await append(7)
  await tab.page.goBack()
  await tab.says("gone", "Read from the start")
  await tab.page.click("#forget")
  await tab.shows([7], "live")
})

test("a server with a key is told apart", async () => {
  const locked = await startServer({ env: { MILLRACE_API_KEY: "0123456789" } })
  try {
    const tab = await Tab.open(browser, page.url, locked.stream("secret"))
    await tab.says("refused", "wants a key")
  } finally {
    await locked.dispose()
  }
})

for (const guide of ["quickstart.md", "clients.md"]) {
  test(`the page in ${guide} follows a stream`, async () => {
    const [block, ...others] = fencedBlocks(new URL(`../../docs/${guide}`, import.meta.url)).filter(({ language }) => language === "html")
    assert.deepEqual(others, [])
    const orders = server.stream("orders")
    await fetch(orders, { method: "PUT", headers: JSON_, body: '[{"order":1}]' })
    const own = await serveText(`<!doctype html>${block.code.replaceAll("4437", String(server.port))}`)
    try {
      const tab = await browser.newPage()
      const told = []
      tab.on("pageerror", (error) => told.push(String(error)))
      tab.on("console", async (message) => told.push(JSON.stringify(await message.args().at(-1).jsonValue())))
      const sees = (wanted) => until(`the console has ${wanted}`, () => told.join().includes(wanted))
      await tab.goto(own.url)
      await sees('{"order":1}')
      await fetch(orders, { method: "POST", headers: JSON_, body: '{"order":2}' })
      await sees('{"order":2}')
      // Only the page that keeps its offset goes on after a reload; the other one begins again.
      told.length = 0
      await tab.reload()
      await fetch(orders, { method: "POST", headers: JSON_, body: '{"order":3}' })
      await sees('{"order":3}')
      assert.equal(told.join().includes('{"order":1}'), guide === "quickstart.md")
      assert.deepEqual(told.filter((text) => text.includes("Error")), [])
    } finally {
      own.close()
    }
  })
}
