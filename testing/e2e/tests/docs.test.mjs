// What the documentation says is true: its commands run, its flags are the binary's, its links lead
// somewhere, its log lines are in the source.
//
// `MILLRACE_UPDATE_DOCS=1` writes the flag table of docs/configuration.md anew. `MILLRACE_PYTHON` is
// a Python that has `durable-streams`; without it, the Python example is not run.

import { existsSync, statSync, writeFileSync } from "node:fs"
import { dirname, join, relative, resolve } from "node:path"
import { afterEach, describe, expect, test } from "vitest"

import { fencedBlocks, runBlocks, sessions, shellBlocks } from "../../support/readme.mjs"
import { ROOT, emptyDirectory, filesBelow, millrace, removeDirectories, run, text } from "../../support/repository.mjs"
import { startServer } from "../../support/server.mjs"

afterEach(removeDirectories)

// --- commands --------------------------------------------------------------------------------

/** Every page that a reader may be sent to, and what its commands have to bring. */
const expected = {
  "README.md": ['data:[{"n":1}]', '{"n":1}\n{"n":2}\n{"n":3}\n', "first 200\nagain 204\n", '[{"n":1},{"n":2},{"n":3},{"n":4}]'],
  "docs/quickstart.md": [
    '{"order":1}\n{"order":2}\n{"order":3}\n',
    '[{"order":1},{"order":2},{"order":3},{"order":4}]',
    '\n{"order":5}\n',
    'data:[{"order":5}]',
    '[{"order":5}]\n200\n',
    '"streamClosed":true',
  ],
  "docs/concepts.md": ['[{"n":1},{"n":2}]', '[{"n":3}]', "stream-closed: true", '[{"n":1},{"n":2},{"another":3}]', "first 200\nagain 204\n", "410"],
  "docs/extensions.md": ["204\n409\n", '[{"n":2},{"n":3}]', '[{"n":1}]', '"data":{"n":3}}\n', "[]", '204\n[{"n":2},{"n":3}]', '"trimmed":1', '[4,5]', 'stream-retention-max-messages: 2', '"keys":1', 'snapshot-start', '"pinned":true', '"stream":"{order-7}/log","status":204', 'data:{"stream":"account",', '"text":"two items\\n"}'],
  "docs/subscriptions.md": ['"status":"active"', '"generation":1,"token":"', '"path":"jobs/1","link_type":"glob"'],
  "docs/clients.md": ["one line\n"],
  "docs/cli.md": [
    '{"n":1}\n',
    '{"n":4}\n{"n":5}\n',
    '"data":{"n":5}}\n',
    '{"n":2}\n',
    "looked at 1, trimmed 1, ",
    "  appended   log\n",
    'log: {"n":7}\nlog: {"n":8}\n',
    "hello: 2\n",
    "1000\n",
  ],
  "docs/configuration.md": ["append-bytes-max"],
  "docs/operating.md": ['{"status":"ok"}', '{"ready":true}', "whole=true", "kept", "plan needed=false"],
  "docs/security.md": ["401\n[]"],
  "examples/browser/README.md": ["0000000000"],
}

/** Of the fences, those whose blocks need no run. */
const NOT_COMMANDS = ["html", "text", "toml", "json", "yaml", "ini"]
const RUN_OTHERWISE = ["js", "python", "rust"]

/** Pages that show what comes: it comes, but for offsets and cursors, which depend on names and time. */
const SHOWN = ["docs/quickstart.md"]
const anyNumbers = (said) => said.replace(/\d{7,}/g, "N")
const outputsIn = (page) => blocksOf(page).filter(({ language }) => language === "text").map(({ code }) => anyNumbers(code))

const pages = filesBelow(".", ".md")
const blocksOf = (page) => fencedBlocks(join(ROOT, page))

describe("shell blocks", () => {
  const runnable = pages.filter((page) => shellBlocks(join(ROOT, page)).length > 0)

  test.each(runnable)("of %s run and give what it says", { timeout: 60_000 }, async (page) => {
    const own = shellBlocks(join(ROOT, page))
    const serves = own.some((block) => /^(\S+=\S+ )*(millrace|cargo run --release --) serve/m.test(block))
    const { code, outputs, err } = await runBlocks([...(serves ? [] : ["millrace serve"]), ...own], emptyDirectory("docs"))
    expect({ code, err }).toMatchObject({ code: 0 })
    const all = outputs.join("\n")
    for (const part of expected[page] ?? []) expect(all).toContain(part)
    if (SHOWN.includes(page)) for (const shown of outputsIn(page)) expect(anyNumbers(all + err)).toContain(shown)
    // No request was refused.
    expect(all).not.toMatch(/"code":"/)
  })

  const spoken = pages.flatMap((page) => sessions(join(ROOT, page)).map((session) => [page, session]))
  test.each(spoken)("of a session in %s bring what stands under them", { timeout: 60_000 }, async (_, session) => {
    const blocks = ["exec 2>&1; set +e", "millrace serve", ...session.map(({ command }) => command)]
    const { outputs } = await runBlocks(blocks, emptyDirectory("docs"))
    const said = outputs.slice(2).map((output, i) => ({ command: session[i].command, output: anyNumbers(output) }))
    expect(said).toEqual(session.map(({ command, output }) => ({ command, output: anyNumbers(output) })))
  })

  test("are all looked at, and what is expected is of a page that has some", () => {
    expect(Object.keys(expected).filter((page) => !runnable.includes(page))).toEqual([])
    expect(runnable.filter((page) => !(page in expected))).toEqual([])
  })

  test("are not hidden behind another fence", () => {
    const wrong = pages.flatMap((page) =>
      blocksOf(page)
        .filter(({ language, code, before }) => {
          if (language === "console") return !code.startsWith("$ ") && !/^<!-- not run: .{10,} -->$/.test(before)
          if (language === "text") return /^(\$ |millrace |cargo |curl |npm |git |docker |podman |kubectl |systemctl |testing\/run)/m.test(code)
          return !["sh", ...NOT_COMMANDS, ...RUN_OTHERWISE].includes(language)
        })
        .map(({ language, code }) => `${page}: ${language}: ${code.split("\n")[0]}`),
    )
    expect(wrong).toEqual([])
    const programs = pages.filter((page) => blocksOf(page).some(({ language }) => RUN_OTHERWISE.includes(language)))
    expect(programs).toEqual(["docs/clients.md"])
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

/** Flags of other tools in the pages, and what every tool has. */
const OTHERS = new Set(["--max-time", "--release", "--data-binary", "--signal", "--version", "--cacert", "--features"])

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
    const { out: all } = await millrace("--help")
    const verbs = [...all.slice(0, all.indexOf("Options:")).matchAll(/^ {2}([a-z-]+) /gm)].map(([, verb]) => verb)
    const known = (await Promise.all(verbs.map((verb) => millrace(verb, "--help")))).map(({ out }) => out).join("\n")
    // The pages that are left out name variables of the tests as well.
    for (const name of pages.filter((page) => !/^(ARCHITECTURE|CHANGELOG|docs\/(adr|performance|contributing|reliability))/.test(page))) {
      // What no test can run is other tools' commands.
      const page = text(name).replace(/^```console\n(?!\$ )[\s\S]*?^```$/gm, "")
      const flags = [...page.matchAll(/(?<![\w-])--[a-z]+(?:-[a-z]+)*/g)].map(([flag]) => flag)
      const names = [...page.matchAll(/\bMILLRACE_[A-Z_]+/g)].map(([found]) => found)
      const wrong = [...flags, ...names].filter((found) => !known.includes(found) && !OTHERS.has(found))
      expect([name, wrong]).toEqual([name, []])
    }
  })
})

test("the log lines of operating.md are lines of the source", () => {
  const table = text("docs/operating.md").split("## What the log says")[1]
  const rows = [...table.matchAll(/^\| (`.*?) \| (?:info|warn|error) \|/gm)].map(([, cell]) => cell)
  const messages = rows.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, message]) => message))
  expect(messages.length).toBeGreaterThan(15)
  const source = filesBelow("crates", ".rs").map(text).join("\n")
  expect(messages.filter((message) => !source.includes(`"${message}"`))).toEqual([])
})

describe("links", () => {
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
        const there = existsSync(join(ROOT, target))
        const found = heading === undefined || (there && statSync(join(ROOT, target)).isFile() && anchors(target).includes(heading))
        if (!there || !found) broken.push(`${page}: ${link}`)
      }
    }
    expect(broken).toEqual([])
  })

  test("lead from the index to every guide, and from the README to the index", () => {
    const index = text("docs/index.md")
    const missing = filesBelow("docs", ".md").filter((page) => !/^docs\/(index\.md|adr\/)/.test(page) && !index.includes(`(${page.slice(5)})`))
    expect(missing).toEqual([])
    expect(text("README.md")).toContain("](docs/index.md)")
  })
})
