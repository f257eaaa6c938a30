// The published State package on top of Millrace: a live database that is a stream.

import { DurableStream } from "@durable-streams/client"
import { count, createLiveQueryCollection, createStateSchema, createStreamDB, eq, sum } from "@durable-streams/state/db"
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest"

import { freshName } from "../../support/http.mjs"
import { startServer, until } from "../../support/server.mjs"

/** A Standard Schema that takes any object. */
const object = {
  "~standard": {
    version: 1,
    vendor: "millrace",
    validate: (value) =>
      typeof value === "object" && value !== null ? { value } : { issues: [{ message: "not an object" }] },
  },
}

const schema = createStateSchema({
  users: { schema: object, type: "user", primaryKey: "id" },
  messages: { schema: object, type: "message", primaryKey: "id" },
})

let server
beforeAll(async () => (server = await startServer()))
afterAll(() => server?.dispose())

let handle
const opened = []
beforeEach(async () => {
  handle = await DurableStream.create({ url: server.stream(freshName("state")), contentType: "application/json" })
})
afterEach(() => opened.splice(0).forEach((db) => db.close()))

const append = (event) => handle.append(JSON.stringify(event))
const user = (id, name, more = {}) => schema.users.insert({ value: { id, name, ...more } })
const message = (id, userId, words) => schema.messages.insert({ value: { id, userId, words } })

async function open(options = {}) {
  const db = createStreamDB({ streamOptions: { url: handle.url, contentType: "application/json" }, state: schema, ...options })
  opened.push(db)
  await db.preload()
  return db
}

const names = (db) => db.collections.users.toArray.map(({ name }) => name).sort()

for (const live of [true, "sse", "long-poll", false]) {
  test(`preload gives the latest state (live: ${live})`, async () => {
    await append(user("1", "Ada"))
    await append(user("2", "Grace"))
    await append(schema.users.update({ value: { id: "1", name: "Ada Lovelace" } }))
    await append(user("3", "Nobody"))
    await append(schema.users.delete({ key: "3" }))
    const db = await open({ live })
    expect(names(db)).toEqual(["Ada Lovelace", "Grace"])
    expect(db.collections.users.get("2")).toMatchObject({ id: "2", name: "Grace" })
  })
}

for (const live of ["sse", "long-poll"]) {
  test(`a live change arrives by ${live}`, async () => {
    const db = await open({ live })
    const changes = []
    const subscription = db.collections.users.subscribeChanges((batch) => changes.push(...batch))
    await append(user("1", "Ada"))
    await until("the insert", () => changes.length === 1)
    await append(schema.users.update({ value: { id: "1", name: "Ada Lovelace" } }))
    await until("the update", () => changes.length === 2)
    await append(schema.users.delete({ key: "1" }))
    await until("the delete", () => changes.length === 3)
    expect(changes.map(({ type }) => type)).toEqual(["insert", "update", "delete"])
    expect(names(db)).toEqual([])
    subscription.unsubscribe()
  })
}

test("awaitTxId resolves when the stream brings the transaction, and not for another", async () => {
  const db = await open()
  const txid = crypto.randomUUID()
  const waiting = db.utils.awaitTxId(txid, 5000)
  await append(schema.users.insert({ value: { id: "1", name: "Ada" }, headers: { txid } }))
  await expect(waiting).resolves.toBeUndefined()
  expect(names(db)).toEqual(["Ada"])
  await expect(db.utils.awaitTxId(crypto.randomUUID(), 200)).rejects.toThrow(/Timeout/)
})

/** One action that waits for its confirmation, and one that the server never sees. */
const actions = ({ db, stream }) => ({
  addUser: {
    onMutate: (value) => void db.collections.users.insert(value),
    mutationFn: async (value) => {
      const txid = crypto.randomUUID()
      await stream.append(JSON.stringify(schema.users.insert({ value, headers: { txid } })))
      await db.utils.awaitTxId(txid)
    },
  },
  addUserAndFail: {
    onMutate: (value) => void db.collections.users.insert(value),
    mutationFn: async () => {
      throw new Error("the server said no")
    },
  },
})

test("an action shows at once and is confirmed by the stream", async () => {
  const db = await open({ actions })
  const transaction = db.actions.addUser({ id: "1", name: "Ada" })
  expect(names(db)).toEqual(["Ada"])
  await transaction.isPersisted.promise
  expect(names(db)).toEqual(["Ada"])
  const other = await open()
  expect(names(other)).toEqual(["Ada"])
})

test("an action that fails is rolled back, and nobody else ever saw it", async () => {
  await append(user("1", "Ada"))
  const db = await open({ actions })
  const transaction = db.actions.addUserAndFail({ id: "2", name: "Ghost" })
  expect(names(db)).toEqual(["Ada", "Ghost"])
  await expect(transaction.isPersisted.promise).rejects.toThrow("the server said no")
  await until("the rollback", () => names(db).length === 1)
  expect(names(db)).toEqual(["Ada"])
  expect(names(await open())).toEqual(["Ada"])
})

test("an action refused by the server, because the stream was closed, is rolled back", async () => {
  const db = await open({ actions, live: "long-poll" })
  await DurableStream.connect({ url: handle.url }).then((other) => other.close())
  const transaction = db.actions.addUser({ id: "1", name: "Late" })
  await expect(transaction.isPersisted.promise).rejects.toMatchObject({ status: 409 })
  await until("the rollback", () => names(db).length === 0)
})

async function liveQuery(build) {
  const query = createLiveQueryCollection({ query: build, startSync: true })
  await query.preload()
  return query
}

test("a join over two collections follows the stream", async () => {
  await append(user("1", "Ada"))
  await append(message("m1", "1", 3))
  const db = await open()
  const query = await liveQuery((q) =>
    q
      .from({ messages: db.collections.messages })
      .join({ users: db.collections.users }, ({ messages, users }) => eq(messages.userId, users.id))
      .select(({ messages, users }) => ({ id: messages.id, author: users?.name })),
  )
  const rows = () => query.toArray.map(({ id, author }) => `${id} ${author}`).sort()
  expect(rows()).toEqual(["m1 Ada"])
  await append(user("2", "Grace"))
  await append(message("m2", "2", 5))
  await until("the new message with its author", () => rows().includes("m2 Grace"))
  await append(schema.users.update({ value: { id: "1", name: "Ada Lovelace" } }))
  await until("the author's new name", () => rows().includes("m1 Ada Lovelace"))
  expect(rows()).toEqual(["m1 Ada Lovelace", "m2 Grace"])
})

test("a groupBy over a collection follows the stream", async () => {
  for (const [id, by, words] of [["m1", "ada", 3], ["m2", "ada", 4], ["m3", "grace", 5]]) await append(message(id, by, words))
  const db = await open()
  const query = await liveQuery((q) =>
    q
      .from({ messages: db.collections.messages })
      .groupBy(({ messages }) => messages.userId)
      .select(({ messages }) => ({ userId: messages.userId, total: count(messages.id), words: sum(messages.words) })),
  )
  const rows = () => Object.fromEntries(query.toArray.map(({ userId, total, words }) => [userId, [total, words]]))
  expect(rows()).toEqual({ ada: [2, 7], grace: [1, 5] })
  await append(message("m4", "grace", 10))
  await until("the new total", () => rows().grace?.[0] === 2)
  expect(rows()).toEqual({ ada: [2, 7], grace: [2, 15] })
})

test("a second tab sees what the first one did", async () => {
  const [one, two] = [await open({ actions, live: "sse" }), await open({ live: "long-poll" })]
  await one.actions.addUser({ id: "1", name: "Ada" }).isPersisted.promise
  await until("the other tab", () => names(two).length === 1)
  expect(names(two)).toEqual(["Ada"])
})
