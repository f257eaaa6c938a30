// What the documentation says is true: its commands run, its flags are the binary's, its links lead
// somewhere, its log lines are in the source; and the deployment files are what they claim.
//
// `MILLRACE_UPDATE_DOCS=1` writes the flag table of docs/configuration.md anew. `MILLRACE_PYTHON` is
// a Python that has `durable-streams`; without it, the Python example is not run.

import { execFile, execFileSync } from "node:child_process"
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs"
import { dirname, join, relative, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { afterEach, describe, expect, test } from "vitest"
import { parse, parseAllDocuments } from "yaml"

import { runBlocks, shellBlocks } from "../../support/readme.mjs"
import { binary, cleanEnvironment, freshDirectory, removeDirectory, startServer } from "../../support/server.mjs"

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..", "..")
const text = (path) => readFileSync(join(ROOT, path), "utf8")
const yaml = (path) => parse(text(path))

/** Ends, exit code and all, whatever the code is. */
function run(command, args, options = {}) {
  return new Promise((done) => {
    execFile(command, args, { timeout: 30_000, ...options }, (error, out, err) => done({ code: error ? error.code : 0, out, err }))
  })
}

const millrace = (...args) => run(binary(), args, { env: cleanEnvironment() })

const directories = []
function emptyDirectory(label) {
  directories.push(freshDirectory(label))
  return directories.at(-1)
}
afterEach(() => directories.splice(0).forEach(removeDirectory))

// --- commands --------------------------------------------------------------------------------

// The docs write `millrace`; the runner knows the server by `cargo run --release --`.
const MILLRACE = 'millrace() { cargo run --release -- "$@"; }'

const expected = {
  "quickstart.md": ['[{"order":1},{"order":2},{"order":3}]', 'data:[{"order":4}]', '{"order":4}]204\n', '"streamClosed":true'],
  "concepts.md": ['[{"n":1},{"n":2}]', '[{"n":3}]', "stream-closed: true", '[{"n":1},{"n":2},{"another":3}]', "first 200\nagain 204\n", "410"],
  "clients.md": ["one line\n"],
  "operating.md": ['{"status":"ok"}', '{"ready":true}', "whole=true", "kept"],
  "security.md": ["401\n[]"],
}

describe("shell blocks", () => {
  test.each(Object.entries(expected))("of %s run and give what it says", { timeout: 60_000 }, async (name, wanted) => {
    const own = shellBlocks(join(ROOT, "docs", name))
    const serves = own.some((block) => /^(\S+=\S+ )*millrace serve/m.test(block))
    const blocks = [MILLRACE, ...(serves ? [] : ["millrace serve"]), ...own]
    const { code, outputs, err } = await runBlocks(blocks, emptyDirectory("docs"))
    expect({ code, err }).toMatchObject({ code: 0 })
    const all = outputs.join("\n")
    for (const part of wanted) expect(all).toContain(part)
    expect(all).not.toMatch(/"code":"/)
  })

  test("are in no other page", () => {
    const pages = readdirSync(join(ROOT, "docs")).filter((name) => ["index.md", "configuration.md"].includes(name) || name in expected)
    for (const name of pages) expect([name, shellBlocks(join(ROOT, "docs", name)).length > 0]).toEqual([name, name in expected])
  })
})

describe("examples of clients.md", () => {
  // A block, and the output that stands under it.
  const example = (language) => {
    const found = text("docs/clients.md").match(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`\\n\\n\`\`\`text\\n([\\s\\S]*?)^\`\`\``, "m"))
    return { code: found[1], output: found[2] }
  }
  const python = process.env.MILLRACE_PYTHON
  const programs = [
    ["js", process.execPath, ["--input-type=module", "-e"]],
    ["python", python, ["-c"]],
  ]
  for (const [language, program, args] of programs) {
    test.skipIf(!program)(`in ${language} print what it says`, async () => {
      const server = await startServer()
      try {
        const { code, output } = example(language)
        const cwd = join(ROOT, "testing", "e2e")
        const done = await run(program, [...args, code.replaceAll("4437", String(server.port))], { cwd })
        expect(done).toEqual({ code: 0, out: output, err: "" })
      } finally {
        await server.dispose()
      }
    })
  }
})

// --- reference -------------------------------------------------------------------------------

/** The flags of `millrace serve --help`. */
function flagsIn(help) {
  const body = help.slice(help.indexOf("Options:\n") + 9)
  const entries = body.split(/^ {2,6}(?=(?:-\w, )?--)/m).slice(1)
  return entries.map((entry) => {
    const [, flag, value = ""] = entry.match(/^(?:-\w, )?(--[a-z-]+)(?: (<\w+>))?/)
    const own = (name) => entry.match(new RegExp(`^ +\\[${name}: (.*)\\]$`, "m"))?.[1]
    const said = entry.split("\n")[1].trim()
    return {
      flag,
      value,
      env: own("env")?.replace(/=.*/, ""),
      fallback: own("default") ?? said.match(/\[default: (.*)\]$/)?.[1],
      help: said.replace(/ \[default: .*\]$/, ""),
      values: [...entry.matchAll(/^ +- ([a-z-]+): +(.*)$/gm)].map(([, name, about]) => `\`${name}\`: ${about}`),
    }
  })
}

function flagTable(help) {
  const shown = flagsIn(help).filter(({ flag }) => !["--help", "--version"].includes(flag))
  const isValue = (fallback) => /^\S+$/.test(fallback) && fallback !== "any"
  const rows = shown.map(({ flag, value, env, fallback, help: about, values }) => {
    const shownDefault = fallback === undefined ? "" : isValue(fallback) ? `\`${fallback}\`` : fallback
    const cells = [`\`${flag}${value && ` ${value}`}\``, env ? `\`${env}\`` : "", shownDefault, [about, ...values].join(". ")]
    return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`.replace(/ {2,}/g, " ")
  })
  return ["| Flag | Environment | Default | What |", "|---|---|---|---|", ...rows, ""].join("\n")
}

describe("configuration.md", () => {
  const PAGE = "docs/configuration.md"
  const SECTION = /(<!-- flags: .* -->\n)([\s\S]*?)(<!-- end of flags -->)/

  test("has exactly the flags, names and defaults of serve --help", async () => {
    const { out } = await millrace("serve", "--help")
    const table = flagTable(out)
    expect(flagsIn(out).length).toBe([...out.matchAll(/^ {2,6}(-\w, )?--/gm)].length)
    if (process.env.MILLRACE_UPDATE_DOCS) writeFileSync(join(ROOT, PAGE), text(PAGE).replace(SECTION, `$1${table}$3`))
    expect(text(PAGE).match(SECTION)[2]).toBe(table)
  })

  test("has the bounds that a value out of them is answered with", async () => {
    const rows = [...text(PAGE).matchAll(/^\| `(--[a-z-]+)` \| (\w+) \| (\w+) \|$/gm)]
    expect(rows.length).toBeGreaterThan(8)
    for (const [, flag, from, to] of rows) {
      const { code, err } = await millrace("serve", "--explain-config", flag, "0")
      expect([flag, code, err.split("help: ")[1]?.trim()]).toEqual([flag, 2, `write ${from} to ${to}`])
    }
  })

  test("every flag and name of the pages is one of the binary", async () => {
    const known = (await Promise.all(["serve", "check", "dump", "ls"].map((verb) => millrace(verb, "--help")))).map(({ out }) => out).join("\n")
    const others = new Set(["--cacert", "--max-time", "--release", "--data-binary"])
    for (const name of [...Object.keys(expected), "configuration.md", "index.md"]) {
      const page = text(`docs/${name}`)
      const flags = [...page.matchAll(/(?<![\w-])--[a-z]+(?:-[a-z]+)*/g)].map(([flag]) => flag)
      const names = [...page.matchAll(/\bMILLRACE_[A-Z_]+/g)].map(([found]) => found)
      const wrong = [...flags, ...names].filter((found) => !known.includes(found) && !others.has(found) && found !== "--version")
      expect([name, wrong]).toEqual([name, []])
    }
  })
})

/** Files below a directory of the repository that the test is about. */
function filesBelow(directory, ending, skip = /node_modules|target|^\.git$/) {
  return readdirSync(join(ROOT, directory), { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name)
    if (skip.test(entry.name)) return []
    if (entry.isDirectory()) return filesBelow(path, ending, skip)
    return path.endsWith(ending) ? [path] : []
  })
}

test("the log lines of operating.md are lines of the source", () => {
  const table = text("docs/operating.md").split("## What the log says")[1]
  const rows = [...table.matchAll(/^\| (`.*?) \| (?:info|warn|error) \|/gm)].map(([, cell]) => cell)
  const messages = rows.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, message]) => message))
  expect(messages.length).toBeGreaterThan(15)
  const source = filesBelow("crates", ".rs").map(text).join("\n")
  expect(messages.filter((message) => !source.includes(`"${message}"`))).toEqual([])
})

describe("links", () => {
  // Linked from where the measurements will be read; it is written with them.
  const TO_COME = new Set(["docs/performance.md"])
  const anchor = (heading) => heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
  const anchors = (path) => [...text(path).matchAll(/^#+ (.*)$/gm)].map(([, heading]) => anchor(heading))

  test("of every page lead to a file, and to a heading in it", () => {
    const broken = []
    for (const page of filesBelow(".", ".md")) {
      const prose = text(page).replace(/^```[\s\S]*?^```$/gm, "").replace(/`[^`\n]*`/g, "``")
      for (const [, link] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^[a-z]+:/.test(link)) continue
        const [path, heading] = link.split("#")
        const target = path === "" ? page : relative(ROOT, resolve(ROOT, dirname(page), path))
        const there = existsSync(join(ROOT, target)) || TO_COME.has(target)
        const found = heading === undefined || (there && statSync(join(ROOT, target)).isFile() && anchors(target).includes(heading))
        if (!there || !found) broken.push(`${page}: ${link}`)
      }
    }
    expect(broken).toEqual([])
  })
})

// --- deployment ------------------------------------------------------------------------------

/** Milliseconds of a time as the flags take it. */
const millis = (time) => Number(time.match(/^\d+/)[0]) * { s: 1000, m: 60_000 }[time.match(/[a-z]+$/)[0]]

/** That the binary takes these settings. */
async function isTaken(environment) {
  const env = { ...cleanEnvironment(), ...environment }
  const { code, out, err } = await run(binary(), ["serve", "--explain-config"], { env })
  expect({ code, err }).toEqual({ code: 0, err: "" })
  for (const name of Object.keys(environment)) expect(out).toContain(`environment, ${name}`)
}

function has(tool) {
  try {
    execFileSync("sh", ["-c", `command -v ${tool}`])
    return true
  } catch {
    return false
  }
}

describe("millrace.service", () => {
  const unit = text("deploy/millrace.service")
  const values = (name) => [...unit.matchAll(new RegExp(`^${name}=(.*)$`, "gm"))].map(([, value]) => value)
  const settings = Object.fromEntries(values("Environment").map((line) => line.split("=")))

  test.skipIf(!has("systemd-analyze"))("is a unit that systemd takes, and is locked up", async () => {
    const file = join(emptyDirectory("unit"), "millrace.service")
    writeFileSync(file, unit.replaceAll("/usr/local/bin/millrace", binary()))
    expect(await run("systemd-analyze", ["verify", file])).toEqual({ code: 0, out: "", err: "" })
    const exposure = await run("systemd-analyze", ["security", "--offline=true", "--threshold=20", "--no-pager", file])
    expect({ code: exposure.code, out: exposure.code ? exposure.out : "" }).toEqual({ code: 0, out: "" })
  })

  test("its settings are taken, and it waits longer than a stop takes", async () => {
    await isTaken(settings)
    expect(millis(values("TimeoutStopSec")[0])).toBeGreaterThan(millis(settings.MILLRACE_SHUTDOWN_TIMEOUT))
    expect(settings.MILLRACE_DATA_DIR).toBe(`/var/lib/${values("StateDirectory")[0]}`)
  })
})

describe("Containerfile", () => {
  const lines = text("deploy/Containerfile").replace(/^#.*\n/gm, "").replace(/\\\n\s*/g, "").split("\n").filter(Boolean)
  const instructions = lines.map((line) => [line.split(" ")[0], line.slice(line.indexOf(" ") + 1)])
  const last = instructions.slice(instructions.findLastIndex(([name]) => name === "FROM"))
  const of = (name) => last.filter(([found]) => found === name).map(([, rest]) => rest)

  test("ends in an image without a system and without root", () => {
    expect(of("FROM")).toEqual(["scratch"])
    expect(of("USER")).toEqual(["65532:65532"])
    expect(of("RUN")).toEqual([])
    expect(JSON.parse(of("ENTRYPOINT")[0])).toEqual(["/millrace"])
    expect(instructions[0][1]).toMatch(/^docker\.io\/library\/rust:1\.95-alpine AS build$/)
    expect(text("Cargo.toml")).toContain('rust-version = "1.95"')
  })

  test("copies every member of the workspace", () => {
    const members = text("Cargo.toml").match(/^members = (\[.*\])$/m)[1]
    const copied = instructions.filter(([name, rest]) => name === "COPY" && !rest.startsWith("--")).flatMap(([, rest]) => rest.split(" ").slice(0, -1))
    for (const member of JSON.parse(members)) expect(copied).toContain(member.split("/")[0])
    const kept = text("deploy/Containerfile.dockerignore").split("\n").filter((line) => line.startsWith("!")).map((line) => line.slice(1))
    expect(kept.sort()).toEqual(copied.sort())
  })

  test("its settings are taken, once there is a key", async () => {
    const environment = Object.fromEntries(of("ENV")[0].split(" ").map((pair) => pair.split("=")))
    await isTaken({ ...environment, MILLRACE_API_KEY: "0123456789" })
    expect(of("VOLUME")).toEqual([`["${environment.MILLRACE_DATA_DIR}"]`])
  })
})

test("compose.yaml builds that image, keeps its data, listens on this machine alone, and lets it stop", async () => {
  const { services, volumes } = yaml("deploy/compose.yaml")
  const { millrace: service } = services
  expect(existsSync(join(ROOT, "deploy", service.build.context, service.build.dockerfile))).toBe(true)
  expect(service.volumes).toEqual(["data:/data"])
  expect(Object.keys(volumes)).toEqual(["data"])
  expect(service.ports).toEqual(["127.0.0.1:4437:4437"])
  expect(service).toMatchObject({ read_only: true, cap_drop: ["ALL"], restart: "unless-stopped" })
  await isTaken({ ...service.environment, MILLRACE_API_KEY: "0123456789" })
  expect(millis(service.stop_grace_period)).toBeGreaterThan(millis(service.environment.MILLRACE_SHUTDOWN_TIMEOUT))
})

describe("kubernetes.yaml", () => {
  const documents = parseAllDocuments(text("deploy/kubernetes.yaml"), { strict: true })
  const [service, set] = documents.map((document) => document.toJS())
  const pod = set.spec.template.spec
  const [container] = pod.containers

  test("is a service and a set of one that belong together", () => {
    expect(documents.flatMap(({ errors, warnings }) => [...errors, ...warnings])).toEqual([])
    expect([service, set].map(({ apiVersion, kind }) => [apiVersion, kind])).toEqual([["v1", "Service"], ["apps/v1", "StatefulSet"]])
    expect(set.spec).toMatchObject({ replicas: 1, serviceName: service.metadata.name })
    const { labels } = set.spec.template.metadata
    expect(service.spec.selector).toEqual(labels)
    expect(set.spec.selector.matchLabels).toEqual(labels)
    expect(service.spec.ports[0].targetPort).toBe(container.ports[0].name)
    expect(container.ports[0].containerPort).toBe(4437)
  })

  test("asks health and readiness where they are answered, and gives a stop its time", async () => {
    const server = await startServer()
    try {
      for (const probe of ["livenessProbe", "readinessProbe"]) {
        expect((await fetch(`${server.url}${container[probe].httpGet.path}`)).status).toBe(200)
        expect(container[probe].httpGet.port).toBe(container.ports[0].name)
      }
    } finally {
      await server.dispose()
    }
    const environment = Object.fromEntries(container.env.filter(({ value }) => value).map(({ name, value }) => [name, value]))
    await isTaken(environment)
    const stop = container.lifecycle.preStop.sleep.seconds * 1000 + millis(environment.MILLRACE_SHUTDOWN_TIMEOUT)
    expect(pod.terminationGracePeriodSeconds * 1000).toBeGreaterThan(stop)
  })

  test("keeps its data and runs as nobody", () => {
    expect(set.spec.volumeClaimTemplates.map(({ metadata }) => metadata.name)).toEqual(container.volumeMounts.map(({ name }) => name))
    expect(container.volumeMounts[0].mountPath).toBe("/data")
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 65532, fsGroup: 65532 })
    expect(container.securityContext).toMatchObject({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true })
    expect(container.env[0].valueFrom.secretKeyRef).toBeDefined()
  })
})
