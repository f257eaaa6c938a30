// `/metrics` as Prometheus sees it, and that the table in docs/operating.md and the dashboard in
// deploy/ speak of what is really there, all of it.

import { readFileSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, test } from "vitest"

import { parseExposition } from "../../support/exposition.mjs"
import { freshName, post, put } from "../../support/http.mjs"
import { startServer, until } from "../../support/server.mjs"

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..", "..")
const text = (path) => readFileSync(join(ROOT, path), "utf8")
const JSON_ = { "content-type": "application/json" }

let server
beforeAll(async () => (server = await startServer({ shards: 2 })))
afterAll(() => server?.dispose())

async function figures() {
  const answer = await fetch(`${server.url}/metrics`)
  expect(answer.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8")
  return parseExposition(await answer.text())
}

const value = (families, name, labels = {}) => {
  const family = families.get(name) ?? families.get(name.replace(/_(count|sum)$/, ""))
  const found = family.samples.filter((sample) => sample.name === name && Object.entries(labels).every(([label, is]) => sample.labels[label] === is))
  expect([name, labels, found.length]).toEqual([name, labels, 1])
  return found[0].value
}

describe("the reader of these tests refuses", () => {
  const head = "# HELP a A.\n# TYPE a gauge\n"
  test.each([
    ["no end of line", `${head}a 1`],
    ["a sample of no family", "a 1\n"],
    ["a sample of another family", `${head}b 1\n`],
    ["the same sample twice", `${head}a{x="1"} 1\na{x="1"} 2\n`],
    ["a family twice", `${head}a 1\n${head}a 2\n`],
    ["no value", `${head}a\n`],
    ["a broken label", `${head}a{x=1} 1\n`],
    ["an empty family", head],
    ["a counter by another name", "# HELP a A.\n# TYPE a counter\na 1\n"],
    ["buckets that fall", '# HELP a A.\n# TYPE a histogram\na_bucket{le="1"} 2\na_bucket{le="+Inf"} 1\na_sum 1\na_count 1\n'],
    ["a count that is another", '# HELP a A.\n# TYPE a histogram\na_bucket{le="+Inf"} 1\na_sum 1\na_count 2\n'],
  ])("%s", (_, exposition) => expect(() => parseExposition(exposition)).toThrow())
})

test("what was done is what is told", async () => {
  const name = freshName("figures")
  await put(server, name, { headers: JSON_ })
  const before = await figures()
  for (let round = 0; round < 7; round++) expect((await post(server, name, "[1]", JSON_)).status).toBe(204)
  expect((await post(server, name, "[]", JSON_)).status).toBe(400)
  expect((await fetch(server.stream(name))).status).toBe(200)
  const after = await figures()
  const grown = (family, labels) => value(after, family, labels) - value(before, family, labels)
  expect(grown("millrace_append_seconds_count")).toBe(7)
  expect(grown("millrace_requests_total", { method: "POST", status: "2xx" })).toBe(7)
  expect(grown("millrace_requests_total", { method: "POST", status: "4xx" })).toBe(1)
  expect(grown("millrace_problems_total", { code: "empty-array" })).toBe(1)
  expect(grown("millrace_read_seconds_count")).toBe(1)
  expect(grown("millrace_append_seconds_sum")).toBeGreaterThan(0)
  expect(value(after, "millrace_streams")).toBeGreaterThan(0)
  expect(value(after, "process_resident_memory_bytes")).toBeGreaterThan(1 << 20)
  expect(value(after, "process_open_fds")).toBeGreaterThan(10)
})

test("there are as many lines after more streams as before", async () => {
  const first = await (await fetch(`${server.url}/metrics`)).text()
  for (let round = 0; round < 50; round++) await put(server, freshName(`grow-${round}`), { headers: JSON_ })
  const second = await (await fetch(`${server.url}/metrics`)).text()
  expect(second.split("\n").length).toBe(first.split("\n").length)
})

test("log lines of a request carry its id and its span", async () => {
  const own = await startServer({ args: ["--log-format", "json"], env: { RUST_LOG: "millrace_server=debug,millrace_engine=debug" } })
  try {
    const id = "an-id-of-the-client"
    const answer = await fetch(own.stream("logged"), { method: "PUT", headers: { ...JSON_, "x-request-id": id } })
    expect(answer.headers.get("x-request-id")).toBe(id)
    const line = await until("its line", () => own.log.split("\n").find((line) => line.includes(id)))
    expect(JSON.parse(line)).toMatchObject({ level: "DEBUG", message: "request", target: "millrace_server::router", request: id, status: 201, method: "PUT", path: "/v1/stream/logged", span: { name: "request", request: id, method: "PUT" } })
  } finally {
    await own.dispose()
  }
})

// --- the table and the dashboard -------------------------------------------------------------

const table = () => {
  const section = text("docs/operating.md").split("## What each metric says")[1].split("\n## ")[0]
  return [...section.matchAll(/^\| `([a-z_]+)` \| (.*?) \|/gm)].map(([, name, labels]) => [name, [...labels.matchAll(/`([a-z]+)`/g)].map(([, label]) => label)])
}

test("operating.md has a row for every metric, with its labels, and no other", async () => {
  const told = [...(await figures()).values()].map(({ name, samples }) => [name, Object.keys(samples[0].labels).filter((label) => label !== "le")])
  const listed = (rows) => [...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, labels]) => [name, ...labels.filter((label) => label !== "sse" && label !== "long")].join(" "))
  expect(listed(table())).toEqual(listed(told))
})

/** The metrics and the labels that a PromQL expression names. */
function namesIn(expression) {
  const metrics = [...expression.matchAll(/\b((?:millrace|process)_[a-z_]+)/g)].map(([, name]) => name)
  const labels = [...expression.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list]) => list.split(",").map((label) => label.trim()))
  const selected = [...expression.matchAll(/([a-z_]+)=~?"/g)].map(([, label]) => label)
  return { metrics, labels: [...labels, ...selected] }
}

describe("grafana-dashboard.json", () => {
  const dashboard = JSON.parse(text("deploy/grafana-dashboard.json"))
  const panels = dashboard.panels.filter(({ type }) => type !== "row")
  const expressions = panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [title, expr]))

  test("asks for metrics and labels that are there", async () => {
    const families = await figures()
    // Prometheus adds these.
    const known = new Set(["job", "instance"])
    for (const [title, expression] of expressions) {
      const { metrics, labels } = namesIn(expression)
      expect([title, metrics.length > 0]).toEqual([title, true])
      for (const metric of metrics) {
        const family = families.get(metric) ?? families.get(metric.replace(/_(bucket|sum|count)$/, ""))
        const sample = family?.samples.find(({ name }) => name === metric)
        expect([title, metric, sample !== undefined]).toEqual([title, metric, true])
        const unknown = labels.filter((label) => !known.has(label) && !(label in sample.labels))
        // Quotients name a metric twice, each with its own labels; none has others.
        expect([title, metric, unknown]).toEqual([title, metric, []])
      }
    }
  })

  test("shows every metric", async () => {
    const shown = new Set(expressions.flatMap(([, expression]) => namesIn(expression).metrics.map((name) => name.replace(/_(bucket|sum|count)$/, ""))))
    const missing = [...(await figures()).keys()].filter((name) => !shown.has(name))
    expect(missing).toEqual([])
  })

  test("is laid out: no panel twice, none over another, all with a title", () => {
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length)
    const taken = new Map()
    for (const { title, gridPos: { x, y, w, h } } of dashboard.panels) {
      expect(title.length).toBeGreaterThan(0)
      expect(x + w).toBeLessThanOrEqual(24)
      for (let column = x; column < x + w; column++) {
        for (let line = y; line < y + h; line++) {
          const place = `${column},${line}`
          expect([title, taken.get(place)]).toEqual([title, undefined])
          taken.set(place, title)
        }
      }
    }
  })
})
