// What the README says to type works, with plain curl, and gives what it says.

import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { existsSync } from "node:fs"
import { afterAll, beforeAll, expect, test } from "vitest"

import { runBlocks, shellBlocks } from "../../support/readme.mjs"
import { freshDirectory, removeDirectory } from "../../support/server.mjs"

const README = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..", "README.md")

let directory
beforeAll(() => (directory = freshDirectory("readme")))
afterAll(() => removeDirectory(directory))

test("every shell block of the README runs, in order, from an empty directory", { timeout: 60_000 }, async () => {
  const blocks = shellBlocks(README)
  expect(blocks.length).toBeGreaterThan(1)
  const { code, outputs, err } = await runBlocks(blocks, directory)
  expect({ code, err }).toMatchObject({ code: 0 })
  expect(outputs.length).toBe(blocks.length)
  const all = outputs.join("\n")
  // No request was refused.
  expect(all).not.toContain('"error"')
  // Appends are read back as one JSON array; the follower saw the same.
  expect(all).toContain('[{"n":1},{"n":2},{"n":3}]')
  expect(all).toMatch(/event: ?data$/m)
  // The producer's second try is a duplicate.
  expect(all).toContain("200\n204\n")
  // The quickstart serves from where the README says.
  expect(existsSync(join(directory, "millrace-data"))).toBe(true)
})
