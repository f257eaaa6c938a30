// TLS as clients meet it: curl over both versions of HTTP, the command line, certificates that are
// replaced, and those who speak something else or nothing at all.

import { execFile, spawn } from "node:child_process"
import { copyFileSync, readFileSync, writeFileSync } from "node:fs"
import { connect as connectTcp } from "node:net"
import { join } from "node:path"
import { connect as connectTls } from "node:tls"
import { afterAll, beforeAll, describe, expect, test } from "vitest"

import { freshName } from "../../support/http.mjs"
import { RawConnection } from "../../support/raw.mjs"
import { binary, cleanEnvironment, freshDirectory, removeDirectory, startServer, until } from "../../support/server.mjs"
import { controls, jsonMessages, parseEvents } from "../../support/sse.mjs"
import { makeCertificates, makeSelfSigned } from "../../support/tls.mjs"

let directory
let tls
let server
beforeAll(async () => {
  directory = freshDirectory("tls")
  tls = makeCertificates(directory)
  server = await startServer({ tls })
})
afterAll(async () => {
  await server?.dispose()
  removeDirectory(directory)
})

/** Ends, exit code and all, whatever the code is. */
function run(command, args, env = cleanEnvironment()) {
  return new Promise((done) => {
    execFile(command, args, { timeout: 20_000, env }, (error, out, err) => done({ code: error ? error.code : 0, out, err }))
  })
}

const curl = (...args) => run("curl", ["-sS", "--max-time", "15", "--cacert", tls.caFile, ...args])
const millrace = (...args) => run(binary(), args)
/** Runs `serve` until it refuses to start. */
const refusal = (...flags) => millrace("serve", "--port", "0", "--data-dir", join(directory, "never"), ...flags)

/** The serial number of the certificate that a new connection is shown. */
function serial() {
  return new Promise((done, fail) => {
    const socket = connectTls({ host: "127.0.0.1", port: server.port, rejectUnauthorized: false }, () => {
      done(socket.getPeerCertificate().serialNumber)
      socket.destroy()
    })
    socket.once("error", fail)
  })
}

describe("curl", () => {
  for (const [version, flag] of [["1.1", "--http1.1"], ["2", "--http2"]]) {
    test(`creates, appends and reads over HTTP/${version}`, async () => {
      const url = server.stream(freshName("curl"))
      const json = ["-H", "Content-Type: application/json"]
      const created = await curl(flag, "-X", "PUT", url, ...json, "-o", join(directory, "body"), "-w", "%{http_code} %{http_version} %header{location}")
      expect(created).toEqual({ code: 0, err: "", out: `201 ${version} ${url}` })
      expect((await curl(flag, "-X", "POST", url, ...json, "-d", '{"n":1}', "-w", "%{http_code}")).out).toBe("204")
      expect((await curl(flag, url)).out).toBe('[{"n":1}]')
      expect((await curl(flag, `https://127.0.0.1:${server.port}/ready`)).out).toBe('{"ready":true}')
    })

    test(`follows over HTTP/${version} to an end that TLS tells`, async () => {
      const url = server.stream(freshName("sse"))
      const json = ["-H", "Content-Type: application/json"]
      await curl("-X", "PUT", url, ...json)
      const follower = spawn("curl", ["-sSN", "--max-time", "15", "--cacert", tls.caFile, flag, `${url}?offset=-1&live=sse`])
      let text = ""
      follower.stdout.setEncoding("utf8").on("data", (piece) => (text += piece))
      const ended = new Promise((done) => follower.once("exit", done))
      await until("events begin", () => parseEvents(text).length > 0)
      await curl("-X", "POST", url, ...json, "-H", "Stream-Closed: true", "-d", '{"n":1}')
      // curl fails with 56 when a connection ends without TLS's own word.
      expect(await ended).toBe(0)
      expect(jsonMessages(parseEvents(text))).toEqual([{ n: 1 }])
      expect(controls(parseEvents(text)).at(-1)).toMatchObject({ streamClosed: true })
    })
  }

  test("does not trust a server that nobody vouches for", async () => {
    const { code } = await run("curl", ["-sS", "--max-time", "15", `${server.url}/health`])
    expect(code).toBe(60)
  })
})

describe("those who speak no TLS", () => {
  test("are told to", async () => {
    const { code, out } = await run("curl", ["-sS", "--max-time", "15", "-w", " %{http_code}", `http://127.0.0.1:${server.port}/health`])
    expect(code).toBe(0)
    expect(out).toContain('"code":"tls-required"')
    expect(out).toMatch(/ 400$/)
  })

  test("or say nothing, or half a hello, delay nobody", async () => {
    const silent = await Promise.all(Array.from({ length: 200 }, () => RawConnection.open(server)))
    silent.forEach((connection, i) => i % 2 && connection.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01])))
    for (let i = 0; i < 5; i++) expect((await curl(`${server.url}/v1/streams`)).code).toBe(0)
    // None of them was given up to make room.
    expect(silent.filter(({ ended }) => ended)).toEqual([])
    await until("they are let go", () => silent.every(({ ended }) => ended), 20_000)
  })

  test("or leave in the middle, harm nobody", async () => {
    for (let i = 0; i < 50; i++) {
      await new Promise((done) => {
        const socket = connectTcp(server.port, "127.0.0.1", () => socket.write(Buffer.from([0x16, 0x03, 0x01]), () => (socket.resetAndDestroy(), done())))
        socket.on("error", () => {})
      })
    }
    expect((await curl(`${server.url}/health`)).code).toBe(0)
    expect(server.exit).toBeUndefined()
  })
})

describe("the command line", () => {
  const at = () => ["--url", server.url]

  test("creates, appends, reads and tails with --ca-cert", async () => {
    const name = freshName("cli")
    const trust = [...at(), "--ca-cert", tls.caFile]
    expect(await millrace("create", name, "--type", "json", ...trust)).toMatchObject({ code: 0 })
    expect(await millrace("append", name, '{"n":1}', ...trust)).toMatchObject({ code: 0 })
    expect(await millrace("read", name, ...trust)).toMatchObject({ code: 0, out: '{"n":1}\n' })
    expect(await millrace("close", name, ...trust)).toMatchObject({ code: 0 })
    expect(await millrace("tail", name, ...trust)).toMatchObject({ code: 0, out: '{"n":1}\n' })
    const named = { ...cleanEnvironment(), MILLRACE_URL: `https://localhost:${server.port}`, MILLRACE_CA_CERT: tls.caFile }
    expect(await run(binary(), ["head", name], named)).toMatchObject({ code: 0 })
  })

  test("trusts a server that signed its own certificate, unless that is an authority's", async () => {
    for (const [isAuthority, wanted] of [[false, { code: 0, err: "" }], [true, { code: 5, err: expect.stringContaining("help: its certificate is an authority's") }]]) {
      const own = freshDirectory("own")
      const pair = makeSelfSigned(own, { isAuthority })
      const selfSigned = await startServer({ tls: pair })
      try {
        expect(await millrace("ls", "--url", selfSigned.url, "--ca-cert", pair.caFile, "--quiet")).toMatchObject(wanted)
      } finally {
        await selfSigned.dispose()
        removeDirectory(own)
      }
    }
  })

  test("says what to do about a server it cannot trust", async () => {
    const without = await millrace("ls", ...at())
    expect(without.code).toBe(5)
    expect(without.err).toMatch(/no secure connection to https:\/\/127\.0\.0\.1:\d+/)
    expect(without.err).toContain("help: nobody who is trusted vouches for its certificate")
    expect(without.err).toContain("--ca-cert")
    const json = await millrace("ls", ...at(), "--json")
    expect(JSON.parse(json.err).error).toMatchObject({ exit_code: 5, help: expect.stringContaining("--ca-cert") })
    const wrong = await millrace("ls", "--url", `https://127.0.0.2:${server.port}`, "--ca-cert", tls.caFile)
    expect(wrong.code).toBe(5)
    expect(wrong.err).toMatch(/help: (its certificate is for another name|check --url)/)
  })

  test("says so when one side speaks TLS and the other does not", async () => {
    const plain = await millrace("ls", "--url", `http://127.0.0.1:${server.port}`)
    expect(plain.code).toBe(1)
    expect(plain.err).toContain("https://")
    const other = await startServer()
    try {
      const secure = await millrace("ls", "--url", `https://127.0.0.1:${other.port}`, "--ca-cert", tls.caFile)
      expect(secure.code).toBe(5)
      expect(secure.err).toContain("help: it speaks no TLS")
    } finally {
      await other.dispose()
    }
  })

  test("refuses a file without certificates", async () => {
    for (const file of [tls.key, join(directory, "nothing")]) {
      const { code, err } = await millrace("ls", ...at(), "--ca-cert", file)
      expect([code, err.includes("--ca-cert")]).toEqual([2, true])
    }
  })
})

describe("serve", () => {
  test("prints lines that work as they are", async () => {
    await until("it says them", () => server.log.includes("live=sse"))
    expect(server.log).toContain(`listening on ${server.url}\n`)
    const lines = server.log.split("\n").filter((line) => /^ +curl /.test(line))
    expect(lines.length).toBe(4)
    for (const line of lines.slice(0, 3)) {
      expect(await run("sh", ["-c", `${line.trim()} -sS --fail`])).toMatchObject({ code: 0, err: "" })
    }
  })

  test("refuses to start without a pair that fits", async () => {
    const other = freshDirectory("other")
    const { key: stranger } = makeCertificates(other)
    for (const [flags, what, help] of [
      [["--tls-cert", tls.cert], "--tls-cert without --tls-key", "MILLRACE_TLS_KEY"],
      [["--tls-key", tls.key], "--tls-key without --tls-cert", "MILLRACE_TLS_CERT"],
      [["--tls-cert", join(directory, "no"), "--tls-key", tls.key], "cannot be read", "--tls-cert"],
      [["--tls-cert", tls.key, "--tls-key", tls.key], "holds no certificate", "--tls-cert"],
      [["--tls-cert", tls.cert, "--tls-key", tls.cert], "holds no private key", "--tls-key"],
      [["--tls-cert", tls.cert, "--tls-key", stranger], "is not that of the first certificate", "--tls-key"],
    ]) {
      const { code, err } = await refusal(...flags)
      expect([code, err]).toEqual([2, expect.stringContaining(what)])
      expect(err.split("help: ")[1]).toContain(help)
    }
    removeDirectory(other)
  })

  test("takes up a new certificate and keeps the old one when it is no good", { timeout: 60_000 }, async () => {
    const [first, other] = [await serial(), freshDirectory("other")]
    const fresh = makeCertificates(other)
    const kept = readFileSync(tls.key)
    writeFileSync(tls.key, "no key\n")
    await until("it is told", () => server.log.includes("the new certificate cannot be used; the old one stays"), 20_000)
    expect(await serial()).toBe(first)
    writeFileSync(tls.key, kept)
    const open = connectTls({ host: "127.0.0.1", port: server.port, ca: tls.ca })
    await new Promise((done) => open.once("secureConnect", done))
    copyFileSync(fresh.cert, tls.cert)
    copyFileSync(fresh.key, tls.key)
    await until("it is shown", async () => (await serial()) !== first, 20_000)
    expect(server.log).toContain("the certificate was replaced")
    // Who was connected goes on.
    open.setEncoding("utf8").write("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    let text = ""
    open.on("data", (piece) => (text += piece))
    await new Promise((done) => open.once("end", done))
    expect(text).toContain('{"status":"ok"}')
    expect((await run("curl", ["-sS", "--cacert", fresh.caFile, `${server.url}/ready`])).out).toBe('{"ready":true}')
    removeDirectory(other)
  })
})
