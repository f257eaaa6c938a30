// How far a stranger is from the first message: what the README says to type in a fresh clone.

import { afterEach, expect, test } from "vitest"
import { join } from "node:path"

import { runBlocks, shellBlocks } from "../../support/readme.mjs"
import { ROOT, emptyDirectory, removeDirectories } from "../../support/repository.mjs"

afterEach(removeDirectories)

/** The commands of blocks, up to and with the first one that follows a stream. */
function commandsToTheFirstMessage(blocks) {
  const lines = blocks.join("").replaceAll("\\\n", " ").split("\n")
  const commands = lines.map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("#"))
  const follows = commands.findIndex((command) => /live=sse|millrace tail|-- tail/.test(command))
  expect(follows).toBeGreaterThan(0)
  // More than one on a line count as many.
  return commands.slice(0, follows + 1).flatMap((line) => line.split(/&&|;|\|\|/).filter((part) => part.trim() !== "true"))
}

test("from a fresh clone to the first tailed message takes fewer than five commands", { timeout: 60_000 }, async () => {
  const commands = commandsToTheFirstMessage(shellBlocks(join(ROOT, "README.md")))
  // The clone is one as well.
  expect(commands.length + 1).toBeLessThan(5)
  const blocks = [...commands.slice(0, -1), `${commands.at(-1)} || true`]
  const { code, outputs, err } = await runBlocks(blocks, emptyDirectory("readme"))
  expect({ code, err }).toMatchObject({ code: 0 })
  expect(outputs.at(-1)).toMatch(/^event: ?data\ndata: ?\[\{"n":1\}\]$/m)
})
