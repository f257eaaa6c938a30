// The files of this repository, for tests of what they say.

import { execFile, execFileSync } from "node:child_process"
import { readFileSync, readdirSync } from "node:fs"
import { join, resolve } from "node:path"
import { fileURLToPath } from "node:url"

import { binary, cleanEnvironment, freshDirectory, removeDirectory } from "./server.mjs"

export const ROOT = resolve(fileURLToPath(new URL("../..", import.meta.url)))

/** A file's text. */
export const text = (path) => readFileSync(join(ROOT, path), "utf8")

/** Files below a directory of the repository whose names end so, without what was built or installed. */
export function filesBelow(directory, ending, skip = /^(node_modules|target|\.git)$/) {
  return readdirSync(join(ROOT, directory), { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name)
    if (skip.test(entry.name)) return []
    if (entry.isDirectory()) return filesBelow(path, ending, skip)
    return path.endsWith(ending) ? [path] : []
  })
}

/** Runs a program to its end, whatever its exit code is. */
export function run(command, args, options = {}) {
  return new Promise((done) => {
    execFile(command, args, { timeout: 30_000, ...options }, (error, out, err) => done({ code: error ? error.code : 0, out, err }))
  })
}

/** Runs the binary, without the settings that a developer may have. */
export const millrace = (...args) => run(binary(), args, { env: cleanEnvironment() })

/** Whether a tool is on this machine. */
export function has(tool) {
  try {
    execFileSync("sh", ["-c", `command -v ${tool}`])
    return true
  } catch {
    return false
  }
}

const directories = []

/** A new directory, until `removeDirectories`. */
export function emptyDirectory(label) {
  directories.push(freshDirectory(label))
  return directories.at(-1)
}

/** Removes what `emptyDirectory` made. */
export const removeDirectories = () => directories.splice(0).forEach(removeDirectory)
