// The example page in a real browser: a headless Chromium with a profile of its own, and a tiny web
// server that gives the page an origin other than the streams'.

import { createServer } from "node:http"
import { readFile } from "node:fs/promises"
import { extname, join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { chromium } from "playwright-core"

import { until } from "../support/server.mjs"

export const EXAMPLE = fileURLToPath(new URL("../../examples/browser/", import.meta.url))
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" }
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
]

/** Chromium on a profile in `directory`. */
export function startBrowser(directory) {
  return chromium.launchPersistentContext(directory, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: FLAGS,
    viewport: { width: 1100, height: 760 },
  })
}

/** Serves the files of the example; `close` ends it. */
export function servePage() {
  const server = createServer(async (request, response) => {
    const name = new URL(request.url, "http://page").pathname.slice(1) || "index.html"
    const file = /^[a-z]+\.[a-z]+$/.test(name) ? await readFile(join(EXAMPLE, name)).catch(() => undefined) : undefined
    response.writeHead(file ? 200 : 404, { "content-type": TYPES[extname(name)] ?? "text/plain" }).end(file)
  })
  return new Promise((done) => {
    server.listen(0, "127.0.0.1", () => {
      const url = `http://127.0.0.1:${server.address().port}/`
      done({ url, close: () => server.close() })
    })
  })
}

/** Serves one text as a page; `close` ends it. */
export function serveText(html) {
  const server = createServer((_, response) => response.writeHead(200, { "content-type": "text/html" }).end(html))
  return new Promise((done) => {
    server.listen(0, "127.0.0.1", () => done({ url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() }))
  })
}

/** Where the page lies on the disk. */
export const pageOnDisk = pathToFileURL(join(EXAMPLE, "index.html")).href

/** The page in a tab. */
export class Tab {
  static async open(browser, page, stream) {
    const tab = new Tab(await browser.newPage())
    tab.page.on("pageerror", (error) => tab.errors.push(error))
    await tab.page.goto(`${page}?url=${encodeURIComponent(stream)}`)
    return tab
  }

  constructor(page) {
    this.page = page
    this.errors = []
  }

  /** What both panes show: state, and the `n` of each message. */
  async panes() {
    const read = (section) => ({
      state: section.dataset.state,
      seen: [...section.querySelectorAll("li")].map((item) => JSON.parse(item.textContent).n),
    })
    return Promise.all(["#events", "#fetch"].map((id) => this.page.$eval(id, read)))
  }

  /** Waits until both panes are in a state and say a word about it. */
  async says(state, word) {
    const said = (section) => [section.dataset.state, section.querySelector(".word").textContent]
    let last
    const same = async () => {
      last = await Promise.all(["#events", "#fetch"].map((id) => this.page.$eval(id, said)))
      return last.every(([shown, about]) => shown === state && about.includes(word))
    }
    await until("both panes say it", same, 20_000).catch((error) => {
      throw new Error(`${error.message}: wanted ${state} "${word}", said ${JSON.stringify(last)}`)
    })
  }

  /** Where everything that can be clicked or read is, but what scrolls. */
  places() {
    return this.page.$$eval("h1, form, label, input, button, section, h2, ol, .facts", (all) =>
      all.map((element) => {
        const { x, y, width, height } = element.getBoundingClientRect()
        return [element.id || element.tagName, x, y + scrollY, width, height].join(" ")
      }),
    )
  }

  /** Waits until both panes show exactly `wanted`, and the state. */
  async shows(wanted, state) {
    let last
    const same = async () => {
      last = await this.panes()
      return last.every((pane) => pane.state === state && `${pane.seen}` === `${wanted}`)
    }
    await until("both panes show it", same, 20_000).catch((error) => {
      throw new Error(`${error.message}: wanted ${state} ${wanted}, shown ${JSON.stringify(last)}`)
    })
    if (this.errors.length > 0) throw this.errors[0]
  }
}
